// Names of the categories, each written on the canvas where most of its points lie, so that colour is not the only signal.
import { element } from "./element.js";

const CELLS = 40; // along each axis
const HEIGHT = 24, PER_LETTER = 7.5, BESIDE = 34; // of a label, in pixels; the last for its swatch and edges
const LONGEST = 18;

export class Labels {
  constructor(panel) {
    this.box = panel.appendChild(element("div", "labels"));
    this.box.setAttribute("aria-hidden", "true"); // the legend says the same
    this.placed = [];
  }

  // categories: {code, name, colour}; places x and y in −1…1
  show(categories, { x, y, codes }) {
    const tables = counted(x, y, codes, categories);
    const { clientWidth: width, clientHeight: height } = this.box;
    const taken = [];
    this.placed = tables.map(({ category, counts, sample }) => {
      const name = category.name.length > LONGEST ? `${category.name.slice(0, LONGEST - 1)}…` : category.name;
      const cells = [...counts.keys()].filter((c) => counts[c]).sort((a, b) => counts[b] - counts[a]).slice(0, 60);
      const at = (c) => [((c % CELLS) + 0.5) * (width / CELLS), height - (Math.floor(c / CELLS) + 0.5) * (height / CELLS)];
      const free = (c) => taken.every(([px, py, w]) =>
        Math.abs(px - at(c)[0]) > ((w + name.length) * PER_LETTER) / 2 + BESIDE || Math.abs(py - at(c)[1]) > HEIGHT);
      const cell = cells.find(free) ?? cells[0];
      taken.push([...at(cell), name.length]);
      return { ...category, name, point: sample[cell] };
    });
    this.box.replaceChildren();
    for (const label of this.placed) {
      label.mark = this.box.appendChild(element("span", "label"));
      label.mark.appendChild(element("span", "swatch")).style.background = label.colour;
      label.mark.appendChild(document.createTextNode(label.name));
    }
  }

  // Codes whose names alone are shown, or null.
  isolate(codes) {
    for (const { mark, code } of this.placed) mark.style.visibility = !codes || codes.has(code) ? "" : "hidden";
  }

  // where: the screen position of a point by its number
  move(where) {
    for (const { mark, point } of this.placed) {
      const [px, py] = where(point) ?? [-1, -1];
      mark.hidden = px < 0 || py < 0 || px > this.box.clientWidth || py > this.box.clientHeight;
      mark.style.transform = `translate(${px}px, ${py}px) translate(-50%, -50%)`;
    }
  }
}

// Of each category, the number of points in each cell of a grid and one of them; the largest category first.
function counted(x, y, codes, categories) {
  const row = new Map(categories.map(({ code }, i) => [code, i]));
  const counts = categories.map(() => new Uint32Array(CELLS * CELLS));
  const sample = categories.map(() => new Int32Array(CELLS * CELLS));
  const total = new Uint32Array(categories.length);
  const cell = (v) => Math.max(0, Math.min(CELLS - 1, Math.floor(((v + 1) / 2) * CELLS)));
  for (let i = 0; i < codes.length; i++) {
    const k = row.get(codes[i]);
    if (k === undefined) continue;
    const c = cell(y[i]) * CELLS + cell(x[i]);
    counts[k][c]++;
    sample[k][c] = i;
    total[k]++;
  }
  return categories
    .map((category, k) => ({ category, counts: counts[k], sample: sample[k], n: total[k] }))
    .filter(({ n }) => n)
    .sort((a, b) => b.n - a.n);
}
