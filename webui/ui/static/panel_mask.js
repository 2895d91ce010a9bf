// Painting a mask over a picture of a panel: the stage of img2img's editor in a dialog, with the few tools a mask needs.

import { tool } from "./brushes.js";
import { make } from "./dom.js";
import { Editor } from "./editor.js";
import { Layer } from "./layer.js";
import { t } from "./page.js";
import { asBlackAndWhite, asMask, toPng } from "./pixels.js";
import { toast } from "./toast.js";

/** Let a mask be painted over the picture at an address, beginning with the mask at `before`; `done(file)` gets it. */
export async function paintMask(address, before, done) {
  const layer = new Layer();
  const editor = new Editor({ painted: () => follow(), picked: () => {}, moved: () => {} });
  editor.stage.dataset.paints = "yes";
  const dialog = make("dialog", { className: "card-dialog mask-dialog", "aria-label": t("Paint a mask"), onclose: () => dialog.remove() });
  const act = (work) => () => {
    work();
    editor.draw();
    follow();
  };
  const size = make("input", { type: "range", min: 2, max: 240, value: 40, title: t("Brush size"), "aria-label": t("Brush size"), oninput: () => (editor.brush.size = Number(size.value)) });
  const eraser = tool("eraser", t("Eraser (E)"), () => {
    editor.brush.erase = !editor.brush.erase;
    eraser.setAttribute("aria-pressed", editor.brush.erase);
  });
  const undo = tool("undo", t("Undo (Ctrl+Z)"), act(() => layer.undo()));
  const redo = tool("redo", t("Redo (Ctrl+Y)"), act(() => layer.redo()));
  const clear = tool("clear", t("Clear what was painted"), act(() => layer.clear()));
  const follow = () => {
    undo.disabled = !layer.done.length;
    redo.disabled = !layer.undone.length;
  };
  const keep = async () => {
    done(new File([await toPng(asBlackAndWhite(layer.canvas))], "mask.png", { type: "image/png" }));
    dialog.close();
  };
  const close = (words, onclick, more = "") => make("button", { type: "button", className: `solid ${more}`, textContent: t(words), onclick });
  dialog.append(
    make("header", {}, make("h2", { textContent: t("Paint a mask") }), close("Close", () => dialog.close())),
    make("div", { className: "picture-tools" }, make("div", { className: "tool-row" }, size, eraser, undo, redo, clear)),
    editor.stage,
    make("div", { className: "button-line" }, close("Use this mask", keep, "primary")),
  );
  document.querySelector(".gradio-container").append(dialog);
  dialog.showModal();
  try {
    await editor.show(address);
    layer.reset(...editor.size);
    editor.brush.colour = getComputedStyle(editor.canvas).color;
    if (before) layer.restore(await asMask(before, editor.size, editor.brush.colour));
    editor.layer = layer;
    editor.measure();
    follow();
  } catch {
    dialog.close();
    toast(t("This picture cannot be read"), { kind: "error" });
  }
}
