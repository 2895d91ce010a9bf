// Saved states: which extensions there were, in which versions, and which of them were on.

import { make } from "./dom.js";
import { act } from "./extensions.js";
import { t } from "./page.js";
import { post } from "./server.js";
import { toast } from "./toast.js";

let parts = null;

const address = (state, action) => `api/v2/extensions/states/${encodeURIComponent(state.name)}/${action}`;

async function save() {
  await post("api/v2/extensions/states", { name: parts.name.value.trim() });
  parts.name.value = "";
}

async function restore(state) {
  const { problems } = await post(address(state, "restore"));
  for (const problem of problems) toast(problem, { kind: "error" });
}

function link(label, refusal, work) {
  const made = make("button", { type: "button", className: "link", textContent: t(label), disabled: Boolean(refusal) });
  made.addEventListener("click", () => act(made, work));
  return made;
}

function row(state, refusal) {
  const when = new Date(state.made * 1000).toLocaleString();
  const folders = Object.entries(state.extensions).filter(([, each]) => each.source.kind !== "bundled");
  const names = folders.map(([folder, each]) => (each.is_enabled ? folder : `(${folder})`)).join(", ");
  return make(
    "li",
    { className: "saved-state", "data-name": state.name },
    make("b", { textContent: state.name }),
    make("span", { className: "quiet", textContent: `${when} · ${names || t("only those that come with Easel")}` }),
    make("span", {}, link("Restore", refusal, () => restore(state)), " ", link("Delete", refusal, () => post(address(state, "delete")))),
  );
}

export function show(list) {
  parts.list.replaceChildren(...list.saved.map((state) => row(state, list.refusal)));
  parts.save.disabled = parts.name.disabled = Boolean(list.refusal);
}

export function build() {
  parts = {
    name: make("input", { type: "text", id: "extensions_state_name", maxLength: 100, "aria-label": t("Name of the state") }),
    save: make("button", { type: "button", className: "solid", id: "extensions_save_state", textContent: t("Save") }),
    list: make("ul", { className: "saved-states", id: "extensions_states" }),
  };
  parts.save.addEventListener("click", () => act(parts.save, save));
  return make(
    "section",
    { className: "extension-panel", "aria-label": t("Saved states") },
    make("h2", { textContent: t("Saved states") }),
    make("p", { className: "quiet", textContent: t("Save which extensions there are, in which versions, and which are on, to come back to it.") }),
    make("div", { className: "state-form" }, parts.name, parts.save),
    parts.list,
  );
}
