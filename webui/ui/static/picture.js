// The picture of the img2img page and the mask painted on it. Both are uploaded to the server's input store; the form
// only carries what the server called them.

import { byId, make, mount, type } from "./dom.js";
import { formOf } from "./form.js";
import { t } from "./page.js";
import { upload } from "./server.js";
import { toast } from "./toast.js";

const inputAddress = (reference) => `api/v2/inputs/${encodeURIComponent(reference)}`;

let parts = null;
let strokes = []; // {erase, size, points}: what was painted, in the picture's pixels
let base = null; // a mask that was loaded, under the strokes
let stroke = null; // the one being painted
let isErasing = false;
let shown = ""; // the references the editor shows
let pending = null; // an upload that Generate must wait for

const form = () => formOf("img2img");
const write = (name, value) => type(form().input(name), value);

// Drawing

function drawStroke(context, { erase, size, points }) {
  context.globalCompositeOperation = erase ? "destination-out" : "source-over";
  context.lineCap = context.lineJoin = "round";
  context.lineWidth = size;
  context.strokeStyle = getComputedStyle(parts.canvas).color;
  context.beginPath();
  context.moveTo(...points[0]);
  for (const point of points) context.lineTo(...point);
  context.stroke();
}

function redraw() {
  const context = parts.canvas.getContext("2d");
  context.globalCompositeOperation = "source-over";
  context.clearRect(0, 0, parts.canvas.width, parts.canvas.height);
  if (base) context.drawImage(base, 0, 0);
  for (const each of strokes) drawStroke(context, each);
}

function isPainted() {
  if (!base && !strokes.some((each) => !each.erase)) return false;
  const { width, height } = parts.canvas;
  const pixels = parts.canvas.getContext("2d").getImageData(0, 0, width, height).data;
  for (let place = 3; place < pixels.length; place += 4) if (pixels[place] > 127) return true;
  return false;
}

/** Return the mask as a black and white PNG. */
function exported() {
  const { width, height } = parts.canvas;
  const copy = make("canvas", { width, height });
  const context = copy.getContext("2d");
  context.drawImage(parts.canvas, 0, 0);
  context.globalCompositeOperation = "source-in";
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.globalCompositeOperation = "destination-over";
  context.fillStyle = "#000";
  context.fillRect(0, 0, width, height);
  return new Promise((resolve) => copy.toBlob(resolve, "image/png"));
}

/** Let `work` finish before a job is sent; tell what went wrong. */
function later(work) {
  const before = pending ?? Promise.resolve();
  const mine = before.then(work).catch((error) => toast(error.message, { kind: "error" }));
  pending = mine;
  mine.then(() => pending === mine && (pending = null));
  return mine;
}

function maskChanged() {
  const painted = isPainted();
  byId("tab_img2img").classList.toggle("has-mask", painted);
  parts.undo.disabled = !strokes.length;
  parts.clear.disabled = !painted && !strokes.length;
  const strokesThen = strokes.length;
  if (!painted) {
    later(async () => write("mask", ""));
    return;
  }
  later(async () => {
    if (strokes.length !== strokesThen) return; // a newer one is on its way
    write("mask", (await upload("api/v2/inputs", await exported())).id);
  });
}

// The pointer

function place(event) {
  const box = parts.canvas.getBoundingClientRect();
  const scale = parts.canvas.width / box.width;
  return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
}

function brushSize() {
  const box = parts.canvas.getBoundingClientRect();
  return (Number(parts.size.value) * parts.canvas.width) / box.width;
}

function begin(event) {
  if (event.button > 0) return;
  event.preventDefault();
  parts.canvas.setPointerCapture(event.pointerId);
  stroke = { erase: isErasing, size: brushSize(), points: [place(event)] };
  drawStroke(parts.canvas.getContext("2d"), { ...stroke, points: [...stroke.points, ...stroke.points] });
}

