// The frame: which run, which page, messages, the token. Pages are functions (element, context) -> dispose.

import * as api from "./api.js";
import { el } from "./dom.js";
import { compare } from "./compare.js";
import { details } from "./details.js";
import { explore } from "./explore.js";
import { job } from "./job.js";
import { live } from "./live.js";

const PAGES = {
  live: ["Progress", live],
  explore: ["Explore", explore],
  compare: ["Compare", compare],
  details: ["Parameters", details],
  job: ["New job", job],
};
const PHASES = { finished: "finished", running: "running", silent: "stopped?", empty: "empty" };

const $ = (id) => document.getElementById(id);
const state = { runs: [], about: null, dispose: () => {}, visit: 0 };

function takeToken() {
  const given = /^#token=(.+)$/.exec(location.hash);
  if (!given) return;
  api.token.set(decodeURIComponent(given[1]));
  history.replaceState(null, "", location.pathname);
}

/** A sentence at the top; it goes by itself when it is good news. */
function notice(text, mood = "bad") {
  const said = el(`p.${mood}`, text, el("button.quiet", { type: "button", "aria-label": "Dismiss", onclick: () => said.remove() }, "×"));
  $("notice").replaceChildren(said);
  if (mood === "good") setTimeout(() => said.remove(), 6000);
}

/** Whether there is a token, asking for it where there is none. */
async function needToken() {
  if (!api.token.get()) {
    const dialog = $("token-dialog");
    dialog.returnValue = "";
    dialog.showModal();
    await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
    const typed = $("token").value.trim();
    $("token").value = "";
    if (dialog.returnValue !== "ok" || !typed) return false;
    api.token.set(typed);
  }
  try {
    await api.post("token");
  } catch (error) {
    api.token.set(null);
    notice(error.message);
  }
  showLock();
  return Boolean(api.token.get());
}

function showLock() {
  const words = !state.about?.writing ? "read only" : api.token.get() ? "may write" : "unlock writing";
  $("lock").textContent = words;
  $("lock").disabled = words !== "unlock writing";
}

function place() {
  const [, run, page] = location.hash.split("/").map(decodeURIComponent);
  const known = state.runs.find((one) => one.id === run) ?? state.runs[0];
  const usual = known?.phase === "finished" ? "explore" : "live";
  return { run: known?.id, page: PAGES[page] ? page : usual };
}

const address = (run, page) => `#/${encodeURIComponent(run)}/${page}`;

async function refresh() {
  [state.about, state.runs] = await Promise.all([api.json("about"), api.json("runs")]);
  showFrame();
}

function showFrame() {
  const { run, page } = place();
  $("run").replaceChildren(...state.runs.map(({ id }) => el("option", { value: id }, id)));
  if (run) $("run").value = run;
  const current = state.runs.find((one) => one.id === run);
  $("phase").textContent = current ? PHASES[current.phase] : "";
  $("phase").dataset.phase = current?.phase ?? "";
  $("tabs").replaceChildren(...Object.entries(PAGES).map(([key, [title]]) => el("a", { href: address(run ?? "none", key), "aria-current": key === page ? "page" : null }, title)));
  document.title = `${run ?? "No run"} – Nunatak`;
  showLock();
}

async function visit() {
  const mine = ++state.visit;
  state.dispose();
  state.dispose = () => {};
  showFrame();
  const { run, page } = place();
  $("page").dataset.page = page;
  $("page").dataset.state = "busy";
  const alive = () => mine === state.visit;
  if (!run && page !== "job") {
    $("page").replaceChildren(el("div.empty", el("h1", "No run here yet"), el("p", "A run appears when its folder holds one.")));
    return;
  }
  const context = { run, runs: state.runs, writing: state.about.writing, notice, needToken, refresh, alive };
  try {
    const dispose = await PAGES[page][1]($("page"), context);
    if (alive()) state.dispose = dispose;
    else dispose();
  } catch (error) {
    if (alive()) $("page").replaceChildren(el("div.empty", el("h1", "This page has nothing to show"), el("p", error.message)));
  }
  if (alive()) $("page").dataset.state = "done";
}

async function begin() {
  takeToken();
  $("run").addEventListener("change", () => { location.hash = address($("run").value, place().page === "job" ? "explore" : place().page); });
  $("lock").addEventListener("click", needToken);
  addEventListener("hashchange", visit);
  try {
    await refresh();
    await visit();
  } catch (error) {
    notice(error.message);
  }
}

begin();
