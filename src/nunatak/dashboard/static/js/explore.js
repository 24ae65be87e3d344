// The page of linked views: scatter, map, sphere of views, histograms, particles, path.

import * as api from "./api.js";
import { chooser, el, panel, segmented } from "./dom.js";
import { count, number } from "./words.js";
import { Globe } from "./globe.js";
import { Histogram } from "./histogram.js";
import { legend } from "./legend.js";
import { MapView } from "./mapview.js";
import { ParticlePanel } from "./particles.js";
import { PathEditor } from "./path.js";
import { Scatter } from "./scatter.js";
import { SelectionBar } from "./selection.js";
import { Session } from "./session.js";

const HISTOGRAMS = ["nunatakPoseConfidence", "nunatakJunk", "logEvidence", "z1", "rlnDefocusU", "z2"];

export async function explore(page, context) {
  const session = await Session.open(context.run);
  if (!context.alive()) return () => {};
  const view = new ExplorePage(session, context);
  page.replaceChildren(view.node);
  await view.start();
  globalThis.nunatakExplore = view; // for those who measure or script the page
  return () => view.dispose();
}

class ExplorePage {
  constructor(session, context) {
    Object.assign(this, { session, context });
    const plotHost = el("div.plot");
    this.mapSaid = el("span.caption", { "aria-live": "polite" });
    const mapHost = el("div.map", this.mapSaid);
    const globeHost = el("div.globe");
    this.plotTools = el("span.tools");
    this.colourPlace = el("span");
    this.legendPlace = el("div.legend");
    this.histograms = el("div.histograms");
    this.level = el("input", { type: "range", min: -1, max: 1, step: 0.02, value: 0, "aria-label": "Contour level", title: "Contour level", oninput: () => this.view.setFactor(2 ** Number(this.level.value)) });
    this.scatter = new Scatter(plotHost);
    this.globe = session.info.has_views ? new Globe(globeHost) : null;
    this.view = new MapView(mapHost, "Surface of the map");
    this.path = new PathEditor(session, this.view, this.scatter, context.notice);
    this.path.say = (text) => { this.mapSaid.textContent = text; };
    this.selection = new SelectionBar(session, context);
    this.particles = new ParticlePanel(session);
    this.node = el("div.explore",
      panel("Particles", this.plotTools, plotHost, el("div.legend-row", this.colourPlace, this.legendPlace), this.selection.node),
      panel("Map", [el("label.level", "level", this.level), el("button.quiet", { type: "button", onclick: () => this.mean() }, "Mean"), el("button.quiet", { type: "button", onclick: () => this.saveMap() }, "Download .mrc")], mapHost, session.info.latent_dim ? this.path.node : null),
      panel("Distributions", el("span.hint", "drag to keep a range, click to lift it"), this.histograms),
      el("div.side", panel("Views", null, globeHost), panel("Chosen", null, this.particles.node)));
  }

