// Batches of img2img: one job for each chosen file, with what the form says and, if wanted, what the file says itself.

import { chooser } from "./brushes.js";
import { byId, make, mount } from "./dom.js";
import { takeDrops } from "./dropped.js";
import { follow } from "./following.js";
import { add } from "./jobs.js";
import { t } from "./page.js";
import { useBatchMask } from "./picture.js";
import { imageAddress, post, upload } from "./server.js";
import { toast } from "./toast.js";
import { receive } from "./wires.js";

const AT_ONCE = 2; // jobs in the queue at a time, so that others get their turn and stopping is quick

const NAMES = {
  prompt: "Prompt",
  negative_prompt: "Negative prompt",
  seed: "Seed",
  guidance: "CFG scale",
  sampler: "Sampler",
  steps: "Steps",
  model: "Checkpoint",
};
const FIELDS = { ...Object.fromEntries(Object.keys(NAMES).map((name) => [name, [name]])), sampler: ["sampler", "schedule"] };

let parts = null;
let items = []; // {file, row, state}
let running = new Set(); // ids of jobs
let isStopped = false;
let isBusy = false;

// The list

function row(file) {
  const picture = make("span", { className: "mark" });
  const name = make("span", { className: "name", textContent: file.webkitRelativePath || file.name, title: file.webkitRelativePath || file.name });
  const state = make("span", { className: "state", textContent: t("waiting") });
  return make("li", { "data-state": "waiting" }, picture, name, state);
}

function mark(item, state, text) {
  item.state = state;
  item.row.dataset.state = state;
  item.row.querySelector(".state").textContent = text;
  count();
}

function showResult(item, job, index) {
  item.row.firstChild.replaceWith(make("img", { src: imageAddress(job, index), alt: "", loading: "lazy" }));
}

function count() {
  const of = (state) => items.filter((item) => item.state === state).length;
  const words = [t("{n} of {total} done", { n: of("finished"), total: items.length })];
  if (of("failed")) words.push(t("{n} failed", { n: of("failed") }));
  parts.count.textContent = items.length ? words.join(" · ") : t("No pictures chosen yet");
  parts.stop.hidden = !isBusy;
}

function choose(files) {
  if (isBusy) return;
  const pictures = [...files].filter((file) => file.type.startsWith("image/"));
  items = pictures.map((file) => ({ file, row: row(file), state: "waiting" }));
  parts.list.replaceChildren(...items.map((item) => item.row));
  count();
}

// One picture

const wanted = () => [...parts.fields.querySelectorAll("input:checked")].flatMap((input) => FIELDS[input.value]);

/** Return the changes a file's own parameters make to the request. */
async function ownWords(file) {
  if (!parts.own.checked) return {};
  const { request } = await upload("api/v2/png-info", file);
  const found = wanted().map((name) => [name, request?.[name]]);
  return Object.fromEntries(found.filter(([, value]) => value !== null && value !== undefined && value !== ""));
}

let before = Promise.resolve(); // pictures are sent one after the other, so that jobs come in the files' order

/** Queue the job of one file; return its id. */
function submit(item, request) {
  const mine = before.then(() => (isStopped ? null : sendOne(item, request)));
  before = mine.catch(() => {});
  return mine;
}

async function sendOne(item, request) {
  mark(item, "sent", t("sending"));
  const { id } = await upload("api/v2/inputs", item.file);
  const own = await ownWords(item.file);
  return (await post("api/v2/jobs", { ...request, ...own, start: { ...request.start, images: [id] } })).id;
}

function happen(item, job, event) {
  if (event.kind === "image_done" && event.role === "image") showResult(item, job, event.index);
  else if (event.kind === "image_failed") item.failure = [event.message, event.hint].filter(Boolean).join(" ");
  if (event.progress?.state === "running") mark(item, "running", `${Math.round(event.progress.fraction * 100)} %`);
}

