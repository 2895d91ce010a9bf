// How a picture was made, in readable form.

import { make } from "./dom.js";
import { t } from "./page.js";

/** Return [label, value] pairs of one image of a job. */
function facts(plan, image) {
  return [
    [t("Seed"), image.seed],
    [t("Size"), `${image.width}×${image.height}`],
    [t("Steps"), plan.steps],
    [t("Sampler"), plan.sampler],
    [t("Schedule"), plan.schedule],
    [t("CFG scale"), plan.guidance],
    ...(plan.start.kind === "noise" ? [] : [[t("Denoising strength"), plan.start.strength]]),
    ...(plan.clip_skip > 1 ? [[t("Clip skip"), plan.clip_skip]] : []),
    [t("Model"), plan.model.name],
  ];
}

export function describe(job, image) {
  const planned = job.plan.images[image.index] ?? { prompt: "", negative_prompt: "" };
  return make(
    "div",
    { className: "infotext" },
    make("p", { className: "infotext-prompt", textContent: planned.prompt || t("(no prompt)") }),
    planned.negative_prompt
      ? make("p", { className: "infotext-negative" }, make("b", { textContent: t("Without:") }), ` ${planned.negative_prompt}`)
      : null,
    pairs(facts(job.plan, image)),
    make(
      "details",
      {},
      make("summary", { textContent: t("Parameters as text") }),
      make("pre", { className: "infotext-raw", textContent: image.infotext }),
    ),
  );
}

/** Return a definition list of [label, value] pairs. */
export function pairs(list) {
  return make(
    "dl",
    { className: "facts" },
    ...list.map(([label, value]) =>
      make("div", {}, make("dt", { textContent: label }), make("dd", { textContent: String(value) })),
    ),
  );
}

/** Return where one image began: with one of the job's pictures. */
const startOf = (start, index) => (start.images ? { ...start, images: [start.images[index % start.images.length]] } : start);

/** Return the request that makes this one image again. */
export function requestOf(job, image) {
  const planned = job.plan.images[image.index];
  return {
    prompt: planned.prompt,
    negative_prompt: planned.negative_prompt,
    model: job.plan.model.name,
    sampler: job.plan.sampler,
    schedule: job.plan.schedule,
    steps: job.plan.steps,
    guidance: job.plan.guidance,
    width: job.plan.width,
    height: job.plan.height,
    clip_skip: job.plan.clip_skip,
    seed: image.seed,
    start: startOf(job.plan.start, image.index),
  };
}
