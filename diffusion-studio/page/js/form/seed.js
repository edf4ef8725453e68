/** The seed: a lock that keeps it, and dice that throw a new one. */

import { byId, icon } from "../dom.js";
import { change, current, onChange } from "../settings/store.js";

/** Seeds of 32 bits, which every other program takes as well. */
const randomSeed = () => crypto.getRandomValues(new Uint32Array(1))[0];

export function startSeed() {
  byId("seed").addEventListener("input", ({ target }) => change({ seed_locked: target.value !== "" }));
  byId("seed-lock").addEventListener("click", () => {
    const { seed, seed_locked } = current();
    change({ seed_locked: !seed_locked, seed: seed ?? randomSeed() });
  });
  byId("seed-dice").addEventListener("click", () => change({ seed: randomSeed(), seed_locked: true }));
  onChange(showLock);
  showLock();
}

/** Without the lock, every picture has a seed of its own. */
export function throwUnlessLocked() {
  if (!current().seed_locked) change({ seed: randomSeed() });
}

function showLock() {
  const locked = current().seed_locked;
  const lock = byId("seed-lock");
  const label = locked
    ? "The seed is locked: every picture has this one"
    : "The seed is free: every picture has a new one";
  lock.replaceChildren(icon(locked ? "locked" : "unlocked"));
  lock.setAttribute("aria-pressed", locked);
  lock.setAttribute("aria-label", "Lock the seed");
  lock.title = label;
}
