// The helper names that scripts written for A1111 call, and its selectors translated to this markup. What the scripts
// of extensions do wrong is told on the console and stops nothing else.

import { facts, locale } from "./page.js";

const RULES = [
  [/>\s*label\s*>\s*textarea/g, " textarea"],
  [/>\s*label\s*>\s*input/g, " input"],
  [/\.gr-button-primary\b/g, "button.primary"],
  [/\.gradio-accordion\b/g, ":is(.gradio-accordion,.gr-accordion)"],
];
const translate = (selector) => RULES.reduce((text, [old, now]) => text.replace(old, now), selector);
const callbacks = { loaded: [], update: [], after: [], tab: [], options: [], available: [] };
const failed = new WeakSet(); // callbacks that were complained about: some are called many times a second
let isLoaded = false;
let hasOptions = false;
let afterTimer = 0;

function attempt(callback, ...details) {
  try {
    callback(...details);
  } catch (error) {
    if (!failed.has(callback)) console.error("A page script failed:", error);
    failed.add(callback);
  }
}

export function run(kind, ...details) {
  for (const callback of callbacks[kind]) attempt(callback, ...details);
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
  if (isLoaded) attempt(callback);
  else callbacks.loaded.push(callback);
}

// Settings under A1111's names

/** Show the settings to the scripts of extensions, as they are now. */
export function tellOptions(values) {
  for (const name of Object.keys(window.opts)) delete window.opts[name];
  Object.assign(window.opts, values);
  if (hasOptions) run("options");
  else run("available");
  hasOptions = true;
}

function onOptionsAvailable(callback) {
  if (hasOptions) attempt(callback);
  else callbacks.available.push(callback);
}

// Pages, pictures and windows

const press = (id) => document.getElementById(id)?.click();

function switchTo(tab, mode = null) {
  press(`tab_${tab}-button`);
  if (mode) press(`img2img_${mode}_tab`);
}

function updateInput(target) {
  const event = new Event("input", { bubbles: true });
  Object.defineProperty(event, "target", { value: target });
  target.dispatchEvent(event);
}

const thumbnails = () => [...document.querySelectorAll("#txt2img_gallery .thumbnail-item")];
const isSeen = (element) => element === document || (Boolean(element) && element.offsetParent !== null);

function isInSight(element) {
  const box = element.getBoundingClientRect();
  return box.bottom > 0 && box.top < window.innerHeight;
}

/** Show an element over the page, as A1111's `popup`. */
function popup(content) {
  closePopup();
  const dialog = document.createElement("dialog");
  dialog.className = "card-dialog global-popup";
  dialog.append(content);
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.querySelector(".gradio-container").append(dialog);
  dialog.showModal();
}

const closePopup = () => document.querySelector(".global-popup")?.close();
const randomId = () => `task(${Math.random().toString(36).slice(2, 9)}${Math.random().toString(36).slice(2, 9)})`;

const PICTURES = {
  selected_gallery_index: () => thumbnails().findIndex((item) => item.classList.contains("selected")),
  selected_gallery_button: () => thumbnails().find((item) => item.classList.contains("selected")) ?? null,
  all_gallery_buttons: thumbnails,
};
const PAGES = {
  get_uiCurrentTab: () => document.querySelector("#tabs > .tab-nav > button.selected"),
  get_uiCurrentTabContent: () => document.querySelector("#tabs > .tabitem.selected"),
  switch_to_txt2img: () => switchTo("txt2img"),
  switch_to_img2img: () => switchTo("img2img", "img2img"),
  switch_to_img2img_tab: () => switchTo("img2img"),
  switch_to_sketch: () => switchTo("img2img", "sketch"),
  switch_to_inpaint: () => switchTo("img2img", "inpaint"),
  switch_to_inpaint_sketch: () => switchTo("img2img", "inpaint_sketch"),
  switch_to_extras: () => switchTo("extras"),
};

export function install() {
  Object.assign(window, {
    gradioApp,
    opts: {},
    localization: { ...(facts.translations[locale] ?? {}) },
    titles: {},
    onUiLoaded: onLoaded,
    onUiUpdate: (callback) => callbacks.update.push(callback),
    onAfterUiUpdate: (callback) => callbacks.after.push(callback),
    onUiTabChange: (callback) => callbacks.tab.push(callback),
    onOptionsChanged: (callback) => callbacks.options.push(callback),
    onOptionsAvailable,
    updateInput,
    uiElementIsVisible: isSeen,
    uiElementInSight: isInSight,
    popup,
    closePopup,
    randomId,
    ...PICTURES,
    ...PAGES,
  });
  observe();
}
