// Ctrl+Enter generates, Alt+Enter skips, Escape interrupts.

import { byId } from "./dom.js";
import { current } from "./jobs.js";
import { skipBatch, stop } from "./progress.js";

export function build() {
  document.addEventListener("keydown", (event) => {
    const page = ["txt2img", "img2img"].find((each) => byId(`tab_${each}`).classList.contains("selected"));
    if (!page || document.querySelector("dialog[open]")) return;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      byId(`${page}_generate`).click();
    } else if (event.key === "Enter" && event.altKey) {
      event.preventDefault();
      skipBatch();
    } else if (event.key === "Escape" && current() && !event.target.closest?.('[aria-expanded="true"]')) {
      stop();
    }
  }, true);
}
