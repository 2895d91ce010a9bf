// The fields of one model of a panel: the panel itself, a unit of a list, or a model within one. The values are kept
// in a plain object, so that what is not drawn yet or not shown now says the same as what is.

import { make } from "./dom.js";
import { control } from "./fields.js";
import { pictureField, picturesField } from "./panel_picture.js";
import { preprocessor, previewButton } from "./panel_preview.js";
import { completed, describe, pruned } from "./panel_schema.js";
import { Units } from "./panel_units.js";
import { t } from "./page.js";

const WIDE = ["lines", "text", "word", "list", "several", "units", "object", "mapping", "pictures"];

/** Return the words of a field's value in the header of its panel. */
export function wordsOf(about, value) {
  if (typeof value === "boolean") return value ? t(about.label) : "";
  if (["picture", "pictures", "object", "mapping", "units"].includes(about.widget)) return "";
  const chosen = Array.isArray(about.choices) ? about.choices.find((each) => each.value === value) : null;
  const text = Array.isArray(value) ? value.join(", ") : chosen ? t(chosen.label) : typeof value === "number" ? String(Math.round(value * 1000) / 1000) : String(value ?? "");
  return text ? `${t(about.label)} ${text}` : "";
}

export class Fields {
  /** `values` is changed in place, and `changed()` is called after each change. `skips` names fields drawn elsewhere. */
  constructor({ schema, definitions, id, page, values, changed, skips = [] }) {
    Object.assign(this, { schema, definitions, id, page, values, changed });
    const all = Object.entries(schema.properties ?? {}).map(([name, property]) => describe(name, property, definitions));
    this.described = all.filter((about) => about && !skips.includes(about.name));
    this.drawn = new Map(); // name → {about, made, place}
    for (const about of this.described) this.drawn.set(about.name, this.draw(about));
    const places = (isRare) => [...this.drawn.values()].filter((each) => each.about.isRare === isRare).map((each) => each.place);
    const rare = places(true);
    this.rare = rare.length ? make("details", { className: "group-rare" }, make("summary", { textContent: t("More") }), make("div", { className: "fields" }, ...rare)) : null;
    this.node = make("div", { className: "panel-fields" }, make("div", { className: "fields" }, ...places(false)), this.rare);
    this.fit();
  }

  draw(about) {
    const id = `${this.id}_${about.name}`;
    const made = this.makeControl(about, `${id}_input`);
    for (const input of about.widget === "several" ? [made.node] : made.inputs) input.setAttribute("aria-label", t(about.label));
    const label = made.isFramed ? null : make("label", { for: `${id}_input`, textContent: t(about.label) });
    const hint = about.description ? make("p", { className: "quiet", textContent: t(about.description) }) : null;
    const more = about.preview === "preprocessor" ? previewButton(this, about) : null;
    const place = make("div", { className: `field field-${about.widget}`, id }, label, made.node, hint, more?.node);
    place.style.setProperty("--span", about.span ?? (WIDE.includes(about.widget) ? 12 : 6));
    return { about, made, place, more };
  }

  makeControl(about, id) {
    const store = (value) => {
      this.values[about.name] = value;
      this.fit();
      this.changed();
    };
    const value = this.values[about.name];
    const common = { about: about.preview ? withLabels(about) : about, id, page: this.page, fields: this, value, store };
    if (about.widget === "picture") return pictureField(common);
    if (about.widget === "pictures") return picturesField(common);
    if (about.widget === "units") return new Units(common, Fields);
    if (about.widget === "object") return this.frame(about, id);
    if (about.widget === "mapping") return new Named(common);
    return plain(common);
  }

  /** A model within the model: a frame with its fields. */
  frame(about, id) {
    const inside = new Fields({ schema: about.schema, definitions: this.definitions, id, page: this.page, values: this.values[about.name], changed: this.changed });
    const node = make("fieldset", { className: "panel-frame" }, make("legend", { textContent: t(about.label) }), inside.node);
    return { node, inputs: [], isFramed: true, find: (path) => inside.place(path) };
  }

  /** Show what depends on other fields, and hide what they rule out. */
  fit() {
    const holds = ([name, wanted]) => [].concat(wanted).includes(this.values[name]);
    for (const { place, about, made, more } of this.drawn.values()) {
      if (about.shownIf) place.hidden = !Object.entries(about.shownIf).every(holds);
      made.follow?.();
      more?.follow();
    }
  }

  /** Return the value of the picture field that is named, or of the first one. */
  picture(name = null) {
    const about = this.described.find((each) => (name === null ? each.widget === "picture" && !each.maskOf : each.name === name));
    return about ? this.values[about.name] : null;
  }

  /** Return the element of the field that a path stands for, shown; null for none. */
  place([name, ...rest]) {
    const found = this.drawn.get(name);
    if (!found) return null;
    if (found.about.isRare) this.rare.open = true;
    return (rest.length && found.made.find?.(rest)) || found.place;
  }
}

/** Return the description of a field that names a preprocessor, with the words for each. */
const withLabels = (about) => ({ ...about, choices: (about.choices ?? []).map(({ value, label }) => ({ value, label: preprocessor(value)?.label ?? label })) });

/** A control of fields.js. What it has to choose from may be numbers, which the page only knows as texts. */
function plain({ about, id, value, store }) {
  const values = (Array.isArray(about.choices) ? about.choices : []).map((each) => each?.value ?? each);
  const typed = new Map(values.map((each) => [String(each), each]));
  const made = control({ ...about, default: about.default ?? null }, id, () => {
    const read = made.read();
    store(typeof read === "string" && typed.has(read) ? typed.get(read) : read);
  });
  made.write(about.widget === "select" && typeof value === "number" ? String(value) : value);
  return made;
}

/** The options of what another field names: drawn anew when it names something else. */
class Named {
  isFramed = true;
  inputs = [];
  node = make("div", { className: "panel-mapping" });
  shown = undefined; // the name whose options are drawn

  constructor(common) {
    Object.assign(this, common);
  }

  follow() {
    const name = this.fields.values[this.about.optionsOf];
    if (name === this.shown) return;
    const given = this.shown === undefined ? this.value : {};
    this.shown = name;
    this.node.replaceChildren();
    this.inside = null;
    this.fields.values[this.about.name] = given;
    const schema = preprocessor(name)?.options;
    if (!Object.keys(schema?.properties ?? {}).length) return;
    const definitions = schema.$defs ?? {};
    const values = completed(given, schema, definitions);
    const changed = () => this.store(pruned(values, schema, definitions));
    this.inside = new Fields({ schema, definitions, id: this.id, page: this.page, values, changed });
    this.node.append(this.inside.node);
  }

  find(path) {
    return this.inside?.place(path);
  }
}
