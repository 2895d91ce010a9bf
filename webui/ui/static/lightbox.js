// One picture over the whole window: arrows move, Escape or a click closes. From here, too, it can be sent on.

import { tool } from "./brushes.js";
import { make } from "./dom.js";
import { t } from "./page.js";
import { TARGETS } from "./sending.js";

let dialog = null;
let shown = null; // {images, index, select, send}

function move(step) {
  const { images, select } = shown;
  shown.index = (shown.index + step + images.length) % images.length;
  select(shown.index);
  draw();
}

function draw() {
  const { images, index } = shown;
  dialog.querySelector("img").src = images[index].address;
  dialog.querySelector(".count").textContent = images.length > 1 ? `${index + 1} / ${images.length}` : "";
  for (const button of dialog.querySelectorAll(".previous, .next")) button.hidden = images.length < 2;
}

function sendOn(target) {
  dialog.close();
  shown.send(target);
}

function build() {
  const button = (name, label, text, act) =>
    make("button", { type: "button", className: name, "aria-label": label, textContent: text, onclick: act });
  dialog = make(
    "dialog",
    { id: "lightboxModal", "aria-label": t("Picture") },
    make("img", { alt: "" }),
    make("span", { className: "count" }),
    button("previous", t("Previous picture"), "‹", () => move(-1)),
    button("next", t("Next picture"), "›", () => move(1)),
    button("close", t("Close"), "×", () => dialog.close()),
    make("div", { className: "sends" }, ...Object.entries(TARGETS).map(([target, name]) => tool(`to-${target}`, t(name), () => sendOn(target)))),
  );
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || event.target.tagName === "IMG") dialog.close();
  });
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) move(step);
    event.stopPropagation();
  });
  document.body.append(dialog);
}

/** Show one of `images`; `select(index)` hears of each that is shown, `send(target)` sends on the one selected. */
export function open(images, index, select, send) {
  if (!images[index]) return;
  if (!dialog) build();
  shown = { images, index, select, send };
  draw();
  dialog.showModal();
}
