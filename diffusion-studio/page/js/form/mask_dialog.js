/** The dialog in which a mask is painted: by finger, mouse, pen or keyboard. */

import { byId } from "../dom.js";
import { MaskStrokes } from "./mask_strokes.js";

/** The brush that a slider value of 1 stands for, as a share of the picture's shorter side. */
const SIZE_UNIT = 0.01;
/** How far an arrow key moves the brush, in brush widths. */
const KEY_STEP = 0.25;

/** The painting that is going on: strokes, picture, brush position in the picture's pixels, and how to end it. */
let session = null;

/**
 * Lets a person paint over a picture. Gives the mask as a PNG, null if nothing is left white,
 * or undefined if they cancelled.
 */
export async function paintMask({ url, width, height, mask }) {
  const base = mask && (await createImageBitmap(mask));
  const canvas = byId("brush-canvas");
  Object.assign(canvas, { width, height });
  byId("brush-image").src = url;
  byId("brush-frame").style.aspectRatio = `${width} / ${height}`;
  byId("brush-frame").style.setProperty("--ratio", width / height);
  const finished = new Promise((resolve) => {
    session = { strokes: new MaskStrokes(width, height, base), width, height, x: width / 2, y: height / 2, resolve };
  });
  selectTool({ erases: false });
  byId("brush").showModal();
  canvas.focus();
  show();
  return finished;
}

export function startMaskDialog() {
  const canvas = byId("brush-canvas");
  canvas.addEventListener("pointerdown", beginStroke);
  canvas.addEventListener("pointermove", moveBrush);
  canvas.addEventListener("pointerleave", () => (byId("brush-cursor").hidden = true));
  canvas.addEventListener("keydown", paintByKey);
  byId("brush-paint").addEventListener("click", () => selectTool({ erases: false }));
  byId("brush-erase").addEventListener("click", () => selectTool({ erases: true }));
  byId("brush-size").addEventListener("input", showCursor);
  byId("brush-undo").addEventListener("click", () => act((strokes) => strokes.undo()));
  byId("brush-invert").addEventListener("click", () => act((strokes) => strokes.invert()));
  byId("brush-clear").addEventListener("click", () => act((strokes) => strokes.clear()));
  byId("brush-cancel").addEventListener("click", () => byId("brush").close());
  byId("brush-done").addEventListener("click", finish);
  byId("brush").addEventListener("close", () => {
    session.resolve(undefined);
    session = null;
  });
}

async function finish() {
  const { strokes, resolve } = session;
  resolve(strokes.isEmpty ? null : await strokes.png());
  byId("brush").close();
}

function act(action) {
  action(session.strokes);
  show();
}

function selectTool({ erases }) {
  session.erases = erases;
  byId("brush-paint").setAttribute("aria-pressed", !erases);
  byId("brush-erase").setAttribute("aria-pressed", erases);
}

const brushSize = () =>
  Math.max(1, byId("brush-size").valueAsNumber * SIZE_UNIT * Math.min(session.width, session.height));

function beginStroke(event) {
  if (event.button !== 0) return;
  event.preventDefault();
  const canvas = byId("brush-canvas");
  canvas.focus();
  canvas.setPointerCapture(event.pointerId);
  placeBrush(event);
  session.isPainting = true;
  paintDab();
  const end = () => {
    session.isPainting = false;
    canvas.removeEventListener("lostpointercapture", end);
  };
  canvas.addEventListener("lostpointercapture", end);
}

function moveBrush(event) {
  const between = event.getCoalescedEvents?.() ?? [];
  for (const point of [...between, event]) followBrush(point);
  showCursor();
  if (session.isPainting) show();
}

function followBrush(event) {
  placeBrush(event);
  if (session.isPainting) session.strokes.extend(session);
}

/** The brush at a pointer, in pixels of the picture. */
function placeBrush({ clientX, clientY }) {
  const shown = byId("brush-canvas").getBoundingClientRect();
  session.x = ((clientX - shown.left) / shown.width) * session.width;
  session.y = ((clientY - shown.top) / shown.height) * session.height;
}

function paintDab() {
  const { x, y, erases } = session;
  act((strokes) => strokes.begin({ x, y, size: brushSize(), erases }));
}

const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function paintByKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const direction = DIRECTIONS[event.key];
  if (direction) stepBrush(direction);
  else if (event.key === " ") paintDab();
  else if (event.key === "z") act((strokes) => strokes.undo());
  else if (event.key === "e") selectTool({ erases: !session.erases });
  else if (event.key === "[" || event.key === "]") byId("brush-size").valueAsNumber += event.key === "[" ? -1 : 1;
  else return;
  event.preventDefault();
  showCursor();
}

function stepBrush([right, down]) {
  const within = (value, most) => Math.min(most, Math.max(0, value));
  session.x = within(session.x + right * KEY_STEP * brushSize(), session.width);
  session.y = within(session.y + down * KEY_STEP * brushSize(), session.height);
}

/** Shows the strokes; the style sheet makes their white a translucent colour. */
function show() {
  const canvas = byId("brush-canvas");
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(session.strokes.canvas, 0, 0);
  context.globalCompositeOperation = "source-in";
  context.fillStyle = "rgb(255 64 110)";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.globalCompositeOperation = "source-over";
  byId("brush-undo").disabled = !session.strokes.canUndo;
}

/** A ring where the brush is. */
function showCursor() {
  const cursor = byId("brush-cursor");
  const scale = byId("brush-canvas").getBoundingClientRect().width / session.width;
  cursor.hidden = false;
  cursor.style.width = `${brushSize() * scale}px`;
  cursor.style.left = `${(session.x / session.width) * 100}%`;
  cursor.style.top = `${(session.y / session.height) * 100}%`;
}
