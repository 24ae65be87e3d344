// The path editor: stops are particles, the server finds the positions between them, maps are played along it.

import * as api from "./api.js";
import { el, svg } from "./dom.js";

const FRAME_MS = 140;

export class PathEditor {
  /** `show(loaded)` puts a loaded map on the screen, `view` loads it, `plot` draws the stops. */
  constructor(session, view, plot, notice) {
    Object.assign(this, { session, view, plot, notice });
    this.stops = [];
    this.maps = [];
    this.at = 0;
    this.steps = 15;
    this.bent = true;
    this.slider = el("input", { type: "range", min: 0, max: 0, value: 0, "aria-label": "Position along the path", oninput: () => this.go(Number(this.slider.value)) });
    this.playButton = el("button.main", { type: "button", onclick: () => this.toggle(), disabled: true }, "Play");
    this.chart = svg("svg", { class: "support", viewBox: "0 0 200 34", preserveAspectRatio: "none", role: "img", "aria-label": "Support of the path by particles" });
    this.said = el("p.hint");
    this.node = el("div.path-editor",
      el("div.path-row", this.playButton, el("div.track", this.chart, this.slider),
        el("label.check", el("input", { type: "checkbox", checked: true, onchange: (event) => { this.bent = event.target.checked; this.again(); } }), "through particles"),
        el("button.quiet", { type: "button", onclick: () => this.suggest(), title: "The whole length of the dominant motion" }, "Suggest"),
        el("button.quiet", { type: "button", onclick: () => this.clear() }, "Clear"),
        this.saveButton = el("button.quiet", { type: "button", disabled: true, title: "Positions along the path", onclick: () => this.save() }, ".csv")),
      this.said);
    this.#explain();
  }

  add(row) {
    this.stops.push(row);
    this.plot.path = this.stops;
    this.plot.draw();
    this.find();
  }

  /** The path that the particles themselves suggest. */
  suggest() {
    this.clear();
    this.find();
  }

  /** Search anew where there is a path or there are stops. */
  again() {
    if (this.found || this.stops.length) this.find();
  }

  clear() {
    this.asked = (this.asked ?? 0) + 1;
    this.stop();
    this.stops = [];
    Object.assign(this.plot, { path: [], pathLine: null });
    this.plot.draw();
    this.#dropMaps();
    this.#explain();
  }

  /** Ask for the positions between the stops, and for their maps. */
  async find() {
    this.stop();
    const asked = (this.asked = (this.asked ?? 0) + 1);
    if (this.stops.length === 1) return this.#explain();
    this.said.textContent = "Finding the path …";
    try {
      const points = await Promise.all(this.stops.map((row) => this.session.latent(row)));
      const found = await api.post(`${api.run(this.session.run)}/path`, { points, steps: this.steps, through_particles: this.bent });
      if (asked !== this.asked) return;
      this.#dropMaps();
      this.found = found;
      this.#drawLine();
      this.#drawSupport();
      await this.#loadMaps(asked);
    } catch (error) {
      this.notice(error.message);
      this.#explain();
    }
  }

  async #loadMaps(asked) {
    const { positions } = this.found;
    for (const [i, z] of positions.entries()) {
      const loaded = await this.view.load(await api.map(api.mapAtLatent(this.session.run, z)));
      if (asked !== this.asked) return this.view.drop(loaded);
      this.maps.push(loaded);
      this.said.textContent = `Map ${i + 1} of ${positions.length} …`;
    }
    this.slider.max = positions.length - 1;
    this.playButton.disabled = this.saveButton.disabled = false;
    this.said.textContent = this.found.warning ?? `${positions.length} maps; bars show how densely particles lie along the path.`;
    this.said.classList.toggle("warning", Boolean(this.found.warning));
    this.go(0);
  }

  go(index) {
    if (!this.maps[index]) return;
    this.at = index;
    this.slider.value = index;
    this.view.show("main", this.maps[index], true);
    this.say?.(`along the path: map ${index + 1} of ${this.maps.length}`);
    this.plot.pathAt = index;
    this.plot.draw();
    this.chart.querySelectorAll("rect").forEach((bar, i) => bar.classList.toggle("now", i === index));
  }

  toggle() {
    if (this.timer) return this.stop();
    let step = 1;
    this.playButton.textContent = "Pause";
    this.timer = setInterval(() => {
      if (this.at + step >= this.maps.length || this.at + step < 0) step = -step;
      this.go(this.at + step);
    }, FRAME_MS);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    this.playButton.textContent = "Play";
  }

  save() {
    const names = this.found.positions[0].map((_, j) => `z${j + 1}`);
    const lines = this.found.positions.map((z, i) => [...z.map((v) => v.toFixed(6)), this.found.support[i]].join(","));
    api.download(new Blob([`${[...names, "support"].join(",")}\n${lines.join("\n")}\n`], { type: "text/csv" }), `${this.session.run}_path.csv`);
  }

  /** The axes changed: the line is drawn only where both are latents. */
  axesChanged() {
    if (this.found) this.#drawLine();
  }

  #drawLine() {
    const columns = [this.plot.x, this.plot.y].map(({ name }) => /^z(\d+)$/.exec(name));
    const [i, j] = columns.map((match) => (match ? Number(match[1]) - 1 : -1));
    this.plot.pathLine = i >= 0 && j >= 0 && this.found ? this.found.positions.map((z) => [z[i], z[j]]) : null;
    this.plot.draw();
  }

  #drawSupport() {
    const n = this.found.support.length;
    this.chart.replaceChildren(...this.found.support.map((value, i) =>
      svg("rect", { x: (i * 200) / n + 0.5, width: 200 / n - 1, y: 32 - 30 * Math.min(value, 1), height: 30 * Math.min(value, 1) + 2 })));
  }

  #dropMaps() {
    for (const loaded of this.maps) if (this.view.layers.get("main") !== loaded) this.view.drop(loaded);
    this.maps = [];
    this.found = null;
    this.chart.replaceChildren();
    this.slider.max = 0;
    this.playButton.disabled = this.saveButton.disabled = true;
  }

  #explain() {
    this.said.classList.remove("warning");
    this.said.textContent = this.stops.length === 1
      ? "Click the next stop."
      : "Suggest a path, or choose Path above the scatter and click particles; the maps along it can be played.";
  }

  dispose() {
    this.stop();
    this.asked = -1;
  }
}
