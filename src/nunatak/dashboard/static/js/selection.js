// What is chosen by lasso and brushes: how many, save, download, load again.

import * as api from "./api.js";
import { el } from "./dom.js";
import { count } from "./words.js";

export class SelectionBar {
  constructor(session, { notice, needToken, writing }) {
    Object.assign(this, { session, notice, needToken, writing });
    this.said = el("span.chosen");
    this.name = el("input", { type: "text", value: "", placeholder: "name", "aria-label": "Name of the selection", maxlength: 80, size: 9, spellcheck: "false", onkeydown: (event) => event.key === "Enter" && this.save() });
    this.saveButton = el("button.main", { type: "button", onclick: () => this.save(), title: writing ? "Writes RUN/selections/NAME.star" : "Start the dashboard with --allow-writing to save" }, "Save");
    this.starButton = el("button", { type: "button", onclick: () => this.download() }, "Download .star");
    this.clearButton = el("button.quiet", { type: "button", onclick: () => this.clear() }, "Clear");
    this.invertButton = el("button.quiet", { type: "button", onclick: () => this.invert() }, "Invert");
    this.saved = el("div.saved");
    this.node = el("div.selection", el("div.selection-row", this.said, this.clearButton, this.invertButton, el("span.spring"), this.name, this.saveButton, this.starButton), this.saved);
    session.on("flags", () => this.draw());
    this.draw();
    this.list();
  }

  draw() {
    const { chosenCount, count: total } = this.session;
    this.said.textContent = chosenCount ? `${count(chosenCount)} of ${count(total)} particles` : `${count(total)} particles`;
    for (const button of [this.starButton, this.clearButton, this.invertButton]) button.disabled = !chosenCount;
    this.saveButton.disabled = !chosenCount || !this.writing;
    this.name.disabled = !this.writing;
  }

  clear() {
    for (const name of [...this.session.brushes.keys()]) this.session.brush(name, null);
    this.session.select(null);
  }

  invert() {
    const chosen = new Set(this.session.chosen());
    for (const name of [...this.session.brushes.keys()]) this.session.brush(name, null);
    this.session.select((i) => !chosen.has(i));
  }

  async save() {
    const name = this.name.value.trim();
    if (!name) {
      this.name.focus();
      return this.notice("Give the selection a name.");
    }
    if (!(await this.needToken())) return;
    try {
      const saved = await api.put(`${api.run(this.session.run)}/selections/${encodeURIComponent(name)}`, { rows: this.session.chosen() });
      this.notice(`${count(saved.count)} particles in ${saved.path}`, "good");
      this.list();
    } catch (error) {
      if (error.status === 401) api.token.set(null);
      this.notice(error.message);
    }
  }

  async download() {
    try {
      const blob = await api.postForBlob(`${api.run(this.session.run)}/star`, { rows: this.session.chosen() });
      api.download(blob, `${this.session.run}_${this.name.value.trim() || "selection"}.star`);
    } catch (error) {
      this.notice(error.message);
    }
  }

  async list() {
    const found = await api.json(`${api.run(this.session.run)}/selections`).catch(() => []);
    this.saved.replaceChildren(...found.map(({ name, count: n }) => el("span.saved-one",
      el("button.link", { type: "button", title: "Choose these particles", onclick: () => this.load(name) }, name),
      ` ${count(n)} `,
      el("a", { href: `/api/${api.run(this.session.run)}/selections/${encodeURIComponent(name)}/star`, download: `${name}.star`, title: `Download ${name}.star` }, "star"))));
  }

  async load(name) {
    try {
      this.session.selectRows((await api.json(`${api.run(this.session.run)}/selections/${encodeURIComponent(name)}`)).rows);
    } catch (error) {
      this.notice(error.message);
    }
  }
}
