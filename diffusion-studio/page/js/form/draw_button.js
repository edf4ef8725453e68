/** The button that draws. */

import { submitJob } from "../api.js";
import { modelOf } from "../catalog.js";
import { byId, isNarrow } from "../dom.js";
import { duration } from "../format.js";
import { track } from "../jobs/tracker.js";
import { announce, notice } from "../notices.js";
import { requestOf } from "../settings/request.js";
import { current } from "../settings/store.js";
import { showFieldError } from "./field_errors.js";
import { throwUnlessLocked } from "./seed.js";
import { startKinds, startPictures } from "./start_picture.js";

/** How often an answer that got lost is asked for again, and after how many milliseconds. */
const ATTEMPTS = 3;
const BETWEEN_ATTEMPTS = 1000;

export function startDrawButton() {
  byId("controls").addEventListener("submit", (event) => {
    event.preventDefault();
    draw();
  });
  addEventListener("keydown", (event) => {
    const asks = event.key === "Enter" && (event.ctrlKey || event.metaKey);
    if (!asks || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    draw();
  });
}

let isSending = false;
let takeNoticeAway = () => {};

async function draw() {
  if (isSending) return;
  isSending = true;
  byId("draw").setAttribute("aria-busy", "true");
  takeNoticeAway();
  try {
    throwUnlessLocked();
    const model = modelOf(current());
    const request = { ...requestOf(current(), model, startKinds(model)), ...(await startPictures(model)) };
    const job = await submitted(request);
    announce(job.cached ? "This was drawn before." : "The picture is in the queue.");
    track(job);
    if (isNarrow()) byId("pictures").scrollIntoView();
  } catch (error) {
    showRefusal(error);
  } finally {
    isSending = false;
    byId("draw").removeAttribute("aria-busy");
  }
}

/** Sends a job. The key makes sure that a lost answer does not draw twice. */
async function submitted(request) {
  const key = [...crypto.getRandomValues(new Uint8Array(16))]
    .map((byte) => byte.toString(16).padStart(2, "0"))
    .join("");
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await submitJob(request, key);
    } catch (error) {
      if (error.code !== "network" || attempt === ATTEMPTS) throw error;
      await new Promise((resolve) => setTimeout(resolve, BETWEEN_ATTEMPTS));
    }
  }
}

function showRefusal(error) {
  if (error.field && showFieldError(error.field, error.message, { focus: true })) return;
  const wait =
    error.retryAfter === null || error.retryAfter === undefined ? "" : ` Try again in ${duration(error.retryAfter)}.`;
  takeNoticeAway = notice(error.message + wait, "error");
}
