/** Where a job stands, in words. */

import { bytes, counted, duration, pace } from "../format.js";

const COMPONENTS = { transformer: "the network", vae: "the autoencoder" };

/** What happens with the job right now. */
export function stageOf({ status, progress, ahead }) {
  if (status === "queued") return ahead > 0 ? `Waiting: ${ahead} before it` : "Waiting: it is next";
  if (progress === null) return "Beginning";
  return STAGES[progress.stage](progress);
}

const STAGES = {
  load: ({ component, done, total }) =>
    `Loading ${component === null ? "the model" : (COMPONENTS[component] ?? component)}${total > 0 ? `, ${bytes(done)} of ${bytes(total)}` : ""}`,
  encode: () => "Reading the prompt",
  sample: ({ step, steps, image, images }) =>
    `${images > 1 ? `Picture ${image} of ${images}, step` : "Step"} ${step} of ${steps}`,
  decode: () => "Developing the picture",
};

/** Seconds a step, and until it starts and ends, as far as they are known. */
export function timesOf(job) {
  const { status, progress, wait_seconds, eta_seconds, heardAt } = job;
  const passed = (performance.now() - heardAt) / 1000;
  const starts = status === "queued" && wait_seconds !== null ? wait_seconds - passed : null;
  const ends = eta_seconds === null ? secondsOfSteps(progress) : eta_seconds - passed;
  const perStep = progress?.seconds_per_step ?? null;
  return [
    perStep !== null && `${pace(perStep)} a step`,
    starts !== null && `starts ${inTime(starts)}`,
    ends !== null && `ready ${inTime(ends)}`,
  ]
    .filter(Boolean)
    .join(" · ");
}

/** Seconds that the steps will take which are left, where the server has no estimate yet. */
function secondsOfSteps(progress) {
  if (progress?.stage !== "sample" || progress.seconds_per_step === null) return null;
  const { image, images, step, steps, seconds_per_step } = progress;
  return ((images - image + 1) * steps - step) * seconds_per_step;
}

const inTime = (seconds) => (seconds < 1 ? "in a moment" : `in ${duration(seconds)}`);

/** How much of the job is done, from 0 to 1, or null where nobody knows. */
export function shareOf({ progress }) {
  if (progress === null) return null;
  const { stage, done, total, step, steps, image, images } = progress;
  if (stage === "load") return total > 0 ? done / total : null;
  if (stage === "sample") return (image - 1 + step / steps) / images;
  return stage === "decode" ? image / images : 0;
}

/** How many others wait, and until all is done. */
export function queueLine({ waiting, running, mine, eta_seconds, isReachable }) {
  if (!isReachable) return "The studio does not answer. Trying again …";
  const othersDrawn = running.filter((job) => !job.mine).length;
  const others = othersDrawn + waiting - mine.filter((job) => job.status === "queued").length;
  if (others === 0) return "";
  const until = eta_seconds === null ? "" : `, all done in ${duration(eta_seconds)}`;
  return `${counted(others, "other picture")} in the queue${until}`;
}
