// Which point is meant: nearest to a click, inside a lasso.

/** Row of the nearest point that is not brushed away, within a reach in pixels; -1 for none. */
export function nearestPoint(x, y, flags, [px, py], [sx, sy], reach) {
  let best = reach * reach;
  let row = -1;
  for (let i = 0; i < x.length; i++) {
    const dx = (x[i] - px) * sx;
    if (dx > reach || dx < -reach) continue;
    const dy = (y[i] - py) * sy;
    const squared = dx * dx + dy * dy;
    if (squared < best && (!flags || flags[i])) { best = squared; row = i; }
  }
  return row;
}

/** A test for points inside a polygon of [x, y] corners (even-odd rule, its box first). */
export function insidePolygon(polygon) {
  const xs = polygon.map((p) => p[0]);
  const ys = polygon.map((p) => p[1]);
  const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  return (x, y) => {
    if (!(x >= x0 && x <= x1 && y >= y0 && y <= y1)) return false;
    let inside = false;
    for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
      if (ys[i] > y !== ys[j] > y && x < ((xs[j] - xs[i]) * (y - ys[i])) / (ys[j] - ys[i]) + xs[i]) inside = !inside;
    }
    return inside;
  };
}
