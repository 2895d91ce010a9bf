// The picture of the img2img page and what is painted on it. Both are uploaded to the server's input store; the form
// only carries what the server called them. One picture serves all modes; each kind of paint has a layer of its own.

import { Brushes, chooser } from "./brushes.js";
import { byId, make, mount, type } from "./dom.js";
import { Editor } from "./editor.js";
import { formOf } from "./form.js";
import { Layer } from "./layer.js";
import * as modes from "./modes.js";
import { t } from "./page.js";
import { asBlackAndWhite, asMask, asTouched, blank, decode, flatten, isTransparent, toPng } from "./pixels.js";
import { upload } from "./server.js";
import { toast } from "./toast.js";
import { receive } from "./wires.js";

const KEY = "easel.img2img.picture";
const SETTLE = 700; // ms after the last stroke
const inputAddress = (reference) => `api/v2/inputs/${encodeURIComponent(reference)}`;

const layers = { mask: new Layer(), colours: new Layer(), uploaded: new Layer() };
const stored = {}; // what the server calls a drawing: name → {key, reference}
let parts = null;
let editor = null;
let brushes = null;
let base = []; // references of the pictures
let maskFile = ""; // reference of the mask that was uploaded for "inpaint upload"
let pending = null; // an upload that Generate must wait for
let unsettled = false; // what is painted is not uploaded yet
let timer = 0;

const form = () => formOf("img2img");
const layerName = () => modes.MODES[modes.mode()].layer;
const write = (name, value) => form().input(name).value !== value && type(form().input(name), value);
const tell = () => window.dispatchEvent(new CustomEvent("easel:picture"));

/** Return width and height of the picture, or null without one. */
export const size = () => (base.length ? editor.size : null);
export const count = () => base.length;
export const grow = (sides) => base.length && editor.grow(sides);

/** Let `work` finish before a job is sent; tell what went wrong. */
function later(work) {
  const before = pending ?? Promise.resolve();
  const mine = before.then(work).catch((error) => toast(error.message, { kind: "error" }));
  pending = mine;
  mine.then(() => pending === mine && (pending = null));
  return mine;
}

// Layers have the picture's size from the moment they are needed

function layer(name) {
  if (!name || !base.length) return null;
  const each = layers[name];
  const [width, height] = editor.size;
  if (each.canvas.width !== width || each.canvas.height !== height) each.reset(width, height);
  return each;
}

function emptyLayers() {
  for (const each of Object.values(layers)) each.reset(1, 1);
  maskFile = "";
}

const isPainted = (name) => base.length > 0 && layers[name].canvas.width > 1 && layers[name].isPainted;

// What the form says

function changed() {
  brushes.follow(editor.layer);
  unsettled = true;
  clearTimeout(timer);
  timer = setTimeout(() => unsettled && later(settle), SETTLE);
}

async function send(name, key, draw) {
  if (stored[name]?.key !== key) stored[name] = { key, reference: (await upload("api/v2/inputs", await toPng(draw()))).id };
  return stored[name].reference;
}

const paintedPicture = () => {
  const { version, canvas } = layers.colours;
  const share = modes.mode() === "inpaint_sketch" ? brushes.share : 1;
  return send("picture", `${base[0]} ${version} ${share}`, () => flatten(editor.picture, canvas, share));
};
const paintedMask = () => send("mask", `${base[0]} ${layers.mask.version}`, () => asBlackAndWhite(layers.mask.canvas));
const touched = () => send("touched", `${base[0]} ${layers.colours.version}`, () => asTouched(layers.colours.canvas));
const paint = () => send("paint", `${base[0]} ${layers.colours.version}`, () => layers.colours.canvas);

/** Return the pictures and the mask that a mode sends. */
async function sendable() {
  const isSketched = modes.MODES[modes.mode()].paints === "colours" && isPainted("colours");
  const images = isSketched ? [await paintedPicture(), ...base.slice(1)] : base;
  const masks = {
    inpaint: async () => (isPainted("mask") ? paintedMask() : ""),
    inpaint_sketch: async () => (isSketched ? touched() : ""),
    inpaint_upload: async () => maskFile,
    batch: async () => parts.batchMask,
  };
  return { images: images.join(","), mask: (await masks[modes.mode()]?.()) ?? "" };
}

