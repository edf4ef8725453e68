/** Short messages: shown in a corner, or only read aloud. */

import { byId, element, iconButton } from "./dom.js";

const SHOWN_FOR = 7000;

/** Shows a message. Errors stay until they are closed. Returns what takes it away. */
export function notice(message, kind = "info") {
  const text = element("span", { textContent: message });
  const shown = element("div", { className: `notice ${kind}`, role: kind === "error" ? "alert" : "status" }, text);
  const close = () => shown.remove();
  shown.append(iconButton("close", "Close this notice", close));
  byId("notices").append(shown);
  if (kind === "info") setTimeout(close, SHOWN_FOR);
  return close;
}

/** Reads a message aloud to those who use a screen reader. */
export function announce(message) {
  byId("announcer").textContent = message;
}
