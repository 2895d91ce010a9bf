// What a job's plan says of one image: of a plain plan, of a series of them, or of pictures that are only enlarged.

/** Return the plan that image `index` belongs to. */
export function partOf(plan, index) {
  if (plan.kind !== "series") return plan;
  return plan.parts.find((part) => index <= part.images.at(-1).index) ?? plan.parts[0];
}

/** Return all images that are planned, without sheets. */
export const plannedImages = (plan) => (plan.kind === "series" ? plan.parts.flatMap((part) => part.images) : plan.images);

/** Return what is planned of image `index`; nothing for a sheet. */
export const plannedImage = (plan, index) => plannedImages(plan).find((image) => image.index === index) ?? {};

/** Return whether a job began with pictures, and so belongs to the img2img page. */
export const pageOf = ({ request }) => (request.kind !== "generate" || request.hires || request.start.kind === "noise" ? "txt2img" : "img2img");

/** Return width and height of the finished images of a plan; null where each has its own. */
export function sizeOf(plan) {
  const part = partOf(plan, 0);
  if (part.kind === "upscale") return null;
  return part.hires ? [part.hires.width, part.hires.height] : [part.width, part.height];
}
