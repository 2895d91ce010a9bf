// Where the picture editor of img2img is still empty: a place to drop a picture on, or an empty canvas to begin with.

import { chooser } from "./brushes.js";
import { make, type } from "./dom.js";
import { formOf } from "./form.js";
import { t } from "./page.js";
import { blank } from "./pixels.js";

const form = () => formOf("img2img");
const asked = () => ["width", "height"].map((name) => Number(form().input(name).value));

/** Write a size into the form, in whole eights and within what its sliders can show. */
export function setSize(width, height, scale = 1) {
  const fit = (side) => Math.min(2048, Math.max(64, Math.round((side * scale) / 8) * 8));
  type(form().input("width"), fit(width));
  type(form().input("height"), fit(height));
}

/** Choose a size for the result: the picture's own if it is near what was asked for, else its shape with that area. */
export function proposeSize(width, height) {
  const [wide, high] = asked();
  const area = wide * high;
  const isNear = width % 8 === 0 && height % 8 === 0 && width * height >= area / 4 && width * height <= area * 2.25;
  setSize(width, height, isNear ? 1 : Math.sqrt(area / (width * height)));
}

/** Return the elements; `take(files, options)` gets the pictures. */
export function buildZone(take) {
  const words = make("span", { className: "drop-words" }, make("b", { textContent: t("Drop a picture here") }), make("span", { textContent: t("or click to choose one · Ctrl+V pastes") }));
  const zone = make("label", { className: "drop-zone" }, chooser("img2img_file", t("Choose a picture"), take, { multiple: true }), words);
  const ground = make("input", { type: "color", value: "#ffffff", "aria-label": t("Colour of the canvas"), title: t("Colour of the canvas") });
  const begin = async () => take([await blank(...asked(), ground.value)], { proposesSize: false });
  const button = make("button", { type: "button", id: "img2img_blank", className: "solid", textContent: t("Begin with an empty canvas"), onclick: begin });
  return [zone, make("div", { className: "blank-line" }, button, ground)];
}