function go(event) {
  moveRing(event);
  if (!stroke) return;
  const last = stroke.points.at(-1);
  stroke.points.push(place(event));
  drawStroke(parts.canvas.getContext("2d"), { ...stroke, points: [last, stroke.points.at(-1)] });
}

function finish() {
  if (!stroke) return;
  strokes.push(stroke);
  stroke = null;
  redraw();
  maskChanged();
}

function moveRing(event) {
  const box = parts.stage.getBoundingClientRect();
  parts.ring.style.left = `${event.clientX - box.left}px`;
  parts.ring.style.top = `${event.clientY - box.top}px`;
  parts.ring.style.width = parts.ring.style.height = `${parts.size.value}px`;
}

function clearMask() {
  strokes = [];
  base = null;
  redraw();
  maskChanged();
}

function undo() {
  strokes.pop();
  redraw();
  maskChanged();
}

function choose(erase) {
  isErasing = erase;
  parts.brush.setAttribute("aria-pressed", !erase);
  parts.eraser.setAttribute("aria-pressed", erase);
}

// Pictures in

async function decode(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  return image;
}

/** Choose a size for the result: the picture's own if it is near what was asked for, else its shape with that area. */
function proposeSize(width, height) {
  const area = Number(form().input("width").value) * Number(form().input("height").value);
  const isNear = width % 8 === 0 && height % 8 === 0 && width * height >= area / 4 && width * height <= area * 2.25;
  const scale = isNear ? 1 : Math.sqrt(area / (width * height));
  const fit = (side) => Math.min(2048, Math.max(64, Math.round((side * scale) / 8) * 8));
  type(form().input("width"), fit(width));
  type(form().input("height"), fit(height));
}

async function display(references, mask = "") {
  const image = await decode(inputAddress(references[0]));
  parts.picture.src = image.src;
  parts.canvas.width = image.naturalWidth;
  parts.canvas.height = image.naturalHeight;
  parts.stage.style.setProperty("--shape", image.naturalWidth / image.naturalHeight);
  const more = references.length > 1 ? ` · ${t("{n} pictures, one after another", { n: references.length })}` : "";
  parts.words.textContent = `${image.naturalWidth}×${image.naturalHeight}${more}`;
  parts.box.classList.add("filled");
  shown = references.join(",");
  strokes = [];
  base = mask ? await asMask(inputAddress(mask)) : null;
  redraw();
  byId("tab_img2img").classList.toggle("has-mask", isPainted());
  parts.undo.disabled = true;
  parts.clear.disabled = !base;
}

/** Take pictures as the start: files, or blobs of results. */
export function take(files, { proposesSize = true } = {}) {
  const pictures = [...files].filter((each) => each.type.startsWith("image/"));
  if (!pictures.length) return Promise.resolve();
  return later(async () => {
    const stored = [];
    for (const file of pictures) stored.push(await upload("api/v2/inputs", file));
    const references = stored.map((each) => each.id);
    await display(references);
    write("mask", "");
    write("images", shown);
    if (proposesSize) proposeSize(stored[0].width, stored[0].height);
  });
}

function remove() {
  parts.box.classList.remove("filled");
  parts.picture.removeAttribute("src");
  shown = "";
  strokes = [];
  base = null;
  parts.canvas.width = parts.canvas.height = 1;
  byId("tab_img2img").classList.remove("has-mask");
  later(async () => {
    write("images", "");
    write("mask", "");
  });
}

/** Return a canvas in the mask's colour where the picture at `address` is bright (or opaque). */
async function asMask(address) {
  const image = await decode(address);
  const { width, height } = parts.canvas;
  const canvas = make("canvas", { width, height });
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0, width, height);
  const content = context.getImageData(0, 0, width, height);
  const pixels = content.data;
  let hasAlpha = false;
  for (let place = 3; place < pixels.length; place += 4) hasAlpha ||= pixels[place] < 255;
  const [red, green, blue] = getComputedStyle(parts.canvas).color.match(/\d+/g).map(Number);
  for (let place = 0; place < pixels.length; place += 4) {
    const bright = 0.299 * pixels[place] + 0.587 * pixels[place + 1] + 0.114 * pixels[place + 2];
    pixels.set([red, green, blue, hasAlpha ? pixels[place + 3] : bright], place);
  }
  context.putImageData(content, 0, 0);
  return canvas;
}

