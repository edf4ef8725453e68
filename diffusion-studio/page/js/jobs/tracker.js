/**
 * Follows the person's own jobs. The server's queue is asked at intervals, which is enough by itself;
 * the events of the oldest job make it smoother while the tab is shown.
 */

import { cancelJob, fetchJob, fetchQueue } from "../api.js";
import { liveJob, streamEvents } from "./event_stream.js";

/** Milliseconds between two questions. */
const WITH_EVENTS = 2000;
const WITHOUT_EVENTS = 1000;
const HIDDEN = 10_000;
const IDLE = 15_000;

/** Jobs that wait or are drawn, by id, the oldest first. */
let active = new Map();
/** Ids of jobs whose end was told: an event and an answer may both bring it, and an older answer come after. */
const told = new Set();
let queue = { waiting: 0, running: [], mine: [], eta_seconds: null };
let isReachable = true;
let timer;

const changed = new Set();
const ended = new Set();
/** Tells the other tabs that something happened. */
const tabs = new BroadcastChannel("studio");

export const activeJobs = () => [...active.values()];
export const queueState = () => ({ ...queue, isReachable });
export const onJobsChange = (listener) => changed.add(listener);
/** `listener(job)` is called when a job of this person has ended. */
export const onJobEnd = (listener) => ended.add(listener);
/** `listener()` is called when another tab has drawn or cancelled something. */
export const onOtherTab = (listener) => tabs.addEventListener("message", listener);

export function startTracker() {
  onOtherTab(refresh);
  document.addEventListener("visibilitychange", () => {
    followOldest();
    refresh();
  });
  addEventListener("online", refresh);
  return refresh();
}

/** Follows a job that was sent just now. */
export function track(job) {
  update(job);
  tabs.postMessage("changed");
  refresh();
}

export async function cancel(id) {
  update(await cancelJob(id));
  tabs.postMessage("changed");
}

/** Asks for the queue, and plans the next question. */
async function refresh() {
  clearTimeout(timer);
  try {
    const answer = await fetchQueue();
    isReachable = true;
    queue = answer;
    await take(answer.mine);
  } catch {
    isReachable = false;
  }
  tell();
  clearTimeout(timer);
  timer = setTimeout(refresh, interval());
}

function interval() {
  if (document.hidden) return active.size > 0 ? HIDDEN : IDLE * 4;
  if (active.size === 0) return isReachable ? IDLE : WITHOUT_EVENTS * 3;
  return liveJob() === null ? WITHOUT_EVENTS : WITH_EVENTS;
}

/** Takes the server's word on which jobs there are; asks what became of those that are gone. */
async function take(mine) {
  const here = new Set(mine.map((job) => job.id));
  const gone = [...active.keys()].filter((id) => !here.has(id));
  for (const job of mine) {
    if (job.id === liveJob()) takeTimes(job);
    else update(job);
  }
  const found = await Promise.all(gone.map((id) => fetchJob(id).catch((error) => ({ id, error }))));
  for (const job of found) {
    if (job.error instanceof Error) forget(job);
    else update(job);
  }
}

/** Of a job with events, which are newer than an answer that was on its way, the estimate alone is taken. */
function takeTimes({ id, eta_seconds, wait_seconds }) {
  const job = active.get(id);
  if (job) Object.assign(job, { eta_seconds, wait_seconds, heardAt: performance.now() });
}

/** A job that the server does not know any more is no longer followed; a lost answer changes nothing. */
function forget({ id, error }) {
  if (error.status === 404) active.delete(id);
}

const isActive = ({ status }) => status === "queued" || status === "running";

function update(job) {
  if (told.has(job.id)) return;
  if (isActive(job)) {
    active.set(job.id, { ...job, preview: active.get(job.id)?.preview, heardAt: performance.now() });
    active = new Map([...active].sort(([, a], [, b]) => a.queued_at - b.queued_at));
  } else {
    active.delete(job.id);
    told.add(job.id);
    for (const listener of ended) listener(job);
  }
  followOldest();
  tell();
}

function followOldest() {
  const oldest = document.hidden ? null : (active.keys().next().value ?? null);
  streamEvents(oldest, takeEvent(oldest));
}

const takeEvent = (id) => (kind, data) => {
  if (["snapshot", "completed", "failed", "cancelled"].includes(kind)) {
    update(data);
    if (!isActive(data)) tabs.postMessage("changed");
    return;
  }
  const job = active.get(id);
  if (!job) return;
  if (kind === "position") Object.assign(job, data, { heardAt: performance.now() });
  if (kind === "progress") Object.assign(job, { progress: data, status: "running", position: 0 });
  if (kind === "preview") job.preview = `data:${data.mime};base64,${data.b64}`;
  if (kind === "image") job.images = [...job.images, data];
  tell();
};

function tell() {
  for (const listener of changed) listener();
}
