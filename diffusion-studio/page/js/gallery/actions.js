/** What can be done with a finished picture. */

import { byId, element, hiddenLabel, icon, iconButton } from "../dom.js";
import { fileStem } from "../format.js";
import { clearStart, setStart } from "../form/start_picture.js";
import { downloaded } from "../form/picture_file.js";
import { isKnownModel } from "../catalog.js";
import { announce, notice } from "../notices.js";
import { settingsOf } from "../settings/request.js";
import { change } from "../settings/store.js";
import { ask } from "../question.js";
import { removeJob } from "./history.js";

/** The buttons for a picture; `onDone` is called after the form has changed, `onRemoved` after the picture is gone. */
export function actionButtons(picture, { onDone = () => {}, onRemoved }) {
  const { job, image } = picture;
  return [
    iconButton("again", "Again with these", () => reporting(again(picture), onDone)),
    iconButton("picture", "Use as start", () => reporting(useAsStart(image), onDone)),
    downloadLink(job, image),
    iconButton("trash", "Delete", () => reporting(remove(job), (isRemoved) => isRemoved && onRemoved())),
  ];
}

/** Calls `onDone` with what came of it, or shows what went wrong. */
async function reporting(action, onDone) {
  try {
    onDone(await action);
  } catch (error) {
    notice(error.message, "error");
  }
}

function downloadLink({ request }, { url, seed }) {
  const extension = url.slice(url.lastIndexOf("."));
  return element(
    "a",
    {
      className: "button quiet square",
      href: url,
      download: `${fileStem(request.prompt)}-${seed}${extension}`,
      title: "Download",
    },
    icon("download"),
    hiddenLabel("Download"),
  );
}

/** Sets the form to what this picture was drawn with, its seed and its start included. */
async function again({ job, image }) {
  const { request } = job;
  const [start, mask] = await Promise.all([request.image, request.mask].map((url) => url && downloaded(url)));
  takeSettings({ ...request, model: job.model, seed: image.seed, count: 1 });
  if (start) await setStart(start, mask);
  else clearStart();
  announce("The settings of this picture are set.");
}

async function useAsStart({ url }) {
  await setStart(await downloaded(url));
  announce("The next picture starts from this one.");
}

async function remove({ id, images }) {
  const question = images.length > 1 ? `Delete all ${images.length} pictures of this drawing?` : "Delete this picture?";
  if (!(await ask(question))) return false;
  await removeJob(id);
  return true;
}

/** Takes the settings of a request into the form. Its seed is locked, since it is part of them. */
export function takeSettings(request) {
  const settings = settingsOf(request);
  if (settings.model !== null && !isKnownModel(settings.model)) {
    notice(`The model ${settings.model} is not here; the chosen one stays.`);
    delete settings.model;
  }
  change({ ...settings, seed_locked: settings.seed !== null });
  byId("prompt").focus({ preventScroll: true });
  byId("controls").scrollIntoView({ block: "start" });
}
