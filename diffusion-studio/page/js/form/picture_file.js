/** Pictures as the server takes them. */

/** More pixels a side than any model draws; a larger picture is made smaller before it is sent. */
const LONGEST_SIDE = 2048;

/**
 * The picture upright, small enough, and in a format that the server reads. A PNG that is small enough stays as it is, to the bit.
 * Throws if the browser cannot read it.
 */
export async function normalized(blob) {
  const bitmap = await createImageBitmap(blob);
  const scale = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  if (scale === 1 && blob.type === "image/png") return { blob, width: bitmap.width, height: bitmap.height };
  const width = Math.max(1, Math.round(bitmap.width * scale));
  const height = Math.max(1, Math.round(bitmap.height * scale));
  const canvas = canvasOf(width, height);
  canvas.getContext("2d").drawImage(bitmap, 0, 0, width, height);
  return { blob: await pngOf(canvas), width, height };
}

export function canvasOf(width, height) {
  return Object.assign(document.createElement("canvas"), { width, height });
}

export const pngOf = (canvas) => new Promise((resolve) => canvas.toBlob(resolve, "image/png"));

export function dataUrlOf(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

/** A picture of the server as a Blob. Throws if it is not there any more. */
export async function downloaded(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error("The picture is not there any more.");
  return response.blob();
}

/** The first picture among what was dropped or pasted, or undefined. */
export const pictureIn = (transfer) => [...(transfer?.files ?? [])].find((file) => file.type.startsWith("image/"));
