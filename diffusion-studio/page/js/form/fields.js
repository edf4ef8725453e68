/** Ties every control with `data-setting` to the setting of that name, both ways. */

import { plain } from "../format.js";
import { change, current, onChange } from "../settings/store.js";
import { modelOf } from "../catalog.js";

/** How a control of each `data-kind` is read and shown. */
const KINDS = {
  text: {
    read: (control) => control.value,
    show: (control, value) => (control.value = value ?? ""),
  },
  number: {
    read: (control) => (Number.isFinite(control.valueAsNumber) ? control.valueAsNumber : null),
    show: (control, value) => (control.value = value === null ? "" : plain(value)),
  },
  flag: {
    read: (control) => control.checked,
    show: (control, value) => (control.checked = value),
  },
  /** A text, or nothing for the model's own. */
  choice: {
    read: (control) => control.value || null,
    show: (control, value) => (control.value = value ?? ""),
  },
  /** Numbers with commas or spaces between them. */
  list: {
    read: (control) => numbersIn(control.value),
    show: (control, value) => (control.value = value?.map(plain).join(", ") ?? ""),
  },
  /** A factor, or a word that the server knows. */
  shift: {
    read: (control) => numberOrWord(control.value.trim()),
    show: (control, value) => (control.value = value ?? ""),
  },
};

function numbersIn(text) {
  const numbers = text
    .split(/[\s,;]+/)
    .filter(Boolean)
    .map(Number)
    .filter(Number.isFinite);
  return numbers.length > 0 ? numbers : null;
}

function numberOrWord(text) {
  if (text === "") return null;
  return Number.isFinite(Number(text)) ? Number(text) : text;
}

/** What cannot be empty goes back to this. */
const IF_EMPTY = { count: 1, strength: 0.6, mask_feather: 0, quality: 90 };

const controls = () => document.querySelectorAll("[data-setting]");

/** The value that counts: what was set, or the model's own. */
export function effective(name, settings = current()) {
  return settings[name] ?? modelOf(settings).defaults[name] ?? IF_EMPTY[name] ?? null;
}

/** Shows every setting. The control that is being typed into is left alone. */
function showAll() {
  for (const control of controls()) {
    const isTypedInto = control === document.activeElement && control.type !== "range";
    if (!isTypedInto) show(control);
  }
}

function show(control) {
  const { setting, kind } = control.dataset;
  // An empty choice is an option of its own, "the model's own".
  KINDS[kind].show(control, kind === "choice" ? current()[setting] : effective(setting));
}

export function startFields() {
  for (const control of controls()) {
    const { setting, kind } = control.dataset;
    control.dataset.field = setting;
    control.addEventListener("input", () => {
      const value = KINDS[kind].read(control);
      change({ [setting]: value ?? IF_EMPTY[setting] ?? null });
    });
    control.addEventListener("change", () => show(control));
    control.addEventListener("blur", () => show(control));
  }
  onChange(showAll);
  showAll();
  growTextAreas();
}

/** Text areas grow with their text, up to what the style allows. */
function growTextAreas() {
  const areas = document.querySelectorAll("textarea");
  const grow = () => {
    for (const area of areas) {
      area.style.height = "auto";
      area.style.height = `${area.scrollHeight + area.offsetHeight - area.clientHeight}px`;
    }
  };
  onChange(grow);
  addEventListener("resize", grow);
  grow();
}
