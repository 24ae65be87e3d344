// Parameters and provenance of a run, and its files.

import * as api from "./api.js";
import { el, panel } from "./dom.js";
import { fieldTitle } from "./words.js";

export async function details(page, context) {
  const [found, schema] = await Promise.all([api.json(`${api.run(context.run)}/details`), api.json("jobs/schema")]);
  const { summary, parameters } = found;
  const warnings = summary.warnings ?? [];
  page.replaceChildren(el("div.details",
    el("h1", summary.outcome_sentence ?? "This run has not finished."),
    warnings.length ? el("div.notice", el("h2", warnings.length === 1 ? "One warning" : `${warnings.length} warnings`), el("ul", warnings.map((text) => el("li", text)))) : null,
    el("div.columns",
      ...groups(parameters).map(([name, rows]) => panel(name, null, parameterTable(rows, descriptions(schema)))),
      panel("Provenance", null, table(provenance(found))),
      panel("Files", found.files.includes("report.html") ? el("a", { href: api.fileAddress(context.run, "report.html"), target: "_blank", rel: "noopener" }, "Open the report") : null,
        el("ul.files", found.files.map((name) => el("li", el("a", { href: api.fileAddress(context.run, name), download: "" }, name))))),
      summary.truth ? panel("Against the truth of the simulation", null, table(Object.entries(summary.truth).map(([key, value]) => [key.replaceAll("_", " "), shown(value)]))) : null)));
  return () => {};
}

const shown = (value) => (typeof value === "boolean" ? (value ? "yes" : "no") : Array.isArray(value) ? value.join(", ") : typeof value === "number" ? String(Number(value.toPrecision(6))) : String(value));

/** config.toml's tables, the values at its top first. */
function groups(parameters) {
  const plain = Object.entries(parameters).filter(([, value]) => typeof value !== "object" || Array.isArray(value));
  const tables = Object.entries(parameters).filter(([, value]) => typeof value === "object" && !Array.isArray(value));
  return [...(plain.length ? [["Job", plain]] : []), ...tables.map(([name, value]) => [fieldTitle(name), Object.entries(value)])];
}

function descriptions(schema) {
  const found = new Map();
  for (const part of [schema, ...Object.values(schema.$defs ?? {})]) {
    for (const [name, field] of Object.entries(part.properties ?? {})) if (field.description) found.set(name, field.description);
  }
  return found;
}

function parameterTable(rows, help) {
  return el("table.plain", el("tbody", rows.map(([name, value]) => el("tr", el("th", { scope: "row", title: help.get(name) }, fieldTitle(name), help.has(name) ? el("span.hint", help.get(name)) : null), el("td", shown(value))))));
}

function table(rows) {
  return el("table.plain", el("tbody", rows.map(([name, value]) => el("tr", el("th", { scope: "row" }, name), el("td", value)))));
}

function provenance({ summary, command, folder }) {
  return [["Command", el("code", command || summary.command || "–")], ["Folder", el("code", folder)], ["Version", summary.version], ["Seed", summary.seed], ["Recipe", summary.recipe], ["Outcome", summary.outcome], ["Particles", summary.particles], ["Box (px)", summary.box_px], ["Pixel (Å)", summary.pixel_size_A], ["Time (s)", summary.wall_s], ["Peak memory (MB)", summary.peak_memory_MB]]
    .filter(([, value]) => value !== undefined && value !== null).map(([name, value]) => [name, value instanceof Node ? value : shown(value)]);
}
