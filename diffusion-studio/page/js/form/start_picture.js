/** The picture to start from, and the mask of what is drawn anew in it. */

import { modelOf } from "../catalog.js";
import { byId, isNarrow } from "../dom.js";
import { notice } from "../notices.js";
import { keepPicture, keptPicture } from "../settings/pictures.js";
import { change, current, onChange } from "../settings/store.js";
import { effective } from "./fields.js";
import { paintMask } from "./mask_dialog.js";
import { drawOverlay } from "./mask_overlay.js";
import { canvasOf, dataUrlOf, normalized, pictureIn, pngOf } from "./picture_file.js";
import { sizeOfRatio } from "./size.js";

/** `{ blob, width, height }` or null; the mask is a PNG of the same size, white where it is drawn anew. */
let picture = null;
let mask = null;
let shownUrl = null;

export async function startStartPicture() {
  byId("start-choose").addEventListener("click", () => byId("start-file").click());
  byId("start-file").addEventListener("change", ({ target }) => {
    if (target.files[0]) setStart(target.files[0]);
    target.value = "";
  });
  byId("start-remove").addEventListener("click", () => clearStart());
  byId("start-fit").addEventListener("click", () => change(sizeOfRatio(picture.width, picture.height)));
  byId("mask-edit").addEventListener("click", editMask);
  byId("mask-remove").addEventListener("click", () => setMask(null));
  addEventListener("paste", (event) => {
    const pasted = pictureIn(event.clipboardData);
    if (!pasted || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    setStart(pasted);
  });
  onChange(showStart);

  const kept = await keptPicture("start");
  if (kept) await take(kept, await keptPicture("mask"));
  showStart();
}

/** What a request needs to know: `{ hasImage, hasMask }`. A model that only draws from prompts gets neither. */
export function startKinds(model) {
  const hasImage = picture !== null && model.img2img;
  return { hasImage, hasMask: hasImage && mask !== null };
}

/** The pictures of a request. */
export async function startPictures(model) {
  const { hasImage, hasMask } = startKinds(model);
  const pictures = {};
  if (hasImage) pictures.image = await dataUrlOf(picture.blob);
  if (hasMask) pictures.mask = await dataUrlOf(mask);
  return pictures;
}

/** White pictures in place of the real ones: a memory plan depends on their presence alone. */
export async function standInPictures(model) {
  const { hasImage, hasMask } = startKinds(model);
  if (!hasImage) return {};
  const canvas = canvasOf(picture.width, picture.height);
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  const white = await dataUrlOf(await pngOf(canvas));
  return hasMask ? { image: white, mask: white } : { image: white };
}

/** Starts from this picture, and shows the fold that holds it. */
export async function setStart(blob, itsMask = null) {
  try {
    await take(blob, itsMask);
  } catch {
    notice("The browser cannot read this picture.", "error");
    return;
  }
  const fold = byId("start-choose").closest("details");
  fold.open = true;
  change({});
  fold.scrollIntoView({ block: isNarrow() ? "start" : "nearest" });
}

async function take(blob, itsMask = null) {
  picture = await normalized(blob);
  mask = itsMask;
  keepPicture("start", picture.blob);
  keepPicture("mask", mask);
  if (shownUrl) URL.revokeObjectURL(shownUrl);
  shownUrl = URL.createObjectURL(picture.blob);
  byId("start-image").src = shownUrl;
}

export function clearStart() {
  picture = null;
  mask = null;
  keepPicture("start", null);
  keepPicture("mask", null);
  change({});
}

function setMask(blob) {
  mask = blob;
  keepPicture("mask", blob);
  change({});
}

async function editMask() {
  const painted = await paintMask({ ...picture, url: shownUrl, mask });
  if (painted !== undefined) setMask(painted);
}

function showStart() {
  const model = modelOf(current());
  byId("start-impossible").hidden = model.img2img;
  byId("start-choose").hidden = picture !== null || !model.img2img;
  byId("start-shown").hidden = picture === null || !model.img2img;
  const { hasImage, hasMask } = startKinds(model);
  byId("start-summary").textContent = hasMask ? "with a mask" : hasImage ? "on" : "";
  if (!hasImage) return;
  byId("mask-edit-label").textContent = hasMask ? "Change the mask" : "Paint a mask";
  byId("mask-remove").hidden = !hasMask;
  byId("feather-field").hidden = !hasMask;
  showSizeHint();
  showMask();
}

/** Says so where the picture has other proportions than what is drawn from it. */
function showSizeHint() {
  const [width, height] = [effective("width"), effective("height")];
  const fit = sizeOfRatio(picture.width, picture.height);
  const isStretched = Math.abs(Math.log((width * picture.height) / (height * picture.width))) > 0.03;
  const canFit = fit.width !== width || fit.height !== height;
  const sides = `${picture.width} × ${picture.height}`;
  byId("start-hint").textContent = isStretched
    ? `The picture is ${sides}; it is stretched to ${width} × ${height}.`
    : sides;
  byId("start-fit").hidden = !(isStretched && canFit);
}

let overlaid = null;

async function showMask() {
  const canvas = byId("start-mask");
  canvas.hidden = mask === null;
  if (mask === null || mask === overlaid) return;
  overlaid = mask;
  Object.assign(canvas, { width: picture.width, height: picture.height });
  drawOverlay(canvas, await createImageBitmap(mask));
}
