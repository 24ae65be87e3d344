// How numbers are written.

export function number(value, digits = 3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return value.toExponential(2);
  return String(Number(value.toPrecision(size >= 1000 ? 6 : digits)));
}

export const count = (value) => Number(value).toLocaleString("en-US");

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, "0")} min`;
}

/** Round times between two, in seconds. */
export function timeTicks(low, high) {
  const steps = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 86400];
  const step = steps.find((one) => (high - low) / one <= 5) ?? 86400 * Math.ceil((high - low) / 86400 / 5);
  const first = Math.ceil(low / step) * step;
  return Array.from({ length: Math.max(0, Math.floor((high - first) / step) + 1) }, (_, i) => first + i * step);
}

/** A round time: 45 s, 5 min, 2 h. */
export function roundTime(seconds) {
  if (seconds >= 3600) return seconds % 3600 ? `${(seconds / 3600).toFixed(1)} h` : `${seconds / 3600} h`;
  return seconds >= 60 && seconds % 60 === 0 ? `${seconds / 60} min` : `${seconds} s`;
}

/** About n round numbers between two. */
export function ticks(low, high, n = 5) {
  const span = high - low;
  if (!(span > 0)) return [low];
  const raw = span / n;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const first = Math.ceil(low / step) * step;
  return Array.from({ length: Math.floor((high - first) / step + 1e-9) + 1 }, (_, i) => {
    const value = first + i * step;
    return Math.abs(value) < step * 1e-9 ? 0 : Number(value.toPrecision(12));
  });
}

/** A field's name as a person reads it, its unit behind: particle_diameter_A -> Particle diameter (Å). */
export function fieldTitle(name) {
  const units = { A: "Å", px: "px", deg: "°", kV: "kV", mm: "mm", s: "s", MB: "MB", GB: "GB" };
  const spelled = { ctf: "CTF", fsc: "FSC", dim: "dimensions", sd: "standard deviation", min: "least", max: "most" };
  const parts = name.split("_");
  const unit = units[parts.at(-1)];
  const words = (unit ? parts.slice(0, -1) : parts).map((part) => spelled[part] ?? part).join(" ");
  const title = words.charAt(0).toUpperCase() + words.slice(1);
  return unit ? `${title} (${unit})` : title;
}