/** Upload what was painted and write its names into the form. */
async function settle() {
  unsettled = false;
  try {
    const { images, mask } = await sendable();
    write("mode", modes.mode());
    write("images", images);
    write("mask", mask);
    const drawn = { mask: isPainted("mask") ? await paintedMask() : "", paint: isPainted("colours") ? await paint() : "" };
    localStorage.setItem(KEY, JSON.stringify({ images, base, ...drawn, maskFile, transparency: brushes.opacity.value }));
  } catch (error) {
    unsettled = true;
    throw error;
  }
}

function remembered() {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? "null") ?? {};
  } catch {
    return {};
  }
}

// Pictures in

/** Choose a size for the result: the picture's own if it is near what was asked for, else its shape with that area. */
function proposeSize(width, height) {
  const area = Number(form().input("width").value) * Number(form().input("height").value);
  const isNear = width % 8 === 0 && height % 8 === 0 && width * height >= area / 4 && width * height <= area * 2.25;
  setSize(width, height, isNear ? 1 : Math.sqrt(area / (width * height)));
}

function setSize(width, height, scale = 1) {
  const fit = (side) => Math.min(2048, Math.max(64, Math.round((side * scale) / 8) * 8));
  type(form().input("width"), fit(width));
  type(form().input("height"), fit(height));
}

function say() {
  const [width, height] = editor.size;
  const more = base.length > 1 ? ` · ${t("{n} pictures, one after another", { n: base.length })}` : "";
  const zoom = editor.view.isWhole ? "" : ` · ${Math.round(editor.view.scale * 100)} %`;
  brushes.words.textContent = base.length ? `${width}×${height}${more}${zoom}` : "";
}

/** Show stored pictures; nothing is painted on them yet. */
async function display(references) {
  await editor.show(inputAddress(references[0]));
  base = references;
  emptyLayers();
  parts.box.classList.add("filled");
  byId("tab_img2img").classList.toggle("has-alpha", isTransparent(editor.picture));
  fitMode();
}

/** Take pictures as the start: files, or blobs of results. */
export function take(files, { proposesSize = true, mode = modes.mode() } = {}) {
  const pictures = [...files].filter((each) => each.type.startsWith("image/"));
  if (!pictures.length) return Promise.resolve();
  return later(async () => {
    const uploads = [];
    for (const file of pictures) uploads.push(await upload("api/v2/inputs", file));
    await display(uploads.map((each) => each.id));
    modes.choose(mode === "batch" ? "img2img" : mode);
    await settle();
    if (proposesSize) proposeSize(uploads[0].width, uploads[0].height);
  });
}

function remove() {
  base = [];
  emptyLayers();
  parts.box.classList.remove("filled");
  editor.picture.removeAttribute("src");
  byId("tab_img2img").classList.remove("has-alpha");
  fitMode();
  later(settle);
}

async function begin() {
  const [width, height] = ["width", "height"].map((name) => Number(form().input(name).value));
  await take([await blank(width, height, parts.ground.value)], { proposesSize: false });
}

// Masks in

const maskColour = () => getComputedStyle(editor.canvas).color;

async function takeMask(file) {
  if (!base.length) return;
  const address = URL.createObjectURL(file);
  await later(async () => {
    try {
      const image = await asMask(address, editor.size, maskColour());
      if (modes.mode() === "inpaint_upload") maskFile = (await upload("api/v2/inputs", file)).id;
      layer(layerName()).put(image);
    } catch (error) {
      toast(t("This mask cannot be read"), { kind: "error", hint: error.status ? error.message : "" });
    } finally {
      URL.revokeObjectURL(address);
    }
    editor.draw();
    changed();
  });
}

/** Say which mask a batch uses ("" for none). */
export function useBatchMask(reference) {
  parts.batchMask = reference;
  byId("tab_img2img").classList.toggle("has-batch-mask", reference !== "");
  changed();
}

// Modes

