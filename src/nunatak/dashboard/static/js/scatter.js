// Two columns against each other: pan, zoom, click, lasso, path. Points by WebGL, everything else on a canvas above.

import { colour, onTheme } from "./dom.js";
import { Points, pointLook } from "./points.js";
import * as colours from "./colours.js";
import { Pace } from "./pace.js";
import { insidePolygon, nearestPoint } from "./picking.js";
import { drawFrame, drawMarks } from "./overlay.js";

const REACH_PX = 14;
export const MARGIN = { left: 44, bottom: 30, top: 6, right: 8 };

export class Scatter extends EventTarget {
  constructor(host) {
    super();
    this.host = host;
    this.canvas = Object.assign(document.createElement("canvas"), { className: "points" });
    this.over = Object.assign(document.createElement("canvas"), { className: "over", tabIndex: 0 });
    this.over.setAttribute("role", "application");
    this.over.setAttribute("aria-label", "Scatter of particles: arrow keys move, plus and minus zoom, Enter picks the particle in the middle");
    host.append(this.canvas, this.over);
    this.points = new Points(this.canvas);
    this.mode = "click";
    this.path = [];
    this.marked = null;
    this.frames = [];
    this.pace = new Pace(() => this.draw());
    this.#listen();
    this.watcher = new ResizeObserver(() => this.draw());
    this.watcher.observe(host);
    this.offTheme = onTheme(() => this.draw());
  }

  /** Put columns on the axes. */
  setAxes(x, y) {
    this.x = x;
    this.y = y;
    this.points.set("x", x.values);
    this.points.set("y", y.values);
    this.home = [x.values, y.values].map((values) => {
      const [low, high] = colours.robustRange(values);
      return { middle: (low + high) / 2, half: (high - low) * 0.68 || 1 };
    });
    this.resetView();
  }

  setColour(column, values) {
    const kinds = Boolean(column?.labels.length) && column.labels.length <= 24;
    this.points.setScale(colours.texture(kinds ? column.labels : null));
    this.points.set("value", values ?? new Float32Array(this.x.values.length));
    Object.assign(this.points.look, { kinds, range: values && column ? colours.robustRange(values) : [-1, 1] });
    this.draw();
  }

  setFlags(flags, anySelected) {
    this.flags = flags;
    this.points.set("flag", flags);
    this.points.look.anySelected = anySelected;
    this.draw();
  }

  setMode(mode) {
    this.mode = mode;
    this.over.dataset.mode = mode;
  }

  resetView() {
    [this.middle, this.half] = [this.home.map((h) => h.middle), this.home.map((h) => h.half)];
    this.draw();
  }

