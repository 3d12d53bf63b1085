// Three pictures. A click says where, the wheel and the arrow keys say how many slices further. The page redraws.
const held = new WeakMap(); // parent → what its listeners look at

export default function (component) {
  const { parentElement, data, setTriggerValue } = component;
  let state = held.get(parentElement);
  if (!state) {
    state = { busy: 0, steps: new Map() };
    held.set(parentElement, state);
  }
  state.busy = 0;
  state.send = (value) => {
    state.busy = Date.now();
    // the slices as drawn: what the page's sliders believe may be older
    setTriggerValue("moved", { ...value, name: data.name, at: data.planes.map((p) => p.index) });
  };
  const root = parentElement.querySelector(".planes");
  while (root.children.length > data.planes.length) root.lastChild.remove();
  data.planes.forEach((plane, at) => {
    const box = root.children[at] ?? root.appendChild(made(state));
    fill(box, plane);
  });
  flush(state);
}

function made(state) {
  const box = document.createElement("div");
  box.className = "plane";
  box.tabIndex = 0;
  box.setAttribute("role", "slider");
  box.setAttribute("aria-orientation", "vertical");
  const picture = box.appendChild(document.createElement("img"));
  picture.draggable = false;
  picture.addEventListener("click", (event) => {
    const r = picture.getBoundingClientRect();
    state.send({ plane: box.dataset.plane, x: (event.clientX - r.left) / r.width, y: (event.clientY - r.top) / r.height });
  });
  box.addEventListener("wheel", (event) => {
    if (event.ctrlKey) return; // the browser's zoom
    event.preventDefault();
    step(state, box.dataset.plane, event.deltaY < 0 ? 1 : -1);
  }, { passive: false });
  box.addEventListener("keydown", (event) => {
    const by = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10 }[event.key];
    if (!by) return;
    event.preventDefault();
    step(state, box.dataset.plane, by);
  });
  return box;
}

function fill(box, plane) {
  box.dataset.plane = plane.plane;
  box.setAttribute("aria-label", plane.label);
  box.setAttribute("aria-valuemin", 1);
  box.setAttribute("aria-valuemax", plane.count);
  box.setAttribute("aria-valuenow", plane.index + 1);
  box.setAttribute("aria-valuetext", plane.text);
  const picture = box.firstChild;
  picture.alt = plane.label;
  if (picture.src !== plane.src) picture.src = plane.src;
}

// Slices asked for while the page still draws are added up and sent once it has.
function step(state, plane, by) {
  state.steps.set(plane, (state.steps.get(plane) ?? 0) + by);
  if (!state.busy || Date.now() - state.busy > 3000) flush(state);
}

function flush(state) {
  const next = state.steps.entries().next();
  if (next.done) return;
  const [plane, by] = next.value;
  state.steps.delete(plane);
  if (by) state.send({ plane, step: by });
}
