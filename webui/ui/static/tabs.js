// The tab bar over our pages: all pages stay in the document, #tab_x in the address opens one.

import { run } from "./compat.js";
import { byId, make } from "./dom.js";
import { facts, t } from "./page.js";

const NAMES = { tab_txt2img: "txt2img", tab_img2img: "img2img", tab_extras: "Extras", tab_models: "Models", tab_pnginfo: "PNG info", tab_extensions: "Extensions", tab_settings: "Settings" };

export function show(id) {
  for (const page of byId("tabs").querySelectorAll(":scope > .page")) {
    const isShown = page.id === id;
    page.classList.toggle("selected", isShown);
    page.style.display = isShown ? "flex" : "none";
    const button = byId(`${page.id}-button`);
    button.classList.toggle("selected", isShown);
    button.setAttribute("aria-selected", isShown);
    button.tabIndex = isShown ? 0 : -1;
  }
  if (location.hash !== `#${id}`) history.replaceState(null, "", `#${id}`);
  window.dispatchEvent(new CustomEvent("easel:page", { detail: id }));
  run("tab");
}

function move(event) {
  const buttons = [...event.currentTarget.children];
  const here = buttons.indexOf(document.activeElement);
  const target = {
    ArrowRight: (here + 1) % buttons.length,
    ArrowLeft: (here - 1 + buttons.length) % buttons.length,
    Home: 0,
    End: buttons.length - 1,
  }[event.key];
  if (here < 0 || target === undefined) return;
  event.preventDefault();
  buttons[target].focus();
  buttons[target].click();
}

/** Make the pages of extensions: each a frame, loaded when its page is opened first. It keeps their styles and names from
 * ours; it takes no rights away, since an extension's scripts may run in our own page as well. */
function buildFrames(tabs) {
  const before = tabs.querySelector(":scope > #tab_extensions, :scope > #tab_settings");
  for (const { id, title, address } of facts.tabs ?? []) {
    const name = byId(`tab_${id}`) ? `tab_extension_${id}` : `tab_${id}`;
    const frame = make("iframe", { title: t(title), className: "extension-frame" });
    before.before(make("div", { id: name, className: "page extension-page" }, frame));
    NAMES[name] = title;
    const open = ({ detail }) => detail === name && !frame.hasAttribute("src") && frame.setAttribute("src", address);
    window.addEventListener("easel:page", open);
  }
}

export function build() {
  const tabs = byId("tabs");
  buildFrames(tabs);
  const pages = [...tabs.querySelectorAll(":scope > .page")];
  const bar = make("div", { className: "tab-nav", role: "tablist", "aria-label": t("Pages"), onkeydown: move });
  for (const page of pages) {
    page.classList.add("tabitem");
    page.setAttribute("role", "tabpanel");
    page.setAttribute("aria-labelledby", `${page.id}-button`);
    bar.append(
      make("button", {
        type: "button",
        id: `${page.id}-button`,
        role: "tab",
        "aria-controls": page.id,
        textContent: t(NAMES[page.id]),
        onclick: () => show(page.id),
      }),
    );
  }
  tabs.prepend(bar);
  const fromAddress = () => pages.find((page) => `#${page.id}` === location.hash)?.id;
  window.addEventListener("hashchange", () => fromAddress() && show(fromAddress()));
  show(fromAddress() ?? pages[0].id);
}
