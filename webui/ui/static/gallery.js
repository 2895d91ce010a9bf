// The results: one large picture (or the live preview), thumbnails below, what made it, and what can be done with it.

import { byId, make, mount, type } from "./dom.js";
import { describe } from "./infotext.js";
import { failures, news } from "./jobs.js";
import * as lightbox from "./lightbox.js";
import { t } from "./page.js";
import { pageOf, plannedImage, sizeOf } from "./plans.js";
import { buildTools } from "./gallery_tools.js";
import { imageAddress } from "./server.js";
import { toast } from "./toast.js";

const FAILED = "failed"; // the role of an image that could not be made

let parts = null;
let job = null;
let items = []; // sheets, then images as they are numbered, those that failed among them
let selected = null; // the index of an item
let chosenByUser = false;

const find = (index) => items.find((item) => item.index === index);
const pictures = () => items.filter((item) => item.role !== FAILED);

/** Return {job, image} of the picture shown; null when none is. */
export function shownPicture() {
  const image = find(selected);
  return image && image.role !== FAILED ? { job, image } : null;
}

export function reuseSeed(page = pageOf(job)) {
  const shown = shownPicture();
  if (shown) type(byId(`${page}_seed`).querySelector("input"), shown.image.seed);
  else toast(t("There is no picture yet whose seed could be reused"));
}

/** Show the picture over the whole window. */
export function enlarge() {
  const list = pictures();
  lightbox.open(list, list.indexOf(find(selected)), (place) => select(list[place].index), parts.tools.sendPicture);
}

function fit(width, height) {
  parts.frame.style.setProperty("--image-width", width);
  parts.frame.style.setProperty("--image-height", height);
}

function showPicture(image) {
  fit(image.width, image.height);
  parts.picture.src = image.address;
  parts.picture.alt = plannedImage(job.plan, image.index).prompt || t("Generated picture");
  parts.stage.dataset.shows = "image";
  parts.info.replaceChildren(describe(job, image));
  parts.tools.follow({ job, image });
}

function showFailure(title, { message, hint }) {
  parts.stage.dataset.shows = FAILED;
  parts.failure.replaceChildren(make("strong", { textContent: title }), make("span", { textContent: [message, hint].filter(Boolean).join(" ") }));
  parts.info.replaceChildren();
}

function select(index, byUser = true) {
  selected = index;
  chosenByUser = byUser;
  const item = find(index);
  if (item.role === FAILED) showFailure(nameOf(item), item);
  else showPicture(item);
  mark();
}

function mark() {
  for (const thumbnail of parts.thumbnails.children) {
    const isSelected = thumbnail.dataset.index === String(selected);
    thumbnail.classList.toggle("selected", isSelected);
    thumbnail.setAttribute("aria-selected", isSelected);
    thumbnail.tabIndex = isSelected ? 0 : -1;
  }
}

function nameOf(item) {
  if (item.role === "sheet") return t("Overview of all images");
  if (item.role === FAILED) return t("Image {n} could not be made", { n: item.index + 1 });
  return t("Image {n}, seed {seed}", { n: item.index + 1, seed: item.seed });
}

function thumbnail(item) {
  const name = nameOf(item);
  const content = item.role === FAILED ? make("span", { className: "thumbnail-failed", textContent: "!" }) : make("img", { src: item.address, alt: "", loading: "lazy" });
  return make(
    "button",
    { type: "button", className: `thumbnail-item ${item.role}`, role: "option", title: item.role === "image" ? "" : name, "aria-label": name, "data-index": item.index, onclick: () => select(item.index) },
    content,
    item.role === "sheet" ? make("span", { className: "thumbnail-mark", textContent: t("Overview") }) : null,
  );
}

function add(item) {
  if (find(item.index)) return;
  items.push({ ...item, address: item.role === FAILED ? "" : imageAddress(job.id, item.index) });
  items.sort((one, other) => (other.role === "sheet") - (one.role === "sheet") || one.index - other.index);
  parts.thumbnails.replaceChildren(...items.map(thumbnail));
  parts.thumbnails.hidden = items.length < 2;
  parts.stage.classList.remove("stale");
  parts.tools.count(pictures().length);
  if (chosenByUser) mark();
  else select(item.index, false);
}

