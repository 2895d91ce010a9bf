// The Extras page: pictures are enlarged, one or many, and shown beside what they came from.

import { chooser, tool } from "./brushes.js";
import { buildComparison } from "./compare.js";
import { byId, copy, make, mount } from "./dom.js";
import { follow } from "./following.js";
import * as lightbox from "./lightbox.js";
import { number, t } from "./page.js";
import { decode } from "./pixels.js";
import { sendTo, takes } from "./sending.js";
import { get, imageAddress, post, upload } from "./server.js";
import { toast } from "./toast.js";

const KEY = "easel.extras.form";
const LAST = "easel.extras.job";
const NAMES = { single: "Single picture", batch_process: "Several files", batch_directory: "Folder" };
const NO_UPSCALER = "None";

let parts = null;
let mode = "single";
let sources = []; // {file, address, width, height, problem}
let results = []; // {source, address, width, height, infotext}
let chosen = -1;
let job = null; // {id, sources} while it runs

// Files in

const isPicture = (file) => file.type.startsWith("image/") || /\.(tiff?|bmp|webp)$/i.test(file.name);

async function take(files) {
  const pictures = [...files].filter(isPicture);
  if (!pictures.length) return;
  sources.forEach((each) => URL.revokeObjectURL(each.address));
  sources = (mode === "single" ? pictures.slice(0, 1) : pictures).map((file) => ({ file, address: URL.createObjectURL(file) }));
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
  const wanted = first?.width ? size(first) : null;
  parts.words.textContent = wanted ? t("Picture {from} → result {to}", { from: `${first.width}×${first.height}`, to: wanted.join("×") }) : "";
}

