// The tool bar over the picture editor: brush, colour, eraser, undo, zoom, and the keys that do the same.

import { byId, make } from "./dom.js";
import { t } from "./page.js";

const SIZES = [2, 240]; // pixels on the screen

/** Make a small square button. */
export const tool = (icon, name, act, more = {}) =>
  make("button", { type: "button", className: `plain-tool icon-${icon}`, title: name, "aria-label": name, onclick: act, ...more });

/** Make a hidden file input; `act` gets the files that were chosen. */
export function chooser(id, label, act, more = {}) {
  const input = make("input", { type: "file", accept: "image/*", id, "aria-label": label, ...more });
  input.addEventListener("change", () => {
    const files = [...input.files];
    input.value = "";
    if (files.length) act(files);
  });
  return input;
}

export class Brushes {
  /** `acts`: undo, redo, clear, loadMask(file), opaque(share), takeSize, remove. */
  constructor(editor, acts) {
    this.editor = editor;
    this.acts = acts;
    this.words = make("span", { className: "picture-words" });
    this.build();
    this.choose("brush");
  }

  build() {
    const { editor, acts } = this;
    this.buttons = {
      brush: tool("brush", t("Brush (B)"), () => this.choose("brush")),
      eraser: tool("eraser", t("Eraser (E)"), () => this.choose("eraser")),
      picker: tool("picker", t("Take a colour from the picture (I, or Alt and click)"), () => this.choose("picker")),
    };
    this.colour = make("input", { type: "color", id: "img2img_brush_colour", value: "#d63a2f", title: t("Colour"), "aria-label": t("Colour") });
    this.size = make("input", { type: "range", min: SIZES[0], max: SIZES[1], value: 40, id: "img2img_brush_size", title: t("Brush size ([ and ])"), "aria-label": t("Brush size") });
    this.size.addEventListener("input", () => (editor.brush.size = Number(this.size.value)));
    this.colour.addEventListener("input", () => this.choose("brush"));
    this.undo = tool("undo", t("Undo (Ctrl+Z)"), acts.undo);
    this.redo = tool("redo", t("Redo (Ctrl+Y)"), acts.redo);
    this.clear = tool("clear", t("Clear what was painted"), acts.clear);
    const maskFile = chooser("img2img_mask_file", t("Load a mask"), ([file]) => acts.loadMask(file));
    this.load = make("span", { className: "file-tool" }, tool("load", t("Load a mask"), () => maskFile.click()), maskFile);
    this.ask = make("button", { type: "button", className: "solid", textContent: t("Choose a mask"), onclick: () => maskFile.click() });
    this.opacity = make("input", { type: "range", min: 0, max: 95, value: 0, id: "img2img_mask_alpha", title: t("Mask transparency"), "aria-label": t("Mask transparency") });
    this.opacity.addEventListener("input", () => acts.opaque());
    this.transparency = make("label", { className: "transparency" }, make("span", { textContent: t("Transparency") }), this.opacity);
    this.full = tool("fullscreen", t("Use the whole window (F)"), () => this.toggleFull());
    this.bar = make(
      "div",
      { className: "picture-tools" },
      make("div", { className: "tool-row" }, this.words, ...this.viewTools()),
      make("div", { className: "tool-row" }, ...this.paintTools()),
    );
  }

  paintTools() {
    const { brush, eraser, picker } = this.buttons;
    return [brush, eraser, this.colour, picker, this.undo, this.redo, this.clear, this.load, this.size, this.transparency, this.ask];
  }

  viewTools() {
    return [
      tool("ruler", t("Take width and height from the picture"), this.acts.takeSize, { id: "img2img_detect_image_size_btn" }),
      tool("fit", t("Show all of it (R)"), () => this.editor.fit()),
      this.full,
      tool("close", t("Remove the picture"), this.acts.remove),
    ];
  }

  /** Show the tools that a mode has: what can be painted is a "mask", "colours" or nothing. */
  fitMode({ paints, hasTransparency, loadsMask }) {
    for (const each of [...Object.values(this.buttons), this.size, this.undo, this.redo, this.clear]) each.hidden = !paints;
    this.colour.hidden = this.buttons.picker.hidden = paints !== "colours";
    this.transparency.hidden = !hasTransparency;
    this.load.hidden = !loadsMask || !paints;
    this.ask.hidden = !loadsMask || Boolean(paints);
    this.paints = paints;
    this.choose("brush");
  }

  /** How opaque the colours of an inpaint sketch are, 0 to 1. */
  get share() {
    return 1 - Number(this.opacity.value) / 100;
  }

  choose(name) {
    for (const [each, button] of Object.entries(this.buttons)) button.setAttribute("aria-pressed", each === name);
    const colour = this.paints === "mask" ? getComputedStyle(this.editor.canvas).color : this.colour.value;
    Object.assign(this.editor.brush, { erase: name === "eraser", picks: name === "picker", colour });
    this.editor.stage.dataset.tool = name;
  }

  pick(colour) {
    this.colour.value = colour;
    this.choose("brush");
  }

  follow(layer) {
    this.undo.disabled = !layer?.done.length;
    this.redo.disabled = !layer?.undone.length;
    this.clear.disabled = !layer?.isPainted;
  }

  resize(step) {
    this.size.value = Math.round(Number(this.size.value) * step);
    this.size.dispatchEvent(new Event("input"));
  }

  toggleFull() {
    const isFull = this.bar.parentElement.classList.toggle("fullscreen");
    document.body.classList.toggle("has-fullscreen", isFull);
    this.full.setAttribute("aria-pressed", isFull);
    this.editor.measure();
    this.editor.fit();
  }

  // Keys

  listen() {
    document.addEventListener("keydown", (event) => this.key(event), true);
    document.addEventListener("keyup", (event) => {
      if (event.code !== "Space") return;
      this.editor.holdsSpace = false;
      this.editor.stage.classList.remove("panning");
    });
  }

  key(event) {
    const box = this.bar.parentElement;
    const isFull = box.classList.contains("fullscreen");
    const isElsewhere = event.target.closest?.('textarea, input:not([type="range"], [type="color"], [type="file"]), dialog');
    if (!box.offsetParent && !isFull) return;
    if (event.key === "Escape" && isFull) {
      event.stopImmediatePropagation(); // it does not interrupt the job, too
      this.toggleFull();
      return;
    }
    if (isElsewhere || !box.classList.contains("filled")) return;
    const act = event.ctrlKey || event.metaKey ? this.withControl(event) : (isFull || this.editor.stage.matches(":hover")) && this.alone(event);
    if (!act) return;
    event.preventDefault();
    act();
  }

  withControl(event) {
    if (!byId("tab_img2img").classList.contains("selected") || !this.paints) return null;
    const key = event.key.toLowerCase();
    if (key === "y" || (key === "z" && event.shiftKey)) return this.acts.redo;
    return key === "z" ? this.acts.undo : null;
  }

  alone(event) {
    if (event.altKey) return null;
    const hold = () => {
      this.editor.holdsSpace = true;
      this.editor.stage.classList.add("panning");
    };
    const keys = { " ": hold, f: () => this.toggleFull(), r: () => this.editor.fit(), "+": () => this.editor.zoom(1.25), "-": () => this.editor.zoom(0.8) };
    const painting = { b: () => this.choose("brush"), e: () => this.choose("eraser"), i: () => this.paints === "colours" && this.choose("picker"), "[": () => this.resize(0.8), "]": () => this.resize(1.25) };
    return (this.paints ? { ...keys, ...painting } : keys)[event.key] ?? null;
  }
}