  async start() {
    const { session } = this;
    const names = [...session.columns.keys()];
    this.axes = { x: names[0], y: names[Math.min(1, names.length - 1)], colour: this.#firstColour(names) };
    if (session.info.latent_dim === 1 && session.columns.has("nunatakPoseConfidence")) this.axes.y = "nunatakPoseConfidence";
    this.#tools(names);
    session.on("flags", () => this.#flags());
    session.on("click", (row) => this.#clicked(row));
    this.scatter.addEventListener("pick", ({ detail: row }) => this.#picked(row));
    this.scatter.addEventListener("lasso", ({ detail: test }) => session.select(test));
    await this.#setAxes();
    await Promise.all([this.#setColour(), this.#views(), this.#addHistograms(names), this.mean()]);
  }

  #firstColour(names) {
    return ["kmeans_labels", "path_dominant1", "z3", "nunatakPoseConfidence", "z1"].find((name) => names.includes(name)) ?? names[0];
  }

  #tools(names) {
    const choices = names.map((value) => ({ value, label: this.session.columns.get(value).title }));
    const pick = (key, label, apply) => el("label.axis", label, chooser(choices, this.axes[key], (value) => { this.axes[key] = value; apply(); }, { "data-axis": key }));
    this.mode = segmented([
      { value: "click", label: "Click", title: "Click a particle to see its map; drag to move, wheel to zoom" },
      { value: "lasso", label: "Lasso", title: "Draw round particles to choose them; Shift-drag moves" },
      ...(this.session.info.latent_dim ? [{ value: "path", label: "Path", title: "Click particles that a path shall pass" }] : []),
    ], "click", (mode) => this.scatter.setMode(mode), "What the mouse does");
    this.colourPlace.replaceChildren(pick("colour", "colour", () => this.#setColour()));
    this.plotTools.replaceChildren(pick("x", "x", () => this.#setAxes()), pick("y", "y", () => this.#setAxes()), this.mode,
      el("button.quiet", { type: "button", title: "Show everything (double click)", onclick: () => this.scatter.resetView() }, "Fit"));
  }

  async #setAxes() {
    const [x, y] = await Promise.all([this.axes.x, this.axes.y].map(async (name) =>
      ({ name, title: this.session.columns.get(name).title, values: await this.session.values(name) })));
    this.scatter.setAxes(x, y);
    this.path.axesChanged();
  }

  async #setColour() {
    const column = this.session.columns.get(this.axes.colour);
    const values = await this.session.values(column.name);
    this.scatter.setColour(column, values);
    this.globe?.setColour(column, values);
    this.legendPlace.replaceChildren(...legend(column, values));
  }

  async #views() {
    if (!this.globe) return;
    this.globe.setViews(await api.floats(`${api.run(this.session.run)}/views`));
    await this.#setColour();
  }

  async #addHistograms(names) {
    const wanted = [...HISTOGRAMS.filter((name) => names.includes(name)), ...names.filter((name) => /^z\d/.test(name))];
    for (const name of [...new Set(wanted)].slice(0, 4)) await this.#addHistogram(name);
    const rest = [{ value: "", label: "add …" }, ...names.map((value) => ({ value, label: this.session.columns.get(value).title }))];
    const add = chooser(rest, "", (name) => { add.value = ""; if (name) this.#addHistogram(name); }, { "aria-label": "Add a distribution" });
    this.histograms.after(add);
  }

  async #addHistogram(name) {
    const histogram = new Histogram(this.session, this.session.columns.get(name), await this.session.values(name));
    this.histograms.append(histogram.node);
  }

  #flags() {
    const any = this.session.lasso !== null;
    this.scatter.setFlags(this.session.flags, any);
    this.globe?.setFlags(this.session.flags, any);
  }

  #picked(row) {
    if (this.scatter.mode === "path") this.path.add(row);
    this.session.click(row);
  }

  async #clicked(row) {
    this.scatter.marked = row;
    this.scatter.draw();
    if (!this.session.info.latent_dim) return;
    const z = await this.session.latent(row);
    await this.#showMap(api.mapAtLatent(this.session.run, z), `particle ${count(row)}: z = ${z.map((v) => number(v, 2)).join(", ")}`);
  }

  async mean() {
    await this.#showMap(`${api.run(this.session.run)}/map`, "mean map");
  }

  /** Load and show one map; a newer click wins over an older one. */
  async #showMap(address, said) {
    this.abort?.abort();
    const abort = (this.abort = new AbortController());
    this.path.stop();
    const began = performance.now();
    try {
      const found = await api.map(address, abort.signal);
      const loaded = await this.view.load(found);
      if (abort.signal.aborted) return this.view.drop(loaded);
      this.view.show("main", loaded, this.path.maps.includes(this.view.layers.get("main")));
      this.address = address;
      this.mapSaid.textContent = said;
      this.mapMs = performance.now() - began;
    } catch (error) {
      if (error.name !== "AbortError") this.context.notice(error.message);
    }
  }

  async saveMap() {
    const at = this.path.maps.indexOf(this.view.layers.get("main"));
    const address = at >= 0 ? api.mapAtLatent(this.session.run, this.path.found.positions[at]) : this.address;
    api.download((await api.map(address)).blob, `${this.session.run}_map.mrc`);
  }

  dispose() {
    this.abort?.abort();
    for (const part of [this.path, this.scatter, this.globe, this.view]) part?.dispose();
    delete globalThis.nunatakExplore;
  }
}
