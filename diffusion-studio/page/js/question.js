/** Asks before something is lost. */

import { byId } from "./dom.js";

export function startQuestion() {
  byId("question-no").addEventListener("click", () => byId("question").close("no"));
  byId("question-yes").addEventListener("click", () => byId("question").close("yes"));
}

/** Whether the person says yes; Escape is a no. */
export function ask(text) {
  const dialog = byId("question");
  byId("question-text").textContent = text;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
