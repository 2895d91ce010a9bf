// Light or dark: the user's choice here, else --theme, else the system. Gradio reads it from the address at its start.

import { make } from "./dom.js";
import { facts, t } from "./page.js";

const KEY = "easel.theme";

export function choose() {
  const address = new URL(location.href);
  const wanted = localStorage.getItem(KEY) ?? facts.theme;
  if (!wanted || address.searchParams.has("__theme")) return;
  address.searchParams.set("__theme", wanted);
  history.replaceState(null, "", address);
}

export function themeButton() {
  const toggle = () => {
    const isDark = document.body.classList.toggle("dark");
    localStorage.setItem(KEY, isDark ? "dark" : "light");
    const address = new URL(location.href);
    if (address.searchParams.has("__theme")) {
      address.searchParams.set("__theme", isDark ? "dark" : "light");
      history.replaceState(null, "", address);
    }
  };
  const name = t("Switch between light and dark");
  return make("button", { type: "button", className: "plain-tool icon-theme", title: name, "aria-label": name, onclick: toggle });
}
