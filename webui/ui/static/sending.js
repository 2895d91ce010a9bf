// Sends pictures and their settings from one page to another. Every "Send to …" button calls `sendTo`; a page that
// takes pictures says so with `takes`.

import { take } from "./picture.js";
import { show } from "./tabs.js";
import { send } from "./wires.js";

/** Where a picture can be sent, and the words for it. */
export const TARGETS = {
  img2img: "Send to img2img",
  sketch: "Send to sketch",
  inpaint: "Send to inpaint",
  extras: "Send to Extras",
  pnginfo: "Send to PNG info",
};

const takers = new Map();

/** Let `take(file, {settings})` receive what is sent to `target`: "img2img", "sketch", "inpaint", "extras" or "pnginfo". */
export function takes(target, act) {
  takers.set(target, act);
}

/**
 * Send a picture (a Blob; txt2img needs none) and how it was made. `settings` is what the "apply" message holds besides
 * its page: {job, index} for an image of a job, {request, picture, unmapped} for a file that was read, null for nothing.
 */
export async function sendTo(target, { file = null, settings = null }) {
  if (target === "txt2img") {
    if (settings) await send("apply", { page: "txt2img", ...settings });
    return;
  }
  await takers.get(target)(file, { settings });
  if (target === "extras" || target === "pnginfo") show(`tab_${target}`);
}

for (const mode of ["img2img", "sketch", "inpaint"]) {
  takes(mode, async (file, { settings }) => {
    await take([file], { proposesSize: !settings, mode });
    if (settings) await send("apply", { page: "img2img", ...settings, picture: { ...settings.picture, mode } });
    else show("tab_img2img");
  });
}
