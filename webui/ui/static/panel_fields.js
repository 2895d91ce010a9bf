// The fields of one model of a panel: the panel itself, a unit of a list, or a model within one. The values are kept
// in a plain object, so that what is not drawn yet or not shown now says the same as what is.

import { make } from "./dom.js";
import { control } from "./fields.js";
import { PictureField, PicturesField } from "./panel_picture.js";
import { PreviewButton } from "./panel_preview.js";
import { completed, defaultsOf, describe } from "./panel_schema.js";
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
    this.controls = new Map(this.described.map((about) => [about.name, this.draw(about)]));
    const places = (isRare) => [...this.controls.values()].filter((each) => each.about.isRare === isRare).map((each) => each.place);
    const rare = places(true);
    this.rare = rare.length ? make("details", { className: "group-rare" }, make("summary", { textContent: t("More") }), make("div", { className: "fields" }, ...rare)) : null;
    this.node = make("div", { className: "panel-fields" }, make("div", { className: "fields" }, ...places(false)), this.rare);
    this.fit();
  }

  draw(about) {
    const id = `${this.id}_${about.name}`;
    const made = this.makeControl(about, `${id}_input`);
    const names = about.widget === "several" ? [made.node] : made.inputs;
    for (const input of names) input.setAttribute("aria-label", t(about.label));
    const isNamed = !["units", "object", "mapping"].includes(about.widget);
    const label = isNamed ? make("label", { for: made.inputs.length === 1 ? made.inputs[0].id : `${id}_input`, textContent: t(about.label) }) : null;
    const hint = about.description ? make("p", { className: "quiet", textContent: t(about.description) }) : null;
    const more = about.preview ? new PreviewButton(this, about).node : null;
    const place = make("div", { className: `field field-${about.widget}`, id }, label, made.node, hint, more);
    place.style.setProperty("--span", about.span ?? (WIDE.includes(about.widget) ? 12 : 6));
    return { ...made, place, about, inside: made.inside ?? null };
  }

  makeControl(about, id) {
    const { name } = about;
    const store = (value) => {
      this.values[name] = value;
      this.fit();
      this.changed();
    };
    const common = { about, id, page: this.page, fields: this, store };
    if (about.widget === "picture") return new PictureField(common);
    if (about.widget === "pictures") return new PicturesField(common);
    if (about.widget === "units") return new Units(common, Fields);
    if (about.widget === "object") return this.nested(about, id, about.schema);
    if (about.widget === "mapping") return new Mapping(common);
    return this.plain(about, id, store);
  }

  plain(about, id, store) {
    const typed = new Map((Array.isArray(about.choices) ? about.choices : []).map((each) => [String(each?.value ?? each), each?.value ?? each]));
    const read = () => {
      const value = made.read();
      return typeof value === "string" && typed.has(value) ? typed.get(value) : value;
    };
    const made = control({ ...about, choices: about.choices ?? [] }, id, () => store(read()));
    const write = (value) => made.write(typeof value === "number" && about.widget === "select" ? String(value) : value);
    write(this.values[about.name]);
    return { ...made, write };
  }

  /** A model within the model: a frame with its fields. */
  nested(about, id, schema) {
    const inside = new Fields({ schema, definitions: this.definitions, id, page: this.page, values: this.values[about.name], changed: this.changed });
    const node = make("fieldset", { className: "panel-frame" }, make("legend", { textContent: t(about.label) }), inside.node);
    return { node, inputs: [], inside, write: (value) => inside.show(value) };
  }

  /** Show what depends on other fields, and hide what they rule out. */
  fit() {
    const holds = ([name, wanted]) => [].concat(wanted).includes(this.values[name]);
    for (const { place, about } of this.controls?.values() ?? []) {
      if (about.shownIf) place.hidden = !Object.entries(about.shownIf).every(holds);
    }
    for (const each of this.controls?.values() ?? []) each.follow?.();
  }

  /** Show other values; those of the object given to the constructor are replaced. */
  show(values) {
    for (const { about, write } of this.controls.values()) {
      this.values[about.name] = values[about.name];
      write(values[about.name]);
    }
    this.fit();
  }

  /** Return the value of the first picture field, or of the one that is named. */
  picture(name = null) {
    const about = this.described.find((each) => each.widget === "picture" && !each.maskOf && (name === null || each.name === name));
    return about ? this.values[about.name] : null;
  }

  /** Return the element of the field that a path stands for, shown; null for none. */
  place([name, ...rest]) {
    const found = this.controls.get(name);
    if (!found) return null;
    if (found.about.isRare) this.rare.open = true;
    return (rest.length && (found.inside?.place(rest) ?? found.place?.(rest))) || found.place;
  }
}

/** The options of what another field names: drawn anew when it names something else. */
class Mapping {
  static schemas = new Map(); // preprocessor → schema of its options

  constructor({ about, id, page, fields, store }) {
    Object.assign(this, { about, id, page, fields, store });
    this.inputs = [];
    this.node = make("div", { className: "panel-mapping" });
    this.shown = undefined; // the name whose options are drawn
  }

  follow = () => {
    const name = this.fields.values[this.about.optionsOf];
    if (name === this.shown) return;
    const isFirst = this.shown === undefined;
    this.shown = name;
    const schema = Mapping.schemas.get(name);
    this.node.replaceChildren();
    this.inside = null;
    if (!schema?.properties) return;
    const definitions = schema.$defs ?? {};
    const given = isFirst ? this.fields.values[this.about.name] : {};
    const values = completed(given, schema, definitions);
    const changed = () => this.store(Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null)));
    this.inside = new Fields({ schema, definitions, id: this.id, page: this.page, values, changed });
    this.node.append(this.inside.node);
    if (!isFirst) this.fields.values[this.about.name] = {};
  };

  write = () => {
    this.shown = undefined;
    this.follow();
  };
}

/** Let fields know the preprocessors there are: {name, options} each. */
export function knowPreprocessors(list) {
  Mapping.schemas = new Map(list.map((each) => [each.name, each.options]));
}

export { completed, defaultsOf };
