// The results: one large picture (or the live preview), thumbnails below, what made it, and what can be done with it.

import { byId, copy, make, mount, type } from "./dom.js";
import { describe, requestOf } from "./infotext.js";
import { news } from "./jobs.js";
import * as lightbox from "./lightbox.js";
import { t } from "./page.js";
import { take } from "./picture.js";
import { imageAddress } from "./server.js";
import { toast } from "./toast.js";
import { send } from "./wires.js";

let parts = null;
let job = null;
let images = [];
let selected = -1;
let chosenByUser = false;

export const selectedImage = () => (images[selected] ? { job, image: images[selected] } : null);

function tool(icon, name, act) {
  return make("button", { type: "button", className: `plain-tool icon-${icon}`, title: name, "aria-label": name, onclick: act });
}

function tools() {
  const bar = make(
    "div",
    { className: "stage-tools" },
    tool("open", t("Enlarge"), () => lightbox.open(images, selected, select)),
    tool("paste", t("Put these settings into the form"), () => send("apply", { page: pageOf(job), request: requestOf(job, images[selected]) })),
    tool("reuse", t("Reuse this seed"), () => reuseSeed()),
    tool("to-img2img", t("Send to img2img"), beginWith),
    tool("copy", t("Copy parameters"), async () => {
      await copy(images[selected].infotext);
      toast(t("Parameters copied"));
    }),
  );
  parts.download = make("a", { className: "plain-tool icon-download", title: t("Download"), "aria-label": t("Download"), download: "" });
  bar.append(parts.download);
  return bar;
}

export function reuseSeed(page = pageOf(job)) {
  if (images[selected]) type(byId(`${page}_seed`).querySelector("input"), images[selected].seed);
  else toast(t("There is no picture yet whose seed could be reused"));
}

const pageOf = (each) => (each?.plan.start.kind === "noise" ? "txt2img" : "img2img");

/** Put the picture and what it was made with into the img2img page, whose tools then paint a mask on it. */
async function beginWith() {
  const image = images[selected];
  if (!image) return;
  const { start: _, ...request } = requestOf(job, image);
  const picture = await (await fetch(image.address)).blob();
  await take([picture], { proposesSize: false });
  send("apply", { page: "img2img", request: { ...request, width: image.width, height: image.height, seed: -1 } });
}

function fit(width, height) {
  parts.frame.style.setProperty("--image-width", width);
  parts.frame.style.setProperty("--image-height", height);
}

function select(index, byUser = true) {
  selected = index;
  chosenByUser = byUser;
  const image = images[index];
  fit(image.width, image.height);
  parts.picture.src = image.address;
  parts.picture.alt = job.plan.images[image.index]?.prompt || t("Generated picture");
  parts.stage.dataset.shows = "image";
  parts.download.href = `${image.address}?download=1`;
  [...parts.thumbnails.children].forEach((item, place) => {
    item.classList.toggle("selected", place === index);
    item.setAttribute("aria-selected", place === index);
    item.tabIndex = place === index ? 0 : -1;
  });
  parts.info.replaceChildren(describe(job, image));
}

function thumbnail(image) {
  return make(
    "button",
    {
      type: "button",
      className: "thumbnail-item",
      role: "option",
      "aria-label": t("Image {n}, seed {seed}", { n: image.index + 1, seed: image.seed }),
      onclick: (event) => select([...parts.thumbnails.children].indexOf(event.currentTarget)),
    },
    make("img", { src: image.address, alt: "", loading: "lazy" }),
  );
}

function add(image) {
  if (images.some((known) => known.index === image.index)) return;
  images.push({ ...image, address: imageAddress(job.id, image.index) });
  parts.thumbnails.append(thumbnail(images.at(-1)));
  parts.thumbnails.hidden = images.length < 2;
  parts.stage.classList.remove("stale");
  if (!chosenByUser) select(images.length - 1, false);
}

function clear() {
  images = [];
  selected = -1;
  chosenByUser = false;
  parts.thumbnails.replaceChildren();
  parts.thumbnails.hidden = true;
  parts.info.replaceChildren();
}

function preview(progress) {
  if (!progress.preview_number || chosenByUser || parts.preview.dataset.number === String(progress.preview_number)) return;
  parts.preview.dataset.number = progress.preview_number;
  parts.preview.onload = () => {
    if (parts.preview.dataset.job !== job?.id || chosenByUser || !job.isRunning) return;
    fit(job.plan.width, job.plan.height);
    parts.stage.dataset.shows = "preview";
    parts.stage.classList.remove("stale");
  };
  parts.preview.dataset.job = job.id;
  parts.preview.src = `api/v2/jobs/${encodeURIComponent(job.id)}/preview?n=${progress.preview_number}`;
}

/** Show a job that has ended, with all its images. */
export function showJob(finished) {
  job = finished;
  clear();
  finished.images.forEach(add);
  if (images.length) select(0, false);
}

function move(event) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step || !images.length) return;
  event.preventDefault();
  select((selected + step + images.length) % images.length);
  parts.thumbnails.children[selected].focus();
}

export function build() {
  parts = {
    picture: make("img", { className: "picture", alt: "", onclick: () => lightbox.open(images, selected, select) }),
    preview: make("img", { className: "livePreview", alt: t("Live preview") }),
    thumbnails: make("div", { className: "thumbnails grid-container", role: "listbox", "aria-label": t("Images"), hidden: true, onkeydown: move }),
    info: mount("html_info_txt2img"),
  };
  parts.frame = make("div", { className: "frame" }, parts.picture, parts.preview);
  parts.stage = make(
    "div",
    { className: "stage", "data-shows": "nothing" },
    make("div", { className: "empty" }, make("span", { className: "empty-mark" }), make("span", { textContent: t("Your picture appears here") })),
    parts.frame,
  );
  mount("txt2img_gallery").append(parts.stage, tools(), parts.thumbnails);

  news.addEventListener("start", ({ detail }) => {
    if (job?.id === detail.job.id && images.length) return;
    job = { ...detail.job, isRunning: true };
    parts.preview.dataset.number = "";
    clear();
    parts.stage.classList.add("stale");
    if (parts.stage.dataset.shows === "preview") parts.stage.dataset.shows = "nothing";
  });
  news.addEventListener("progress", ({ detail }) => detail.job.id === job?.id && preview(detail.progress));
  news.addEventListener("image", ({ detail }) => detail.job.id === job?.id && add(detail.image));
  news.addEventListener("end", ({ detail }) => {
    if (detail.job.id !== job?.id) return;
    job.isRunning = false;
    parts.stage.classList.remove("stale");
    if (images.length && !chosenByUser) select(images.length > 1 ? 0 : images.length - 1, false);
    else if (!images.length) parts.stage.dataset.shows = "nothing";
  });
}