function clear() {
  items = [];
  selected = null;
  chosenByUser = false;
  parts.thumbnails.replaceChildren();
  parts.thumbnails.hidden = true;
}

function preview(progress) {
  if (!progress.preview_number || chosenByUser || parts.preview.dataset.number === String(progress.preview_number)) return;
  parts.preview.dataset.number = progress.preview_number;
  parts.preview.onload = () => {
    if (parts.preview.dataset.job !== job?.id || chosenByUser || !job.isRunning) return;
    fit(...(sizeOf(job.plan) ?? [parts.preview.naturalWidth, parts.preview.naturalHeight]));
    parts.stage.dataset.shows = "preview";
    parts.stage.classList.remove("stale");
  };
  parts.preview.dataset.job = job.id;
  parts.preview.src = `api/v2/jobs/${encodeURIComponent(job.id)}/preview?n=${progress.preview_number}`;
}

/** Leave only the sheets of a script that made its images for them; until there is one, the images are shown. */
function leaveOutWhatSheetsShow() {
  if (!job.plan.only_sheets || !items.some((item) => item.role === "sheet")) return;
  items = items.filter((item) => item.role !== "image");
  parts.thumbnails.replaceChildren(...items.map(thumbnail));
  parts.thumbnails.hidden = items.length < 2;
  parts.tools.count(pictures().length);
}

const asFailed = (event) => ({ ...event, role: FAILED });

/** Show a job that has ended, with all its images and those that failed. */
export async function showJob(finished) {
  job = finished;
  clear();
  finished.images.forEach(add);
  leaveOutWhatSheetsShow();
  for (const failed of await failures(finished)) add(asFailed(failed));
  if (items.length) select(items[0].index, false);
}

function move(event) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step || !items.length) return;
  event.preventDefault();
  const place = (items.indexOf(find(selected)) + step + items.length) % items.length;
  select(items[place].index);
  parts.thumbnails.children[place].focus();
}

function begin(started) {
  if (job?.id === started.id && items.length) return;
  job = { ...started, isRunning: true };
  parts.preview.dataset.number = "";
  clear();
  parts.stage.classList.add("stale");
  if (parts.stage.dataset.shows !== "image") parts.stage.dataset.shows = "nothing";
}

function end({ event }) {
  job.isRunning = false;
  parts.stage.classList.remove("stale");
  leaveOutWhatSheetsShow();
  if (items.length && (!chosenByUser || !find(selected))) select(items[0].index, false);
  else if (event.kind === FAILED && !items.length) showFailure(t("Nothing could be made"), event);
  else if (!items.length) parts.stage.dataset.shows = "nothing";
}

export function build() {
  parts = {
    picture: make("img", { className: "picture", alt: "", onclick: enlarge }),
    preview: make("img", { className: "livePreview", alt: t("Live preview") }),
    failure: make("div", { className: "failure", role: "alert" }),
    thumbnails: make("div", { className: "thumbnails grid-container", role: "listbox", "aria-label": t("Images"), hidden: true, onkeydown: move }),
    info: mount("html_info_txt2img"),
    tools: buildTools({ shownPicture, enlarge, reuseSeed }),
  };
  parts.frame = make("div", { className: "frame" }, parts.picture, parts.preview);
  parts.stage = make(
    "div",
    { className: "stage", "data-shows": "nothing" },
    make("div", { className: "empty" }, make("span", { className: "empty-mark" }), make("span", { textContent: t("Your picture appears here") })),
    parts.frame,
    parts.failure,
  );
  mount("txt2img_gallery").append(parts.stage, parts.tools.bar, parts.thumbnails);

  const ofThis = (act) => ({ detail }) => detail.job.id === job?.id && act(detail);
  news.addEventListener("start", ({ detail }) => begin(detail.job));
  news.addEventListener("progress", ofThis(({ progress }) => preview(progress)));
  news.addEventListener("image", ofThis(({ image }) => add(image)));
  news.addEventListener("imageFailed", ofThis(({ image }) => add(asFailed(image))));
  news.addEventListener("end", ofThis(end));
}
