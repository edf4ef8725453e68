/**
 * The events of one job, as the server sends them. There is at most one stream a tab, since a browser opens only six
 * connections to a server and a hundred tabs shall work.
 */

import { eventsPath } from "../api.js";

/** Events with their handlers' names, and whether the stream ends with them. */
const EVENTS = ["snapshot", "position", "progress", "preview", "image"];
const ENDS = ["completed", "failed", "cancelled"];

let source = null;
let streamed = null;
let isLive = false;

/** The id of the job whose events come in right now, or null. */
export const liveJob = () => (isLive ? streamed : null);

/** Streams this job's events to `onEvent(kind, data)`; null ends the stream. */
export function streamEvents(id, onEvent) {
  if (id === streamed) return;
  source?.close();
  source = null;
  streamed = id;
  isLive = false;
  if (id !== null) open(id, onEvent);
}

function open(id, onEvent) {
  const opened = new EventSource(eventsPath(id));
  source = opened;
  for (const kind of [...EVENTS, ...ENDS]) {
    opened.addEventListener(kind, ({ data }) => {
      isLive = source === opened;
      if (ENDS.includes(kind)) opened.close();
      onEvent(kind, JSON.parse(data));
    });
  }
  // The browser connects again by itself; until then, polling shows how the job goes on.
  opened.addEventListener("error", () => {
    if (source === opened) isLive = false;
  });
}
