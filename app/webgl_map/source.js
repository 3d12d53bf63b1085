// The map of many points: regl-scatterplot, its legend, tools and tooltip. `data` is one block of bytes, see component.py.
// All text from data enters by textContent, so it stays text.
import createScatterplot from "regl-scatterplot";

const held = new WeakMap();

export default function (component) {
  const root = component.parentElement;
  const map = held.get(root) ?? new MapOfPoints(root);
  held.set(root, map);
  map.send = (value) => component.setTriggerValue("selected", value);
  map.show(component.data);
  return () => setTimeout(() => root.isConnected || map.destroy(), 0);
}

class MapOfPoints {
  constructor(root) {
    this.box = element("div", "map");
    root.appendChild(this.box);
    this.tools = this.box.appendChild(element("div", "tools"));
    const body = this.box.appendChild(element("div", "body"));
    const left = body.appendChild(element("div"));
    this.panel = left.appendChild(element("div", "panel"));
    this.canvas = this.panel.appendChild(element("canvas"));
    this.canvas.setAttribute("role", "img");
    this.tip = this.panel.appendChild(element("div", "tip"));
    this.tip.hidden = true;
    this.axes = left.appendChild(element("div", "x"));
    this.legend = body.appendChild(element("div", "legend"));
    this.legend.setAttribute("role", "group");
    this.buttons = {};
    for (const [name, label] of [["freeform", "Lasso"], ["rectangle", "Box"], ["pan", "Move"]])
      this.buttons[name] = this.tool(label, () => this.setMode(name));
    this.tool("Whole map", () => this.plot?.reset());
    this.tool("Clear selection", () => this.choose([], true));
    this.said = this.tools.appendChild(element("span", "said"));
    this.said.setAttribute("role", "status");
    this.chosen = new Set(); // pressed entries of the legend
  }

  tool(label, act) {
    const button = this.tools.appendChild(element("button", "", label));
    button.type = "button";
    button.onclick = act;
    return button;
  }

  show(data) {
    const bytes = data instanceof Uint8Array ? data : new Uint8Array(data);
    const stamp = header(bytes).stamp;
    if (stamp !== this.stamp) {
      this.stamp = stamp;
      this.read(bytes);
      this.drawing = this.draw();
    }
    this.paint();
  }

  read(bytes) {
    const { start, ...head } = header(bytes);
    const copy = bytes.slice(start).buffer; // aligned
    const n = head.n;
    this.head = head;
    this.x = new Float32Array(copy, 0, n);
    this.y = new Float32Array(copy, 4 * n, n);
    let at = 8 * n;
    this.values = head.numeric ? new Float32Array(copy, at, n) : null;
    at += head.numeric ? 4 * n : 0;
    this.codes = new Uint16Array(copy, at, n);
    at += 2 * n;
    this.marked = unpack(new Uint8Array(copy, at, (n + 7) >> 3), n);
    at += (n + 7) >> 3;
    this.names = null; // decoded when the first tooltip asks
    this.nameBytes = new Uint8Array(copy, at);
    this.box.dataset.stamp = head.stamp;
    this.box.dataset.ready = "no";
  }

  name(i) {
    this.names ??= new TextDecoder().decode(this.nameBytes).split("\n");
    return this.names[i];
  }

  paint() {
    const style = getComputedStyle(this.panel.getRootNode().host ?? this.panel);
    const background = style.getPropertyValue("--st-background-color").trim() || "#ffffff";
    if (background !== this.background) {
      this.background = background;
      this.plot?.set({ backgroundColor: background });
    }
  }

  async draw() {
    this.drawLegend(); // first, for it takes its width from the panel
    const { width, height } = this.panel.getBoundingClientRect();
    if (!this.plot) {
      this.paint();
      this.plot = createScatterplot({
        canvas: this.canvas, width, height, backgroundColor: this.background, lassoMinDelay: 5, lassoMinDist: 3,
        showReticle: false, deselectOnDblClick: true, colorBy: "valueA", opacityInactiveScale: 0.25,
        pointSizeSelected: 0,
      });
      this.plot.subscribe("select", ({ points }) => this.tell(points));
      this.plot.subscribe("deselect", () => this.tell([]));
      this.plot.subscribe("pointOver", (i) => this.point(i));
      this.plot.subscribe("pointOut", () => (this.tip.hidden = true));
      this.observer = new ResizeObserver(() => {
        clearTimeout(this.later);
        this.later = setTimeout(() => this.resize(), 150);
      });
      this.observer.observe(this.panel);
      this.setMode("freeform");
    }
    const { n, palette, alt } = this.head;
    this.canvas.setAttribute("aria-label", alt);
    this.plot.set({ pointOutlineWidth: n > 50000 ? 0 : 1 });
    this.plot.set({ pointColor: palette, pointSize: n > 50000 ? 2 : 4, opacity: n > 50000 ? 0.6 : 0.85 });
    const known = this.placed === this.head.places; // only colours changed: places and their index are kept
    if (!known) {
      this.xy = normalised(this.x, this.y, width / height);
      this.plot.set({ aspectRatio: width / height });
    }
    const spatialIndex = known ? this.plot.get("spatialIndex") : undefined;
    await this.plot.draw({ x: this.xy[0], y: this.xy[1], z: this.codes }, { zDataType: "categorical", spatialIndex });
    this.placed = this.head.places;
    this.choose(this.marked, false);
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    this.box.dataset.ready = "yes";
  }