async function work(item, request) {
  let job = null;
  try {
    job = await submit(item, request);
    if (job === null) {
      mark(item, "stopped", t("stopped"));
      return;
    }
    running.add(job);
    add(job);
    mark(item, "queued", t("queued"));
    if (isStopped) await interrupt(job); // it was on its way when the batch was stopped
    const end = await follow(job, (event) => happen(item, job, event));
    if (end.kind === "finished" && !item.failure) mark(item, "finished", t("done"));
    else if (end.kind === "cancelled") {
      mark(item, "stopped", t("stopped"));
      stop(); // who interrupts one of them means the batch
    } else throw new Error(item.failure ?? [end.message, end.hint].filter(Boolean).join(" "));
  } catch (error) {
    mark(item, "failed", error.message);
  } finally {
    running.delete(job);
  }
}

// All of them

async function run(request) {
  if (isBusy) return;
  if (!items.length) {
    toast(t("Choose pictures for the batch first"), { kind: "error" });
    return;
  }
  [isBusy, isStopped] = [true, false];
  for (const item of items) {
    item.failure = null;
    mark(item, "waiting", t("waiting"));
  }
  const left = [...items];
  const take = async () => {
    while (left.length && !isStopped) await work(left.shift(), request);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, take));
  for (const item of left) mark(item, "stopped", t("stopped"));
  isBusy = false;
  count();
}

const interrupt = (job) => post(`api/v2/jobs/${encodeURIComponent(job)}/interrupt`);

async function stop() {
  isStopped = true;
  await Promise.allSettled([...running].map(interrupt));
}

// The panel

async function takeMask([file]) {
  try {
    useBatchMask((await upload("api/v2/inputs", file)).id);
    parts.maskName.textContent = file.name;
    parts.noMask.hidden = false;
  } catch (error) {
    toast(error.message, { kind: "error" });
  }
}

function dropMask() {
  useBatchMask("");
  parts.maskName.textContent = "";
  parts.noMask.hidden = true;
}

const button = (text, act, more = {}) => make("button", { type: "button", className: "solid", textContent: text, onclick: act, ...more });

function buildChoosers() {
  const files = chooser("img2img_batch_files", t("Choose files"), choose, { multiple: true });
  const folder = chooser("img2img_batch_folder", t("Choose a folder"), choose, { webkitdirectory: true, multiple: true });
  const mask = chooser("img2img_batch_mask", t("Mask for all"), takeMask);
  parts.maskName = make("span", { className: "quiet" });
  parts.noMask = make("button", { type: "button", className: "link", textContent: t("without mask"), hidden: true, onclick: dropMask });
  return make(
    "div",
    { className: "file-line" },
    files,
    folder,
    mask,
    button(t("Choose files"), () => files.click()),
    button(t("Choose a folder"), () => folder.click()),
    button(t("Mask for all"), () => mask.click()),
    parts.maskName,
    parts.noMask,
  );
}

function buildOwn() {
  parts.own = make("input", { type: "checkbox", id: "img2img_batch_use_png_info" });
  const each = ([name, text]) => make("label", {}, make("input", { type: "checkbox", value: name, checked: name !== "model" }), t(text));
  parts.fields = make("div", { className: "check-line", id: "img2img_batch_png_info_props", hidden: true }, ...Object.entries(NAMES).map(each));
  parts.own.addEventListener("change", () => (parts.fields.hidden = !parts.own.checked));
  return [make("div", { className: "check-line" }, make("label", {}, parts.own, t("Use what each picture says it was made with"))), parts.fields];
}

export function build() {
  parts = {
    list: make("ul", { className: "batch-list", id: "img2img_batch_list" }),
    count: make("span", { role: "status", id: "img2img_batch_count_done" }),
    stop: button(t("Stop the batch"), stop, { id: "img2img_batch_stop", hidden: true }),
  };
  const box = make("div", { className: "batch" }, buildChoosers(), ...buildOwn(), make("div", { className: "batch-line" }, parts.count, parts.stop), parts.list);
  takeDrops(box, choose);
  mount("img2img_batch").append(box);
  byId("img2img_batch").addEventListener("paste", (event) => event.clipboardData?.files.length && choose(event.clipboardData.files));
  receive("batch", ({ request }) => run(request));
  count();
}
