// The Extras page: pictures are enlarged, one or many, and shown beside what they came from.

import { chooser } from "./brushes.js";
import { byId, make, mount } from "./dom.js";
import { takeDrops } from "./dropped.js";
import { ExtrasForm } from "./extras_form.js";
import { ExtrasResults } from "./extras_results.js";
import { follow } from "./following.js";
import { t } from "./page.js";
import { decode } from "./pixels.js";
import { takes } from "./sending.js";
import { get, imageAddress, post, upload } from "./server.js";
import { toast } from "./toast.js";

const LAST = "easel.extras.job";
const NAMES = { single: "Single picture", batch_process: "Several files", batch_directory: "Folder" };

let parts = null;
let form = null;
let results = null;
let mode = "single";
let sources = []; // {file, address, width, height, problem, isDone}
let job = null; // {id, sources} while it runs

// Files in

const isPicture = (file) => file.type.startsWith("image/") || /\.(tiff?|bmp|webp)$/i.test(file.name);

async function take(files) {
  const pictures = [...files].filter(isPicture);
  if (!pictures.length) return;
  if (pictures.length > 1 && mode === "single") chooseMode("batch_process");
  sources.forEach((each) => URL.revokeObjectURL(each.address));
  sources = pictures.map((file) => ({ file, address: URL.createObjectURL(file) }));
  const [first] = sources;
  parts.picture.src = first.address;
  parts.zone.classList.add("filled");
  drawFiles();
  const image = await decode(first.address).catch(() => null);
  Object.assign(first, { width: image?.naturalWidth, height: image?.naturalHeight });
  sayCounts();
}

function sayCounts() {
  parts.run.disabled = !sources.length || job !== null;
  const [first] = sources;
  const sizes = first?.width ? { from: `${first.width}×${first.height}`, to: form.size(first).join("×") } : null;
  parts.words.textContent = sizes ? t("Picture {from} → result {to}", sizes) : "";
}

function line({ file, problem, isDone }) {
  return make(
    "li",
    { "data-state": problem ? "failed" : isDone ? "finished" : "waiting" },
    make("span", { className: "name", textContent: file.webkitRelativePath || file.name }),
    make("span", { className: "state", textContent: problem ?? (isDone ? t("done") : "") }),
  );
}

function drawFiles() {
  parts.list.replaceChildren(...sources.map(line));
  parts.list.hidden = sources.length < 2 && !sources.some((each) => each.problem);
}

function chooseMode(name) {
  mode = name;
  for (const each of Object.keys(NAMES)) {
    byId(`extras_${each}_tab`).classList.toggle("selected", each === name);
    byId(`extras_${each}_tab`).setAttribute("aria-selected", each === name);
  }
  parts.input.multiple = name !== "single";
  parts.input.webkitdirectory = name === "batch_directory";
  parts.ask.textContent = { single: t("Drop a picture here"), batch_process: t("Drop pictures here"), batch_directory: t("Choose a folder of pictures") }[name];
}

// Running

/** Upload the pictures with what they say about themselves; those that cannot be read are named and left out. */
async function send() {
  const sent = [];
  for (const [place, source] of sources.entries()) {
    results.say("running", t("Reading {n} of {total}", { n: place + 1, total: sources.length }), place / sources.length);
    Object.assign(source, { problem: null, isDone: false });
    try {
      const stored = await upload("api/v2/inputs", source.file);
      const { infotext } = await upload("api/v2/png-info", source.file);
      sent.push({ source, reference: stored.id, infotext: infotext ?? "" });
    } catch (error) {
      fail(source, error);
    }
  }
  return sent;
}

function fail(source, { message, hint }) {
  source.problem = [message, hint].filter(Boolean).join(" ");
  drawFiles();
}

function sayProgress({ state, batch, fraction }) {
  const total = job.sources.length;
  const words = state === "running" ? t("Enlarging {n} of {total}", { n: Math.min(batch + 1, total), total }) : t("Waiting…");
  results.say("running", words, fraction);
}

function happen(event) {
  if (event.progress) sayProgress(event.progress);
  const source = job.sources[event.index];
  if (event.kind === "image_failed") fail(source, event);
  if (event.kind !== "image_done") return;
  source.isDone = true;
  results.add({ source, address: imageAddress(job.id, event.index), width: event.width, height: event.height, infotext: event.infotext });
  drawFiles();
}

