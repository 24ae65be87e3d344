// Two runs against each other: the second one's poses and map carried into the first one's frame.

import * as api from "./api.js";
import { chooser, el, panel } from "./dom.js";
import { barChart, fscChart } from "./charts.js";
import { MapView } from "./mapview.js";
import { count, number } from "./words.js";

export async function compare(page, context) {
  const finished = context.runs.filter((run) => run.phase === "finished");
  const others = finished.filter((run) => run.id !== context.run);
  if (!others.length || !finished.some((run) => run.id === context.run)) {
    page.replaceChildren(el("div.empty", el("h1", "Nothing to compare with"), el("p", "Two finished runs are needed: give both to the command, “nunatak dashboard RUN OTHER”, or the folder that holds them.")));
    return () => {};
  }
  const view = new ComparePage(context, others);
  page.replaceChildren(view.node);
  await view.load(others[0].id);
  return () => view.dispose();
}

class ComparePage {
  constructor(context, others) {
    this.context = context;
    const mapHost = el("div.map");
    this.figures = el("div.charts");
    this.facts = el("dl.numbers");
    const toggles = [["first", "frame", context.run], ["second", "warm", "the other"]].map(([layer, tint, name]) =>
      el("label.check", el("input", { type: "checkbox", checked: true, onchange: (event) => this.#toggle(layer, event.target.checked) }), el(`i.swatch.${tint}`), name));
    this.node = el("div.compare",
      el("div.compare-head", el("h1", "Compare ", el("em", context.run), " with "), chooser(others.map(({ id }) => ({ value: id, label: id })), others[0].id, (id) => this.load(id), { "aria-label": "Other run" })),
      this.facts,
      el("div.live-grid", panel("Agreement", null, this.figures), panel("Mean maps, laid over each other", toggles, mapHost)));
    this.view = new MapView(mapHost, "Surfaces of both mean maps");
  }

  async load(other) {
    const query = `first=${encodeURIComponent(this.context.run)}&second=${encodeURIComponent(other)}`;
    this.node.dataset.state = "busy";
    try {
      const found = await api.json(`compare?${query}`);
      this.#draw(found);
      const first = await this.view.load(await api.map(`${api.run(this.context.run)}/map?name=mean`), { tint: "frame" });
      this.view.show("first", first);
      if (found.fsc) this.view.show("second", await this.view.load(await api.map(`compare/map?${query}`), { tint: "warm", opacity: 0.4 }));
      else this.view.hide("second");
    } catch (error) {
      this.context.notice(error.message);
    }
    this.node.dataset.state = "done";
  }

  #toggle(layer, on) {
    this.view.layers.get(layer)?.component.setVisibility(on);
  }

  #draw(found) {
    const percent = (value) => `${Math.round(100 * value)} %`;
    const best = found.latent_correlations;
    const facts = [
      ["Common particles", count(found.common)],
      ["Rotations differ by", `${number(found.rotation_difference_deg[2])}°`, "median, after one rotation for all"],
      ["Within 5° / 10°", `${percent(found.within_deg["5"])} / ${percent(found.within_deg["10"])}`],
      ["Shifts differ by", `${number(found.shift_difference_A[2])} Å`, "median"],
      ["Hand", found.hand === 1 ? "the same" : "mirrored"],
      ["Mean maps agree to", found.map_resolution_A ? `${number(found.map_resolution_A)} Å` : "–", "FSC 0.5"],
      ["Latents", best.length ? best.map((r) => number(r, 2)).join(", ") : "–", "canonical correlations"],
    ];
    this.facts.replaceChildren(...facts.map(([name, value, note]) => el("div", el("dt", name), el("dd", value), note ? el("dd.hint", note) : null)));
    this.figures.replaceChildren(
      barChart(found.rotation_histogram, { title: "Rotation difference (degrees)", note: "neither run is the truth", span: 180 }),
      latentBars(found.latent_correlations),
      fscChart(found.fsc, { title: "Fourier shell correlation of the mean maps", threshold: 0.5, empty: "The boxes differ in size." }));
  }

  dispose() {
    this.view.dispose();
  }
}

/** How well each direction of one run's latents is found again in the other's. */
function latentBars(correlations) {
  const rows = correlations.map((r, i) => el("div.bar-row", el("span.hint", `direction ${i + 1}`), el("meter", { min: 0, max: 1, value: r, "aria-label": `direction ${i + 1}` }), el("span", number(r, 2))));
  return el("figure.chart", el("figcaption", "Agreement of latents", el("span.hint", "canonical correlations; 1 is the same landscape")), rows.length ? rows : el("p.hint", "A run without latents."));
}
