// The legend: each entry says its name and count, fades the others while it is pointed at or focused, selects at a click.
import { element } from "./element.js";

export class Legend {
  // isolate(codes or null): show these alone; press(codes): those of the pressed entries
  constructor(box, { isolate, press }) {
    this.box = box;
    this.isolate = isolate;
    this.press = press;
    this.pressed = new Set();
  }

  show({ label, legend, scale }) {
    this.box.setAttribute("aria-label", `Legend: ${label}`);
    this.box.replaceChildren(element("div", "title", label));
    this.pressed.clear();
    this.isolate(null);
    if (scale) this.box.appendChild(ramp(scale));
    for (const entry of legend) this.box.appendChild(this.entry(entry));
    this.box.appendChild(element("div", "hint", "Point at one or focus it to see it alone; click or press Enter to select it."));
  }

  entry(entry) {
    const button = element("button");
    button.type = "button";
    button.appendChild(element("span", "swatch")).style.background = entry.colour;
    button.appendChild(element("span", "", entry.text));
    button.setAttribute("aria-pressed", "false");
    const codes = span(entry);
    button.onmouseenter = button.onfocus = () => this.isolate(codes);
    button.onmouseleave = button.onblur = () => this.isolate(null);
    button.onclick = () => {
      this.pressed.has(entry) ? this.pressed.delete(entry) : this.pressed.add(entry);
      button.setAttribute("aria-pressed", String(this.pressed.has(entry)));
      this.press(new Set([...this.pressed].flatMap((e) => [...span(e)])));
    };
    return button;
  }
}

// Codes of an entry: one, or those of an interval of a scale.
function span({ code, last = code }) {
  return new Set(Array.from({ length: last - code + 1 }, (_, i) => code + i));
}

function ramp({ colours, ticks }) {
  const made = element("div", "ramp");
  made.appendChild(element("div", "bar")).style.background = `linear-gradient(to top, ${colours.join(",")})`;
  const beside = made.appendChild(element("div", "ticks"));
  for (const text of [...ticks].reverse()) beside.appendChild(element("span", "", text));
  return made;
}
