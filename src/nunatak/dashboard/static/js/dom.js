// Small helpers to make elements. Text goes in as text, never as HTML: names in files may hold anything.

/** An element: el("div.note", {onclick, title}, child, "text", ...). */
export function el(spec, ...rest) {
  const [name, ...classes] = spec.split(".");
  const node = document.createElement(name || "div");
  if (classes.length) node.className = classes.join(" ");
  for (const item of rest.flat()) {
    if (item === null || item === undefined || item === false) continue;
    if (item instanceof Node || typeof item !== "object") node.append(item);
    else setAll(node, item);
  }
  return node;
}

function setAll(node, attributes) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "value" || key === "checked" || key === "disabled" || key === "open") node[key] = value;
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value);
  }
}

const SVG = "http://www.w3.org/2000/svg";

/** An SVG element. */
export function svg(name, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children.flat());
  return node;
}

/** A <select> over {value, label} choices. */
export function chooser(choices, value, onchange, attributes = {}) {
  const node = el("select", { onchange: () => onchange(node.value), ...attributes },
    choices.map((choice) => el("option", { value: choice.value }, choice.label)));
  node.value = value;
  return node;
}

/** A row of buttons of which one is pressed. */
export function segmented(choices, value, onchange, label) {
  const node = el("div.segmented", { role: "group", "aria-label": label });
  const press = (chosen) => {
    for (const button of node.children) button.setAttribute("aria-pressed", button.dataset.value === chosen);
  };
  for (const { value: own, label: text, title } of choices) {
    node.append(el("button", { type: "button", title, "data-value": own,
      onclick: () => { press(own); onchange(own); } }, text));
  }
  press(value);
  node.press = press;
  return node;
}

/** A panel with a title and tools at its right. */
export function panel(title, tools, ...body) {
  return el("section.panel", { "aria-label": title },
    el("div.panel-head", el("h2", title), el("div.tools", tools)), ...body);
}

/** The colour that a CSS variable has now. */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Run a function when light changes to dark or back. */
export function onTheme(run) {
  const query = matchMedia("(prefers-color-scheme: dark)");
  query.addEventListener("change", run);
  return () => query.removeEventListener("change", run);
}
