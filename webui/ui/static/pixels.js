// Pictures as pixels: reading, flattening, and masks from what was painted.

import { make } from "./dom.js";

const FULL = 255;

/** Return the decoded image at an address. */
export async function decode(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  return image;
}

export const toPng = (canvas) => new Promise((resolve) => canvas.toBlob(resolve, "image/png"));

function copyOf(source, width, height) {
  const canvas = make("canvas", { width, height });
  canvas.getContext("2d").drawImage(source, 0, 0, width, height);
  return canvas;
}

function cover(canvas, operation, colour) {
  const context = canvas.getContext("2d");
  context.globalCompositeOperation = operation;
  context.fillStyle = colour;
  context.fillRect(0, 0, canvas.width, canvas.height);
}

/** Return what was painted as white on black, with its soft edges. */
export function asBlackAndWhite(painted) {
  const canvas = copyOf(painted, painted.width, painted.height);
  cover(canvas, "source-in", "#fff");
  cover(canvas, "destination-over", "#000");
  return canvas;
}

/** Return everything that was painted at all as white on black, without soft edges. */
export function asTouched(painted) {
  const canvas = copyOf(painted, painted.width, painted.height);
  const context = canvas.getContext("2d");
  const content = context.getImageData(0, 0, canvas.width, canvas.height);
  const { data } = content;
  for (let place = 0; place < data.length; place += 4) {
    data.fill(data[place + 3] ? FULL : 0, place, place + 3);
    data[place + 3] = FULL;
  }
  context.putImageData(content, 0, 0);
  return canvas;
}

/** Return a picture with what was painted on it, the paint so opaque (0 to 1). */
export function flatten(picture, painted, share) {
  const canvas = copyOf(picture, painted.width, painted.height);
  const context = canvas.getContext("2d");
  context.globalAlpha = share;
  context.drawImage(painted, 0, 0);
  return canvas;
}

/** Return a canvas of that size in `colour` (rgb(…)) where a mask is bright, or opaque if anything in it is not. */
export async function asMask(address, [width, height], colour) {
  const canvas = copyOf(await decode(address), width, height);
  const context = canvas.getContext("2d");
  const content = context.getImageData(0, 0, width, height);
  const { data } = content;
  let hasAlpha = false;
  for (let place = 3; place < data.length; place += 4) hasAlpha ||= data[place] < FULL;
  const [red, green, blue] = colour.match(/\d+/g).map(Number);
  for (let place = 0; place < data.length; place += 4) {
    const bright = 0.299 * data[place] + 0.587 * data[place + 1] + 0.114 * data[place + 2];
    data.set([red, green, blue, hasAlpha ? data[place + 3] : bright], place);
  }
  context.putImageData(content, 0, 0);
  return canvas;
}

/** Return whether anything shines through a picture; looks at a small copy of it. */
export function isTransparent(picture) {
  const side = 128;
  const { data } = copyOf(picture, side, side).getContext("2d").getImageData(0, 0, side, side);
  for (let place = 3; place < data.length; place += 4) if (data[place] < FULL) return true;
  return false;
}

/** Return an empty picture as a file. */
export async function blank(width, height, colour) {
  const canvas = make("canvas", { width, height });
  cover(canvas, "source-over", colour);
  return toPng(canvas);
}
