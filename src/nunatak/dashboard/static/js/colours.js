// Colours of points: a scale from deep blue over teal to sand, and kinds that are told apart.

const SCALE = [[38, 54, 110], [40, 92, 147], [44, 129, 157], [83, 162, 150], [141, 188, 137], [204, 205, 133], [243, 205, 132]];
const KINDS = ["#3b82b8", "#cf6a42", "#7f9f50", "#9070b2", "#d0a034", "#3f9f97", "#b8567f", "#6b7a88"];

function mixed(stops, t) {
  const place = Math.min(Math.max(t, 0), 1) * (stops.length - 1);
  const i = Math.min(Math.floor(place), stops.length - 2);
  return stops[i].map((value, k) => value + (place - i) * (stops[i + 1][k] - value));
}

const bytes = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

/** RGB of a category. */
export const kind = (index) => bytes(KINDS[((index % KINDS.length) + KINDS.length) % KINDS.length]);

export const css = (rgb) => `rgb(${rgb.map(Math.round).join(" ")})`;

/** CSS of a place 0..1 on the scale. */
export const onScale = (t) => css(mixed(SCALE, t));

/** 256 RGBA texels; categories repeat after eight. */
export function texture(labels) {
  const texels = new Uint8Array(256 * 4);
  for (let i = 0; i < 256; i++) {
    texels.set([...(labels ? kind(i) : mixed(SCALE, i / 255)), 255], 4 * i);
  }
  return texels;
}

/** Range for colouring: outliers beyond the 1st and 99th of a hundred do not stretch the scale. */
export function robustRange(values) {
  const step = Math.max(1, Math.floor(values.length / 20000));
  const sample = [];
  for (let i = 0; i < values.length; i += step) if (Number.isFinite(values[i])) sample.push(values[i]);
  if (!sample.length) return [0, 1];
  sample.sort((a, b) => a - b);
  const at = (q) => sample[Math.min(sample.length - 1, Math.floor(q * sample.length))];
  const [low, high] = [at(0.01), at(0.99)];
  return high > low ? [low, high] : [low - 0.5, low + 0.5];
}
