/** Short ways to make and find elements. */

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

/** Whether the pictures are below the settings, as layout.css has it. */
export const isNarrow = () => matchMedia("(max-width: 899px)").matches;

/**
 * An element with these properties and children. Properties with a dash are attributes, `on` holds listeners,
 * and children that are null are left out.
 */
export function element(tag, { on = {}, ...properties } = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-")) made.setAttribute(name, value);
    else made[name] = value;
  }
  for (const [event, listener] of Object.entries(on)) made.addEventListener(event, listener);
  made.append(...children.filter((child) => child != null));
  return made;
}

/** One of the icons that index.html defines. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** A button with an icon; its label is read aloud, and shown as a tooltip. */
export function iconButton(name, label, onClick) {
  return element(
    "button",
    { type: "button", className: "quiet square", title: label, on: { click: onClick } },
    icon(name),
    hiddenLabel(label),
  );
}

/** The name of a button that shows an icon: for screen readers, and where a style has room for it. */
export const hiddenLabel = (label) => element("span", { className: "button-label", textContent: label });

/** Calls `action` once it has not been asked for during `wait` milliseconds. */
export function debounced(action, wait) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(action, wait);
  };
}
