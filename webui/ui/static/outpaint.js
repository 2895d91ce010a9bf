// Outpainting: by how much the picture grows, shown on the stage.

import { byId, make, mount, type } from "./dom.js";
import { formOf } from "./form.js";
import { mode } from "./modes.js";
import { t } from "./page.js";
import { grow } from "./picture.js";
import { receive } from "./wires.js";

const SIDES = ["left", "right", "up", "down"];
const AMOUNTS = [64, 128, 256];

const input = (side) => formOf("img2img").input(side);
const tidy = (value) => Math.min(2048, Math.max(0, Math.round(Number(value) / 8) * 8));

/** Return how much the picture grows at each side, in whole eights as the server wants them. */
export const sides = () => Object.fromEntries(SIDES.map((side) => [side, tidy(input(side).value)]));

function follow() {
  grow(mode() === "outpaint" ? sides() : {});
  window.dispatchEvent(new CustomEvent("easel:size"));
}

function growAll(amount) {
  for (const side of SIDES) type(input(side), amount);
}

export function build() {
  const button = (amount) => make("button", { type: "button", className: "chip", textContent: t("{n} on all sides", { n: amount }), onclick: () => growAll(amount) });
  const none = make("button", { type: "button", className: "chip", textContent: t("None"), onclick: () => growAll(0) });
  mount("img2img_outpaint_tools").append(make("div", { className: "chips" }, ...AMOUNTS.map(button), none));
  for (const side of SIDES) {
    input(side).step = 8;
    input(side).min = 0;
    input(side).addEventListener("change", () => tidy(input(side).value) !== Number(input(side).value) && type(input(side), tidy(input(side).value)));
  }
  byId("img2img_outpaint_options").addEventListener("input", follow);
  for (const happening of ["easel:mode", "easel:picture"]) window.addEventListener(happening, follow);
  // Python sets them, too, but without an event and some time later.
  receive("applied", ({ picture }) => SIDES.forEach((side) => side in (picture ?? {}) && type(input(side), picture[side])));
  follow();
}
