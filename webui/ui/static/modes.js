// The sub-tabs of the img2img page: what each lets one paint, and what it shows.

import { byId, make, mount } from "./dom.js";
import { t } from "./page.js";

const NAMES = {
  img2img: "img2img",
  sketch: "Sketch",
  inpaint: "Inpaint",
  inpaint_sketch: "Inpaint sketch",
  inpaint_upload: "Inpaint upload",
  outpaint: "Outpaint",
  batch: "Batch",
};

/** What a mode paints ("mask" or "colours"), and on which layer. */
export const MODES = {
  img2img: {},
  sketch: { paints: "colours", layer: "colours" },
  inpaint: { paints: "mask", layer: "mask", loadsMask: true },
  inpaint_sketch: { paints: "colours", layer: "colours", hasTransparency: true },
  inpaint_upload: { layer: "uploaded", loadsMask: true },
  outpaint: {},
  batch: {},
};

let chosen = "img2img";
export const mode = () => chosen;

/** Show a mode; who listens to the event "easel:mode" fits the rest to it. */
export function choose(name) {
  chosen = name in NAMES ? name : "img2img";
  byId("tab_img2img").dataset.mode = chosen;
  for (const each of Object.keys(NAMES)) {
    const button = byId(`img2img_${each}_tab`);
    button.classList.toggle("selected", each === chosen);
    button.setAttribute("aria-selected", each === chosen);
    button.tabIndex = each === chosen ? 0 : -1;
  }
  window.dispatchEvent(new CustomEvent("easel:mode", { detail: chosen }));
}

function move(event) {
  const buttons = [...event.currentTarget.children];
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const here = buttons.indexOf(document.activeElement);
  if (!step || here < 0) return;
  event.preventDefault();
  const next = buttons[(here + step + buttons.length) % buttons.length];
  next.focus();
  next.click();
}

export function build() {
  const tab = ([name, text]) =>
    make("button", { type: "button", id: `img2img_${name}_tab`, role: "tab", textContent: t(text), onclick: () => choose(name) });
  mount("img2img_modes").append(
    make("div", { id: "mode_img2img", className: "mode-tabs", role: "tablist", "aria-label": t("Ways to begin with a picture"), onkeydown: move }, ...Object.entries(NAMES).map(tab)),
  );
}
