// What the picture that is asked for would take, said before it is begun.

import { byId, make } from "./dom.js";
import { forms } from "./form.js";
import { news } from "./jobs.js";
import { number, t } from "./page.js";
import { post } from "./server.js";

const PAUSE = 500; // milliseconds without a change
const FIELDS = ["width", "height", "batch_size"];

let place = null;
let timer = null;
let asked = 0; // requests, so that late answers are dropped
let isKnown = false; // whether the worker has told what its device has
let isHashed = false; // whether the model is: else planning would read all of it, which is for Generate to ask

const gigabytes = (bytes) => t("{n} GB", { n: number(bytes / 1e9, 1) });
const shownForm = () => Object.values(forms).find((form) => byId(`tab_${form.page}`).classList.contains("selected"));

async function look() {
  const form = shownForm();
  place.hidden = !form || !isKnown || !isHashed;
  if (place.hidden) return;
  const call = ++asked;
  const request = Object.fromEntries(FIELDS.map((name) => [name, Number(form.input(name).value)]));
  try {
    const plan = await post("api/v2/jobs/estimate", { prompt: "", ...request });
    if (call !== asked) return;
    const [needed, free] = plan.device === "cpu" ? [plan.ram, plan.ram_free] : [plan.peak, plan.free];
    place.textContent = t("this picture: about {size} of {free}", { size: gigabytes(needed), free: gigabytes(free) });
    place.title = plan.why;
    place.dataset.state = plan.fits ? "fits" : "large";
  } catch {
    place.hidden = true; // what is wrong with the values is said when they are used
  }
}

const soon = () => {
  clearTimeout(timer);
  timer = setTimeout(look, PAUSE);
};

/** Take what the worker says of its device. */
export function hear(worker) {
  const knew = isKnown;
  isKnown = Boolean(worker.device_facts);
  if (isKnown !== knew) soon();
}

/** Return the words for the state line; they follow the forms. */
export function build() {
  place = make("span", { id: "easel_needs", hidden: true });
  for (const form of Object.values(forms)) for (const name of FIELDS) form.block(name).addEventListener("input", soon);
  const note = (value) => {
    isHashed = value;
    soon();
  };
  window.addEventListener("easel:page", soon);
  window.addEventListener("easel:model", ({ detail }) => note(detail.is_hashed));
  news.addEventListener("end", () => note(true)); // whatever ran, ran with it
  soon();
  return place;
}
