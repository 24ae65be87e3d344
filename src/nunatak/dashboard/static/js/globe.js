// Where the particles were seen from: each direction of view is a point on a sphere that can be turned.

import { colour, onTheme } from "./dom.js";
import { Points, pointLook } from "./points.js";
import * as colours from "./colours.js";
import { Pace } from "./pace.js";
import { rgb } from "./scatter.js";

export class Globe {
  constructor(host) {
    this.host = host;
    this.canvas = Object.assign(document.createElement("canvas"), { className: "points", tabIndex: 0 });
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute("aria-label", "Sphere of views: arrow keys turn it");
    this.rim = Object.assign(document.createElement("div"), { className: "rim" });
    host.append(this.rim, this.canvas);
    this.points = new Points(this.canvas);
    this.points.look.globe = true;
    this.pace = new Pace(() => this.draw());
    this.yaw = 0.5;
    this.pitch = 0.35;
    this.canvas.addEventListener("pointerdown", (event) => this.#grab(event));
    this.canvas.addEventListener("keydown", (event) => this.#key(event));
    this.watcher = new ResizeObserver(() => this.draw());
    this.watcher.observe(host);
    this.offTheme = onTheme(() => this.draw());
  }

  /** Directions as (n, 3) floats in one array. */
  setViews(views) {
    const n = views.length / 3;
    ["x", "y", "z"].forEach((name, k) => {
      const axis = new Float32Array(n);
      for (let i = 0; i < n; i++) axis[i] = views[3 * i + k];
      this.points.set(name, axis);
    });
    this.draw();
  }

  setColour(column, values) {
    const kinds = Boolean(column?.labels.length) && column.labels.length <= 24;
    this.points.setScale(colours.texture(kinds ? column.labels : null));
    this.points.set("value", values ?? new Float32Array(this.points.count));
    Object.assign(this.points.look, { kinds, range: values && column ? colours.robustRange(values) : [-1, 1] });
    this.draw();
  }

  setFlags(flags, anySelected) {
    this.points.set("flag", flags);
    this.points.look.anySelected = anySelected;
    this.draw();
  }

  draw() {
    this.due ??= requestAnimationFrame(() => { this.due = null; this.#paint(); });
  }

  #paint() {
    if (!this.host.clientWidth) return;
    this.points.resize();
    const { clientWidth: w, clientHeight: h, width } = this.canvas;
    const side = Math.min(w, h) - 8;
    this.rim.style.width = this.rim.style.height = `${side}px`;
    const count = this.points.count;
    const stride = this.pace.stride(count);
    const look = pointLook((count / stride) * 0.4, side * side, width / w);
    this.points.look.opacity = look.opacity;
    this.points.look.unknown = rgb(colour("--muted"));
    const [sx, sy] = [side / w, side / h];
    const [cy, sn] = [Math.cos(this.yaw), Math.sin(this.yaw)];
    const [cp, sp] = [Math.cos(this.pitch), Math.sin(this.pitch)];
    // Yaw about the map's z, then pitch about the screen's horizontal; clip z grows away from the eye.
    const right = [cy, -sn, 0];
    const up = [sn * sp, cy * sp, cp];
    const away = [sn * cp, cy * cp, -sp];
    const view = [];
    for (let k = 0; k < 3; k++) view.push(right[k] * sx, up[k] * sy, away[k] * 0.9, 0);
    this.points.draw([...view, 0, 0, 0, 1], look.size, stride);
    this.pace.painted();
  }

  #turn(dx, dy) {
    this.yaw += dx * 0.01;
    this.pitch = Math.min(Math.PI / 2, Math.max(-Math.PI / 2, this.pitch + dy * 0.01));
    this.pace.moved();
    this.draw();
  }

  #grab(event) {
    this.canvas.setPointerCapture(event.pointerId);
    let last = [event.offsetX, event.offsetY];
    const move = (next) => {
      this.#turn(next.offsetX - last[0], next.offsetY - last[1]);
      last = [next.offsetX, next.offsetY];
    };
    const end = () => {
      this.canvas.removeEventListener("pointermove", move);
      for (const name of ["pointerup", "pointercancel"]) this.canvas.removeEventListener(name, end);
    };
    this.canvas.addEventListener("pointermove", move);
    for (const name of ["pointerup", "pointercancel"]) this.canvas.addEventListener(name, end);
  }

  #key(event) {
    const turns = { ArrowLeft: [-15, 0], ArrowRight: [15, 0], ArrowUp: [0, -15], ArrowDown: [0, 15] };
    if (!turns[event.key]) return;
    event.preventDefault();
    this.#turn(...turns[event.key]);
  }

  dispose() {
    this.watcher.disconnect();
    this.offTheme();
    this.points.dispose();
  }
}
