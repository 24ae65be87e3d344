// How many points are drawn while a view moves: as many as this machine draws in time, all of them at rest.

const REST_MS = 200;
const [SLOW_MS, QUICK_MS] = [42, 22];
const [FEWEST, FIRST] = [8000, 60000];

export class Pace {
  /** `draw` is called once more when the view has come to rest. */
  constructor(draw) {
    this.draw = draw;
    this.points = FIRST;
    this.moving = false;
  }

  /** The view has moved. */
  moved() {
    this.moving = true;
  }

  /** Draw every so many-th of the points. */
  stride(count) {
    return this.moving ? Math.max(1, Math.ceil(count / this.points)) : 1;
  }

  /** A frame was drawn: the time since the one before says whether fewer or more points are right. */
  painted() {
    const now = performance.now();
    if (this.moving) {
      const took = now - (this.last ?? now);
      if (took > SLOW_MS && took < 2000) this.points = Math.max(FEWEST, this.points * Math.max(0.25, QUICK_MS / took));
      else if (took > 0 && took < QUICK_MS) this.points *= 1.15;
      clearTimeout(this.timer);
      // Counted from the end of a frame, so that a slow frame is not taken for rest.
      this.timer = setTimeout(() => { this.moving = false; this.draw(); }, REST_MS);
    }
    this.last = now;
  }
}
