/** The pictures of the session as tiles. */

import { byId, element } from "../dom.js";
import { activeJobs, onJobEnd, onJobsChange, onOtherTab } from "../jobs/tracker.js";
import { notice } from "../notices.js";
import { actionButtons } from "./actions.js";
import { addJob, loadMore, loadNewest, moreIsThere, pictures } from "./history.js";
import { inOneLine } from "./parameters.js";
import { startViewer, view } from "./viewer.js";

const tiles = new Map();
let isLoaded = false;

export async function startGallery() {
  startViewer({ onRemoved: showGallery });
  onJobEnd((job) => {
    addJob(job);
    showGallery();
  });
  onJobsChange(showWelcome);
  byId("more").addEventListener("click", () => load(loadMore));
  new IntersectionObserver(([{ isIntersecting }]) => isIntersecting && load(loadMore)).observe(byId("more"));
  onOtherTab(() => load(loadNewest));
  document.addEventListener("visibilitychange", () => !document.hidden && load(loadNewest));
  await load(loadNewest);
}

let isLoading = false;

async function load(page) {
  if (isLoading) return;
  isLoading = true;
  try {
    await page();
    isLoaded = true;
  } catch (error) {
    notice(error.message, "error");
  }
  isLoading = false;
  showGallery();
}

function showGallery() {
  const all = pictures();
  const keys = new Set(all.map(({ key }) => key));
  for (const [key, tile] of tiles) {
    if (!keys.has(key)) {
      tile.remove();
      tiles.delete(key);
    }
  }
  const list = byId("tiles");
  all.forEach((picture, index) => {
    const { key } = picture;
    if (!tiles.has(key)) tiles.set(key, tileOf(picture));
    if (list.children[index] !== tiles.get(key)) list.insertBefore(tiles.get(key), list.children[index] ?? null);
  });
  byId("more").hidden = !moreIsThere();
  byId("gallery").hidden = all.length === 0;
  showWelcome();
}

/** A first visit is greeted. */
function showWelcome() {
  byId("welcome").hidden = !isLoaded || tiles.size > 0 || activeJobs().length > 0;
}

function tileOf(picture) {
  const { key, job, image } = picture;
  const { prompt } = job.request;
  const shown = element("img", {
    src: image.url,
    alt: prompt || "Picture without a prompt",
    loading: "lazy",
    decoding: "async",
    width: image.width,
    height: image.height,
  });
  return element(
    "li",
    { className: "tile" },
    element("button", { type: "button", className: "tile-picture", on: { click: () => view(key) } }, shown),
    element("p", { className: "tile-prompt", textContent: prompt || "(no prompt)", title: prompt }),
    element("p", { className: "hint", textContent: inOneLine(picture) }),
    element("div", { className: "tile-actions" }, ...actionButtons(picture, { onRemoved: showGallery })),
  );
}
