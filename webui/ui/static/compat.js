// The helper names that scripts written for A1111 call, and its selectors translated to this markup.

import { facts } from "./page.js";

const RULES = [
  [/>\s*label\s*>\s*textarea/g, " textarea"],
  [/>\s*label\s*>\s*input/g, " input"],
  [/\.gr-button-primary\b/g, "button.primary"],
  [/\.gradio-accordion\b/g, ":is(.gradio-accordion,.gr-accordion)"],
];
const translate = (selector) => RULES.reduce((text, [old, now]) => text.replace(old, now), selector);
const callbacks = { loaded: [], update: [], after: [], tab: [], options: [] };
let isLoaded = false;
let afterTimer = 0;

export function run(kind, ...details) {
  for (const callback of callbacks[kind]) {
    try {
      callback(...details);
    } catch (error) {
      console.error("A page script failed:", error);
    }
  }
}

function gradioApp() {
  const root = document.querySelector("gradio-app") ?? document;
  if (root !== document && !root.getElementById) {
    const one = root.querySelector.bind(root);
    const all = root.querySelectorAll.bind(root);
    root.querySelector = (selector) => one(translate(selector));
    root.querySelectorAll = (selector) => all(translate(selector));
    root.getElementById = (id) => document.getElementById(id);
  }
  return root;
}

// Gradio draws each kind of component when its own script has come, in no fixed order.
function isDrawn() {
  const hasInput = (id) => document.getElementById(id).querySelector("textarea, input");
  const fields = Object.values(facts.forms).flatMap((form) => Object.values(form.fields));
  return facts.elements.every((id) => document.getElementById(id)) && fields.every(hasInput);
}

function observe() {
  new MutationObserver((mutations) => {
    if (!isLoaded && isDrawn()) {
      isLoaded = true;
      run("loaded");
    }
    if (!isLoaded || !(callbacks.update.length || callbacks.after.length)) return;
    run("update", mutations);
    clearTimeout(afterTimer);
    afterTimer = setTimeout(() => run("after"), 200);
  }).observe(document, { childList: true, subtree: true });
}

export function onLoaded(callback) {
  if (isLoaded) callback();
  else callbacks.loaded.push(callback);
}

export function install() {
  Object.assign(window, {
    gradioApp,
    opts: {},
    onUiLoaded: onLoaded,
    onUiUpdate: (callback) => callbacks.update.push(callback),
    onAfterUiUpdate: (callback) => callbacks.after.push(callback),
    onUiTabChange: (callback) => callbacks.tab.push(callback),
    onOptionsChanged: (callback) => callbacks.options.push(callback),
    updateInput: (target) => target.dispatchEvent(new Event("input", { bubbles: true })),
    get_uiCurrentTab: () => document.querySelector("#tabs > .tab-nav > button.selected"),
    get_uiCurrentTabContent: () => document.querySelector("#tabs > .tabitem.selected"),
    uiElementIsVisible: (element) => element === document || (!!element && element.offsetParent !== null),
    selected_gallery_index: () =>
      [...document.querySelectorAll("#txt2img_gallery .thumbnail-item")].findIndex((item) =>
        item.classList.contains("selected"),
      ),
  });
  observe();
}