  /** Draw soon, once. */
  draw() {
    this.due ??= requestAnimationFrame(() => { this.due = null; this.#paint(); });
  }

  #paint() {
    if (!this.x || !this.host.clientWidth) return;
    this.points.resize();
    const count = this.points.count;
    const stride = this.pace.stride(count);
    const ratio = this.canvas.width / this.canvas.clientWidth;
    const look = pointLook(count / stride, this.canvas.clientWidth * this.canvas.clientHeight, ratio);
    this.points.look.opacity = look.opacity;
    this.points.look.unknown = rgb(colour("--muted"));
    const [sx, sy] = this.half.map((half) => 1 / half);
    const [cx, cy] = this.middle;
    this.points.draw([sx, 0, 0, 0, 0, sy, 0, 0, 0, 0, 1, 0, -cx * sx, -cy * sy, 0, 1], look.size, stride);
    this.#paintOver(ratio);
    this.pace.painted();
    this.frames.push(performance.now());
    if (this.frames.length > 240) this.frames.shift();
  }

  #paintOver(ratio) {
    const { clientWidth: w, clientHeight: h } = this.over;
    if (this.over.width !== Math.round(w * ratio) || this.over.height !== Math.round(h * ratio)) {
      Object.assign(this.over, { width: Math.round(w * ratio), height: Math.round(h * ratio) });
    }
    const pen = this.over.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, w, h);
    drawFrame(pen, this, MARGIN);
    drawMarks(pen, this);
  }

  /** The drawing area in CSS pixels of the overlay. */
  get area() {
    const { clientWidth: w, clientHeight: h } = this.over;
    return { left: MARGIN.left, top: MARGIN.top, width: Math.max(1, w - MARGIN.left - MARGIN.right), height: Math.max(1, h - MARGIN.top - MARGIN.bottom) };
  }

  toScreen(x, y) {
    const { left, top, width, height } = this.area;
    return [left + ((x - this.middle[0]) / this.half[0] + 1) * width / 2, top + (1 - (y - this.middle[1]) / this.half[1]) * height / 2];
  }

  toData(px, py) {
    const { left, top, width, height } = this.area;
    return [this.middle[0] + (((px - left) / width) * 2 - 1) * this.half[0], this.middle[1] + (1 - ((py - top) / height) * 2) * this.half[1]];
  }

  pan(dx, dy) {
    const { width, height } = this.area;
    this.middle = [this.middle[0] - (dx * 2 * this.half[0]) / width, this.middle[1] + (dy * 2 * this.half[1]) / height];
    this.#moved();
  }

  zoom(factor, px, py) {
    const before = this.toData(px, py);
    this.half = this.half.map((half) => half / factor);
    const after = this.toData(px, py);
    this.middle = this.middle.map((value, i) => value + before[i] - after[i]);
    this.#moved();
  }

  #moved() {
    this.pace.moved();
    this.draw();
  }

  #pick(px, py) {
    const { width, height } = this.area;
    const [x, y] = this.toData(px, py);
    const scale = [width / 2 / this.half[0], height / 2 / this.half[1]];
    return nearestPoint(this.x.values, this.y.values, this.flags, [x, y], scale, REACH_PX);
  }

  #listen() {
    const over = this.over;
    over.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * 0.0015), event.offsetX, event.offsetY);
    }, { passive: false });
    over.addEventListener("dblclick", () => this.resetView());
    over.addEventListener("pointerdown", (event) => this.#grab(event));
    over.addEventListener("keydown", (event) => this.#key(event));
  }

  #grab(event) {
    if (event.button) return;
    const over = this.over;
    over.setPointerCapture(event.pointerId);
    const start = [event.offsetX, event.offsetY];
    let last = start;
    let moved = false;
    const lassoing = this.mode === "lasso" && !event.shiftKey;
    if (lassoing) this.lasso = [start];
    const move = (next) => {
      const here = [next.offsetX, next.offsetY];
      if (Math.hypot(here[0] - start[0], here[1] - start[1]) > 4) moved = true;
      if (lassoing) { this.lasso.push(here); this.draw(); }
      else if (moved) this.pan(here[0] - last[0], here[1] - last[1]);
      last = here;
    };
    over.addEventListener("pointermove", move);
    const end = (stop) => {
      over.removeEventListener("pointermove", move);
      over.removeEventListener("pointerup", end);
      over.removeEventListener("pointercancel", end);
      if (lassoing && moved) this.#closeLasso();
      else if (!moved && stop.type === "pointerup") this.#choose(...start);
      this.lasso = null;
      this.draw();
    };
    over.addEventListener("pointerup", end);
    over.addEventListener("pointercancel", end);
  }

  #choose(px, py) {
    const row = this.#pick(px, py);
    if (row >= 0) this.dispatchEvent(new CustomEvent("pick", { detail: row }));
  }

  #closeLasso() {
    const polygon = this.lasso.map(([px, py]) => this.toData(px, py));
    const { values: x } = this.x;
    const { values: y } = this.y;
    const inside = insidePolygon(polygon);
    this.dispatchEvent(new CustomEvent("lasso", { detail: (i) => inside(x[i], y[i]) }));
  }

  #key(event) {
    const { left, top, width, height } = this.area;
    const step = 40;
    const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    if (moves[event.key]) this.pan(...moves[event.key]);
    else if (event.key === "+" || event.key === "=") this.zoom(1.25, left + width / 2, top + height / 2);
    else if (event.key === "-") this.zoom(0.8, left + width / 2, top + height / 2);
    else if (event.key === "Enter") this.#choose(left + width / 2, top + height / 2);
    else return;
    event.preventDefault();
  }

  dispose() {
    this.watcher.disconnect();
    this.offTheme();
    this.points.dispose();
  }
}

export function rgb(css) {
  const hex = css.replace("#", "");
  return [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255);
}
