// A form that starts a job, made from the one declaration of the parameters (their JSON schema).

import * as api from "./api.js";
import { chooser, el } from "./dom.js";
import { fieldTitle } from "./words.js";

const FIRST = ["particles", "latent_dim", "particle_diameter_A", "seed", "contrast", "restarts"];

export async function job(page, context) {
  const [schema, about] = await Promise.all([api.json("jobs/schema"), api.json("about")]);
  const form = new JobForm(schema, about, context);
  page.replaceChildren(form.node);
  await form.list();
  const timer = setInterval(() => form.list(), 4000);
  return () => clearInterval(timer);
}

/** Go on with a run that stopped; asks for the token where there is none. */
export async function resumeRun(run, context) {
  if (!(await context.needToken())) return;
  try {
    await api.post(`${api.run(run)}/resume`);
    context.notice(`${run} goes on from its last checkpoint.`, "good");
    context.refresh();
  } catch (error) {
    if (error.status === 401) api.token.set(null);
    context.notice(error.message);
  }
}

/** The field's own type behind "or null". */
function kind(field, schema) {
  if (field.$ref) return kind(schema.$defs[field.$ref.split("/").at(-1)], schema);
  if (field.anyOf) return { ...field, ...kind(field.anyOf.find((one) => one.type !== "null"), schema), optional: true };
  return field;
}

class JobForm {
  constructor(schema, about, context) {
    Object.assign(this, { schema, about, context, inputs: new Map() });
    const groups = [["input", schema.$defs.InputConfig], ["engine", schema.$defs.EngineConfig], ["memory", schema.$defs.MemoryConfig]];
    const fields = groups.flatMap(([group, part]) => Object.entries(part.properties).map(([name, field]) => ({ group, name, field: kind(field, schema), required: part.required?.includes(name) })));
    const own = Object.entries(schema.properties).filter(([, field]) => !field.$ref && !field.anyOf).map(([name, field]) => ({ group: "", name, field: kind(field, schema) }));
    const isFirst = ({ name }) => FIRST.includes(name) || name === "command";
    const main = [...own, ...fields].filter(isFirst).sort((a, b) => FIRST.indexOf(a.name) - FIRST.indexOf(b.name));
    const rest = [...fields, ...own].filter((one) => !isFirst(one));
    this.name = el("input", { type: "text", required: "", maxlength: 80, placeholder: "run-1", spellcheck: "false", pattern: "[A-Za-z0-9][A-Za-z0-9._\\-]*" });
    this.jobs = el("ul.jobs");
    this.button = el("button.main", { type: "submit", disabled: !about.writing }, "Start");
    this.node = el("div.job",
      el("h1", "New job"),
      about.writing ? null : el("p.notice", "This dashboard only reads. Start it with --allow-writing to start jobs from here."),
      el("form", { onsubmit: (event) => { event.preventDefault(); this.start(); } },
        el("div.fields", this.#labelled("name", "Name of the run", `Its folder, in ${about.home}`, this.name), main.map((one) => this.#field(one))),
        el("details", el("summary", "All parameters"), el("div.fields", rest.map((one) => this.#field(one)))),
        this.button),
      el("h2", "Started here"), this.jobs);
  }

  #labelled(name, title, help, control) {
    control.id = `field-${name}`;
    return el("div.field", el("label", { for: control.id }, title), control, el("p.hint", help ?? ""));
  }

  #field({ group, name, field, required }) {
    const control = this.#control(field, required);
    this.inputs.set(`${group}.${name}`, { control, field, group, name });
    return this.#labelled(name, fieldTitle(name), field.description, control);
  }

  #control(field, required) {
    const base = field.default ?? "";
    if (field.enum) return chooser(field.enum.map((value) => ({ value, label: value })), base, () => {});
    if (field.type === "boolean") return el("input", { type: "checkbox", checked: Boolean(base) });
    if (field.type === "integer" || field.type === "number") {
      return el("input", { type: "number", value: base, step: field.type === "integer" ? 1 : "any", min: field.minimum, max: field.maximum, placeholder: field.optional ? "as the file says, or by default" : null });
    }
    return el("input", { type: "text", value: base, required: required ? "" : null, spellcheck: "false" });
  }

  /** The job as the API takes it: what is empty is left to its default. */
  request() {
    const wanted = { input: {}, engine: {}, memory: {} };
    for (const { control, field, group, name } of this.inputs.values()) {
      const value = field.type === "boolean" ? control.checked : control.value.trim();
      if (value === "" || value === (field.default ?? "")) continue;
      const typed = field.type === "integer" || field.type === "number" ? Number(value) : value;
      (group ? wanted[group] : wanted)[name] = typed;
    }
    return { name: this.name.value.trim(), job: wanted };
  }

  async start() {
    if (!(await this.context.needToken())) return;
    try {
      const started = await api.post("jobs", this.request());
      this.context.notice(`${started.name} has started.`, "good");
      this.context.refresh();
      this.list();
    } catch (error) {
      if (error.status === 401) api.token.set(null);
      this.context.notice(error.message);
    }
  }

  async list() {
    const jobs = await api.json("jobs").catch(() => []);
    this.jobs.replaceChildren(...(jobs.length ? jobs.map((one) => this.#job(one)) : [el("li.hint", "No job yet.")]));
  }

  #job({ name, run, state, last_words: said, resumable }) {
    return el("li", run ? el("a", { href: `#/${encodeURIComponent(run)}/live` }, name) : name, el("span.state", { "data-state": state }, state), el("span.hint", said),
      state === "running" ? el("button.quiet", { type: "button", onclick: () => this.stop(name) }, "Stop") : null,
      run && resumable ? el("button.quiet", { type: "button", onclick: () => resumeRun(run, this.context).then(() => this.list()) }, "Resume") : null);
  }

  async stop(name) {
    if (!(await this.context.needToken())) return;
    await api.post(`jobs/${encodeURIComponent(name)}/stop`).catch((error) => this.context.notice(error.message));
    this.list();
  }
}
