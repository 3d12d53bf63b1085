// The map of many points: regl-scatterplot with a legend, names on the canvas, tools and a tooltip. What `data` holds is
// said in component.py: texts and colours, and where the blocks of numbers are to be had.
import createScatterplot from "regl-scatterplot";
import { block } from "./blocks.js";
import { element } from "./element.js";
import { Labels } from "./labels.js";
import { Legend } from "./legend.js";
import { bitsOf, fitted, nearest, rowsOf } from "./places.js";
import { Tip } from "./tip.js";

const MANY = 50000; // points, above which each is smaller and clearer
const FADED = 0.012; // opacity of what is not pointed at in the legend
const MOST_NAMES = 12; // on the canvas
const STEP = 0.2; // of the view, for an arrow key

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
    this.box = root.appendChild(element("div", "map"));
    this.tools = this.box.appendChild(element("div", "tools"));
    const body = this.box.appendChild(element("div", "body"));
    const left = body.appendChild(element("div"));
    this.panel = left.appendChild(element("div", "panel"));
    this.canvas = this.panel.appendChild(element("canvas"));
    this.canvas.setAttribute("role", "img");
    this.canvas.tabIndex = 0;
    this.canvas.onkeydown = (event) => this.key(event);
    this.canvas.onblur = () => this.tip.hide();
    this.labels = new Labels(this.panel);
    this.tip = new Tip(this.panel);
    this.axes = left.appendChild(element("div", "x"));
    left.appendChild(element("div", "x", "Keys on the picture: arrows move, + and − zoom, 0 shows the whole map."));
    const legend = body.appendChild(element("div", "legend"));
    legend.setAttribute("role", "group");
    this.legend = new Legend(legend, { isolate: (codes) => this.isolate(codes), press: (codes) => this.press(codes) });
    this.buttons = {};
    for (const [name, label] of [["freeform", "Lasso"], ["rectangle", "Box"], ["pan", "Move"]])
      this.buttons[name] = this.tool(label, () => this.setMode(name));
    this.tool("Whole map", () => this.plot?.reset());
    this.tool("Clear selection", () => this.choose([], true));
    this.named = this.tool("Names", () => this.showNames(this.labels.box.hidden));
    this.named.setAttribute("aria-pressed", "true");
    this.said = this.tools.appendChild(element("span", "said"));
    this.said.setAttribute("role", "status");
    this.queue = Promise.resolve(); // the plot draws one thing at a time
  }

  tool(label, act) {
    const button = this.tools.appendChild(element("button", "", label));
    button.type = "button";
    button.onclick = act;
    return button;
  }

  show(head) {
    this.paint();
    if (head.stamp === this.head?.stamp) return;
    this.head = head;
    this.box.dataset.stamp = head.stamp;
    this.box.dataset.ready = "no";
    if (!this.plot) this.said.textContent = `Fetching ${head.n.toLocaleString("en")} points…`;
    const fetched = Promise.all([block(head.places), block(head.codes)]);
    this.queue = this.queue.then(() => fetched).then(
      ([places, codes]) => head === this.head && this.draw(head, places, codes),
    ).catch((error) => this.fail(head, error));
  }

  fail(head, error) {
    console.error(error);
    if (head !== this.head) return;
    this.head = undefined; // tried anew by the next run of the page
    this.box.dataset.ready = "failed";
    this.said.textContent = `The points could not be drawn (${error.message}). Reload the page.`;
  }

  paint() {
    const style = getComputedStyle(this.panel.getRootNode().host ?? this.panel);
    const background = style.getPropertyValue("--st-background-color").trim() || "#ffffff";
    if (background !== this.background) {
      this.background = background;
      this.plot?.set({ backgroundColor: background });
    }
  }

  async draw(head, places, codes) {
    const { n, palette, alt } = head;
    const moved = this.drawn?.places.key !== head.places.key;
    const recoloured = moved || this.drawn.codes.key !== head.codes.key || this.drawn.label !== head.label ||
      String(this.drawn.palette) !== String(palette);
    this.codes = new Uint8Array(codes, 0, n);
    if (recoloured) this.legend.show(head); // first, for it takes its width from the panel
    this.axes.textContent = head.axes;
    const { width, height } = this.panel.getBoundingClientRect();
    if (!this.plot) this.create(width, height);
    this.canvas.setAttribute("aria-label", alt);
    if (moved) {
      this.xy = fitted(new Float32Array(places, 0, n), new Float32Array(places, 4 * n, n), width / height);
      this.plot.set({ aspectRatio: width / height });
    }
    if (recoloured) {
      this.opacity = n > MANY ? 0.6 : 0.85;
      this.plot.set({ pointOutlineWidth: n > MANY ? 0 : 1, pointSize: n > MANY ? 2 : 4, pointColor: palette });
      this.isolate(null);
      await this.place(moved ? undefined : this.plot.get("spatialIndex")); // only colours changed: the index is kept
    }
    this.drawn = head;
    this.choose(rowsOf(atob(head.marked), n), false);
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    this.box.dataset.ready = head === this.head ? "yes" : "no";
    (window.requestIdleCallback ?? setTimeout)(() => this.tip.fetch(head).catch(console.error));
  }

  async place(spatialIndex) {
    const [x, y] = this.xy;
    await this.plot.draw({ x, y, z: this.codes }, { zDataType: "categorical", spatialIndex });
    const { legend, scale } = this.head;
    this.labels.show(scale || legend.length > MOST_NAMES + 1 ? [] : legend, { x, y, codes: this.codes });
    this.labels.move((i) => this.plot.getScreenPosition(i));
  }

  create(width, height) {
    this.plot = createScatterplot({
      canvas: this.canvas, width, height, backgroundColor: this.background, lassoMinDelay: 5, lassoMinDist: 3,
      showReticle: false, deselectOnDblClick: true, colorBy: "valueA", opacityBy: "valueA", opacityInactiveScale: 0.25,
      pointSizeSelected: 0,
    });
    this.plot.subscribe("select", ({ points }) => this.tell(points));
    this.plot.subscribe("deselect", () => this.tell([]));
    this.plot.subscribe("pointOver", (i) => this.point(i));
    this.plot.subscribe("pointOut", () => this.tip.hide());
    this.plot.subscribe("view", () => this.drawn && this.labels.move((i) => this.plot.getScreenPosition(i)));
    this.observer = new ResizeObserver(() => {
      clearTimeout(this.later);
      this.later = setTimeout(() => (this.queue = this.queue.then(() => this.resize()).catch(console.error)), 150);
    });
    this.observer.observe(this.panel);
    this.setMode("freeform");
  }

  async resize() {
    const { width, height } = this.panel.getBoundingClientRect();
    const old = [this.plot.get("width"), this.plot.get("height")];
    if (!width || !this.drawn || (width === old[0] && height === old[1])) return;
    const chosen = this.plot.get("selectedPoints");
    this.xy = fitted(this.xy[0].map((v) => v * (old[0] / old[1])), this.xy[1], width / height);
    this.plot.set({ width, height, aspectRatio: width / height });
    await this.place();
    this.choose(chosen, false);
  }

  setMode(name) {
    for (const [key, button] of Object.entries(this.buttons)) button.setAttribute("aria-pressed", String(key === name));
    this.plot.set(name === "pan" ? { mouseMode: "panZoom" } : { mouseMode: "lasso", lassoType: name });
  }

  showNames(wanted) {
    this.labels.box.hidden = !wanted;
    this.named.setAttribute("aria-pressed", String(wanted));
  }

  // Codes that are shown alone, or null. regl-scatterplot compares opacities without their order: each differs a little.
  isolate(codes) {
    if (!this.plot || !this.opacity) return;
    const shown = (code) => (!codes || codes.has(code) ? this.opacity : FADED) + 1e-5 * code;
    this.labels.isolate(codes);
    this.plot.set({ opacity: this.head.palette.map((_, code) => shown(code)) });
  }

  press(codes) {
    const rows = [];
    this.codes.forEach((c, i) => codes.has(c) && rows.push(i));
    this.choose(rows, true);
  }

  choose(rows, tell) {
    if (rows.length) this.plot.select(rows, { preventEvent: true });
    else this.plot.deselect({ preventEvent: true });
    if (tell) this.tell(rows);
    else this.count(rows.length);
  }

  count(chosen) {
    const n = this.drawn.n.toLocaleString("en");
    this.said.textContent = chosen ? `${chosen.toLocaleString("en")} of ${n} selected` : `${n} patients`;
  }

  tell(rows) {
    this.count(rows.length);
    this.send({ places: this.drawn.places.key, rows: btoa(bitsOf(rows, this.drawn.n)) });
  }

  point(i) {
    if (this.drawn) this.tip.say(i, this.plot.getScreenPosition(i), this.codes[i], this.drawn);
  }

  // Arrows move, + and − zoom, 0 shows all; the point nearest the middle is then named.
  async key(event) {
    const zoom = { "+": 0.8, "=": 0.8, "-": 1.25 }[event.key];
    const move = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] }[event.key];
    if (!this.drawn || !(zoom || move || event.key === "0")) return;
    event.preventDefault();
    const [x, y] = this.plot.get("cameraTarget");
    const distance = this.plot.get("cameraDistance");
    const [dx, dy] = move ?? [0, 0];
    if (event.key === "0") this.plot.reset();
    else await this.plot.zoomToLocation([x + dx * distance, y + dy * distance], distance * (zoom ?? 1));
    this.point(nearest(this.xy, this.plot.get("aspectRatio"), this.plot.get("cameraTarget")));
  }

  destroy() {
    this.observer?.disconnect();
    this.plot?.destroy();
  }
}
