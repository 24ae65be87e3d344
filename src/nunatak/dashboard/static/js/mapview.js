// A map's surface in three dimensions, by NGL. One view holds named layers; a new map keeps the camera.

import { colour, el, onTheme } from "./dom.js";

const SURFACE = { frame: "#8fb2cd", warm: "#de8a5e", ghost: "#8d99a3" };

export class MapView {
  constructor(host, label) {
    this.host = host;
    this.place = el("div.ngl", { role: "img", "aria-label": label });
    host.append(this.place);
    this.stage = new globalThis.NGL.Stage(this.place, {
      backgroundColor: colour("--paper"), clipDist: 0, clipNear: 0, clipFar: 100, fogNear: 60, fogFar: 140,
      lightIntensity: 0.95, ambientIntensity: 0.7, sampleLevel: 0, cameraType: "orthographic", tooltip: false,
    });
    this.layers = new Map();
    this.factor = 1;
    this.watcher = new ResizeObserver(() => this.stage.handleResize());
    this.watcher.observe(host);
    this.offTheme = onTheme(() => this.stage.setParameters({ backgroundColor: colour("--paper") }));
  }

  /** Load a map into a component without showing it. */
  async load({ blob, level, radius }, { tint = "frame", opacity = 1 } = {}) {
    const component = await this.stage.loadFile(blob, { ext: "mrc", name: "map" });
    const surface = component.addRepresentation("surface", {
      isolevelType: "value", isolevel: level * this.factor, color: SURFACE[tint], opacity, useWorker: false,
      smooth: 0, roughness: 0.75, metalness: 0.0, opaqueBack: opacity === 1, side: "double", visible: true, boxSize: 0,
    });
    component.setVisibility(false);
    return { component, surface, level, radius };
  }

  /** Show a loaded map as a layer; what the layer held before goes, unless it is to be kept. */
  show(name, loaded, keep = false) {
    const before = this.layers.get(name);
    loaded.component.setVisibility(true);
    this.layers.set(name, loaded);
    if (before && before !== loaded) {
      if (keep) before.component.setVisibility(false);
      else this.stage.removeComponent(before.component);
    }
    if (!this.framed) {
      this.framed = true;
      this.#frame(loaded);
    }
    this.host.dataset.shown = String(Number(this.host.dataset.shown ?? 0) + 1);
  }

  hide(name) {
    const layer = this.layers.get(name);
    if (layer) this.stage.removeComponent(layer.component);
    this.layers.delete(name);
  }

  drop(loaded) {
    this.stage.removeComponent(loaded.component);
  }

  /** Contour at so many times each map's own level. */
  setFactor(factor) {
    this.factor = factor;
    for (const { surface, level } of this.layers.values()) surface.setParameters({ isolevel: level * factor });
  }

  /** The surface in the middle of the view, a quarter larger than it on its narrow side. */
  #frame({ radius }) {
    const { clientWidth: w, clientHeight: h } = this.place;
    this.stage.animationControls.clear();
    this.stage.viewerControls.center(new globalThis.NGL.Vector3(0, 0, 0));
    this.stage.viewerControls.distance((-3.4 * radius * h) / Math.max(Math.min(w, h), 1));
  }

  resetView() {
    const first = this.layers.values().next().value;
    if (first) this.#frame(first);
  }

  turn(x, y) {
    this.stage.viewerControls.rotate(new globalThis.NGL.Quaternion().setFromEuler(new globalThis.NGL.Euler(y, x, 0)));
  }

  dispose() {
    this.watcher.disconnect();
    this.offTheme();
    this.stage.dispose();
  }
}