async function takeMask(file) {
  const address = URL.createObjectURL(file);
  try {
    base = await asMask(address);
    strokes = [];
    redraw();
    maskChanged();
  } catch {
    toast(t("This mask cannot be read"), { kind: "error" });
  } finally {
    URL.revokeObjectURL(address);
  }
}

/** Show what the form names, after a reload or when settings were put into it. */
function follow() {
  const references = form().input("images").value;
  if (references === shown) return;
  if (!references) {
    remove();
    return;
  }
  const mask = form().input("mask").value;
  later(async () => {
    try {
      await display(references.split(","), mask);
    } catch {
      remove(); // the server has it no more
    }
  });
}

// Generate waits for uploads

function guardGenerate(event) {
  if (!pending) return;
  event.stopImmediatePropagation();
  event.preventDefault();
  const button = byId("img2img_generate");
  pending.then(() => button.click());
}

const tool = (icon, name, act) =>
  make("button", { type: "button", className: `plain-tool icon-${icon}`, title: name, "aria-label": name, onclick: act });

function chooser(id, label, act, multiple = false) {
  const input = make("input", { type: "file", accept: "image/*", id, multiple, "aria-label": label });
  input.addEventListener("change", () => {
    if (input.files.length) act(input.files);
    input.value = "";
  });
  return input;
}

function buildBar() {
  parts.brush = tool("brush", t("Paint the mask: what is painted changes"), () => choose(false));
  parts.eraser = tool("eraser", t("Erase the mask"), () => choose(true));
  parts.undo = tool("undo", t("Undo"), undo);
  parts.clear = tool("clear", t("Clear the mask"), clearMask);
  parts.size = make("input", { type: "range", min: 4, max: 160, value: 40, id: "img2img_brush_size", "aria-label": t("Brush size"), title: t("Brush size") });
  const maskFile = chooser("img2img_mask_file", t("Load a mask"), ([file]) => takeMask(file));
  return make(
    "div",
    { className: "picture-tools" },
    parts.brush,
    parts.eraser,
    parts.size,
    parts.undo,
    parts.clear,
    tool("load", t("Load a mask"), () => maskFile.click()),
    maskFile,
    parts.words,
    tool("close", t("Remove the picture"), remove),
  );
}

function buildZone() {
  const files = chooser("img2img_file", t("Choose a picture"), take, true);
  return make(
    "label",
    { className: "drop-zone" },
    files,
    make("span", { className: "drop-words" }, make("b", { textContent: t("Drop a picture here") }), make("span", { textContent: t("or click to choose one · Ctrl+V pastes") })),
  );
}

export function build() {
  parts = { picture: make("img", { alt: t("The picture to begin with"), draggable: false }), words: make("span", { className: "picture-words" }) };
  parts.canvas = make("canvas", { className: "mask-canvas", width: 1, height: 1, "aria-label": t("Paint the mask: what is painted changes") });
  parts.ring = make("div", { className: "brush-ring" });
  parts.stage = make("div", { className: "mask-stage" }, parts.picture, parts.canvas, parts.ring);
  parts.box = make("div", { className: "picture-box" }, buildZone(), buildBar(), parts.stage);
  mount("img2img_image").append(parts.box);
  choose(false);
  parts.undo.disabled = parts.clear.disabled = true;
  parts.canvas.addEventListener("pointerdown", begin);
  parts.canvas.addEventListener("pointermove", go);
  for (const end of ["pointerup", "pointercancel"]) parts.canvas.addEventListener(end, finish);
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
  // Gradio fills the fields some time after the message that says so.
  window.addEventListener("easel:message", () => [50, 500].forEach((wait) => setTimeout(follow, wait)));
  follow();
}
