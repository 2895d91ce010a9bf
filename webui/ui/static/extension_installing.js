// Ways to install: an address of a repository, a zip, a folder, or an entry of an index.

import { make } from "./dom.js";
import { act } from "./extensions.js";
import { t } from "./page.js";
import { post } from "./server.js";

const TARGETS = { git: "Repository", zip: "Zip file", folder: "Folder" };
const NAMES = {
  git: "https://github.com/name/repository",
  zip: "https://… or the path of a .zip here",
  folder: "The whole path of a folder on this machine",
};
const MOST_SHOWN = 200; // entries of an index
const INDEX_KEY = "easel.extensions.index";

let parts = null;
let kind = "git";
let entries = [];

async function uploadZip(file) {
  const answer = await fetch(`api/v2/extensions/upload?name=${encodeURIComponent(file.name)}`, {
    method: "POST",
    headers: { "Content-Type": "application/zip" },
    body: file,
  });
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).detail || `HTTP ${answer.status}`);
}

function choose(name) {
  kind = name;
  for (const button of parts.kinds.children) button.setAttribute("aria-pressed", button.value === kind);
  parts.address.placeholder = t(NAMES[kind]);
  parts.refRow.hidden = kind !== "git";
  parts.fileRow.hidden = kind !== "zip";
}

async function begin() {
  const file = kind === "zip" ? parts.file.files[0] : null;
  if (file) {
    await uploadZip(file);
    parts.file.value = "";
    return;
  }
  const asked = { kind, address: parts.address.value.trim(), name: parts.name.value.trim() };
  await post("api/v2/extensions/fetch", kind === "git" ? { ...asked, ref: parts.ref.value.trim() } : asked);
  for (const input of [parts.address, parts.ref, parts.name]) input.value = "";
}

async function readIndex() {
  const address = parts.index.value.trim();
  entries = await post("api/v2/extensions/index", { address });
  localStorage.setItem(INDEX_KEY, address);
  drawIndex();
}

function entryRow(entry) {
  const button = make("button", { type: "button", className: "link", textContent: t("Look at it"), disabled: entry.is_installed });
  button.addEventListener("click", () => act(button, () => post("api/v2/extensions/fetch", { kind: "git", address: entry.address })));
  return make(
    "li",
    { className: "index-entry" },
    make("b", { textContent: entry.name }),
    entry.is_installed ? make("span", { className: "quiet", textContent: t("installed") }) : button,
    make("p", { textContent: entry.description }),
    make("span", { className: "quiet", textContent: [entry.added, ...entry.tags].filter(Boolean).join(" · ") }),
  );
}

function drawIndex() {
  const words = parts.search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const text = (entry) => `${entry.name} ${entry.description} ${entry.tags.join(" ")}`.toLowerCase();
  const found = entries.filter((entry) => words.every((word) => text(entry).includes(word)));
  parts.entries.replaceChildren(...found.slice(0, MOST_SHOWN).map(entryRow));
  parts.searchRow.hidden = entries.length === 0;
  parts.count.textContent = entries.length ? t("{n} of {all}", { n: found.length, all: entries.length }) : "";
}

/** Follow whether anything may be installed at all. */
export function show(list) {
  for (const control of parts.panel.querySelectorAll("input, button.solid")) control.disabled = Boolean(list.refusal);
  const known = new Set(list.extensions.map((view) => view.source.address.replace(/(\.git)?\/?$/, "").toLowerCase()));
  entries = entries.map((entry) => ({ ...entry, is_installed: known.has(entry.address.replace(/(\.git)?\/?$/, "").toLowerCase()) }));
  drawIndex();
}

const field = (label, input) => make("label", { className: "extension-field" }, make("span", { textContent: t(label) }), input);

function button(label, id, work) {
  const made = make("button", { type: "button", className: "solid", id, textContent: t(label) });
  made.addEventListener("click", () => act(made, work));
  return made;
}

export function build() {
  parts = {
    kinds: make(
      "div",
      { className: "model-kinds", role: "group", "aria-label": t("Install from") },
      ...Object.entries(TARGETS).map(([name, label]) => make("button", { type: "button", value: name, className: "chip", textContent: t(label), onclick: () => choose(name) })),
    ),
    address: make("input", { type: "text", id: "extensions_address", spellcheck: false }),
    ref: make("input", { type: "text", id: "extensions_ref", spellcheck: false }),
    name: make("input", { type: "text", id: "extensions_name", spellcheck: false }),
    file: make("input", { type: "file", id: "extensions_file", accept: ".zip" }),
    index: make("input", { type: "text", id: "extensions_index", spellcheck: false, value: localStorage.getItem(INDEX_KEY) ?? "" }),
    search: make("input", { type: "search", id: "extensions_search", placeholder: t("Search extensions"), "aria-label": t("Search extensions"), oninput: drawIndex }),
    count: make("span", { className: "quiet", role: "status" }),
    entries: make("ul", { className: "index-entries", id: "extensions_entries" }),
  };
  parts.refRow = field("Branch, tag or commit", parts.ref);
  parts.fileRow = field("Or a file from this computer", parts.file);
  parts.searchRow = make("div", { className: "index-search", hidden: true }, parts.search, parts.count);
  parts.panel = make(
    "section",
    { className: "extension-panel", "aria-label": t("Install an extension") },
    make("h2", { textContent: t("Install an extension") }),
    make("p", { className: "quiet", textContent: t("It is fetched and shown to you first. Nothing of it runs before you say so.") }),
    parts.kinds,
    field("Address", parts.address),
    parts.refRow,
    parts.fileRow,
    field("Name of its folder", parts.name),
    button("Fetch and show", "extensions_fetch", begin),
    make("h2", { textContent: t("From an index") }),
    make("p", { className: "quiet", textContent: t("A list of extensions in A1111's format: an https address, or a .json file on this machine.") }),
    field("Address of the index", parts.index),
    button("Read the index", "extensions_read_index", readIndex),
    parts.searchRow,
    parts.entries,
  );
  choose(kind);
  return parts.panel;
}
