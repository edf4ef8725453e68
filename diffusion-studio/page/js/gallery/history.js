/** The pictures of this session, newest first, as far as they were asked for. */

import { deleteFromHistory, fetchHistory } from "../api.js";

const PAGE = 30;

/** Finished jobs by id. */
const jobs = new Map();
let oldest = null;
let hasMore = false;

const byEnd = (a, b) => b.finished_at - a.finished_at;

/** Every picture with the job that drew it. An equal job may have the same file, so the address is no key. */
export const pictures = () =>
  [...jobs.values()]
    .sort(byEnd)
    .flatMap((job) => job.images.map((image, index) => ({ key: `${job.id}/${index}`, job, image })));

export const moreIsThere = () => hasMore;

export function addJob(job) {
  if (job.status === "completed") jobs.set(job.id, job);
}

/** Reads the newest page again, as another tab may have drawn. */
export async function loadNewest() {
  const page = await fetchHistory(null, PAGE);
  page.jobs.forEach(addJob);
  if (oldest === null) noteEnd(page);
}

export async function loadMore() {
  const page = await fetchHistory(oldest, PAGE);
  page.jobs.forEach(addJob);
  noteEnd(page);
}

function noteEnd(page) {
  oldest = page.jobs.at(-1)?.finished_at ?? oldest;
  hasMore = page.more;
}

export async function removeJob(id) {
  await deleteFromHistory(id);
  jobs.delete(id);
}
