// Controls drawn from a description instead of one Gradio component each: for settings, groups and scripts' options.
//
// A description: {name, label, widget, choices, blank, zero, minimum, maximum, step, default}. `widget` is a key of
// WIDGETS; `blank` is what stands for null; `zero` says that 0 means null; `keeps` shows a choice that is no longer there.

import { make } from "./dom.js";
import { t } from "./page.js";

const number = (text) => (text.trim() === "" || Number.isNaN(Number(text)) ? null : Number(text));

function select(about, id, changed) {
  const node = make("select", { id, onchange: () => changed() });
  let wanted = null; // until the choices are known
  let isKnown = false;
  const fill = (choices) => {
    const value = isKnown ? read() : wanted;
    const list = choices.map((each) => (typeof each === "object" ? each : { label: each, value: each }));
    const blank = about.blank ? [{ label: about.blank, value: "" }] : [];
    node.replaceChildren(...[...blank, ...list].map((each) => make("option", { value: each.value, textContent: about.isTranslated ? t(each.label) : each.label })));
    if (blank.length) node.firstChild.textContent = t(about.blank);
    isKnown = true;
    write(value);
  };
  const read = () => (isKnown ? node.value || null : wanted);
  const write = (value) => {
    wanted = value;
    if (!isKnown) return;
    const options = [...node.options].map((each) => each.value);
    if (about.keeps && value && !options.includes(value)) {
      node.append(make("option", { value, textContent: t("{name} (not there)", { name: value }) }));
      options.push(value);
    }
    node.value = options.includes(value ?? "") ? (value ?? "") : options.includes(about.default) ? about.default : (options[0] ?? "");
  };
  if (Array.isArray(about.choices)) fill(about.choices);
  return { node, inputs: [node], read, write, fill };
}

const numeric = (about) => ({ type: "number", min: about.minimum ?? "", max: about.maximum ?? "", step: about.step ?? "any" });

function plainNumber(about, id, changed) {
  const node = make("input", { ...numeric(about), id, placeholder: about.blank ? t(about.blank) : "", oninput: () => changed() });
  const read = () => (about.zero && Number(node.value) === 0 ? null : number(node.value));
  const write = (value) => {
    node.value = value ?? "";
  };
  return { node, inputs: [node], read, write };
}

function slider(about, id, changed) {
  const field = make("input", { ...numeric(about), id });
  const range = make("input", { ...numeric(about), type: "range", tabIndex: -1 });
  const show = () => {
    const share = (Number(range.value) - range.min) / (range.max - range.min || 1);
    range.style.setProperty("--share", `${share * 100}%`);
  };
  const follow = (from, to) => () => {
    to.value = from.value;
    show();
    changed();
  };
  field.addEventListener("input", follow(field, range));
  range.addEventListener("input", follow(range, field));
  const read = () => (about.zero && Number(field.value) === 0 ? null : number(field.value));
  const write = (value) => {
    field.value = range.value = value ?? (about.zero ? 0 : (about.default ?? about.minimum ?? 0)); // the range clips it
    show();
  };
  return { node: make("div", { className: "slider-field" }, field, range), inputs: [field, range], read, write };
}

const split = (text, between) => text.split(between).map((each) => each.trim()).filter(Boolean);

function text(about, id, changed) {
  const isLong = about.widget === "text" || about.widget === "lines";
  const kind = isLong ? { rows: about.widget === "lines" ? 4 : 2 } : { type: "text" };
  const node = make(isLong ? "textarea" : "input", { ...kind, id, spellcheck: false, placeholder: about.blank ? t(about.blank) : "", oninput: () => changed() });
  const read = () => {
    if (about.widget === "list") return split(node.value, ",");
    return node.value === "" && about.isOptional ? null : node.value;
  };
  const write = (value) => {
    node.value = Array.isArray(value) ? value.join(", ") : (value ?? "");
  };
  return { node, inputs: [node], read, write };
}

function toggle(about, id, changed) {
  const node = make("input", { id, type: "checkbox", className: "switch", onchange: () => changed() });
  const write = (value) => {
    node.checked = Boolean(value);
  };
  return { node, inputs: [node], read: () => node.checked, write };
}

/** Some of a few choices: a box to tick for each. */
function several(about, id, changed) {
  const boxes = about.choices.map((value) => make("input", { type: "checkbox", value, onchange: () => changed() }));
  const node = make("div", { id, className: "several", role: "group" }, ...boxes.map((box) => make("label", {}, box, make("span", { textContent: t(box.value) }))));
  const read = () => boxes.filter((box) => box.checked).map((box) => box.value);
  const write = (values) => {
    for (const box of boxes) box.checked = (values ?? []).includes(box.value);
  };
  return { node, inputs: boxes, read, write };
}

const WIDGETS = { select, number: plainNumber, slider, text, lines: text, list: text, word: text, switch: toggle, several };

/** Make the control of a description: {node, inputs, read, write}, and `fill(choices)` for one with a list. */
export function control(about, id, changed) {
  const made = WIDGETS[about.widget](about, id, changed);
  made.write(about.default ?? null);
  return made;
}

/** Return the description of one property of a JSON schema (pydantic's), with the hints it carries. */
export function describeProperty(name, property) {
  const kinds = [property, ...(property.anyOf ?? [])];
  const kind = kinds.map((each) => each.type).find((each) => each && each !== "null") ?? "string";
  const isOptional = kinds.some((each) => each.type === "null");
  const find = (...names) => names.flatMap((key) => kinds.map((each) => each[key])).find((value) => value !== undefined);
  const items = property.items?.enum;
  const choices = property.choices ?? items ?? find("enum");
  const byKind = { boolean: "switch", integer: "number", number: "number", array: "list" };
  const widget = items ? "several" : choices ? "select" : (property.widget ?? byKind[kind] ?? "word");
  return {
    name,
    label: property.label ?? property.title ?? name,
    widget,
    choices,
    isOptional,
    blank: isOptional && choices ? "–" : undefined,
    minimum: find("minimum", "exclusiveMinimum"),
    maximum: find("maximum"),
    step: property.step ?? find("multipleOf") ?? (kind === "integer" ? 1 : "any"),
    default: property.default,
    description: property.description,
  };
}
