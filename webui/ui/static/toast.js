// Short messages at the corner. Errors stay until closed; the rest goes by itself.

import { make } from "./dom.js";
import { t } from "./page.js";

let region = null;

export function toast(text, { kind = "info", hint = "" } = {}) {
  if (!region) {
    region = make("div", { id: "easel_toasts" });
    document.body.append(region);
  }
  const close = make("button", { type: "button", className: "close", "aria-label": t("Close"), textContent: "×" });
  const note = make(
    "div",
    { className: `toast ${kind}`, role: kind === "error" ? "alert" : "status" },
    make("div", {}, make("strong", { textContent: text }), hint ? make("span", { textContent: hint }) : null),
    close,
  );
  close.addEventListener("click", () => note.remove());
  region.append(note);
  while (region.children.length > 4) region.firstChild.remove();
  if (kind !== "error") setTimeout(() => note.remove(), 5000);
}
