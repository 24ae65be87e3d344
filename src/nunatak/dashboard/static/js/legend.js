// What the colours of the scatter mean.

import { el } from "./dom.js";
import * as colours from "./colours.js";
import { number } from "./words.js";

const MOST = 12;

export function legend(column, values) {
  if (column.labels.length && column.labels.length <= 24) {
    const shown = column.labels.slice(0, MOST).map((label, i) => el("span.kind", swatch(colours.css(colours.kind(i))), label));
    const rest = column.labels.length - MOST;
    return [...shown, rest > 0 ? el("span.hint", `and ${rest} more`) : null].filter(Boolean);
  }
  const [low, high] = colours.robustRange(values);
  const bar = el("canvas.scale", { width: 120, height: 1, role: "img", "aria-label": `from ${number(low)} to ${number(high)}` });
  const pen = bar.getContext("2d");
  for (let i = 0; i < 120; i++) {
    pen.fillStyle = colours.onScale(i / 119);
    pen.fillRect(i, 0, 1, 1);
  }
  return [el("span", number(low)), bar, el("span", number(high))];
}

function swatch(css) {
  const node = el("i.swatch");
  node.style.background = css;
  return node;
}
