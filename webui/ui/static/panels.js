// What extensions can be told about a picture: one folded panel for each, drawn from the schema of its options. What
// they say goes into `extensions` of the request, together with what the groups say (groups.js).

import { byId, make } from "./dom.js";
import { Fields, wordsOf } from "./panel_fields.js";
import { watchPictures } from "./panel_picture.js";
import { knowPreprocessors } from "./panel_preview.js";
import { completed, defaultsOf, describe, isSame, pruned } from "./panel_schema.js";
import { t } from "./page.js";

const SWITCH = "enabled"; // the option that becomes the switch in the header
const MOST_WORDS = 4; // options told in the header

class Panel {
  constructor(page, about, changed) {
    Object.assign(this, { page, about, changed });
    this.schema = about.options;
    this.definitions = this.schema.$defs ?? {};
    this.hasSwitch = this.schema.properties?.[SWITCH]?.type === "boolean";
    this.values = defaultsOf(this.schema, this.definitions);
    this.id = byId(`${page}_${about.name}`) ? `${page}_extension_${about.name}` : `${page}_${about.name}`;
    this.drawHeader();
    this.fold(false);
  }

  drawHeader() {
    const title = t(this.about.title);
    this.box = make("input", { type: "checkbox", "aria-label": title, onchange: () => this.switched() });
    this.words = make("span", { className: "group-words" });
    this.button = make(
      "button",
      { type: "button", className: "group-title", "aria-controls": `${this.id}_body`, onclick: () => this.fold(!this.isOpen) },
      make("span", { className: "group-name", textContent: title }),
      this.words,
      make("span", { className: "chevron" }),
    );
    this.body = make("div", { className: "group-body", id: `${this.id}_body` });
    const box = this.hasSwitch ? make("span", { className: "group-switch", id: `${this.id}-checkbox` }, this.box) : make("span", { className: "group-mark" });
    this.node = make("section", { className: "group panel gradio-accordion", id: this.id, "data-extension": this.about.name }, make("div", { className: "group-header" }, box, this.button), this.body);
  }

  /** Draw the fields, once the panel is opened or must show what is wrong. */
  draw() {
    const skips = this.hasSwitch ? [SWITCH] : [];
    this.fields = new Fields({ schema: this.schema, definitions: this.definitions, id: this.id, page: this.page, values: this.values, changed: () => this.told(), skips });
    const words = this.about.description ? make("p", { className: "quiet", textContent: t(this.about.description) }) : "";
    this.reset = make("button", { type: "button", className: "link panel-reset", textContent: t("Reset to defaults"), onclick: () => this.put(this.hasSwitch ? { [SWITCH]: this.values[SWITCH] } : {}) });
    this.body.replaceChildren(words, this.fields.node, this.reset);
  }

  get isOpen() {
    return !this.body.hidden;
  }

  /** What differs from the defaults; with a switch that is off this has no effect, but is kept. */
  get own() {
    return pruned(this.values, this.schema, this.definitions);
  }

  get isOn() {
    return this.hasSwitch ? this.values[SWITCH] : Object.keys(this.own).length > 0;
  }

  switched() {
    this.values[SWITCH] = this.box.checked;
    this.fold(this.box.checked);
    this.told();
  }

  fold(isOpen) {
    if (isOpen && !this.fields) this.draw();
    this.body.hidden = !isOpen;
    this.node.classList.toggle("open", isOpen);
    this.button.setAttribute("aria-expanded", isOpen);
    this.say();
    this.changed();
  }

  told() {
    this.say();
    this.changed();
  }

  /** Say in the header whether the panel has an effect, and which. */
  say() {
    const { own, isOn } = this;
    this.box.checked = Boolean(this.hasSwitch && isOn);
    this.node.classList.toggle("on", Boolean(isOn));
    this.words.textContent = isOn ? this.summary(own) : "";
    this.words.title = this.words.textContent;
    if (this.reset) this.reset.hidden = Object.keys(own).filter((name) => name !== SWITCH).length === 0;
  }

  summary(own) {
    const words = Object.keys(own).filter((name) => name !== SWITCH).map((name) => {
      const about = describe(name, this.schema.properties[name], this.definitions);
      if (about?.widget !== "units") return about ? wordsOf(about, this.values[name]) : "";
      const on = this.values[name].map((each, index) => (each.enabled === false ? null : index + about.first)).filter((each) => each !== null);
      return on.length ? `${t(about.item)} ${on.join(", ")}` : "";
    });
    const told = words.filter(Boolean);
    return [...told.slice(0, MOST_WORDS), ...(told.length > MOST_WORDS ? ["…"] : [])].join(" · ") || t("on");
  }

  /** Show these options and, for what they do not name, the defaults. */
  put(given) {
    this.values = completed(given, this.schema, this.definitions);
    this.fields = null;
    if (this.isOpen) this.draw();
    this.told();
  }

  /** Show what a request says; of what it does not name, a switch is off and the rest stays. */
  show(given) {
    if (given) this.put(given);
    else if (!this.hasSwitch) this.put({});
    else {
      this.values[SWITCH] = false;
      this.say();
    }
    if (!this.isOn) this.fold(false);
  }

  place(path) {
    this.fold(true);
    return this.fields.place(path) ?? this.body;
  }
}

/** All panels of one page. */
export class Panels {
  constructor(page, changed) {
    Object.assign(this, { page, changed });
    this.panels = new Map();
    this.stored = {};
    this.node = make("div", { className: "groups panels", id: `${page}_extension_panels`, hidden: true });
  }

  /** Return what the request says: extension → the options that differ from its defaults. */
  read() {
    return Object.fromEntries([...this.panels].filter(([, each]) => each.isOn).map(([name, each]) => [name, each.own]));
  }

  // What survives a reload, what the server offers, and what settings bring

  kept() {
    const now = Object.fromEntries([...this.panels].map(([name, each]) => [name, { values: each.own, open: each.isOpen }]));
    return { ...this.stored, ...now };
  }

  restore(kept) {
    this.stored = kept ?? {};
  }

  offer({ panels = [], preprocessors = [] }) {
    knowPreprocessors(preprocessors);
    const here = panels.filter((each) => each.pages.includes(this.page));
    const before = this.kept();
    this.panels = new Map();
    this.node.replaceChildren();
    for (const about of here) {
      const panel = new Panel(this.page, about, this.changed);
      this.panels.set(about.name, panel);
      this.node.append(panel.node);
      const { values, open } = before[about.name] ?? {};
      if (values && !isSame(values, {})) panel.put(values);
      if (open) panel.fold(true);
    }
    this.node.hidden = here.length === 0;
  }

  show(extensions) {
    for (const [name, panel] of this.panels) panel.show(extensions?.[name]);
  }

  /** Return the element that stands for `<extension>.<option>…`, opened; null when there is no such panel. */
  place([name, ...path]) {
    return this.panels.get(name)?.place(path) ?? null;
  }
}

watchPictures();