function drawFiles() {
  parts.list.replaceChildren(
    ...sources.map(({ file, problem, isDone }) =>
      make(
        "li",
        { "data-state": problem ? "failed" : isDone ? "finished" : "waiting" },
        make("span", { className: "name", textContent: file.webkitRelativePath || file.name }),
        make("span", { className: "state", textContent: problem ?? (isDone ? t("done") : "") }),
      ),
    ),
  );
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

// What is asked for

const scalesTo = () => parts.form.scaling.value === "to";
const value = (name) => Number(parts.form[name].value);

/** Return [width, height] of what becomes of a picture. */
function size(source) {
  if (!scalesTo()) return [source.width, source.height].map((side) => Math.round(side * value("scale")));
  const [width, height] = [value("width"), value("height")];
  if (parts.form.crop.checked) return [width, height];
  const factor = Math.max(width / source.width, height / source.height);
  return [source.width, source.height].map((side) => Math.round(side * factor));
}

function asked(images, infotexts) {
  const { upscaler, second, share, crop } = parts.form;
  return {
    kind: "upscale",
    images,
    infotexts,
    upscaler: upscaler.value,
    ...(second.value === NO_UPSCALER ? {} : { second_upscaler: second.value, second_share: Number(share.value) }),
    ...(scalesTo() ? { width: value("width"), height: value("height"), crop: crop.checked } : { scale: value("scale") }),
  };
}

function save() {
  const { crop, ...others } = parts.form;
  const values = Object.fromEntries(Object.entries(others).map(([name, field]) => [name, field.value]));
  localStorage.setItem(KEY, JSON.stringify({ ...values, crop: crop.checked }));
}

function restore() {
  let stored = {};
  try {
    stored = JSON.parse(localStorage.getItem(KEY) ?? "{}") ?? {};
  } catch {
    return;
  }
  for (const [name, field] of Object.entries(parts.form)) {
    if (name === "crop") field.checked = stored.crop ?? true;
    else if (stored[name] !== undefined && (field.tagName !== "SELECT" || [...field.options].some((each) => each.value === stored[name]))) field.value = stored[name];
  }
}

// Running

function say(text, fraction = null) {
  parts.progress.hidden = false;
  parts.progressText.textContent = text;
  parts.bar.hidden = fraction === null;
  if (fraction !== null) parts.fill.style.width = `${(fraction * 100).toFixed(1)}%`;
}

/** Upload the pictures with what they say about themselves; those that cannot be read are named and left out. */
async function send() {
  const sent = [];
  for (const [place, source] of sources.entries()) {
    say(t("Reading {n} of {total}", { n: place + 1, total: sources.length }), place / sources.length);
    Object.assign(source, { problem: null, isDone: false });
    try {
      const stored = await upload("api/v2/inputs", source.file);
      const { infotext } = await upload("api/v2/png-info", source.file);
      sent.push({ source, reference: stored.id, infotext: infotext ?? "" });
    } catch (error) {
      source.problem = error.message;
      drawFiles();
    }
  }
  return sent;
}

function fail(source, { message, hint }) {
  source.problem = [message, hint].filter(Boolean).join(" ");
  drawFiles();
}

function happen(event) {
  if (event.progress) say(event.progress.state === "running" ? t("Enlarging {n} of {total}", { n: Math.min(event.progress.batch + 1, job.sources.length), total: job.sources.length }) : t("Waiting…"), event.progress.fraction);
  const source = job.sources[event.index];
  if (event.kind === "image_failed") fail(source, event);
  if (event.kind !== "image_done") return;
  source.isDone = true;
  add({ source, address: imageAddress(job.id, event.index), width: event.width, height: event.height, infotext: event.infotext });
  drawFiles();
}

function sayEnd(event) {
  const failed = sources.filter((each) => each.problem).length;
  const words = {
    finished: () => t("{n} of {total} pictures enlarged", { n: results.length, total: sources.length }),
    cancelled: () => t("Interrupted after {n} of {total} images", { n: results.length, total: sources.length }),
    failed: () => [t("Failed:"), event.message, event.hint].filter(Boolean).join(" "),
  };
  say([words[event.kind](), failed ? t("{n} could not be read or enlarged", { n: failed }) : ""].filter(Boolean).join(" · "));
  parts.progress.dataset.state = event.kind;
}

/** Upload and queue what was chosen; return the job. */
async function submit() {
  const sent = await send();
  if (!sent.length) throw new Error(t("None of the files is a picture that can be read"));
  const { id } = await post("api/v2/jobs", asked(sent.map((each) => each.reference), sent.map((each) => each.infotext)));
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
  clear();
  job = { id: null, sources: [] };
  parts.progress.dataset.state = "running";
  sayCounts();
  try {
    job = await begin();
    parts.stop.disabled = false;
    sayEnd(await follow(job.id, happen));
  } catch (error) {
    say(`${t("Failed:")} ${error.message}`);
    parts.progress.dataset.state = "failed";
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
  save();
  run(submit);
}

const stop = () => job?.id && post(`api/v2/jobs/${encodeURIComponent(job.id)}/interrupt`).catch((error) => toast(error.message, { kind: "error" }));

// Results

function clear() {
  results = [];
  chosen = -1;
  parts.thumbnails.replaceChildren();
  parts.comparison.hide();
  parts.stage.dataset.shows = "nothing";
  parts.facts.textContent = "";
}

function add(result) {
  results.push(result);
  const place = results.length - 1;
  const button = make("button", { type: "button", className: "thumbnail-item", title: result.source.file.name, "aria-label": result.source.file.name, onclick: () => select(place) }, make("img", { src: result.address, alt: "", loading: "lazy" }));
  parts.thumbnails.append(button);
  parts.thumbnails.hidden = results.length < 2;
  if (place === 0) select(0);
}

function select(place) {
  chosen = place;
  const { source, address, width, height } = results[place];
  parts.stage.dataset.shows = "image";
  parts.comparison.show(source.address, address, width, height);
  parts.facts.textContent = `${source.file.name} · ${number(width)}×${number(height)}`;
  parts.download.href = `${address}?download=1`;
  [...parts.thumbnails.children].forEach((each, index) => each.classList.toggle("selected", index === place));
}

async function sendResult(target) {
  const { source, address } = results[chosen];
  const blob = await (await fetch(address)).blob();
  await sendTo(target, { file: new File([blob], source.file.name, { type: blob.type }) }).catch((error) => toast(error.message, { kind: "error" }));
}

function buildTools() {
  parts.download = make("a", { className: "plain-tool icon-download", title: t("Download"), "aria-label": t("Download"), download: "" });
  return make(
    "div",
    { className: "stage-tools" },
    tool("open", t("Enlarge"), () => lightbox.open(results, chosen, select, sendResult)),
    tool("to-img2img", t("Send to img2img"), () => sendResult("img2img"), { id: "extras_send_to_img2img" }),
    tool("to-inpaint", t("Send to inpaint"), () => sendResult("inpaint"), { id: "extras_send_to_inpaint" }),
    tool("to-pnginfo", t("Send to PNG info"), () => sendResult("pnginfo"), { id: "extras_send_to_pnginfo" }),
    tool("copy", t("Copy parameters"), async () => {
      await copy(results[chosen].infotext);
      toast(t("Parameters copied"));
    }),
    parts.download,
  );
}

// The page

const field = (label, input) => make("label", { className: "extras-field" }, make("span", { textContent: label }), input);

function chooserOf(id) {
  return make("select", { id });
}

function buildForm() {
  const amount = (id, least, most, step, start) => make("input", { type: "number", id, min: least, max: most, step, value: start });
  const form = {
    scaling: make("select", { id: "extras_scaling" }, make("option", { value: "by", textContent: t("Scale by") }), make("option", { value: "to", textContent: t("Scale to") })),
    scale: amount("extras_upscaling_resize", 0.05, 8, 0.05, 2),
    width: amount("extras_upscaling_resize_w", 8, 16384, 8, 1024),
    height: amount("extras_upscaling_resize_h", 8, 16384, 8, 1024),
    crop: make("input", { type: "checkbox", id: "extras_upscaling_crop", checked: true }),
    upscaler: chooserOf("extras_upscaler_1"),
    second: chooserOf("extras_upscaler_2"),
    share: make("input", { type: "range", id: "extras_upscaler_2_visibility", min: 0, max: 1, step: 0.01, value: 0.5 }),
  };
  parts.form = form;
  const shown = make("output", { textContent: form.share.value });
  const crop = make("label", { className: "extras-field crop-field" }, make("span", { textContent: t("Crop to fit") }), form.crop);
  const box = make(
    "div",
    { className: "extras-form" },
    field(t("Resize"), form.scaling),
    make("div", { className: "by-scale-fields" }, field(t("Factor"), form.scale)),
    make("div", { className: "to-size-fields" }, field(t("Width"), form.width), field(t("Height"), form.height), crop),
    field(t("Upscaler 1"), form.upscaler),
    field(t("Upscaler 2"), form.second),
    make("label", { className: "extras-field share-field" }, make("span", {}, `${t("Upscaler 2 visibility")} `, shown), form.share),
  );
  box.addEventListener("input", () => {
    shown.textContent = form.share.value;
    fitForm(box);
  });
  return box;
}

function fitForm(box) {
  box.dataset.scaling = parts.form.scaling.value;
  box.classList.toggle("has-second", parts.form.second.value !== NO_UPSCALER);
  sayCounts();
}

async function offerUpscalers(box) {
  const found = await get("api/v2/upscalers").catch(() => []);
  const names = found.filter((each) => each.kind !== "latent").map((each) => each.name);
  const networks = found.filter((each) => each.kind === "network").map((each) => each.name);
  const options = (list) => list.map((name) => make("option", { value: name, textContent: name }));
  parts.form.upscaler.replaceChildren(...options(names.filter((name) => name !== NO_UPSCALER)));
  parts.form.second.replaceChildren(...options([NO_UPSCALER, ...names.filter((name) => name !== NO_UPSCALER)]));
  parts.form.upscaler.value = networks[0] ?? "Lanczos";
  restore();
  fitForm(box);
}

function buildZone() {
  parts.input = chooser("extras_file", t("Choose a picture"), take);
  parts.picture = make("img", { alt: t("The picture to enlarge") });
  parts.ask = make("b");
  parts.zone = make("label", { className: "drop-zone", id: "extras_image" }, parts.input, parts.picture, make("span", { className: "drop-words" }, parts.ask, make("span", { textContent: t("or click to choose one · Ctrl+V pastes") })));
  parts.zone.addEventListener("dragover", (event) => event.preventDefault());
  parts.zone.addEventListener("drop", (event) => {
    event.preventDefault();
    take(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => {
    if (byId("tab_extras").classList.contains("selected") && event.clipboardData?.files.length) take(event.clipboardData.files);
  });
}

function buildControls() {
  const tab = ([name, text]) => make("button", { type: "button", id: `extras_${name}_tab`, role: "tab", textContent: t(text), onclick: () => chooseMode(name) });
  buildZone();
  parts.list = make("ul", { className: "file-list", hidden: true });
  parts.words = make("p", { className: "quiet", id: "extras_words" });
  parts.run = make("button", { type: "button", id: "extras_generate", className: "solid primary", textContent: t("Enlarge"), disabled: true, onclick: () => start() });
  parts.stop = make("button", { type: "button", id: "extras_interrupt", className: "solid", textContent: t("Interrupt"), disabled: true, onclick: stop });
  const form = buildForm();
  offerUpscalers(form);
  window.addEventListener("easel:page", ({ detail }) => detail === "tab_extras" && !parts.form.upscaler.options.length && offerUpscalers(form));
  return make(
    "div",
    { className: "extras-controls" },
    make("div", { className: "mode-tabs", role: "tablist", "aria-label": t("What to enlarge") }, ...Object.entries(NAMES).map(tab)),
    parts.zone,
    parts.list,
    form,
    parts.words,
    make("div", { className: "button-line" }, parts.run, parts.stop),
  );
}

function buildResults() {
  parts.comparison = buildComparison();
  const empty = make("div", { className: "empty" }, make("span", { className: "empty-mark" }), make("span", { textContent: t("The enlarged picture appears here") }));
  parts.stage = make("div", { className: "stage extras-stage", "data-shows": "nothing" }, empty, parts.comparison.box);
  parts.thumbnails = make("div", { className: "thumbnails", hidden: true });
  parts.facts = make("p", { className: "quiet facts-line" });
  parts.progressText = make("span", { className: "progress-text" });
  parts.fill = make("div", { className: "progress" });
  parts.bar = make("div", { className: "progressDiv" }, parts.fill);
  parts.progress = make("div", { className: "progress-box", id: "extras_progress", hidden: true }, make("div", { className: "progress-line", role: "status" }, parts.progressText), parts.bar);
  return make("div", { className: "extras-results" }, parts.progress, parts.stage, buildTools(), parts.thumbnails, parts.facts);
}

takes("extras", (file) => {
  chooseMode("single");
  return take([file instanceof File ? file : new File([file], "picture.png", { type: file.type })]);
});

export function build() {
  parts = {};
  const controls = buildControls();
  mount("extras_view").append(make("div", { className: "extras" }, controls, buildResults()));
  chooseMode("single");
  reattach();
}
