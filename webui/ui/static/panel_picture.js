// A picture among the options of a panel: dropped, pasted, chosen, taken from the results, or painted over another one.
// It lies in the server's input store; the panel only carries what the server called it.

import { chooser } from "./brushes.js";
import { make } from "./dom.js";
import { takeDrops } from "./dropped.js";
import { formOf } from "./form.js";
import { shownPicture } from "./gallery.js";
import * as lightbox from "./lightbox.js";
import { paintMask } from "./panel_mask.js";
import { t } from "./page.js";
import { blank } from "./pixels.js";
import { sendTo } from "./sending.js";
import { upload } from "./server.js";
import { toast } from "./toast.js";

export const inputAddress = (reference) => `api/v2/inputs/${encodeURIComponent(reference)}`;

const RESULT = "result"; // what a mask is painted over where no field holds a picture

let pending = Promise.resolve();
let under = 0; // uploads under way

/** Let Generate wait for `work`; tell what went wrong. */
function later(work) {
  under += 1;
  const mine = pending.then(work).catch((error) => toast(error.message, { kind: "error" }));
  pending = mine.finally(() => (under -= 1));
  return pending;
}

const isPicture = (file) => file.type.startsWith("image/");

/** Store a picture and return what the server calls it. */
async function stored(file) {
  if (!isPicture(file)) throw new Error(t("None of the files is a picture that can be read"));
  return (await upload("api/v2/inputs", file)).id;
}

async function shownResult() {
  const shown = shownPicture();
  if (!shown) throw new Error(t("There is no result yet"));
  return (await fetch(shown.image.address)).blob();
}

/** Show a stored picture over the whole window; from there it can be sent on. */
function view(reference) {
  const send = async (target) => sendTo(target, { file: await (await fetch(inputAddress(reference))).blob() });
  lightbox.open([{ address: inputAddress(reference) }], 0, () => {}, send);
}

const button = (words, act, more = {}) => make("button", { type: "button", className: "link", textContent: t(words), onclick: act, ...more });

const startPicture = () => formOf("img2img").input("images").value.split(",")[0];

/** Return the address of what a mask is painted over: the picture of another field or img2img's, or for "result" the
 * result shown, or an empty picture of the size that is asked for. Null where there is none yet. */
async function groundOf({ maskOf }, fields, page) {
  const reference = (maskOf === RESULT ? null : fields.picture(maskOf)) || (page === "img2img" && startPicture());
  if (reference) return inputAddress(reference);
  if (maskOf !== RESULT) return null;
  const size = ["width", "height"].map((name) => Number(formOf(page).input(name).value));
  return shownPicture()?.image.address ?? URL.createObjectURL(await blank(...size, "#808080"));
}

/** Return the place that takes pictures, and what else brings one. `take(work)` gets what returns a reference, `files`
 * what was chosen; painting goes on from the mask `before()`. */
function sources({ about, id, page, fields, take, files, before }) {
  const input = chooser(id, t(about.label), files);
  const zone = make("label", { className: "drop-zone" }, input, make("span", { className: "drop-words" }, make("span", { textContent: t("Drop, paste or choose a picture") })));
  const fromStart = async () => {
    if (!startPicture()) throw new Error(t("img2img has no picture yet"));
    return startPicture();
  };
  const paint = async () => {
    const ground = await groundOf(about, fields, page);
    const mask = before();
    if (ground) paintMask(ground, mask && inputAddress(mask), (file) => take(() => stored(file)));
    else toast(t("Choose the picture to paint over first"), { kind: "error" });
  };
  const others = [
    button("Use the result", () => take(async () => stored(await shownResult()))),
    page === "img2img" ? button("Use the start picture", () => take(fromStart)) : null,
    about.maskOf ? button("Paint", paint) : null,
  ];
  return { zone, input, others };
}

function listen(node, files) {
  takeDrops(node, files);
  node.addEventListener("easel:paste", ({ detail }) => files(detail));
}

/** One picture or none. */
export function pictureField({ about, id, page, fields, value, store }) {
  let reference = value;
  const node = make("div", { className: "picture-field" });
  const take = (work) =>
    later(async () => {
      reference = await work();
      store(reference);
      draw();
    });
  const files = ([file]) => take(() => stored(file));
  const { zone, input, others } = sources({ about, id, page, fields, take, files, before: () => reference });
  const image = make("img", { alt: t(about.label) });
  const shown = make("button", { type: "button", className: "picture-shown", title: t("Enlarge"), "aria-label": `${t("Enlarge")}: ${t(about.label)}`, onclick: () => view(reference) }, image);
  const remove = button("Remove", () => {
    reference = null;
    store(null);
    draw();
  });
  const tools = make("div", { className: "picture-links" }, button("Choose", () => input.click(), { className: "link only-filled" }), ...others, remove);
  remove.classList.add("only-filled");
  image.addEventListener("error", () => {
    if (!reference) return;
    toast(t("A picture of {what} is no longer in the store", { what: t(about.label) }), { kind: "error" });
    remove.click();
  });
  const draw = () => {
    node.classList.toggle("filled", Boolean(reference));
    if (reference) image.src = inputAddress(reference);
    else image.removeAttribute("src");
  };
  node.append(zone, shown, tools);
  listen(node, files);
  draw();
  return { node, inputs: [input] };
}

/** Any number of pictures. */
export function picturesField({ about, id, page, fields, value, store }) {
  let list = [...(value ?? [])];
  const changed = () => {
    store([...list]);
    draw();
  };
  const take = (work) =>
    later(async () => {
      if (list.length >= about.most) throw new Error(t("No more than {n} pictures", { n: about.most }));
      list.push(await work());
      changed();
    });
  const files = (some) => [...some].forEach((file) => take(() => stored(file)));
  const { zone, input, others } = sources({ about, id, page, fields, take, files, before: () => null });
  input.multiple = true;
  const row = make("div", { className: "picture-row" });
  const item = (reference, index) => {
    const close = make("button", { type: "button", className: "close", "aria-label": t("Remove {what}", { what: `${t(about.label)} ${index + 1}` }), textContent: "×" });
    close.addEventListener("click", () => {
      list = list.filter((_, place) => place !== index);
      changed();
    });
    return make("span", { className: "picture-item" }, make("img", { alt: `${t(about.label)} ${index + 1}`, src: inputAddress(reference), onclick: () => view(reference) }), close);
  };
  const draw = () => row.replaceChildren(...list.map(item));
  const node = make("div", { className: "picture-field several-pictures" }, row, zone, make("div", { className: "picture-links" }, ...others));
  listen(node, files);
  draw();
  return { node, inputs: [input] };
}

/** A picture that is pasted while the pointer or the focus is on a field goes there; Generate waits for uploads. */
export function watchPictures() {
  window.addEventListener(
    "paste",
    (event) => {
      const files = [...(event.clipboardData?.files ?? [])].filter(isPicture);
      const focused = document.activeElement?.closest?.(".picture-field");
      const field = focused ?? document.querySelector(".picture-field:hover");
      if (!field || !files.length || event.target.closest?.("textarea, input[type=text]")) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      field.dispatchEvent(new CustomEvent("easel:paste", { detail: files }));
    },
    true,
  );
  window.addEventListener(
    "click",
    (event) => {
      const generate = event.target.closest?.("#txt2img_generate, #img2img_generate");
      if (!generate || !under) return;
      event.stopImmediatePropagation();
      event.preventDefault();
      pending.then(() => generate.click());
    },
    true,
  );
}
