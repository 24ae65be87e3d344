// A histogram of one column with a brush: drag to keep a range, click to lift it.

import { el, svg } from "./dom.js";
import { number } from "./words.js";
import { robustRange } from "./colours.js";

const BINS = 48;
const [W, H] = [240, 64];

function counts(values, flags, [low, high]) {
  const found = { all: new Array(BINS).fill(0), passing: new Array(BINS).fill(0) };
  const scale = BINS / (high - low);
  for (let i = 0; i < values.length; i++) {
    const bin = Math.floor((values[i] - low) * scale);
    if (!(bin >= 0 && bin <= BINS)) continue;
    const place = Math.min(bin, BINS - 1);
    found.all[place]++;
    if (flags[i]) found.passing[place]++;
  }
  return found;
}

function spoken([low, high]) {
  if (low === -Infinity) return `at most ${number(high)}`;
  return high === Infinity ? `at least ${number(low)}` : `${number(low)} to ${number(high)}`;
}

export class Histogram {
  constructor(session, column, values) {
    this.session = session;
    this.column = column;
    this.values = values;
    const [low, high] = robustRange(values);
    const pad = 0.04 * (high - low);
    this.range = column.labels.length ? [-0.5, column.labels.length - 0.5] : [Math.max(column.low, low - pad), Math.min(column.high, high + pad)];
    if (!(this.range[1] > this.range[0])) this.range[1] = this.range[0] + 1;
    this.art = svg("svg", { viewBox: `0 0 ${W} ${H}`, preserveAspectRatio: "none", role: "slider", tabindex: 0, "aria-label": `Range of ${column.title}`, "aria-valuemin": this.range[0], "aria-valuemax": this.range[1], "aria-valuenow": this.range[0] });
    this.said = el("output");
    this.node = el("figure.histogram", el("figcaption", el("span", column.title), this.said), this.art,
      el("div.ends", el("span", number(this.range[0])), el("span", number(this.range[1]))));
    this.art.addEventListener("pointerdown", (event) => this.#grab(event));
    this.art.addEventListener("keydown", (event) => this.#key(event));
    session.on("flags", () => this.draw());
    this.draw();
  }

  draw() {
    const { all, passing } = counts(this.values, this.session.flags, this.range);
    const top = Math.max(...all, 1);
    const bars = (heights, name) => svg("path", { class: name, d: heights.map((n, i) => `M${(i * W) / BINS} ${H}v${(-n / top) * H}h${W / BINS - 0.8}v${(n / top) * H}z`).join("") });
    const held = this.session.brushes.get(this.column.name)?.range;
    this.art.replaceChildren(bars(all, "all"), bars(passing, "passing"));
    if (held) {
      const [a, b] = held.map((value) => this.#toX(value));
      this.art.append(svg("rect", { class: "brush", x: a, y: 0, width: Math.max(b - a, 1), height: H }));
    }
    this.said.textContent = held ? spoken(held) : "";
    this.art.setAttribute("aria-valuetext", held ? this.said.textContent : "all");
  }

  #toX(value) {
    return Math.min(W, Math.max(0, ((value - this.range[0]) / (this.range[1] - this.range[0])) * W));
  }

  #value(event) {
    const box = this.art.getBoundingClientRect();
    const t = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    return this.range[0] + t * (this.range[1] - this.range[0]);
  }

  #grab(event) {
    this.art.setPointerCapture(event.pointerId);
    const start = this.#value(event);
    let end = start;
    let due = null;
    const far = () => Math.abs(this.#toX(start) - this.#toX(end)) > 4;
    const apply = () => { due = null; this.session.brush(this.column.name, far() ? this.#ordered(start, end) : null); };
    const move = (next) => { end = this.#value(next); due ??= setTimeout(apply, 60); };
    const stop = () => {
      this.art.removeEventListener("pointermove", move);
      this.art.removeEventListener("pointerup", stop);
      clearTimeout(due);
      apply();
    };
    this.art.addEventListener("pointermove", move);
    this.art.addEventListener("pointerup", stop);
  }

  /** The ends of the brush; at the ends of the histogram it is open. */
  #ordered(a, b) {
    const [low, high] = a < b ? [a, b] : [b, a];
    const step = (this.range[1] - this.range[0]) / BINS / 2;
    return [low <= this.range[0] + step ? -Infinity : low, high >= this.range[1] - step ? Infinity : high];
  }

  #key(event) {
    const step = (this.range[1] - this.range[0]) / 20;
    const held = this.session.brushes.get(this.column.name)?.range ?? this.range;
    const [low, high] = held.map((value, i) => (Number.isFinite(value) ? value : this.range[i]));
    const next = { ArrowRight: [low + step, high], ArrowLeft: [low - step, high], ArrowUp: [low, high + step], ArrowDown: [low, high - step] }[event.key];
    if (event.key === "Escape") this.session.brush(this.column.name, null);
    else if (next && next[0] < next[1]) this.session.brush(this.column.name, this.#ordered(...next));
    else return;
    event.preventDefault();
  }
}
