// How a picture was made, in readable form.

import { make } from "./dom.js";
import { number, t } from "./page.js";
import { partOf, plannedImage } from "./plans.js";

const TILINGS = { both: "Both directions", x: "Left to right", y: "Top to bottom" };

/** Return [label, value] pairs of what one planned image was made with. */
function generated(plan, image) {
  const { hires, refiner, variation, guiding } = plan;
  return [
    [t("Steps"), hires && hires.steps !== plan.steps ? `${plan.steps} + ${hires.steps}` : plan.steps],
    [t("Sampler"), plan.sampler],
    [t("Schedule"), plan.schedule],
    [t("CFG scale"), plan.guidance],
    ...(plan.start.kind === "noise" ? [] : [[t("Denoising strength"), plan.start.strength]]),
    ...(hires ? [[t("Hires. fix"), `${hires.upscaler.name}, ${number(hires.strength, 2)}`]] : []),
    ...(refiner ? [[t("Refiner"), `${refiner.model.name} (${number(refiner.switch_at, 2)})`]] : []),
    ...(variation.strength ? [[t("Variation"), `${image.variation_seed} (${number(variation.strength, 2)})`]] : []),
    ...(guiding.rescale ? [[t("CFG rescale"), number(guiding.rescale, 2)]] : []),
    ...(guiding.start > 0 || guiding.end < 1 ? [[t("Guidance"), `${number(guiding.start * 100)} – ${number(guiding.end * 100)} %`]] : []),
    ...(plan.tiling === "none" ? [] : [[t("Tiling"), t(TILINGS[plan.tiling])]]),
    ...(plan.clip_skip > 1 ? [[t("Clip skip"), plan.clip_skip]] : []),
    ...(plan.vae ? [[t("VAE"), plan.vae.name]] : []),
    [t("Model"), plan.model.name],
  ];
}

/** Return [label, value] pairs of one image of a job. */
function facts(job, image) {
  const plan = partOf(job.plan, image.index);
  const isSheet = image.role === "sheet";
  return [
    ...(isSheet || plan.kind === "upscale" ? [] : [[t("Seed"), image.seed]]),
    [t("Size"), `${image.width}×${image.height}`],
    ...(plan.kind === "upscale" ? [[t("Upscaler"), plan.upscaler.name]] : isSheet ? [] : generated(plan, plannedImage(plan, image.index))),
    ...(job.plan.kind === "series" ? [[t("Script"), job.plan.script]] : []),
    [t("File"), `outputs/${image.path}`],
  ];
}

export function describe(job, image) {
  const planned = image.role === "sheet" ? plannedImage(job.plan, 0) : plannedImage(job.plan, image.index);
  return make(
    "div",
    { className: "infotext" },
    planned.prompt === undefined ? null : make("p", { className: "infotext-prompt", textContent: planned.prompt || t("(no prompt)") }),
    planned.negative_prompt
      ? make("p", { className: "infotext-negative" }, make("b", { textContent: t("Without:") }), ` ${planned.negative_prompt}`)
      : null,
    pairs(facts(job, image)),
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
