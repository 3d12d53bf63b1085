// The tooltip: a patient's name with its value. Names and numbers come after the picture, for nobody asks at once.
import { block } from "./blocks.js";
import { element } from "./element.js";

export class Tip {
  constructor(panel) {
    this.panel = panel;
    this.box = panel.appendChild(element("div", "tip"));
    this.box.setAttribute("role", "status");
    this.hide();
  }

  hide() {
    this.box.hidden = true;
  }

  async fetch({ names, values, n }) {
    this.values = null;
    const asked = (this.asked = {});
    const [told, numbers] = await Promise.all([block(names), values ? block(values) : null]);
    if (asked !== this.asked) return; // of an earlier picture
    if (this.key !== names.key) this.names = new TextDecoder().decode(told).split("\n");
    this.key = names.key;
    this.values = numbers && new Float32Array(numbers, 0, n);
  }

  say(i, [x, y], code, { legend, label }) {
    const entry = legend.find((e) => e.code <= code && code <= (e.last ?? e.code));
    const number = this.values?.[i];
    const value = Number.isFinite(number) ? String(+number.toPrecision(5)) : entry?.name;
    const name = this.names?.[i] ?? "…";
    this.box.textContent = value === undefined ? name : `${name} · ${label}: ${value}`;
    this.box.hidden = false;
    const room = this.panel.clientWidth - this.box.offsetWidth - 4;
    this.box.style.left = `${Math.max(0, Math.min(x + 10, room))}px`;
    this.box.style.top = `${Math.max(0, y - 30)}px`;
  }
}
