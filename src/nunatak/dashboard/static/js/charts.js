// Small line charts as SVG: no library is worth its weight for these.

import { el, svg } from "./dom.js";
import { number, ticks } from "./words.js";

const [W, H] = [400, 178];
const PAD = { left: 46, right: 10, top: 8, bottom: 24 };

/** series: [{points: [[x, y], ...], name, css}]; options: {title, note, log, y: [low, high], xTicks, xFormat, lines: [{y, label}]} */
export function lineChart(series, options = {}) {
  const known = series.map((one) => ({ ...one, points: one.points.filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y) && (!options.log || y > 0)) })).filter((one) => one.points.length);
  const shape = options.log ? Math.log10 : (v) => v;
  const every = known.flatMap((one) => one.points);
  if (!every.length) return el("figure.chart", el("figcaption", options.title), el("p.hint", options.empty ?? "Nothing yet."));
  const xs = bounds(every.map((p) => p[0]));
  const ys = options.y ?? bounds(every.map((p) => shape(p[1])), 0.06);
  const toX = (x) => PAD.left + ((x - xs[0]) / (xs[1] - xs[0] || 1)) * (W - PAD.left - PAD.right);
  const toY = (y) => H - PAD.bottom - ((shape(y) - ys[0]) / (ys[1] - ys[0] || 1)) * (H - PAD.top - PAD.bottom);
  const art = svg("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": options.title }, grid(xs, ys, toX, toY, options));
  for (const one of known) {
    const d = one.points.map(([x, y], i) => `${i ? "L" : "M"}${toX(x).toFixed(1)} ${toY(y).toFixed(1)}`).join("");
    art.append(svg("path", { d, class: `line ${one.css ?? "accent"}` }));
    if (one.points.length < 40) for (const [x, y] of one.points) art.append(svg("circle", { cx: toX(x).toFixed(1), cy: toY(y).toFixed(1), r: 2.2, class: `dot ${one.css ?? "accent"}` }));
  }
  const names = known.filter((one) => one.name).map((one) => el(`span.series.${one.css ?? "accent"}`, one.name));
  return el("figure.chart", el("figcaption", options.title, el("span.hint", options.note ?? "")), art, names.length > 1 ? el("div.legend", names) : null);
}

function bounds(values, pad = 0) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
  if (low === high) return [low - 0.5, high + 0.5];
  return [low - pad * (high - low), high + pad * (high - low)];
}

function grid(xs, ys, toX, toY, options) {
  const parts = [];
  const yTicks = options.log ? ticks(ys[0], ys[1], 3).filter(Number.isInteger).map((e) => 10 ** e) : ticks(ys[0], ys[1], 4);
  const shown = yTicks.length ? yTicks : [10 ** ys[0], 10 ** ys[1]];
  for (const tick of shown) {
    const y = toY(tick);
    parts.push(svg("line", { x1: PAD.left, x2: W - PAD.right, y1: y, y2: y, class: "grid" }), svg("text", { x: PAD.left - 6, y: y + 3.5, "text-anchor": "end" }, number(tick)));
  }
  for (const tick of options.xTicks?.(xs[0], xs[1]) ?? ticks(xs[0], xs[1], 5)) parts.push(svg("text", { x: toX(tick), y: H - 8, "text-anchor": "middle" }, (options.xFormat ?? number)(tick)));
  for (const { y, label } of options.lines ?? []) {
    parts.push(svg("line", { x1: PAD.left, x2: W - PAD.right, y1: toY(y), y2: toY(y), class: "threshold" }), svg("text", { x: W - PAD.right, y: toY(y) - 4, "text-anchor": "end" }, label));
  }
  return parts;
}

/** Bars of a histogram from 0 in steps. */
export function barChart(heights, options) {
  const top = Math.max(...heights, 1);
  const inner = W - PAD.left - PAD.right;
  const toX = (x) => PAD.left + (x / options.span) * inner;
  const toY = (y) => H - PAD.bottom - (y / top) * (H - PAD.top - PAD.bottom);
  const width = inner / heights.length;
  const art = svg("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": options.title }, grid([0, options.span], [0, top], toX, toY, options),
    heights.map((n, i) => svg("rect", { x: PAD.left + i * width + 0.4, width: Math.max(width - 0.8, 0.5), y: toY(n), height: H - PAD.bottom - toY(n), class: "column" })));
  return el("figure.chart", el("figcaption", options.title, el("span.hint", options.note ?? "")), art);
}

/** Half-map correlation over 1 / resolution. */
export function fscChart(curve, options = {}) {
  const points = curve ? curve.fsc.map((y, i) => [1 / curve.resolution_A[i], y]) : [];
  return lineChart([{ points }], { title: "Fourier shell correlation", y: [-0.1, 1.02], lines: [{ y: options.threshold ?? 0.143, label: String(options.threshold ?? 0.143) }], xFormat: (f) => (f > 0 ? `${number(1 / f)} Å` : ""), empty: "Half-sets are not apart yet.", ...options });
}