function sayEnd(event) {
  const counts = { n: results.list.length, total: sources.length };
  const failed = sources.filter((each) => each.problem).length;
  const words = {
    finished: () => t("{n} of {total} pictures enlarged", counts),
    cancelled: () => t("Interrupted after {n} of {total} images", counts),
    failed: () => [t("Failed:"), event.message, event.hint].filter(Boolean).join(" "),
  };
  results.say(event.kind, [words[event.kind](), failed ? t("{n} could not be read or enlarged", { n: failed }) : ""].filter(Boolean).join(" · "));
}

/** Upload and queue what was chosen; return the job. */
async function submit() {
  const sent = await send();
  if (!sent.length) throw new Error(t("None of the files is a picture that can be read"));
  const { id } = await post("api/v2/jobs", form.request(sent.map((each) => each.reference), sent.map((each) => each.infotext)));
  localStorage.setItem(LAST, id);
  return { id, sources: sent.map((each) => each.source) };
}

/** After a reload: return the last job, its pictures as the server has them; null without one. */
async function last() {
  const id = localStorage.getItem(LAST);
  const found = id && (await get(`api/v2/jobs/${encodeURIComponent(id)}`).catch(() => null));
  if (!found || sources.length) return null;
  sources = found.request.images.map((reference, place) => ({ address: `api/v2/inputs/${reference}`, file: { name: t("Picture {n}", { n: place + 1 }) } }));
  return { id, sources };
}

async function run(begin) {
  results.clear();
  job = { id: null, sources: [] };
  sayCounts();
  try {
    job = await begin();
    parts.stop.disabled = false;
    sayEnd(await follow(job.id, happen));
  } catch (error) {
    results.say("failed", `${t("Failed:")} ${error.message}`);
    toast(error.message, { kind: "error" });
  } finally {
    job = null;
    parts.stop.disabled = true;
    sayCounts();
  }
}

async function reattach() {
  const found = await last();
  if (!found || job) return;
  const mine = sources;
  await run(async () => found);
  if (sources === mine) sources = []; // the files themselves are not here any more
  sayCounts();
}

function start() {
  form.save();
  run(submit);
}

const stop = () => job?.id && post(`api/v2/jobs/${encodeURIComponent(job.id)}/interrupt`).catch((error) => toast(error.message, { kind: "error" }));

// The page

function buildZone() {
  parts.input = chooser("extras_file", t("Choose a picture"), take);
  parts.picture = make("img", { alt: t("The picture to enlarge") });
  parts.ask = make("b");
  const words = make("span", { className: "drop-words" }, parts.ask, make("span", { textContent: t("or click to choose one · Ctrl+V pastes") }));
  parts.zone = make("label", { className: "drop-zone", id: "extras_image" }, parts.input, parts.picture, words);
  takeDrops(parts.zone, take);
  document.addEventListener("paste", (event) => {
    if (byId("tab_extras").classList.contains("selected") && event.clipboardData?.files.length) take(event.clipboardData.files);
  });
}

function buildControls() {
  const tab = ([name, text]) => make("button", { type: "button", id: `extras_${name}_tab`, role: "tab", textContent: t(text), onclick: () => chooseMode(name) });
  parts.list = make("ul", { className: "file-list", hidden: true });
  parts.words = make("p", { className: "quiet", id: "extras_words" });
  parts.run = make("button", { type: "button", id: "extras_generate", className: "solid primary", textContent: t("Enlarge"), disabled: true, onclick: start });
  parts.stop = make("button", { type: "button", id: "extras_interrupt", className: "solid", textContent: t("Interrupt"), disabled: true, onclick: stop });
  buildZone();
  const bar = make("div", { className: "mode-tabs", role: "tablist", "aria-label": t("What to enlarge") }, ...Object.entries(NAMES).map(tab));
  return make("div", { className: "extras-controls" }, bar, parts.zone, parts.list, form.node, parts.words, make("div", { className: "button-line" }, parts.run, parts.stop));
}

takes("extras", (file) => {
  chooseMode("single");
  return take([file instanceof File ? file : new File([file], "picture.png", { type: file.type })]);
});

export function build() {
  parts = {};
  form = new ExtrasForm(sayCounts);
  results = new ExtrasResults();
  mount("extras_view").append(make("div", { className: "extras" }, buildControls(), results.node));
  chooseMode("single");
  form.offer();
  window.addEventListener("easel:page", ({ detail }) => detail === "tab_extras" && !form.isReady && form.offer());
  reattach();
}
