/** Settings in the address, behind `#`, so that a link shares them. */

import { SCHEMA, initialSettings, onlyValid } from "./schema.js";

/** An address that opens the studio with these settings. Pictures are not part of it. */
export function linkTo(settings) {
  const initial = initialSettings();
  const changed = Object.keys(SCHEMA).filter(
    (name) => JSON.stringify(settings[name]) !== JSON.stringify(initial[name]),
  );
  const words = new URLSearchParams(changed.map((name) => [name, inWords(settings[name])]));
  return `${location.origin}${location.pathname}#${words}`;
}

/** The settings in the address, or null. What the link leaves out has its initial value. */
export function settingsInAddress() {
  const words = [...new URLSearchParams(location.hash.slice(1))].filter(([name]) => name in SCHEMA);
  if (words.length === 0) return null;
  const named = words.map(([name, word]) => [name, fromWords(name, word)]);
  return { ...initialSettings(), ...onlyValid(Object.fromEntries(named)) };
}

/** Takes the settings out of the address, so that a reload keeps what was changed since. */
export const clearAddress = () => history.replaceState(null, "", location.pathname + location.search);

const inWords = (value) => (typeof value === "string" ? value : JSON.stringify(value));

/** A text is itself; anything else is JSON. A setting that may be either is a text if it is no JSON. */
function fromWords(name, word) {
  if (SCHEMA[name].initial === "") return word;
  try {
    return JSON.parse(word);
  } catch {
    return word;
  }
}
