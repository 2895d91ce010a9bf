// How large the result of img2img becomes: by width and height, by a factor, or by what outpainting adds. And what
// stands behind a transparent picture.

import { byId, make, mount, type } from "./dom.js";
import { formOf } from "./form.js";
import { mode } from "./modes.js";
import { sides } from "./outpaint.js";
import { t } from "./page.js";
import { size } from "./picture.js";

const form = () => formOf("img2img");
const number = (name) => Number(form().input(name).value);
let parts = null;

const rounded = (side) => Math.floor(side / 8 + 1e-9) * 8; // cut off to whole latents, as the server does
const roundedUp = (side) => Math.ceil(side / 8) * 8;

/** Return [width, height] of the result. */
function resulting(picture) {
  if (mode() === "outpaint") {
    const { left, right, up, down } = sides();
    return [picture[0] + left + right, picture[1] + up + down].map(roundedUp);
  }
  if (form().value("by_scale")) return picture.map((side) => rounded(side * number("scale")));
  return [number("width"), number("height")];
}

function follow() {
  const isByScale = form().value("by_scale") && mode() !== "outpaint";
  byId("tab_img2img").classList.toggle("by-scale", isByScale);
  const picture = size();
  parts.words.hidden = !picture || mode() === "batch";
  if (!picture) return;
  const [from, to] = [picture, resulting(picture)].map(([width, height]) => `${width}×${height}`);
  parts.words.textContent = t("Picture {from} → result {to}", { from, to });
}

function followGround() {
  const chosen = form().input("background").value;
  parts.ground.value = chosen || "#ffffff";
  parts.asSettings.hidden = !chosen;
}

function setGround(colour) {
  type(form().input("background"), colour);
  followGround();
}

export function build() {
  parts = {
    words: make("span", { className: "size-words", role: "status" }),
    ground: make("input", { type: "color", id: "img2img_background_colour", "aria-label": t("Background of transparent pictures"), oninput: () => setGround(parts.ground.value) }),
    asSettings: make("button", { type: "button", className: "link", textContent: t("as in the settings"), onclick: () => setGround("") }),
  };
  const ground = make("label", { className: "ground-line" }, make("span", { textContent: t("Background of transparent pictures") }), parts.ground, parts.asSettings);
  mount("img2img_size_words").append(parts.words, ground);
  for (const name of ["by_scale", "scale", "width", "height"]) for (const happening of ["input", "change"]) form().block(name).addEventListener(happening, follow);
  for (const happening of ["easel:mode", "easel:picture", "easel:size"]) window.addEventListener(happening, follow);
  // Gradio fills the fields some time after the message that says so, without an event.
  window.addEventListener("easel:message", () => [100, 1000].forEach((wait) => setTimeout(follow, wait)));
  followGround();
  follow();
}
