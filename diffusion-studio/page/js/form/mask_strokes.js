/**
 * A mask as the list of what was done to it. Taking one back draws the rest again, which needs no copies of the picture.
 * The canvas is white and opaque where the picture is drawn anew, and transparent elsewhere.
 */

import { canvasOf, pngOf } from "./picture_file.js";

export class MaskStrokes {
  /** `base` is an earlier mask, an ImageBitmap in black and white, or null. */
  constructor(width, height, base) {
    this.canvas = canvasOf(width, height);
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.done = [];
    this.base = base && whiteAlone(base, width, height);
    this.redraw();
  }

  /** Starts a stroke at a point of the picture, in its pixels. */
  begin({ x, y, size, erases }) {
    this.done.push({ kind: "stroke", size, erases, points: [[x, y]] });
    this.drawStroke(this.done.at(-1), 0);
  }

  /** Goes on with the stroke that was begun last. */
  extend({ x, y }) {
    const stroke = this.done.at(-1);
    stroke.points.push([x, y]);
    this.drawStroke(stroke, stroke.points.length - 2);
  }

  invert() {
    this.act({ kind: "invert" });
  }

  clear() {
    this.act({ kind: "clear" });
  }

  undo() {
    this.done.pop();
    this.redraw();
  }

  get canUndo() {
    return this.done.length > 0;
  }

  /** Whether nothing is white. */
  get isEmpty() {
    const { data } = this.context.getImageData(0, 0, this.canvas.width, this.canvas.height);
    return !data.some((value, at) => at % 4 === 3 && value > 0);
  }

  /** The mask as a PNG, white on black. */
  async png() {
    const canvas = canvasOf(this.canvas.width, this.canvas.height);
    const context = canvas.getContext("2d");
    context.fillStyle = "black";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(this.canvas, 0, 0);
    return pngOf(canvas);
  }

  act(action) {
    this.done.push(action);
    this.draw(action);
  }

  redraw() {
    this.wipe();
    if (this.base) this.context.drawImage(this.base, 0, 0);
    for (const action of this.done) this.draw(action);
  }

  draw(action) {
    if (action.kind === "stroke") this.drawStroke(action, 0);
    else if (action.kind === "clear") this.wipe();
    else this.drawInverted();
  }

  drawStroke({ size, erases, points }, from) {
    const { context } = this;
    context.globalCompositeOperation = erases ? "destination-out" : "source-over";
    Object.assign(context, { lineWidth: size, lineCap: "round", lineJoin: "round", strokeStyle: "white" });
    context.beginPath();
    context.moveTo(...points[from]);
    // A point alone is a line to itself, which round caps make a dab.
    for (const point of points.slice(from)) context.lineTo(...point);
    context.stroke();
    context.globalCompositeOperation = "source-over";
  }

  /** White without what is there. */
  drawInverted() {
    const { context } = this;
    context.globalCompositeOperation = "source-out";
    context.fillStyle = "white";
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    context.globalCompositeOperation = "source-over";
  }

  wipe() {
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
  }
}

/** A black and white picture as white with the alpha of its brightness. */
function whiteAlone(bitmap, width, height) {
  const canvas = canvasOf(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0, width, height);
  const pixels = context.getImageData(0, 0, width, height);
  const { data } = pixels;
  for (let at = 0; at < data.length; at += 4) {
    data[at + 3] = data[at];
    data.fill(255, at, at + 3);
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}
