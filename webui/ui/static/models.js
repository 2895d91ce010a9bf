// The Models page: cards of all models by kind, one of them open in a dialog, and what can be made of models.

import { byId, make, mount } from "./dom.js";
import { openCard } from "./model_card.js";
import { facts, previewAddress } from "./model_facts.js";
import * as work from "./model_work.js";
import { t } from "./page.js";
import { get, post } from "./server.js";
import { toast } from "./toast.js";

const KINDS = {
  checkpoint: "Checkpoints",
  lora: "LoRA",
  embedding: "Embeddings",
  hypernetwork: "Hypernetworks",
  controlnet: "ControlNet",
  vae: "VAE",
  upscaler: "Upscalers",
  text_encoder: "Text encoders",
  detector: "Detectors",
};
const PAUSE = 250; // milliseconds of not typing before a search begins
const AT_ONCE = 200; // cards

let parts = null;
let kind = "checkpoint";
let shown = 0; // cards
let asked = 0; // requests, so that late answers are dropped

const address = (offset) =>
  `api/v2/models?${new URLSearchParams({ kind, search: parts.search.value.trim(), offset, limit: AT_ONCE })}`;

function picture(model) {
  if (model.has_preview) return make("img", { alt: "", loading: "lazy", src: previewAddress(model) });
  return make("span", { className: "letter", textContent: (model.name.split("/").pop() || "?")[0].toUpperCase(), "aria-hidden": "true" });
}

function card(model, current) {
  const state = model.problem ? "broken" : model.pending ? "pending" : model.name === current ? "current" : "usable";
  const words = model.problem ?? (model.pending ? t("Not looked into yet") : facts(model).join(" · "));
  return make(
    "button",
    { type: "button", className: "model-card", "data-state": state, title: model.problem ?? model.name, onclick: () => openCard(model, load) },
    picture(model),
    make("b", { textContent: model.name }),
    make("span", { className: "model-facts", textContent: words }),
    state === "current" ? make("span", { className: "badge", textContent: t("in use") }) : null,
  );
}

/** Show the models again from the first one, or `more` of them. */
async function load(more = false) {
  const number = ++asked;
  try {
    const found = await get(address(more ? shown : 0));
    if (number !== asked) return;
    const cards = found.models.map((model) => card(model, kind === "checkpoint" ? found.current : null));
    if (more) parts.cards.append(...cards);
    else parts.cards.replaceChildren(...cards);
    shown = parts.cards.children.length;
    parts.more.hidden = shown >= found.total;
    parts.count.textContent = found.total === 1 ? t("1 model") : t("{n} models", { n: found.total });
    parts.nothing.hidden = found.total > 0;
  } catch (error) {
    toast(error.message, { kind: "error" });
  }
}

function choose(name) {
  kind = name;
  for (const button of parts.kinds.children) button.setAttribute("aria-pressed", button.value === name);
  load();
}

async function refresh() {
  try {
    await post("sdapi/v1/refresh-checkpoints");
  } catch (error) {
    toast(error.message, { kind: "error" });
  }
  load();
}

export function build() {
  let waiting = null;
  const search = make("input", {
    type: "search",
    id: "models_search",
    placeholder: t("Search models"),
    "aria-label": t("Search models"),
    oninput: () => {
      clearTimeout(waiting);
      waiting = setTimeout(load, PAUSE);
    },
  });
  const kinds = Object.entries(KINDS).map(([name, label]) =>
    make("button", { type: "button", value: name, className: "chip", textContent: t(label), "aria-pressed": name === kind, onclick: () => choose(name) }),
  );
  parts = {
    search,
    kinds: make("div", { className: "model-kinds", role: "group", "aria-label": t("Kinds of models") }, ...kinds),
    count: make("span", { className: "quiet", role: "status" }),
    cards: make("div", { className: "model-cards", id: "models_cards" }),
    nothing: make("p", { className: "quiet", textContent: t("There is no such model. Put files into the folders below models/ and refresh."), hidden: true }),
    more: make("button", { type: "button", className: "solid", textContent: t("Show more"), hidden: true, onclick: () => load(true) }),
  };
  const bar = make(
    "div",
    { className: "model-bar" },
    parts.kinds,
    parts.search,
    make("button", { type: "button", className: "solid", id: "models_refresh", textContent: t("Refresh"), onclick: refresh }),
    parts.count,
  );
  mount("models_view").append(
    make("div", { className: "models" }, make("div", { className: "model-list" }, bar, parts.cards, parts.nothing, parts.more), work.build(load)),
  );
  window.addEventListener("easel:page", ({ detail }) => detail === "tab_models" && load() && work.refresh());
  if (byId("tab_models").classList.contains("selected")) load();
}
