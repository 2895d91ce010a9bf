// What a JSON schema (pydantic's) says about the fields of a panel, and the values that follow from it.

import { describeProperty } from "./fields.js";

const MOST_STEPS = 1000; // of a slider
const FINE = 10; // a range at most this wide moves in hundredths

const plainName = (reference) => reference.split("/").pop();

/** Return a property with what it refers to put in; its own title, default and hints stay. */
export function resolve(property, definitions) {
  const { $ref, allOf, anyOf, ...own } = property;
  if ($ref) {
    const { title, description, ...found } = definitions[plainName($ref)];
    return { ...found, ...own };
  }
  if (allOf?.length === 1) return { ...resolve(allOf[0], definitions), ...own };
  const kinds = (anyOf ?? []).filter((each) => each.type !== "null").map((each) => resolve(each, definitions));
  if (kinds.length === 1) return { ...kinds[0], ...own, isOptional: anyOf.length > 1 };
  return property;
}

/** Return a name for people: `control_mode` is "Control mode"; a title that somebody thought of stays. */
function labelOf(name, title) {
  const words = name.split("_");
  const automatic = words.map((word) => word.charAt(0).toUpperCase() + word.slice(1).toLowerCase()).join(" ");
  if (title && title !== automatic) return title;
  return words.join(" ").replace(/^./, (first) => first.toUpperCase());
}

const isPicture = (property) => property.type === "string" && Boolean(property.picture);
const isObject = (property) => property.type === "object" && Boolean(property.properties);

function widgetOf(property, items) {
  if (isPicture(property)) return "picture";
  if (property.type === "array" && (property.picture || (items && isPicture(items)))) return "pictures";
  if (property.type === "array" && items && isObject(items)) return "units";
  if (property.options_of) return "mapping";
  if (isObject(property)) return "object";
  return null;
}

function asSlider(about) {
  const { minimum, maximum } = about;
  if (about.widget !== "number" || about.isOptional || minimum === undefined || maximum === undefined) return about;
  const step = about.step === "any" ? (maximum - minimum <= FINE ? 0.01 : 0.1) : Number(about.step);
  if ((maximum - minimum) / step > MOST_STEPS) return { ...about, step };
  return { ...about, step, widget: "slider" };
}

/** Return choices with the words for them: those given, else for values that only programs would write, readable ones. */
function choicesOf(about, { labels = {}, choices }) {
  if (about.widget !== "select" || !Array.isArray(about.choices)) return about.choices;
  const isCode = (value) => !choices && /^[a-z][a-z0-9_]*$/.test(value);
  return about.choices.map((value) => ({ value, label: labels[value] ?? (isCode(value) ? labelOf(value) : String(value)) }));
}

/** Return the description of one field of a panel (see fields.js), or null for one that only programs set. */
export function describe(name, raw, definitions) {
  const property = resolve(raw, definitions);
  if (property.hidden) return null;
  const items = property.items ? resolve(property.items, definitions) : null;
  const hints = {
    name,
    label: labelOf(name, property.title),
    definitions,
    shownIf: property.shown_if ?? null,
    preview: property.preview ?? null,
    maskOf: property.mask_of ?? null,
    optionsOf: property.options_of ?? null,
    isRare: Boolean(property.rare),
    span: property.span ?? null,
    description: property.description,
    isTranslated: true,
    keeps: true,
  };
  const widget = widgetOf(property, items);
  if (widget) {
    const most = property.maxItems ?? 100;
    return { ...hints, widget, most, items, item: property.item ?? "Unit", first: property.first ?? 1, schema: property, default: defaultOf(property, definitions) };
  }
  if (property.type === "object" || property.prefixItems) return null; // nothing that a person could fill in
  const enumerated = property.items ? { ...property, items } : property;
  const kinds = property.isOptional ? { anyOf: [{ type: property.type }, { type: "null" }] } : {};
  const about = { ...describeProperty(name, { ...enumerated, ...kinds }), ...hints };
  return { ...asSlider(about), choices: choicesOf(about, property) };
}

const copy = (value) => JSON.parse(JSON.stringify(value));

/** Return the value a property has when nobody says anything. */
export function defaultOf(raw, definitions) {
  const property = resolve(raw, definitions);
  if (property.default !== undefined && !(isObject(property) && property.default !== null)) return copy(property.default);
  if (isObject(property)) return { ...defaultsOf(property, definitions), ...copy(property.default ?? {}) };
  if (property.const !== undefined) return property.const;
  return { array: [], boolean: false, string: isPicture(property) || property.isOptional ? null : "" }[property.type] ?? null;
}

/** Return the values that a model has when nobody says anything. */
export const defaultsOf = (schema, definitions) =>
  Object.fromEntries(Object.entries(schema.properties ?? {}).map(([name, property]) => [name, defaultOf(property, definitions)]));

export const isSame = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/** Return the values that are not what they are anyway. A blank keeps the default, so it is left out. */
export function pruned(values, schema, definitions) {
  const kept = {};
  for (const [name, raw] of Object.entries(schema.properties ?? {})) {
    const value = values[name];
    if (value === null || value === undefined || isSame(value, defaultOf(raw, definitions))) continue;
    const property = resolve(raw, definitions);
    const items = property.items ? resolve(property.items, definitions) : null;
    if (isObject(property)) kept[name] = pruned(value, property, definitions);
    else if (Array.isArray(value) && items && isObject(items)) kept[name] = value.map((each) => pruned(each, items, definitions));
    else kept[name] = value;
  }
  return kept;
}

/** Return complete values: what is given over what holds anyway. Names that the schema does not have are dropped. */
export function completed(given, schema, definitions) {
  const values = defaultsOf(schema, definitions);
  for (const [name, raw] of Object.entries(schema.properties ?? {})) {
    const value = given?.[name];
    if (value === undefined || value === null) continue;
    const property = resolve(raw, definitions);
    const items = property.items ? resolve(property.items, definitions) : null;
    if (isObject(property)) values[name] = completed(value, property, definitions);
    else if (Array.isArray(value) && items && isObject(items)) values[name] = value.map((each) => completed(each, items, definitions));
    else values[name] = copy(value);
  }
  return values;
}
