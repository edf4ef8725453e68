/** What a drawing will take, shown before it is drawn: time, memory, and what is wrong with the settings. */

import { fetchPlan } from "../api.js";
import { modelOf } from "../catalog.js";
import { byId, debounced } from "../dom.js";
import { bytes, duration } from "../format.js";
import { onJobEnd } from "../jobs/tracker.js";
import { requestOf } from "../settings/request.js";
import { current, onChange } from "../settings/store.js";
import { showFieldError } from "./field_errors.js";
import { standInPictures, startKinds } from "./start_picture.js";

const WAIT = 500;

let asked = null;
let running = new AbortController();

export function startPlan() {
  onChange(debounced(plan, WAIT));
  // What was drawn tells how long the next one takes.
  onJobEnd(() => {
    asked = null;
    plan();
  });
  plan();
}

async function plan() {
  const model = modelOf(current());
  const request = { ...requestOf(current(), model, startKinds(model)), ...(await standInPictures(model)) };
  // The seed decides nothing here, and a free one changes with every picture.
  delete request.seed;
  const body = JSON.stringify(request);
  if (body === asked) return;
  asked = body;
  running.abort();
  running = new AbortController();
  try {
    showPlan(await fetchPlan(request, running.signal));
  } catch (error) {
    if (error.name !== "AbortError") showProblem(error);
  }
}

function showPlan(plan) {
  const line = byId("plan-line");
  line.classList.toggle("problem", !plan.fits);
  const peak = plan.residency === "streamed" ? plan.peak_streamed : plan.peak_resident;
  const room = plan.available === null ? "" : ` of ${bytes(plan.available)}`;
  if (!plan.fits) {
    line.textContent = `It needs ${bytes(peak)}${room && `, and only ${bytes(plan.available)} are free`}. Try a smaller size.`;
    return;
  }
  const time = plan.eta_seconds === null ? null : timeOf(plan.eta_seconds);
  const streamed = plan.residency === "streamed" ? "reads its weights from disk, which is slow" : null;
  const facts = [time, `${bytes(peak)}${room}`, streamed].filter(Boolean).join(" · ");
  line.textContent = [facts, ...plan.warnings].join("\n");
}

const timeOf = (seconds) => (seconds < 1 ? "under a second" : `about ${duration(seconds)}`);

/** A problem of a field is shown there; what is typed into is not interrupted. */
function showProblem({ field, message, code }) {
  asked = null;
  const line = byId("plan-line");
  const isShown = field && showFieldError(field, message, { focus: false });
  line.classList.toggle("problem", code !== "network");
  line.textContent = isShown || code === "network" ? "" : message;
}
