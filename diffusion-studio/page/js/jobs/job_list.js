/** The person's own jobs that wait or are drawn, each with its preview. */

import { byId, element } from "../dom.js";
import { announce, notice } from "../notices.js";
import { queueLine, shareOf, stageOf, timesOf } from "./stage.js";
import { activeJobs, cancel, onJobEnd, onJobsChange, queueState } from "./tracker.js";

const cards = new Map();

export function startJobList() {
  onJobsChange(showJobs);
  onJobEnd(tellEnd);
  setInterval(showTimes, 1000);
  showJobs();
}

function showJobs() {
  const jobs = activeJobs();
  for (const id of cards.keys()) if (!jobs.some((job) => job.id === id)) removeCard(id);
  for (const job of jobs) {
    if (!cards.has(job.id)) addCard(job);
    showJob(cards.get(job.id), job);
  }
  byId("jobs").hidden = jobs.length === 0;
  byId("queue-line").textContent = queueLine(queueState());
  showTitle(jobs[0]);
  if (jobs[0]) announceProgress(jobs[0]);
}

function addCard(job) {
  const { request } = job;
  const preview = element("img", { className: "preview", alt: "", hidden: true });
  const frame = element("div", { className: "preview-frame" }, preview);
  frame.style.aspectRatio = `${request.width} / ${request.height}`;
  const stop = element("button", {
    type: "button",
    className: "cancel",
    textContent: "Cancel",
    "aria-label": `Cancel: ${request.prompt}`,
    on: { click: () => cancelByHand(job.id, stop) },
  });
  const card = {
    preview,
    prompt: element("p", { className: "job-prompt", textContent: request.prompt || "(no prompt)" }),
    stage: element("p", { className: "stage" }),
    bar: element("progress", { max: 1, "aria-label": "Progress" }),
    times: element("p", { className: "hint times" }),
    attempts: element("p", { className: "hint", hidden: true }),
    finished: element("div", { className: "finished-images" }),
  };
  const { stage, bar, times, attempts, prompt, finished } = card;
  const text = element("div", { className: "job-text" }, stage, bar, times, prompt, attempts, finished, stop);
  card.root = element("li", { className: "job", "data-job": job.id }, frame, text);
  cards.set(job.id, card);
  byId("job-list").append(card.root);
}

function removeCard(id) {
  const { root } = cards.get(id);
  const hadFocus = root.contains(document.activeElement);
  root.remove();
  cards.delete(id);
  if (hadFocus) byId("pictures").focus();
}

async function cancelByHand(id, button) {
  button.disabled = true;
  try {
    await cancel(id);
  } catch (error) {
    button.disabled = false;
    notice(error.message, "error");
  }
}

function showJob(card, job) {
  card.job = job;
  card.root.dataset.status = job.status;
  card.stage.textContent = stageOf(job);
  const share = shareOf(job);
  if (share === null) card.bar.removeAttribute("value");
  else card.bar.value = share;
  card.bar.hidden = job.status === "queued";
  card.attempts.hidden = job.attempts < 2;
  card.attempts.textContent = `Attempt ${job.attempts}: the server was started anew.`;
  showPreview(card, job);
  showFinished(card, job);
  showTime(card);
}

/** The preview of the events, or else the last one that the server keeps. */
function showPreview({ preview }, job) {
  const step = job.progress?.step ?? 0;
  const source = job.preview ?? (job.preview_url && `${job.preview_url}?step=${step}`);
  if (!source || preview.getAttribute("src") === source) return;
  preview.src = source;
  preview.hidden = false;
}

/** Pictures of a job that draws several and is not done yet. */
function showFinished({ finished }, { images }) {
  while (finished.children.length < images.length) {
    const { url, seed } = images[finished.children.length];
    finished.append(element("img", { src: url, alt: `Finished picture with seed ${seed}` }));
  }
}

const showTime = (card) => (card.times.textContent = timesOf(card.job));

const showTimes = () => cards.forEach(showTime);

const TITLE = document.title;

function showTitle(job) {
  const share = job && shareOf(job);
  document.title = share == null ? TITLE : `${Math.round(share * 100)} % · ${TITLE}`;
}

let announced = "";

/** Reads aloud that a job has come to another stage or quarter, not every step. */
function announceProgress(job) {
  const quarter = Math.floor((shareOf(job) ?? 0) * 4);
  const mark = [job.id, job.status, job.progress?.stage, job.ahead, quarter].join();
  if (mark === announced) return;
  announced = mark;
  announce(`${stageOf(job)}. ${timesOf(job)}`);
}

function tellEnd(job) {
  if (job.status === "failed") notice(`“${job.request.prompt}” failed: ${job.error.message}`, "error");
  if (job.status === "cancelled") announce("Cancelled.");
  if (job.status === "completed") announce("The picture is ready.");
  if (job.cached) notice("This was drawn before: here it is again.");
  for (const warning of job.warnings) notice(warning);
}
