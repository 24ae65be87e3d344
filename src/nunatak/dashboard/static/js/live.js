// The page of progress: stages, time left, curves, and the current map; asks again while the run goes on.

import * as api from "./api.js";
import { el, panel } from "./dom.js";
import { resumeRun } from "./job.js";
import { fscChart, lineChart } from "./charts.js";
import { MapView } from "./mapview.js";
import { duration, roundTime, timeTicks } from "./words.js";

const ASK_MS = 2500;
const COLOURS = ["accent", "warm", "moss", "muted"];

export async function live(page, context) {
  const view = new LivePage(context);
  page.replaceChildren(view.node);
  await view.ask();
  return () => view.dispose();
}

class LivePage {
  constructor(context) {
    this.context = context;
    this.headline = el("div.headline", { "aria-live": "polite" });
    this.stages = el("ol.stages", { "aria-label": "Stages" });
    this.resume = el("button.main.resume", { type: "button", hidden: "", onclick: () => this.#resume() }, "Resume");
    this.charts = el("div.charts");
    const mapHost = el("div.map");
    this.mapSaid = el("span.hint");
    this.node = el("div.live", this.headline, this.resume, this.stages, el("div.live-grid", panel("Figures", null, this.charts), panel("Current map", this.mapSaid, mapHost)));
    this.view = new MapView(mapHost, "Surface of the current map");
  }

  async ask() {
    clearTimeout(this.timer);
    if (this.gone) return;
    try {
      const progress = await api.json(`${api.run(this.context.run)}/progress`);
      if (this.gone) return;
      this.#draw(progress);
      await this.#map(progress);
      if (progress.phase !== "finished") this.timer = setTimeout(() => this.ask(), ASK_MS);
      if (this.phase && this.phase !== progress.phase) this.context.refresh();
      this.phase = progress.phase;
    } catch (error) {
      this.context.notice(error.message);
      this.timer = setTimeout(() => this.ask(), 4 * ASK_MS);
    }
  }

  #draw(progress) {
    const { phase, stage, passes, pass_limit: limit, fraction, left_s: left, elapsed_s: elapsed, silent_s: silent } = progress;
    const words = {
      finished: this.context.runs.find((run) => run.id === this.context.run)?.sentence ?? "The run has finished.",
      running: stage ? `${sentence(stage)}${limit > 1 ? `, pass ${Math.min(passes + 1, limit)} of at most ${limit}` : ""}` : "The run has begun.",
      silent: `Nothing was written for ${duration(silent)}: the run has probably stopped.${this.context.writing ? "" : " “nunatak resume” goes on with it."}`,
      empty: "Nothing was written yet.",
    };
    const facts = [["done", `${Math.round(100 * fraction)} %`], ["computed", duration(elapsed)], ...(phase === "running" ? [["left, at this pace", duration(left)], ["last news", `${duration(silent)} ago`]] : [])];
    const bar = el("progress", { max: 1, value: fraction, "aria-label": "Done" });
    this.resume.hidden = !(progress.resumable && this.context.writing);
    this.headline.replaceChildren(el("h1", words[phase]), bar, el("dl.facts", facts.flatMap(([name, value]) => [el("div", el("dt", name), el("dd", value))])));
    this.stages.replaceChildren(...progress.stages.map((name, i) => el("li", { "data-state": i < progress.stage_number ? "done" : i === progress.stage_number && phase !== "finished" ? "now" : "", "aria-current": i === progress.stage_number ? "step" : null }, name)));
    const key = `${progress.history.length} ${progress.map_stamp}`;
    if (key === this.drawn) return;
    this.drawn = key;
    this.charts.replaceChildren(...figures(progress));
  }

  async #resume() {
    await resumeRun(this.context.run, this.context);
    await this.ask();
  }

  async #map(progress) {
    if (progress.map_stamp === this.stamp) return;
    try {
      const loaded = await this.view.load(await api.map(`${api.run(this.context.run)}/map`));
      if (this.gone) return;
      this.view.show("main", loaded);
      this.stamp = progress.map_stamp;
      this.mapSaid.textContent = progress.phase === "finished" ? "final mean map" : "mean of the last checkpoint";
    } catch (error) {
      if (error.status !== 404 && error.status !== 400) throw error;
      this.mapSaid.textContent = error.message;
    }
  }

  dispose() {
    this.gone = true;
    clearTimeout(this.timer);
    this.view.dispose();
  }
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

const isStart = (record) => record.stage === "random starts";

/** A line for each name; one of fewer points is left out. */
function lines(history, key, name, least = 2) {
  const groups = new Map();
  for (const record of history) {
    if (!Number.isFinite(record[key])) continue;
    if (!groups.has(name(record))) groups.set(name(record), []);
    groups.get(name(record)).push([record.time_s, record[key]]);
  }
  const known = [...groups].filter(([, points]) => points.length >= least || groups.size === 1);
  return known.map(([title, points], i) => ({ name: known.length > 8 ? null : title, points, css: COLOURS[i % COLOURS.length] }));
}

function figures({ history, fsc }) {
  const time = { xFormat: roundTime, xTicks: timeTicks };
  const starts = history.filter(isStart);
  const later = history.filter((record) => !isStart(record));
  const resolution = history.some((record) => record.fsc_resolution_A) ? "fsc_resolution_A" : "resolution_A";
  const stage = (record) => record.stage;
  return [
    starts.length ? lineChart(lines(starts, "log_evidence", ({ restart }) => `start ${restart + 1}`, 1), { title: "Evidence of random starts", note: "on images they have not seen", ...time }) : null,
    lineChart(lines(later, "log_evidence", stage), { title: "Log evidence", note: "higher explains the images better", empty: "The random starts come first.", ...time }),
    lineChart(lines(later, "pose_change_deg", stage), { title: "Movement of poses (degrees)", note: "median between passes", log: true, empty: "Poses are held or not found yet.", ...time }),
    lineChart(lines(later, resolution, stage), { title: "Resolution (Å)", note: "where half maps agree", empty: "Not measured yet.", ...time }),
    fscChart(fsc, { note: "of the half maps" }),
  ].filter(Boolean);
}
