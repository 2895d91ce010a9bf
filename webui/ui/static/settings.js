// The settings page, drawn from the schema the server sends: one row per setting, in sections, with a search.

import { tellOptions } from "./compat.js";
import { byId, make, mount } from "./dom.js";
import { control, describeProperty } from "./fields.js";
import { facts, t } from "./page.js";
import { resolve } from "./panel_schema.js";
import { get, post } from "./server.js";
import { toast } from "./toast.js";

const OF_EXTENSIONS = "extension_settings"; // where the store keeps what extensions add

let parts = null;
let schema = {};
let values = {};
let extensions = []; // {name, title, options (a schema)} of those with settings
const changed = new Map();

// The checkpoint row above has A1111's ids of its own settings; checkpoint and VAE are chosen there alone.
const idOf = (name) => (Object.values(facts.forms.txt2img.fields).includes(`setting_${name}`) ? `settings_${name}` : `setting_${name}`);
const isElsewhere = (name) => ["sd_model_checkpoint", "sd_vae"].includes(name);

function change(name, value) {
  byId(`problem_setting_${name}`)?.remove();
  if (JSON.stringify(value) === JSON.stringify(values[name])) changed.delete(name);
  else changed.set(name, value);
  byId(`row_${name}`).classList.toggle("changed", changed.has(name));
  showCount();
}

function showCount() {
  parts.apply.disabled = changed.size === 0;
  parts.count.textContent = changed.size ? (changed.size === 1 ? t("1 change") : t("{n} changes", { n: changed.size })) : "";
}

function row(name, property) {
  const about = describeProperty(name, property);
  const { label } = about;
  const made = control(about, idOf(name), () => change(name, made.read()));
  made.write(values[name]);
  return make(
    "div",
    { className: "setting", id: `row_${name}`, "data-words": `${name} ${label} ${t(label)} ${property.description ?? ""} ${t(property.description ?? "")}`.toLowerCase() },
    make("label", { for: idOf(name) }, make("span", { textContent: t(label) }), make("code", { textContent: name })),
    made.node,
    property.description ? make("p", { className: "quiet", textContent: t(property.description) }) : null,
  );
}

function draw() {
  const sections = new Map();
  const add = (section, name, property) => sections.set(section, [...(sections.get(section) ?? []), row(name, property)]);
  for (const [name, property] of Object.entries(schema.properties ?? {})) {
    if (name in values && !isElsewhere(name) && name !== OF_EXTENSIONS) add(property.section ?? "Other", name, property);
  }
  for (const { title, options } of extensions) {
    const { properties, $defs = {} } = options;
    for (const [name, property] of Object.entries(properties ?? {})) add(title, name, resolve(property, $defs));
  }
  parts.sections.replaceChildren(
    ...[...sections].map(([title, rows]) =>
      make("section", { "aria-label": t(title) }, make("h2", { textContent: t(title) }), ...rows),
    ),
  );
  parts.index.replaceChildren(
    ...[...sections.keys()].map((title, place) =>
      make("button", { type: "button", className: "link", textContent: t(title), onclick: () => parts.sections.children[place].scrollIntoView({ behavior: "smooth" }) }),
    ),
  );
  showCount();
}

function search() {
  const words = parts.search.value.toLowerCase().trim();
  let found = 0;
  for (const section of parts.sections.children) {
    let hits = 0;
    for (const each of section.querySelectorAll(".setting")) {
      const isHit = each.dataset.words.includes(words);
      each.hidden = !isHit;
      hits += isHit;
    }
    section.hidden = hits === 0;
    found += hits;
  }
  parts.nothing.hidden = found > 0;
}

function showProblem(error) {
  const name = [...changed.keys()].find((each) => error.message.includes(each)) || "";
  const place = byId(`row_${name}`);
  if (!place) {
    toast(error.message, { kind: "error" });
    return;
  }
  byId(`problem_setting_${name}`)?.remove();
  place.append(make("p", { className: "field-problem", id: `problem_setting_${name}`, role: "alert", textContent: error.message }));
  place.scrollIntoView({ block: "center" });
}

async function apply() {
  try {
    await post("api/v2/settings", Object.fromEntries(changed));
  } catch (error) {
    showProblem(error);
    return;
  }
  changed.clear();
  await load();
  toast(t("Settings saved"));
  window.dispatchEvent(new Event("easel:settings"));
}

async function load() {
  try {
    const found = await get("api/v2/settings");
    if (changed.size) return; // somebody has begun to type meanwhile
    ({ values, schema, extensions } = found);
    for (const each of extensions) Object.assign(values, each.values);
    tellOptions(values);
    draw();
    search();
  } catch (error) {
    toast(error.message, { kind: "error" });
  }
}

export function build() {
  parts = {
    search: make("input", { type: "search", id: "settings_search", placeholder: t("Search settings"), "aria-label": t("Search settings"), oninput: search }),
    apply: make("button", { type: "button", id: "settings_submit", className: "solid primary", textContent: t("Apply settings"), disabled: true, onclick: apply }),
    count: make("span", { className: "quiet" }),
    index: make("nav", { className: "settings-index", "aria-label": t("Sections") }),
    sections: make("div", { className: "settings-sections" }),
    nothing: make("p", { className: "quiet", hidden: true, textContent: t("No setting matches.") }),
  };
  mount("settings_view").append(
    make("div", { className: "settings-bar" }, parts.search, parts.count, parts.apply),
    make("div", { className: "settings-body" }, parts.index, make("div", {}, parts.sections, parts.nothing)),
  );
  window.addEventListener("easel:page", (event) => event.detail === "tab_settings" && changed.size === 0 && load());
  if (byId("tab_settings").classList.contains("selected") || facts.hasScripts) load(); // their scripts read `opts`
}
