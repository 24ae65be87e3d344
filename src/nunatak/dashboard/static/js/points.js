// Many points by WebGL: positions, one value for the colour, one flag. Half a million is its purpose.

const VERTEX = `#version 300 es
in float x; in float y; in float z; in float value; in float flag;
uniform mat4 view; uniform float size; uniform vec2 range; uniform float pass; uniform bool anySelected; uniform bool globe;
out float place; out float strength;
void main() {
  gl_Position = view * vec4(x, y, z, 1.0);
  float f = floor(flag * 255.0 + 0.5);
  bool selected = f > 1.5;
  if ((pass > 0.5) != selected) { gl_Position = vec4(2.0, 2.0, 2.0, 1.0); }
  bool known = value == value && x == x && y == y;
  if (x != x || y != y) gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
  place = f < 0.5 || !known ? -1.0 : (value - range.x) / max(range.y - range.x, 1e-20);
  strength = f < 0.5 ? 0.12 : (anySelected && !selected ? 0.28 : 1.0);
  // The far side of the globe shows through.
  if (globe && gl_Position.z > 0.0) strength *= 0.18;
  gl_PointSize = size * (selected ? 1.35 : 1.0);
}`;

const FRAGMENT = `#version 300 es
precision highp float;
in float place; in float strength;
uniform sampler2D scale; uniform float opacity; uniform vec3 unknown; uniform bool kinds; uniform bool round; uniform float size;
out vec4 colour;
void main() {
  float cover = 1.0;
  if (round) {
    float r = length(gl_PointCoord - 0.5) * 2.0;
    cover = 1.0 - smoothstep(max(0.0, 1.0 - 2.4 / size), 1.0, r);
    if (cover <= 0.0) discard;
  }
  float at = kinds ? (floor(place + 0.5) + 0.5) / 256.0 : clamp(place, 0.0, 1.0);
  vec3 rgb = place < -0.5 ? unknown : texture(scale, vec2(at, 0.5)).rgb;
  float alpha = cover * opacity * strength;
  colour = vec4(rgb * alpha, alpha);
}`;

const ATTRIBUTES = ["x", "y", "z", "value", "flag"];

function program(gl) {
  const made = gl.createProgram();
  for (const [type, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(made, shader);
  }
  ATTRIBUTES.forEach((name, index) => gl.bindAttribLocation(made, index, name));
  gl.linkProgram(made);
  if (!gl.getProgramParameter(made, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(made));
  return made;
}

export class Points {
  constructor(canvas) {
    this.canvas = canvas;
    const gl = canvas.getContext("webgl2", { alpha: true, premultipliedAlpha: true, antialias: false, preserveDrawingBuffer: true });
    if (!gl) throw new Error("This browser shows no WebGL: switch on hardware acceleration.");
    this.gl = gl;
    this.program = program(gl);
    this.uniforms = {};
    this.buffers = {};
    this.count = 0;
    this.look = { range: [0, 1], kinds: false, opacity: 1, unknown: [0.5, 0.5, 0.5], anySelected: false, globe: false };
    this.scale = gl.createTexture();
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  }

  /** Upload one attribute: a Float32Array, or a Uint8Array of flags. */
  set(name, data) {
    const gl = this.gl;
    this.buffers[name] ??= gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
    gl.bufferData(gl.ARRAY_BUFFER, data, gl.DYNAMIC_DRAW);
    this.count = data.length;
  }

  /** The texels that values become. */
  setScale(texels) {
    const gl = this.gl;
    gl.bindTexture(gl.TEXTURE_2D, this.scale);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, texels);
    for (const key of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, key, gl.NEAREST);
    for (const key of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, key, gl.CLAMP_TO_EDGE);
  }

  /** Fit the canvas to its element; true when its size changed. */
  resize() {
    const ratio = Math.min(devicePixelRatio || 1, 2);
    const [w, h] = [this.canvas.clientWidth, this.canvas.clientHeight].map((v) => Math.max(1, Math.round(v * ratio)));
    if (this.canvas.width === w && this.canvas.height === h) return false;
    Object.assign(this.canvas, { width: w, height: h });
    return true;
  }

  /** Draw every `stride`-th point under a column-major 4 x 4 view. */
  draw(view, sizePx, stride = 1) {
    const gl = this.gl;
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    if (!this.count || !this.buffers.x || !this.buffers.y) return;
    gl.useProgram(this.program);
    this.#bind(stride);
    const look = this.look;
    gl.uniformMatrix4fv(this.#at("view"), false, view);
    gl.uniform1f(this.#at("size"), sizePx);
    gl.uniform2f(this.#at("range"), ...(look.kinds ? [0, 1] : look.range));
    gl.uniform1f(this.#at("opacity"), look.opacity);
    gl.uniform3f(this.#at("unknown"), ...look.unknown);
    for (const name of ["kinds", "anySelected", "globe"]) gl.uniform1i(this.#at(name), look[name]);
    gl.uniform1i(this.#at("round"), sizePx > 2.5);
    gl.bindTexture(gl.TEXTURE_2D, this.scale);
    const drawn = Math.floor((this.count + stride - 1) / stride);
    for (const pass of look.anySelected ? [0, 1] : [0]) {
      gl.uniform1f(this.#at("pass"), pass);
      gl.drawArrays(gl.POINTS, 0, drawn);
    }
  }

  #bind(stride) {
    const gl = this.gl;
    ATTRIBUTES.forEach((name, index) => {
      const buffer = this.buffers[name];
      if (!buffer) {
        gl.disableVertexAttribArray(index);
        gl.vertexAttrib1f(index, name === "flag" ? 1 / 255 : 0);
        return;
      }
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.enableVertexAttribArray(index);
      if (name === "flag") gl.vertexAttribPointer(index, 1, gl.UNSIGNED_BYTE, true, stride, 0);
      else gl.vertexAttribPointer(index, 1, gl.FLOAT, false, 4 * stride, 0);
    });
  }

  #at(name) {
    return (this.uniforms[name] ??= this.gl.getUniformLocation(this.program, name));
  }

  /** Free the graphics memory. */
  dispose() {
    this.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }
}

/** Point size and opacity for so many points on a canvas of so many pixels. */
export function pointLook(count, area, ratio) {
  const crowd = count / Math.max(area, 1);
  const size = crowd > 0.4 ? 1.6 : crowd > 0.15 ? 2.4 : crowd > 0.02 ? 3.6 : crowd > 0.004 ? 5 : 6.5;
  const opacity = crowd > 0.4 ? 0.35 : crowd > 0.15 ? 0.5 : crowd > 0.02 ? 0.7 : 0.85;
  return { size: size * ratio, opacity };
}
