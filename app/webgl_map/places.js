// Where points lie: fitted into the panel, and the one nearest a place.

// One scale for both axes, the cloud filling the panel: y in −1…1, x in ± the panel's proportions.
export function fitted(x, y, ratio) {
  const [x0, x1] = range(x), [y0, y1] = range(y);
  const scale = 0.96 * Math.min(2 / (y1 - y0 || 1), (2 * ratio) / (x1 - x0 || 1));
  const at = (values, middle, by) => values.map((v) => (v - middle) * by);
  return [at(x, (x0 + x1) / 2, scale / ratio), at(y, (y0 + y1) / 2, scale)];
}

export function nearest([x, y], ratio, [px, py]) {
  let best = 0, least = Infinity;
  for (let i = 0; i < x.length; i++) {
    const d = (x[i] * ratio - px) ** 2 + (y[i] - py) ** 2;
    if (d < least) { least = d; best = i; }
  }
  return best;
}

// Numbers of the bits that are set, the first the highest of its byte.
export function rowsOf(bits, n) {
  const rows = [];
  if (bits) for (let i = 0; i < n; i++) if (bits.charCodeAt(i >> 3) & (128 >> (i & 7))) rows.push(i);
  return rows;
}

export function bitsOf(rows, n) {
  const bits = new Uint8Array((n + 7) >> 3);
  for (const i of rows) bits[i >> 3] |= 128 >> (i & 7);
  let text = "";
  if (rows.length) for (let i = 0; i < bits.length; i += 8192) text += String.fromCharCode(...bits.subarray(i, i + 8192));
  return text;
}

function range(values) {
  let low = Infinity, high = -Infinity;
  for (const v of values) { if (v < low) low = v; if (v > high) high = v; }
  return [low, high];
}
