/** The studio's page: settings on one side, pictures on the other. */

import { loadCatalog, isKnownModel, modelOf } from "./catalog.js";
import { startDroppedPictures } from "./dropped_picture.js";
import { examplesFor } from "./examples.js";
import { startFolds } from "./folds.js";
import { startDrawButton } from "./form/draw_button.js";
import { startFieldErrors } from "./form/field_errors.js";
import { startFields } from "./form/fields.js";
import { startLoras } from "./form/loras.js";
import { startMaskDialog } from "./form/mask_dialog.js";
import { fillChoices, startModelChoice } from "./form/model_choice.js";
import { startPlan } from "./form/plan.js";
import { startSeed } from "./form/seed.js";
import { startSize } from "./form/size.js";
import { startStartPicture } from "./form/start_picture.js";
import { startGallery } from "./gallery/gallery.js";
import { startJobList } from "./jobs/job_list.js";
import { startTracker } from "./jobs/tracker.js";
import { notice } from "./notices.js";
import { startQuestion } from "./question.js";
import { clearAddress, settingsInAddress } from "./settings/link.js";
import { change, current, restore } from "./settings/store.js";
import { startShare } from "./share.js";
import { startTheme } from "./theme.js";

/** Milliseconds until a server that did not answer is asked again. */
const RETRY = 3000;

async function catalogOnceItAnswers() {
  let close = null;
  for (;;) {
    try {
      await loadCatalog();
      close?.();
      return;
    } catch (error) {
      close ??= notice(`${error.message} Trying again …`, "error");
      await new Promise((resolve) => setTimeout(resolve, RETRY));
    }
  }
}

/** What the last visit left, or what a link says, or an example for the first visit. */
function beginSettings() {
  const wasHereBefore = restore();
  takeLink();
  if (!isKnownModel(current().model)) change({ model: null });
  if (!wasHereBefore && current().prompt === "") change({ prompt: examplesFor(modelOf(current()))[0] });
}

function takeLink() {
  const linked = settingsInAddress();
  if (linked === null) return;
  change(linked);
  clearAddress();
}

startTheme();
startFolds();
startQuestion();
startShare();
await catalogOnceItAnswers();
beginSettings();
addEventListener("hashchange", takeLink);
fillChoices();
startModelChoice();
startSize();
startSeed();
startFieldErrors();
startFields();
startMaskDialog();
startLoras();
startDroppedPictures();
startDrawButton();
startJobList();
await startStartPicture();
startPlan();
await Promise.all([startTracker(), startGallery()]);
document.documentElement.dataset.ready = "true";