function fitMode() {
  const facts = modes.MODES[modes.mode()];
  editor.stage.dataset.paints = facts.paints ? "yes" : "no";
  editor.stage.dataset.shows = facts.layer ?? "";
  editor.layer = layer(facts.layer);
  editor.canvas.style.opacity = { sketch: 1, inpaint_sketch: brushes.share }[modes.mode()] ?? "";
  brushes.fitMode(facts);
  brushes.follow(editor.layer);
  say();
  editor.draw();
  tell();
}

// After a reload, or when settings were put into the form

async function restore(found) {
  await display(found.base);
  if (found.mask) layer("mask").restore(await asMask(inputAddress(found.mask), editor.size, maskColour()));
  if (found.paint) layer("colours").restore(await decode(inputAddress(found.paint)));
  if (found.maskFile) layer("uploaded").restore(await asMask(inputAddress(found.maskFile), editor.size, maskColour()));
  maskFile = found.maskFile ?? "";
  brushes.opacity.value = found.transparency ?? 0;
  fitMode();
  changed();
}

function open(found) {
  return later(async () => {
    try {
      await restore(found);
    } catch {
      remove(); // the server has it no more
    }
  });
}

function reopen() {
  const found = remembered();
  const images = form().input("images").value;
  modes.choose(form().input("mode").value);
  if (!images) return;
  if (found.images === images && found.base?.length) open(found);
  else open({ base: images.split(","), mask: form().input("mask").value });
}

/** Show what a request began with. */
function applied({ page, picture }) {
  if (page !== "img2img" || !picture?.mode) return;
  modes.choose(picture.mode);
  if (picture.images) open({ base: picture.images.split(","), mask: picture.mask });
}

// Generate waits for uploads

function guardGenerate(event) {
  if (!pending && !unsettled) return;
  event.stopImmediatePropagation();
  event.preventDefault();
  const button = byId("img2img_generate");
  if (unsettled) later(settle);
  pending.then(() => !unsettled && button.click());
}

function buildZone() {
  const files = chooser("img2img_file", t("Choose a picture"), take, { multiple: true });
  return make(
    "label",
    { className: "drop-zone" },
    files,
    make("span", { className: "drop-words" }, make("b", { textContent: t("Drop a picture here") }), make("span", { textContent: t("or click to choose one · Ctrl+V pastes") })),
  );
}

function buildBlank() {
  parts.ground = make("input", { type: "color", value: "#ffffff", "aria-label": t("Colour of the canvas"), title: t("Colour of the canvas") });
  const button = make("button", { type: "button", id: "img2img_blank", className: "solid", textContent: t("Begin with an empty canvas"), onclick: () => begin() });
  return make("div", { className: "blank-line" }, button, parts.ground);
}

function actsOnLayers() {
  const onLayer = (act) => () => {
    act(editor.layer);
    editor.draw();
    changed();
  };
  return {
    undo: onLayer((each) => each.undo()),
    redo: onLayer((each) => each.redo()),
    clear: onLayer((each) => each.clear()),
    loadMask: takeMask,
    takeSize: () => base.length && setSize(...editor.size),
    remove,
    opaque: () => {
      editor.canvas.style.opacity = brushes.share;
      changed();
    },
  };
}

function listen() {
  window.addEventListener("easel:mode", () => {
    fitMode();
    changed();
  });
  parts.box.addEventListener("dragover", (event) => event.preventDefault());
  parts.box.addEventListener("drop", (event) => {
    event.preventDefault();
    take(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => {
    const isHere = byId("tab_img2img").classList.contains("selected") && !event.target.closest?.(".prompt");
    if (isHere && event.clipboardData?.files.length) take(event.clipboardData.files);
  });
  window.addEventListener("click", (event) => event.target.closest?.("#img2img_generate") && guardGenerate(event), true);
  receive("applied", applied);
}

export function build() {
  parts = { batchMask: "" };
  modes.build();
  editor = new Editor({ painted: changed, picked: (colour) => brushes.pick(colour), moved: () => parts.box && say() });
  brushes = new Brushes(editor, actsOnLayers());
  parts.box = make("div", { className: "picture-box" }, buildZone(), buildBlank(), brushes.bar, editor.stage);
  mount("img2img_image").append(parts.box);
  brushes.listen();
  listen();
  reopen();
}
