/** Folds stay as the person left them. */

import { isNarrow } from "./dom.js";

const KEY = "studio.folds";

/** On a phone all are closed at first, so that the pictures are near. */
export function startFolds() {
  const kept = JSON.parse(localStorage.getItem(KEY)) ?? {};
  const startsOpen = !isNarrow();
  for (const fold of document.querySelectorAll("[data-fold]")) {
    fold.open = kept[fold.dataset.fold] ?? (fold.open && startsOpen);
    fold.addEventListener("toggle", () => {
      kept[fold.dataset.fold] = fold.open;
      localStorage.setItem(KEY, JSON.stringify(kept));
    });
  }
}
