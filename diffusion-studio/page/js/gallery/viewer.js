/** A picture in large, with its parameters; arrow keys go through the session. */

import { byId } from "../dom.js";
import { actionButtons } from "./actions.js";
import { pictures } from "./history.js";
import { parameterList } from "./parameters.js";

/** The key of the picture that is shown. */
let shown = null;
let afterRemoval = () => {};

const place = () => pictures().findIndex(({ key }) => key === shown);

export function startViewer({ onRemoved }) {
  afterRemoval = onRemoved;
  byId("viewer-close").addEventListener("click", close);
  byId("viewer-previous").addEventListener("click", () => go(-1));
  byId("viewer-next").addEventListener("click", () => go(1));
  byId("viewer").addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") go(-1);
    if (event.key === "ArrowRight") go(1);
  });
  goBySwipe(byId("viewer-image"));
  byId("viewer").addEventListener("click", ({ target }) => {
    if (target === byId("viewer")) close();
  });
}

/** Pixels that a finger moves sideways at least to mean another picture. */
const SWIPE = 50;

function goBySwipe(picture) {
  let start = null;
  picture.addEventListener("touchstart", ({ touches }) => (start = touches.length === 1 ? touches[0].clientX : null));
  picture.addEventListener("touchend", ({ changedTouches }) => {
    const moved = start === null ? 0 : changedTouches[0].clientX - start;
    if (Math.abs(moved) > SWIPE) go(moved < 0 ? 1 : -1);
  });
}

const close = () => byId("viewer").close();

export function view(key) {
  shown = key;
  show();
  byId("viewer").showModal();
}

function go(by) {
  const next = pictures()[place() + by];
  if (!next) return;
  shown = next.key;
  show();
}

function show() {
  const all = pictures();
  const at = place();
  const { job, image } = all[at];
  Object.assign(byId("viewer-image"), {
    src: image.url,
    alt: job.request.prompt,
    width: image.width,
    height: image.height,
  });
  byId("viewer-previous").disabled = at === 0;
  byId("viewer-next").disabled = at === all.length - 1;
  byId("viewer-details").replaceChildren(parameterList(all[at]));
  byId("viewer-actions").replaceChildren(...actionButtons(all[at], { onDone: close, onRemoved: () => showRest(at) }));
}

/** After a removal, the picture that took its place. */
function showRest(at) {
  const all = pictures();
  const next = all[Math.min(at, all.length - 1)];
  if (next) {
    shown = next.key;
    show();
  } else close();
  afterRemoval();
}
