// The choice of a script and its options, drawn from the schema of the script's options.
//
// A property may carry hints: `hidden`, `choices`, `widget` "lines", and `suggestions` by the value of the field that
// `suggestions_for` names.

import { make } from "./dom.js";
import { control, describeProperty } from "./fields.js";
import { t } from "./page.js";

const MOST_STEPS = 1000; // of a slider

/** A group whose header holds a choice, with a body only where the choice has options. */
export function choiceGroup(id, title, list, body = null) {
  const label = make("label", { className: "group-name", for: `${id}_input`, textContent: t(title) });
  const header = make("div", { className: "group-header" }, label, list.node);
  return make("section", { className: "group choice", id }, header, body);
}

function describe(name, property) {
  const about = describeProperty(name, property);
  const { minimum, maximum, step } = about;
  const isBounded = about.widget === "number" && minimum !== undefined && maximum !== undefined;
  if (isBounded && (maximum - minimum) / (Number(step) || 1) <= MOST_STEPS) about.widget = "slider";
  return about;
}

/** A button that reads a text file into `made`. */
function fileButton(made, changed) {
  const chooser = make("input", { type: "file", accept: ".txt,text/plain", hidden: true, "aria-label": t("Load from a file") });
  chooser.addEventListener("change", async () => {
    if (chooser.files[0]) made.write(await chooser.files[0].text());
    chooser.value = "";
    changed();
  });
  return make("span", {}, make("button", { type: "button", className: "link", textContent: t("Load from a file"), onclick: () => chooser.click() }), chooser);
}

/** Put a choice and the values that belong to it into one row. */
function pair(choice, values) {
  choice.style.setProperty("--span", 4);
  values.style.setProperty("--span", 8);
  for (const place of [choice, values]) place.classList.add("paired");
}

const quoted = (value) => (/[",]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);

export class ScriptPanel {
  constructor(page, changed) {
    this.page = page;
    this.changed = changed;
    this.scripts = [];
    this.options = new Map(); // script → its values
    this.controls = new Map();
    this.list = control({ widget: "select", blank: "No script" }, `${page}_script_list_input`, () => {
      this.draw();
      changed();
    });
    this.body = make("div", { className: "group-body", hidden: true });
    this.node = choiceGroup(`${page}_script_list`, "Script", this.list, this.body);
  }

  chosen = () => this.scripts.find((each) => each.value === this.list.read());
  values = () => Object.fromEntries([...this.controls].map(([name, each]) => [name, each.read()]));

  /** Return what the request says; null without a script. Blanks keep the script's own defaults. */
  read() {
    const script = this.chosen();
    if (!script) return null;
    return { name: script.value, options: Object.fromEntries(Object.entries(this.values()).filter(([, value]) => value !== null)) };
  }

  // What survives a reload, what the server offers, and what settings bring

  kept() {
    if (this.chosen()) this.options.set(this.list.read(), this.values());
    return { name: this.list.read(), options: Object.fromEntries(this.options) };
  }

  restore({ name, options }) {
    this.options = new Map(Object.entries(options ?? {}));
    this.list.write(name ?? null);
  }

  offer({ scripts }) {
    this.scripts = scripts.filter((each) => each.pages.includes(this.page));
    this.list.fill(this.scripts);
    this.draw();
  }

  show(call) {
    if (call) this.options.set(call.name, call.options);
    this.list.write(call?.name ?? null);
    this.draw();
  }

  // Drawing

  draw() {
    const script = this.chosen();
    const properties = Object.entries(script?.schema.properties ?? {}).filter(([, property]) => !property.hidden);
    this.drawn = new Map();
    this.said = new Set(); // hints, so that three axes do not repeat theirs
    this.controls = new Map(properties.map(([name, property]) => [name, this.field(name, property)]));
    for (const [name, property] of properties) if (property.suggestions_for) this.suggest(name, property);
    const words = script?.description ? make("p", { className: "quiet", textContent: t(script.description) }) : "";
    this.body.replaceChildren(words, make("div", { className: "fields" }, ...[...this.controls.values()].map((each) => each.place)));
    this.body.hidden = !script;
    this.node.classList.toggle("open", Boolean(script));
    this.node.classList.toggle("on", Boolean(script));
  }

  field(name, property) {
    const about = describe(name, property);
    const id = `${this.page}_script_${name}`;
    const made = control(about, `${id}_input`, this.changed);
    const kept = this.options.get(this.list.read()) ?? {};
    if (name in kept) made.write(kept[name]);
    for (const named of about.widget === "several" ? [made.node] : made.inputs) named.setAttribute("aria-label", t(about.label));
    const label = make("label", { for: `${id}_input`, textContent: t(about.label) });
    const hint = about.description && !this.said.has(about.description) ? make("p", { className: "quiet", textContent: t(about.description) }) : null;
    this.said.add(about.description);
    const file = about.widget === "lines" ? fileButton(made, this.changed) : null;
    const place = make("div", { className: `field field-${about.widget}`, id }, label, made.node, hint, file);
    place.style.setProperty("--span", ["lines", "text", "word", "list", "several"].includes(about.widget) ? 12 : 6);
    if (property.suggestions_for) pair(this.drawn.get(property.suggestions_for), place);
    this.drawn.set(name, place);
    return { ...made, place };
  }

  /** Offer the values that belong to what another field says, as chips that add themselves. */
  suggest(name, property) {
    const { read, write, place } = this.controls.get(name);
    const source = this.controls.get(property.suggestions_for);
    const chips = make("div", { className: "chips suggestions", hidden: true });
    const chip = (text, act) => make("button", { type: "button", className: "chip", textContent: text, onclick: act });
    const put = (text) => {
      write(text);
      this.changed();
    };
    const show = () => {
      const values = property.suggestions[source.read()] ?? [];
      const add = (value) => put([read(), quoted(value)].filter(Boolean).join(", "));
      chips.hidden = values.length === 0;
      chips.replaceChildren(chip(t("All"), () => put(values.map(quoted).join(", "))), ...values.map((value) => chip(value, () => add(value))));
    };
    source.node.addEventListener("change", show);
    place.append(chips);
    show();
  }

  /** Return the element of an option, or that of all options. */
  place(name) {
    return this.controls.get(name)?.place ?? this.body;
  }
}
