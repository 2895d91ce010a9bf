// The progress line and the Generate/Interrupt/Skip buttons.

import { byId, make, mount } from "./dom.js";
import { cancelWaiting, current, interrupt, news, skip, waiting } from "./jobs.js";
import { duration, t } from "./page.js";
import { partOf, plannedImages } from "./plans.js";
import { toast } from "./toast.js";

const PAGES = ["txt2img", "img2img"];

let parts = null;
let position = null;
let stopping = false;
let made = 0; // images of the followed job, without its sheets
let failed = 0;

function line(progress) {
  const words = [];
  if (progress.step) words.push(t("Step {step}/{steps}", { step: progress.step, steps: progress.steps }));
  if (progress.batches > 1) {
    const plan = current()?.plan;
    const batched = plan && partOf(plan, 0).batch_size > 1;
    const place = { n: Math.min(progress.batch + 1, progress.batches), total: progress.batches };
    words.push(batched ? t("batch {n} of {total}", place) : t("image {n} of {total}", place));
  }
  if (progress.eta !== null && progress.eta !== undefined) words.push(t("ETA {time}", { time: duration(progress.eta) }));
  return words.join(" · ") || (progress.state === "running" ? t("Starting…") : t("Waiting…"));
}

function say(text, fraction = null) {
  parts.box.hidden = false;
  parts.text.textContent = stopping ? t("Stopping after this step…") : text;
  if (fraction !== null) {
    parts.fill.style.width = `${(fraction * 100).toFixed(1)}%`;
    parts.bar.setAttribute("aria-valuenow", Math.round(fraction * 100));
    document.title = `[${Math.round(fraction * 100)}%] Easel`;
  }
}

function buttons(isBusy) {
  for (const page of PAGES) for (const act of ["interrupt", "skip"]) byId(`${page}_${act}`).disabled = !isBusy;
  document.body.classList.toggle("generating", isBusy);
}

function showWaiting() {
  const behind = waiting();
  parts.queue.hidden = behind === 0;
  parts.count.textContent = behind === 1 ? t("1 more in the queue") : t("{n} more in the queue", { n: behind });
}

function outcome(job, event) {
  const count = made;
  if (event.kind === "failed") {
    toast(event.message, { kind: "error", hint: event.hint });
    return ["failed", [t("Failed:"), event.message, event.hint].filter(Boolean).join(" ")];
  }
  if (event.kind === "cancelled") {
    const total = plannedImages(job.plan).length;
    return ["cancelled", count ? t("Interrupted after {n} of {total} images", { n: count, total }) : t("Interrupted")];
  }
  const time = duration(event.seconds);
  const words = [count === 1 ? t("1 image in {time}", { time }) : t("{n} images in {time}", { n: count, time })];
  if (failed) words.push(failed === 1 ? t("1 image failed") : t("{n} images failed", { n: failed }));
  return ["finished", words.join(" · ")];
}

const guarded = (act) => async () => {
  try {
    await act();
  } catch (error) {
    toast(error.message, { kind: "error" });
  }
};

export const stop = guarded(async () => {
  if (!current()) return;
  stopping = true;
  parts.text.textContent = t("Stopping after this step…");
  await interrupt();
});
export const skipBatch = guarded(skip);

export function build() {
  const place = mount("txt2img_progress");
  place.innerHTML = "";
  parts = {
    text: make("span", { className: "progress-text", id: "html_log_txt2img" }),
    count: make("span"),
    fill: make("div", { className: "progress" }),
  };
  parts.queue = make(
    "span",
    { className: "queue-count", hidden: true },
    parts.count,
    make("button", { type: "button", className: "link", textContent: t("cancel"), onclick: guarded(cancelWaiting) }),
  );
  parts.bar = make(
    "div",
    { className: "progressDiv", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100, "aria-label": t("Progress") },
    parts.fill,
  );
  parts.box = make(
    "div",
    { className: "progress-box", hidden: true },
    make("div", { className: "progress-line", role: "status" }, parts.text, parts.queue),
    parts.bar,
  );
  place.append(parts.box);
  for (const page of PAGES) {
    byId(`${page}_interrupt`).addEventListener("click", stop);
    byId(`${page}_skip`).addEventListener("click", skipBatch);
  }
  buttons(false);

  news.addEventListener("start", () => {
    stopping = false;
    made = failed = 0;
    position = null;
    parts.box.dataset.state = "running";
    buttons(true);
    say(t("Waiting…"), 0);
  });
  news.addEventListener("progress", ({ detail: { progress } }) => {
    if (progress.state !== "queued") say(line(progress), progress.fraction);
  });
  news.addEventListener("image", ({ detail: { image } }) => (made += image.role === "image"));
  news.addEventListener("imageFailed", () => (failed += 1));
  news.addEventListener("loading", ({ detail }) => say(t("Loading {model}…", { model: detail.model })));
  news.addEventListener("noted", ({ detail }) => say(detail.message));
  news.addEventListener("waiting", ({ detail }) => {
    showWaiting();
    if (detail.position === undefined) return;
    position = detail.position;
    if (position === 1) say(t("Waiting · 1 job ahead"));
    else if (position > 1) say(t("Waiting · {n} jobs ahead", { n: position }));
    else say(t("Waiting for the worker to be ready…"));
  });
  news.addEventListener("end", ({ detail: { job, event } }) => {
    stopping = false;
    const [state, text] = outcome(job, event);
    say(text, state === "finished" ? 1 : null);
    parts.box.dataset.state = state;
    document.title = "Easel";
    buttons(false);
    showWaiting();
  });
}
