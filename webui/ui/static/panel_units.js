// A list of models in a panel, as tabs: one for each, with what takes it away and what adds another.

import { make } from "./dom.js";
import { completed, defaultsOf, isSame } from "./panel_schema.js";
import { t } from "./page.js";

/** Return whether a unit does nothing until it is switched on: then an untouched one stands ready. */
const isSwitched = (schema) => schema.properties?.enabled?.default === false;

export class Units {
  isFramed = true;
  inputs = [];
  chosen = 0;

  constructor({ about, id, page, fields, value, store }, Fields) {
    Object.assign(this, { about, id, page, store, Fields });
    this.definitions = fields.definitions;
    this.list = (value ?? []).map((each) => completed(each, about.items, this.definitions));
    if (!this.list.length && isSwitched(about.items)) this.list.push(this.fresh());
    this.tabs = make("div", { className: "unit-tabs", role: "tablist", "aria-label": t(about.label), onkeydown: (event) => this.move(event) });
    this.body = make("div", { className: "unit-body", role: "tabpanel" });
    this.node = make("div", { className: "units", id }, this.tabs, this.body);
    this.draw();
  }

  fresh = () => defaultsOf(this.about.items, this.definitions);
  name = (index) => `${t(this.about.item)} ${index + this.about.first}`;

  /** Say what the list is now, without what was never touched at its end. */
  changed = () => {
    this.switchOn();
    const list = this.list.map((each) => ({ ...each }));
    while (list.length && isSwitched(this.about.items) && isSame(list.at(-1), this.fresh())) list.pop();
    this.mark();
    this.store(list);
  };

  /** Switch the chosen unit on when it is given its picture: nobody chooses one for a unit that shall do nothing. */
  switchOn() {
    const values = this.list[this.chosen];
    const isGiven = Boolean(this.inside?.picture());
    if (isGiven && !this.hadPicture && values?.enabled === false) {
      values.enabled = true;
      this.draw();
    }
    this.hadPicture = isGiven;
  }

  add = () => {
    this.list.push(this.fresh());
    this.choose(this.list.length - 1);
    this.changed();
  };

  remove = () => {
    this.list.splice(this.chosen, 1);
    this.choose(Math.max(0, Math.min(this.chosen, this.list.length - 1)));
    this.changed();
  };

  choose(index) {
    this.chosen = index;
    this.draw();
  }

  move(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step || !this.list.length || !event.target.matches("[role=tab]")) return;
    event.preventDefault();
    this.choose((this.chosen + step + this.list.length) % this.list.length);
    this.tabs.children[this.chosen].focus();
  }

  draw() {
    const tab = (each, index) =>
      make("button", { type: "button", role: "tab", className: "unit-tab", "aria-selected": index === this.chosen, tabIndex: index === this.chosen ? 0 : -1, onclick: () => this.choose(index) }, make("span", { className: "unit-dot" }), make("span", { textContent: this.name(index) }));
    const add = make("button", { type: "button", className: "unit-add", textContent: "+", title: t("Add"), "aria-label": `${t("Add")}: ${t(this.about.item)}`, onclick: this.add, disabled: this.list.length >= this.about.most });
    this.tabs.replaceChildren(...this.list.map(tab), add);
    this.body.replaceChildren();
    this.inside = null;
    this.body.hidden = this.list.length === 0;
    const values = this.list[this.chosen];
    if (!values) return;
    this.inside = new this.Fields({ schema: this.about.items, definitions: this.definitions, id: `${this.id}_${this.chosen}`, page: this.page, values, changed: this.changed });
    const words = t("Remove {what}", { what: this.name(this.chosen) });
    const isOnly = this.list.length === 1 && isSwitched(this.about.items);
    this.hadPicture = Boolean(this.inside.picture());
    this.body.append(this.inside.node, make("button", { type: "button", className: "link unit-remove", textContent: words, hidden: isOnly, onclick: this.remove }));
    this.mark();
  }

  /** Mark the tabs of units that are on. */
  mark() {
    this.list.forEach((each, index) => {
      const isOn = "enabled" in each ? each.enabled : true;
      this.tabs.children[index].classList.toggle("on", Boolean(isOn));
    });
  }

  /** Return the element of a field of the unit that a path begins with, shown. */
  find([index, ...rest]) {
    const place = Number(index);
    if (!this.list[place]) return null;
    if (place !== this.chosen) this.choose(place);
    return this.inside.place(rest) ?? this.body;
  }
}

