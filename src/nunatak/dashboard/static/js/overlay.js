// What lies over the points: axes, the lasso, the path, the particle that was clicked.

import { colour } from "./dom.js";
import { number, ticks } from "./words.js";

export function drawFrame(pen, plot, margin) {
  const { left, top, width, height } = plot.area;
  const [muted, hairline] = [colour("--muted"), colour("--hairline")];
  pen.font = "11.5px system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif";
  pen.lineWidth = 1;
  pen.strokeStyle = hairline;
  pen.fillStyle = muted;
  pen.beginPath();
  pen.moveTo(left + 0.5, top);
  pen.lineTo(left + 0.5, top + height + 0.5);
  pen.lineTo(left + width, top + height + 0.5);
  pen.stroke();
  const [[x0, y0], [x1, y1]] = [plot.toData(left, top + height), plot.toData(left + width, top)];
  pen.textAlign = "center";
  for (const tick of ticks(x0, x1, width / 90)) {
    const [px] = plot.toScreen(tick, y0);
    if (px > left + 8 && px < left + width - 60) pen.fillText(number(tick), px, top + height + 14);
  }
  pen.textAlign = "right";
  for (const tick of ticks(y0, y1, height / 70)) {
    const [, py] = plot.toScreen(x0, tick);
    if (py > top + 22 && py < top + height - 4) pen.fillText(number(tick), left - 6, py + 4);
  }
  pen.fillStyle = colour("--ink");
  pen.fillText(plot.x.title, left + width, top + height + 14);
  pen.textAlign = "left";
  pen.fillText(plot.y.title, margin.left + 6, top + 11);
}

export function drawMarks(pen, plot) {
  if (plot.path.length || plot.pathLine) drawPath(pen, plot);
  if (plot.lasso?.length > 1) {
    pen.beginPath();
    plot.lasso.forEach(([px, py], i) => (i ? pen.lineTo(px, py) : pen.moveTo(px, py)));
    pen.closePath();
    pen.fillStyle = `${colour("--accent")}22`;
    pen.fill();
    pen.strokeStyle = colour("--accent");
    pen.lineWidth = 1.5;
    pen.stroke();
  }
  if (plot.marked !== null) ring(pen, plot, plot.marked, colour("--warm"));
}

function ring(pen, plot, row, css) {
  const [px, py] = plot.toScreen(plot.x.values[row], plot.y.values[row]);
  for (const [radius, width, style] of [[8, 4, colour("--paper")], [8, 2, css]]) {
    pen.beginPath();
    pen.arc(px, py, radius, 0, 7);
    pen.lineWidth = width;
    pen.strokeStyle = style;
    pen.stroke();
  }
}

/** The path's stops are rows; where the axes are latents, its positions are drawn between them. */
function drawPath(pen, plot) {
  const stops = plot.path.map((row) => plot.toScreen(plot.x.values[row], plot.y.values[row]));
  const line = plot.pathLine?.map(([x, y]) => plot.toScreen(x, y)) ?? stops;
  pen.lineWidth = 2;
  pen.strokeStyle = colour("--ink");
  pen.beginPath();
  line.forEach(([px, py], i) => (i ? pen.lineTo(px, py) : pen.moveTo(px, py)));
  pen.stroke();
  stops.forEach(([px, py], i) => {
    pen.beginPath();
    pen.arc(px, py, 9, 0, 7);
    pen.fillStyle = colour("--ink");
    pen.fill();
    pen.fillStyle = colour("--paper");
    pen.textAlign = "center";
    pen.fillText(String(i + 1), px, py + 4);
  });
  if (plot.pathAt !== undefined && plot.pathLine?.[plot.pathAt]) {
    const [px, py] = line[plot.pathAt];
    pen.beginPath();
    pen.arc(px, py, 6, 0, 7);
    pen.fillStyle = colour("--warm");
    pen.fill();
    pen.strokeStyle = colour("--paper");
    pen.lineWidth = 2;
    pen.stroke();
  }
}
