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
  const passed = (performance.now() - job.heardAt) / 1000;
  const left = (seconds) => (seconds === null ? null : inTime(seconds - passed));
  const perStep = job.progress?.seconds_per_step;
  const starts = job.status === "queued" ? left(job.wait_seconds) : null;
  const ends = left(job.eta_seconds);
  return [perStep && `${pace(perStep)} a step`, starts && `starts ${starts}`, ends && `ready ${ends}`]
    .filter(Boolean)
    .join(" · ");
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
