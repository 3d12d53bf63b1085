// The 3D view: NiiVue on one canvas, told what to show by the page that embeds it (Streamlit's component messages).
"use strict";

const FRONT = [180, 15]; // azimuth, elevation in degrees: the patient faces the reader
const canvas = document.getElementById("gl");
const say = document.getElementById("say");
let nv = null;
let shown = "";
let turned = [...FRONT];
let queue = Promise.resolve();

function post(type, data) {
  window.parent.postMessage({ isStreamlitMessage: true, type, ...data }, "*");
}

function message(text) {
  say.textContent = text; // text, never HTML
  say.hidden = !text;
  document.body.dataset.state = text ? "message" : "ready";
}

function hasWebGL2() {
  try {
    return Boolean(document.createElement("canvas").getContext("webgl2"));
  } catch {
    return false;
  }
}

async function start() {
  nv = new niivue.Niivue({
    backColor: [0, 0, 0, 1],
    show3Dcrosshair: false,
    crosshairWidth: 0,
    isOrientCube: true,
    dragAndDropEnabled: false,
    loadingText: "",
    isColorbar: false,
    logLevel: "silent",
    forceDevicePixelRatio: 1,
    isAlphaClipDark: false,
  });
  await nv.attachToCanvas(canvas, false);
  nv.setSliceType(nv.sliceTypeRender);
  canvas.addEventListener("webglcontextlost", () =>
    message("The graphics card took the 3D view away. Reload the page to draw it again; the three planes go on."));
}

// The alpha of the CT's colours grows with its density: what lies below the window's lower end is not drawn.
async function show(args) {
  const { name, ct, mask, low, high, mask_opacity: opacity, depth, mask_colour: colour } = args;
  if (!nv) await start();
  if (name !== shown) {
    message("Loading the volume …");
    while (nv.volumes.length) nv.removeVolume(nv.volumes[0]);
    nv.addColormap("maskcolour", {
      R: [colour[0], colour[0]], G: [colour[1], colour[1]], B: [colour[2], colour[2]], A: [0, 255], I: [0, 255],
    });
    await nv.loadFromArrayBuffer(copied(ct), "ct.nii.gz");
    nv.volumes[0].colormap = "gray";
    if (mask) {
      await nv.loadFromArrayBuffer(copied(mask), "mask.nii.gz");
      nv.volumes[1].colormap = "maskcolour";
      nv.volumes[1].cal_min = 0.5;
      nv.volumes[1].cal_max = 1;
    }
    turned = [...FRONT];
    shown = name;
  }
  nv.volumes[0].cal_min = low;
  nv.volumes[0].cal_max = high;
  if (nv.volumes[1]) nv.volumes[1].opacity = opacity;
  nv.setClipPlaneColor([0, 0, 0, 0]);
  nv.setClipPlane(depth === null ? [2, 180, 0] : [depth, 180, 0]);
  nv.updateGLVolume();
  turn(0, 0);
  message("");
}

function copied(bytes) {
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
}

function turn(azimuth, elevation) {
  turned = [turned[0] + azimuth, Math.max(-90, Math.min(90, turned[1] + elevation))];
  nv.setRenderAzimuthElevation(...turned);
}

function zoom(factor) {
  nv.setScale(Math.max(0.4, Math.min(4, nv.scene.volScaleMultiplier * factor)));
}

const KEYS = {
  ArrowLeft: () => turn(-15, 0),
  ArrowRight: () => turn(15, 0),
  ArrowUp: () => turn(0, 15),
  ArrowDown: () => turn(0, -15),
  "+": () => zoom(1.15),
  "-": () => zoom(1 / 1.15),
  0: () => { turned = [...FRONT]; turn(0, 0); },
};

canvas.addEventListener("keydown", (event) => {
  if (!nv || !KEYS[event.key]) return;
  event.preventDefault();
  event.stopImmediatePropagation(); // NiiVue has keys of its own
  turned = [nv.scene.renderAzimuth, nv.scene.renderElevation];
  KEYS[event.key]();
}, true);

window.addEventListener("message", (event) => {
  if (event.source !== window.parent || event.data.type !== "streamlit:render") return;
  const args = { ...event.data.args };
  for (const { key, value } of event.data.dfs ?? []) args[key] ??= value;
  post("streamlit:setFrameHeight", { height: args.height });
  if (!hasWebGL2()) {
    message("This browser has no WebGL 2, which the 3D view needs. \"Three planes\" shows the same CT; "
      + "another browser, or hardware acceleration switched on in its settings, brings the 3D view back.");
    return;
  }
  queue = queue.then(() => show(args)).catch((error) => {
    shown = "";
    message(`The 3D view could not be drawn (${error.message}). "Three planes" shows the same CT.`);
  });
});

post("streamlit:componentReady", { apiVersion: 1 });
