/** A picture dropped anywhere: its settings are read, and the person chooses what to do with it. */

import { inspectPicture } from "./api.js";
import { byId } from "./dom.js";
import { dataUrlOf, pictureIn } from "./form/picture_file.js";
import { setStart } from "./form/start_picture.js";
import { takeSettings } from "./gallery/actions.js";
import { notice } from "./notices.js";

let dropped = null;
let settings = null;

const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");

export function startDroppedPictures() {
  addEventListener("dragover", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    byId("drop-veil").hidden = false;
  });
  addEventListener("dragleave", (event) => {
    // Only the edge of the window has nothing beyond it.
    if (event.relatedTarget === null) byId("drop-veil").hidden = true;
  });
  addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    byId("drop-veil").hidden = true;
    take(pictureIn(event.dataTransfer), event.target);
  });
  byId("dropped-cancel").addEventListener("click", close);
  byId("dropped-start").addEventListener("click", () => {
    setStart(dropped);
    close();
  });
  byId("dropped-settings").addEventListener("click", () => {
    takeSettings(settings);
    close();
  });
  byId("dropped").addEventListener("close", () => URL.revokeObjectURL(byId("dropped-image").src));
}

const close = () => byId("dropped").close();

/** On the place for the start picture there is nothing to ask. */
function take(file, target) {
  if (!file) notice("This is no picture.", "error");
  else if (target.closest?.("[data-fold='start']")) setStart(file);
  else inspect(file);
}

async function inspect(file) {
  dropped = file;
  try {
    const found = await inspectPicture(await dataUrlOf(file));
    settings = found.settings;
    show(found);
  } catch (error) {
    notice(error.message, "error");
  }
}

function show({ parameters }) {
  byId("dropped-image").src = URL.createObjectURL(dropped);
  byId("dropped-parameters").textContent = parameters ?? "";
  byId("dropped-parameters").hidden = parameters === null;
  byId("dropped-none").hidden = parameters !== null;
  byId("dropped-settings").hidden = settings === null;
  if (!byId("dropped").open) byId("dropped").showModal();
}