  resize() {
    const { width, height } = this.panel.getBoundingClientRect();
    if (!width || (width === this.plot.get("width") && height === this.plot.get("height"))) return;
    this.plot.set({ width, height });
    this.marked = this.plot.get("selectedPoints");
    this.placed = null; // fitted anew into the panel's proportions
    this.draw();
  }

  setMode(name) {
    this.mode = name;
    for (const [key, button] of Object.entries(this.buttons)) button.setAttribute("aria-pressed", String(key === name));
    this.plot.set(name === "pan" ? { mouseMode: "panZoom" } : { mouseMode: "lasso", lassoType: name });
  }

  drawLegend() {
    const { label, legend, scale, axes } = this.head;
    this.axes.textContent = axes;
    this.legend.setAttribute("aria-label", `Legend: ${label}`);
    this.legend.replaceChildren(element("div", "title", label));
    this.chosen.clear();
    if (scale) {
      const ramp = this.legend.appendChild(element("div", "ramp"));
      const bar = ramp.appendChild(element("div", "bar"));
      bar.style.background = `linear-gradient(to top, ${scale.colours.join(",")})`;
      const ticks = ramp.appendChild(element("div", "ticks"));
      for (const text of [...scale.ticks].reverse()) ticks.appendChild(element("span", "", text));
    }
    for (const { code, colour, text } of legend) {
      const button = this.legend.appendChild(element("button"));
      button.type = "button";
      button.title = "Select these patients; again to take them out";
      button.appendChild(element("span", "swatch")).style.background = colour;
      button.appendChild(element("span", "", text));
      button.setAttribute("aria-pressed", "false");
      button.onclick = () => this.press(code, button);
    }
  }

  press(code, button) {
    this.chosen.has(code) ? this.chosen.delete(code) : this.chosen.add(code);
    button.setAttribute("aria-pressed", String(this.chosen.has(code)));
    const rows = [];
    this.codes.forEach((c, i) => this.chosen.has(c) && rows.push(i));
    this.choose(rows, true);
  }

  choose(rows, tell) {
    if (rows.length) this.plot.select(rows, { preventEvent: true });
    else this.plot.deselect({ preventEvent: true });
    if (tell) this.tell(rows);
    else this.count(rows.length);
  }

  count(chosen) {
    const n = this.head.n.toLocaleString("en");
    this.said.textContent = chosen ? `${chosen.toLocaleString("en")} of ${n} selected` : `${n} patients`;
  }

  tell(rows) {
    this.count(rows.length);
    const bits = new Uint8Array((this.head.n + 7) >> 3);
    for (const i of rows) bits[i >> 3] |= 128 >> (i & 7);
    let text = "";
    if (rows.length) for (let i = 0; i < bits.length; i += 8192) text += String.fromCharCode(...bits.subarray(i, i + 8192));
    this.send({ places: this.head.places, rows: btoa(text) });
  }

  point(i) {
    const [x, y] = this.plot.getScreenPosition(i);
    const entry = this.head.legend.find((e) => e.code === this.codes[i]);
    const value = this.values && Number.isFinite(this.values[i]) ? String(+this.values[i].toPrecision(5)) : entry?.name;
    this.tip.textContent = value === undefined ? this.name(i) : `${this.name(i)} · ${this.head.label}: ${value}`;
    this.tip.hidden = false;
    const room = this.panel.clientWidth - this.tip.offsetWidth - 4;
    this.tip.style.left = `${Math.max(0, Math.min(x + 10, room))}px`;
    this.tip.style.top = `${Math.max(0, y - 30)}px`;
  }

  destroy() {
    this.observer?.disconnect();
    this.plot?.destroy();
  }
}

function element(tag, kind = "", text = "") {
  const made = document.createElement(tag);
  if (kind) made.className = kind;
  if (text) made.textContent = text;
  return made;
}

function header(bytes) {
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  return { start: 4 + length, ...JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length))) };
}

function unpack(bits, n) {
  const rows = [];
  for (let i = 0; i < n; i++) if (bits[i >> 3] & (128 >> (i & 7))) rows.push(i);
  return rows;
}

// One scale for both axes, the cloud filling the panel: y in −1…1, x in ± the panel's proportions.
function normalised(x, y, ratio) {
  const [x0, x1] = range(x), [y0, y1] = range(y);
  const scale = 0.96 * Math.min(2 / (y1 - y0 || 1), (2 * ratio) / (x1 - x0 || 1));
  const at = (values, middle, by) => values.map((v) => (v - middle) * by);
  return [at(x, (x0 + x1) / 2, scale / ratio), at(y, (y0 + y1) / 2, scale)];
}

function range(values) {
  let low = Infinity, high = -Infinity;
  for (const v of values) { if (v < low) low = v; if (v > high) high = v; }
  return [low, high];
}
