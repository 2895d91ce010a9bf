// The picture of the img2img page and what is painted on it. Both are uploaded to the server's input store; the form
// only carries what the server called them. One picture serves all modes; each kind of paint has a layer of its own.

import { Brushes } from "./brushes.js";
import { byId, make, mount, type } from "./dom.js";
import { Drawings } from "./drawings.js";
import { takeDrops } from "./dropped.js";
import { Editor } from "./editor.js";
import { formOf } from "./form.js";
import * as modes from "./modes.js";
import { t } from "./page.js";
import { buildZone, proposeSize, setSize } from "./picture_zone.js";
import { asMask, decode, isTransparent } from "./pixels.js";
import { upload } from "./server.js";
import { toast } from "./toast.js";
import { receive } from "./wires.js";

const KEY = "easel.img2img.picture";
const SETTLE = 700; // ms after the last stroke
const inputAddress = (reference) => `api/v2/inputs/${encodeURIComponent(reference)}`;

let parts = null;
let editor = null;
let brushes = null;
let drawings = null;
let base = []; // references of the pictures
let maskFile = ""; // reference of the mask that was uploaded for "inpaint upload"
let pending = null; // an upload that Generate must wait for
let unsettled = false; // what is painted is not uploaded yet
let timer = 0;

const form = () => formOf("img2img");
/** Return the layer of the mode that is chosen; null when it has none. */
const chosenLayer = () => {
  const name = modes.MODES[modes.mode()].layer;
  return name && base.length ? drawings.layer(name) : null;
};

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

// What the form says

function changed() {
  brushes.follow(editor.layer);
  unsettled = true;
  clearTimeout(timer);
  timer = setTimeout(() => unsettled && later(settle), SETTLE);
}

/** Return the pictures and the mask that a mode sends. */
async function sendable() {
  const isSketched = modes.MODES[modes.mode()].paints === "colours" && drawings.isPainted("colours");
  const share = modes.mode() === "inpaint_sketch" ? brushes.share : 1;
  const images = isSketched ? [await drawings.picture(base[0], share), ...base.slice(1)] : base;
  const masks = {
    inpaint: async () => (drawings.isPainted("mask") ? drawings.mask(base[0]) : ""),
    inpaint_sketch: async () => (isSketched ? drawings.touched(base[0]) : ""),
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
    const drawn = {
      mask: drawings.isPainted("mask") ? await drawings.mask(base[0]) : "",
      paint: drawings.isPainted("colours") ? await drawings.paint(base[0]) : "",
    };
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
  drawings.empty();
  maskFile = "";
  parts.box.classList.add("filled");
  byId("tab_img2img").classList.toggle("has-alpha", isTransparent(editor.picture));
  fitMode();
}

/** Take pictures as the start: files, or blobs of results. */
export function take(files, { proposesSize = true, mode = modes.mode() } = {}) {
  const pictures = [...files].filter((each) => each.type.startsWith("image/"));
  if (!pictures.length) toast(t("None of the files is a picture that can be read"), { kind: "error" });
  return later(async () => {
    const uploads = [];
    for (const file of pictures) {
      const stored = await upload("api/v2/inputs", file).catch((error) => toast([file.name, error.message].filter(Boolean).join(": "), { kind: "error" }));
      if (stored) uploads.push(stored);
    }
    if (!uploads.length) return;
    await display(uploads.map((each) => each.id));
    modes.choose(mode === "batch" ? "img2img" : mode);
    await settle();
    if (proposesSize) proposeSize(uploads[0].width, uploads[0].height);
  });
}

function remove() {
  base = [];
  drawings.empty();
  maskFile = "";
  parts.box.classList.remove("filled");
  editor.picture.removeAttribute("src");
  byId("tab_img2img").classList.remove("has-alpha");
  fitMode();
  later(settle);
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
      chosenLayer().put(image);
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
  editor.layer = chosenLayer();
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
  if (found.mask) drawings.layer("mask").restore(await asMask(inputAddress(found.mask), editor.size, maskColour()));
  if (found.paint) drawings.layer("colours").restore(await decode(inputAddress(found.paint)));
  if (found.maskFile) drawings.layer("uploaded").restore(await asMask(inputAddress(found.maskFile), editor.size, maskColour()));
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
  takeDrops(parts.box, take);
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
  drawings = new Drawings(editor);
  brushes = new Brushes(editor, actsOnLayers());
  parts.box = make("div", { className: "picture-box" }, ...buildZone(take), brushes.bar, editor.stage);
  mount("img2img_image").append(parts.box);
  brushes.listen();
  listen();
  reopen();
}
