// Images and values of the particle that was clicked, or of some that are chosen.

import * as api from "./api.js";
import { el } from "./dom.js";
import { count } from "./words.js";

const SHOWN = 10;

export class ParticlePanel {
  constructor(session) {
    this.session = session;
    this.head = el("p.hint", "Click a particle, or draw a lasso.");
    this.strip = el("div.images");
    this.values = el("dl.values");
    this.node = el("div.particles", this.head, this.strip, this.values);
    session.on("click", (row) => this.one(row));
    session.on("flags", () => { clearTimeout(this.due); this.due = setTimeout(() => this.some(), 250); });
  }

  #image(row, size) {
    const picture = el("img", { src: `/api/${api.run(this.session.run)}/images/${row}.png?size=${size}`, alt: `Particle ${row}`, width: size, height: size, loading: "lazy", title: `Particle ${row}` });
    picture.addEventListener("error", () => picture.replaceWith(el("span.no-image", "no image")));
    return picture;
  }

  async one(row) {
    this.shown = row;
    const info = await api.json(`${api.run(this.session.run)}/particles/${row}`).catch(() => null);
    if (!info || this.shown !== row) return;
    this.head.textContent = `Particle ${count(row)}`;
    this.strip.replaceChildren(this.#image(row, 160));
    this.values.replaceChildren(...Object.entries(info.values).flatMap(([name, value]) => [el("dt", name), el("dd", value)]));
  }

  some() {
    const n = this.session.chosenCount;
    if (!n) return;
    this.shown = null;
    const rows = this.session.chosen();
    const step = rows.length / Math.min(SHOWN, rows.length);
    const picked = Array.from({ length: Math.min(SHOWN, rows.length) }, (_, i) => rows[Math.floor(i * step)]);
    this.head.textContent = `${count(n)} chosen; ${picked.length} of them, evenly spread`;
    this.values.replaceChildren();
    this.strip.replaceChildren(...picked.map((row) => el("button.image", { type: "button", onclick: () => this.session.click(row) }, this.#image(row, 96))));
  }
}
