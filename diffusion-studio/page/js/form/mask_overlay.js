/** Masks as they are shown over a picture: a translucent colour where the mask is white. */

import { canvasOf } from "./picture_file.js";

const COLOUR = [255, 64, 110];
const OPACITY = 0.55;

/** Paints a black and white mask as an overlay that covers the canvas. */
export function drawOverlay(canvas, mask) {
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(coloured(mask, canvas), 0, 0);
}

function coloured(mask, { width, height }) {
  const canvas = canvasOf(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(mask, 0, 0, width, height);
  const pixels = context.getImageData(0, 0, width, height);
  const { data } = pixels;
  for (let at = 0; at < data.length; at += 4) {
    const white = data[at];
    data.set(COLOUR, at);
    data[at + 3] = white * OPACITY;
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}
