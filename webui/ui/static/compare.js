// Two pictures on top of each other, before and after: a line between them can be moved.

import { make } from "./dom.js";
import { t } from "./page.js";

/** Return {box, show(before, after, width, height), hide()}; the addresses are shown in the size of the second. */
export function buildComparison() {
  const after = make("img", { className: "after", alt: t("After"), draggable: false });
  const before = make("img", { className: "before", alt: t("Before"), draggable: false });
  const line = make("input", { type: "range", min: 0, max: 100, step: 0.1, value: 50, "aria-label": t("Before and after") });
  const words = ["before", "after"].map((name) => make("span", { className: `word ${name}`, textContent: name === "before" ? t("Before") : t("After") }));
  const box = make("div", { className: "comparison", hidden: true }, after, before, make("div", { className: "line" }), ...words, line);
  const place = () => box.style.setProperty("--at", `${line.value}%`);
  line.addEventListener("input", place);
  place();
  return {
    box,
    show(beforeAddress, afterAddress, width, height) {
      before.src = beforeAddress;
      after.src = afterAddress;
      box.style.setProperty("--width", width);
      box.style.setProperty("--height", height);
      box.hidden = false;
    },
    hide() {
      box.hidden = true;
    },
  };
}
