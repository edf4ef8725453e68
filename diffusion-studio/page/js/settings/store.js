/** The settings as they are now. They are kept in the browser, so a reload finds them again. */

import { initialSettings, onlyValid } from "./schema.js";

const KEY = "studio.settings";

const listeners = new Set();
let settings = initialSettings();

/** The settings; do not change the object, call `change`. */
export const current = () => settings;

/** Gives these settings new values, and tells everybody who listens. */
export function change(values) {
  settings = { ...settings, ...values };
  save();
  for (const listener of listeners) listener(settings);
}

export const onChange = (listener) => listeners.add(listener);

/** Takes what was kept by an earlier visit. Returns whether there was one. */
export function restore() {
  const kept = read();
  settings = { ...settings, ...onlyValid(kept ?? {}) };
  return kept !== null;
}

function read() {
  try {
    return JSON.parse(localStorage.getItem(KEY));
  } catch {
    return null;
  }
}

function save() {
  try {
    localStorage.setItem(KEY, JSON.stringify(settings));
  } catch {
    // A browser that keeps nothing still draws.
  }
}
