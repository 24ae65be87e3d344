// What the linked views of one run share: columns, brushes, the lasso, the particle that was clicked.

import * as api from "./api.js";

export class Session extends EventTarget {
  constructor(run, info) {
    super();
    this.run = run;
    this.info = info;
    this.count = info.count;
    this.columns = new Map(info.columns.map((column) => [column.name, column]));
    this.kept = new Map();
    this.brushes = new Map();
    this.lasso = null;
    this.flags = new Uint8Array(this.count).fill(1);
    this.passing = this.count;
    this.selected = 0;
    this.clicked = null;
  }

  static async open(run) {
    return new Session(run, await api.json(`${api.run(run)}/columns`));
  }

  /** Values of a column, fetched once. */
  values(name) {
    if (!this.kept.has(name)) {
      this.kept.set(name, api.floats(`${api.run(this.run)}/columns/${encodeURIComponent(name)}`));
    }
    return this.kept.get(name);
  }

  tell(what, detail) {
    this.dispatchEvent(new CustomEvent(what, { detail }));
  }

  on(what, run) {
    this.addEventListener(what, (event) => run(event.detail));
  }

  /** Keep particles whose value lies in [low, high]; null lifts the brush. */
  async brush(name, range) {
    if (range) this.brushes.set(name, { range, values: await this.values(name) });
    else this.brushes.delete(name);
    this.#judge();
  }

  /** Select by a function of the row; null lifts the selection. */
  select(test) {
    this.lasso = test && Uint8Array.from({ length: this.count }, (_, i) => (test(i) ? 1 : 0));
    this.#judge();
  }

  selectRows(rows) {
    this.lasso = new Uint8Array(this.count);
    for (const row of rows) this.lasso[row] = 1;
    this.#judge();
  }

  /** Rows that are chosen: in the lasso, or without one those that all brushes let pass. */
  chosen() {
    const wanted = this.lasso ? 2 : this.brushes.size ? 1 : 3;
    const rows = [];
    for (let i = 0; i < this.count; i++) if (this.flags[i] === wanted) rows.push(i);
    return rows;
  }

  get chosenCount() {
    return this.lasso ? this.selected : this.brushes.size ? this.passing : 0;
  }

  async click(row) {
    this.clicked = row;
    this.tell("click", row);
  }

  async latent(row) {
    const names = Array.from({ length: this.info.latent_dim }, (_, j) => `z${j + 1}`);
    return (await Promise.all(names.map((name) => this.values(name)))).map((values) => values[row]);
  }

  #judge() {
    const { flags, lasso } = this;
    const brushes = [...this.brushes.values()];
    let passing = 0;
    let selected = 0;
    for (let i = 0; i < this.count; i++) {
      let flag = 1;
      for (const { range, values } of brushes) {
        if (!(values[i] >= range[0] && values[i] <= range[1])) { flag = 0; break; }
      }
      if (flag) {
        passing++;
        if (lasso && lasso[i]) { flag = 2; selected++; }
      }
      flags[i] = flag;
    }
    Object.assign(this, { passing, selected });
    this.tell("flags");
  }
}
