// Cards of networks below the prompt: LoRAs, embeddings and whatever else extensions offer, and checkpoints. A click
// writes what a network needs into the prompt that was written in last, or takes it out again.

import { byId, make } from "./dom.js";
import { formOf, forms } from "./form.js";
import { openCard } from "./model_card.js";
import { facts, previewAddress } from "./model_facts.js";
import { t } from "./page.js";
import { accompany, holds, toggle } from "./prompt_tags.js";
import { get, post } from "./server.js";
import { toast } from "./toast.js";
import { receive, send } from "./wires.js";

const KEY = "easel.networks";
const AT_ONCE = 120; // cards
const PAUSE = 250; // milliseconds of not typing before a search begins
const SORTS = { name: "Name", newest: "Newest first", largest: "Largest first" };
const CHECKPOINTS = { kind: "checkpoint", title: "Checkpoints", tag: null, families_matter: false };

const FIRST = ["lora", "embedding", "hypernetwork"]; // then whatever else there is
const rank = ({ kind }) => (FIRST.indexOf(kind) + FIRST.length + 1) % (FIRST.length + 1);

/** Return what a prompt calls a network: within a tag its whole name, as a plain word that of its file. */
const called = (tag, name) => (tag.startsWith("<") ? name : name.split("/").pop());

let offered = [CHECKPOINTS];
let usualWeight = null; // of networks whose cards prefer none
let current = { name: null, family: null };
const panels = [];

function stored() {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? "{}") ?? {};
  } catch {
    return {};
  }
}

class NetworkPanel {
  shown = 0; // cards
  total = 0;
  asked = 0; // requests, so that late answers are dropped
  isLoading = false;
  folder = "";
  target = "prompt"; // the field that was written in last

  constructor(page) {
    this.page = page;
    this.chosen = stored().kind ?? null;
    this.build();
    for (const name of ["prompt", "negative_prompt"]) {
      formOf(page).block(name).addEventListener("focusin", () => (this.target = name));
      formOf(page).block(name).addEventListener("input", () => this.isOpen && this.mark());
    }
  }

  get isOpen() {
    return !this.node.hidden;
  }

  get about() {
    return offered.find((each) => each.kind === this.chosen) ?? offered[0];
  }

  build() {
    const { page } = this;
    const kept = stored();
    let waiting = null;
    const later = () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => this.load(), PAUSE);
    };
    this.tabs = make("div", { className: "model-kinds", role: "tablist", "aria-label": t("Networks"), onkeydown: (event) => this.moveTab(event) });
    this.search = make("input", { type: "search", id: `${page}_extra_search`, placeholder: t("Search"), "aria-label": t("Search networks"), oninput: later });
    this.sort = make("select", { "aria-label": t("Order"), onchange: () => this.load() }, ...Object.entries(SORTS).map(([value, words]) => make("option", { value, textContent: t(words) })));
    this.sort.value = kept.sort in SORTS ? kept.sort : "name";
    this.folders = make("select", { "aria-label": t("Folder"), hidden: true, onchange: () => this.enter(this.folders.value) });
    this.all = make("input", { type: "checkbox", className: "switch", checked: Boolean(kept.all), onchange: () => this.load() });
    this.allLabel = make("label", { className: "network-switch" }, this.all, make("span", { textContent: t("Other families too") }));
    this.count = make("span", { className: "quiet", role: "status" });
    this.cards = make("div", { className: "network-cards", onkeydown: (event) => this.moveCard(event), onscroll: () => this.more() });
    this.nothing = make("p", { className: "quiet", hidden: true });
    const refresh = make("button", { type: "button", className: "solid small", textContent: t("Refresh"), onclick: () => this.refresh() });
    const close = make("button", { type: "button", className: "close", title: t("Close"), "aria-label": t("Close"), textContent: "×", onclick: () => this.open(false) });
    const bar = make("div", { className: "network-bar" }, this.tabs, this.search, this.folders, this.sort, this.allLabel, refresh, this.count, close);
    this.node = make("section", { className: "networks", hidden: true, "aria-label": t("Networks"), onkeydown: (event) => event.key === "Escape" && this.open(false) }, bar, this.cards, this.nothing);
    byId(`${page}_toprow`).after(make("div", { className: "mounted", id: `${page}_extra_tabs` }, this.node));
    const beside = byId(`${page}_clear_prompt`);
    const name = t("Networks: LoRA, embeddings, checkpoints");
    this.button = make("button", { type: "button", id: `${page}_extra_networks`, className: beside.className.replace("icon-clear", "icon-networks"), title: name, "aria-label": name, "aria-expanded": "false", onclick: () => this.open(!this.isOpen) });
    beside.after(this.button);
  }

  open(isOpen) {
    this.node.hidden = !isOpen;
    this.button.classList.toggle("pressed", isOpen);
    this.button.setAttribute("aria-expanded", isOpen);
    if (!isOpen) {
      this.button.focus();
      return;
    }
    this.drawTabs();
    this.load();
    learnWeight();
    if (matchMedia("(hover: hover)").matches) this.search.focus({ preventScroll: true }); // no keyboard over a phone's cards
  }

  drawTabs() {
    const tab = ({ kind, title }) =>
      make("button", { type: "button", role: "tab", className: "chip", value: kind, textContent: t(title), "aria-selected": kind === this.about.kind, "aria-pressed": kind === this.about.kind, tabIndex: kind === this.about.kind ? 0 : -1, onclick: () => this.choose(kind) });
    this.tabs.replaceChildren(...offered.map(tab));
    this.cards.id = `${this.page}_${this.about.kind}_cards`;
    this.allLabel.hidden = !this.about.families_matter;
  }

  choose(kind) {
    this.chosen = kind;
    this.folder = "";
    const isFocused = this.tabs.contains(document.activeElement);
    this.drawTabs();
    if (isFocused) this.tabs.querySelector("[aria-selected=true]").focus();
    this.load();
  }

  moveTab(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const place = offered.indexOf(this.about);
    this.choose(offered[(place + step + offered.length) % offered.length].kind);
  }

  // Cards

  query(offset) {
    const { about } = this;
    const query = { kind: about.kind, search: this.search.value.trim(), folder: this.folder, sort: this.sort.value, offset, limit: AT_ONCE };
    if (about.families_matter && !this.all.checked && current.family) query.fits = current.family;
    return `api/v2/models?${new URLSearchParams(query)}`;
  }

  /** Show the cards from the first one, or `more` of them. */
  async load(more = false) {
    const number = ++this.asked;
    this.isLoading = true;
    if (!more) localStorage.setItem(KEY, JSON.stringify({ kind: this.about.kind, sort: this.sort.value, all: this.all.checked }));
    try {
      const found = await get(this.query(more ? this.shown : 0));
      if (number !== this.asked) return;
      const cards = found.models.map((model) => this.card(model));
      if (more) this.cards.append(...cards);
      else this.cards.replaceChildren(...cards);
      this.shown = this.cards.children.length;
      this.total = found.total;
      this.say(found);
      this.mark();
    } catch (error) {
      toast(error.message, { kind: "error" });
    } finally {
      if (number === this.asked) this.isLoading = false;
    }
    if (number === this.asked) this.more();
  }

  /** Load more cards when the last ones are nearly in sight. */
  more() {
    const { scrollTop, clientHeight, scrollHeight } = this.cards;
    const isNear = clientHeight > 0 && scrollTop + 2 * clientHeight > scrollHeight;
    if (isNear && !this.isLoading && this.shown < this.total) this.load(true);
  }

  say({ total, folders }) {
    this.count.textContent = total === 1 ? t("1 model") : t("{n} models", { n: total });
    this.nothing.hidden = total > 0;
    const isHidden = this.about.families_matter && !this.all.checked && current.family;
    this.nothing.textContent = isHidden ? t("Nothing here fits the checkpoint. The switch above shows other families too.") : t("There is no such model. Put files into the folders below models/ and refresh.");
    this.folders.hidden = folders.length === 0;
    const option = (value, words) => make("option", { value, textContent: words });
    this.folders.replaceChildren(option("", t("All folders")), ...folders.map((each) => option(each, each)));
    this.folders.value = this.folder;
  }

  enter(folder) {
    this.folder = folder;
    this.load();
  }

  card(model) {
    const state = model.problem ? "broken" : model.pending ? "pending" : "usable";
    const letter = (model.name.split("/").pop() || "?")[0].toUpperCase();
    const picture = model.has_preview ? make("img", { alt: "", loading: "lazy", src: previewAddress(model) }) : make("span", { className: "letter", textContent: letter, "aria-hidden": "true" });
    const family = model.family ? make("span", { className: "badge", "data-other": this.about.families_matter && current.family && model.family !== current.family ? "yes" : "no", textContent: model.family.toUpperCase().replaceAll("_", " ") }) : null;
    const words = model.problem ?? (model.trigger_words || facts(model).slice(1).join(" · "));
    const use = make("button", { type: "button", className: "network-use", title: model.problem ?? model.name, disabled: Boolean(model.problem), onclick: () => this.use(model) }, picture, family, make("b", { textContent: model.name.split("/").pop() }), make("span", { className: "model-facts", textContent: words }));
    const edit = make("button", { type: "button", className: "plain-tool icon-card network-edit", title: t("Open the card"), "aria-label": `${t("Open the card")}: ${model.name}`, onclick: () => openCard(model, () => this.load()) });
    const node = make("div", { className: "network-card", "data-state": state, "data-name": model.name }, use, edit);
    node.model = model;
    return node;
  }

  /** Mark the cards whose tags the prompts hold, and the checkpoint in use. */
  mark() {
    const texts = ["prompt", "negative_prompt"].map((name) => formOf(this.page).input(name).value);
    const { tag } = this.about;
    for (const node of this.cards.children) {
      const { name } = node.model;
      const isOn = tag ? texts.some((text) => holds(text, tag, called(tag, name))) : name === current.name;
      node.classList.toggle("on", isOn);
      node.firstChild.setAttribute("aria-pressed", isOn);
    }
  }

  use(model) {
    const { tag } = this.about;
    if (!tag) {
      send("apply", { checkpoint: model.name });
      return;
    }
    const form = formOf(this.page);
    const other = this.target === "prompt" ? "negative_prompt" : "prompt";
    const name = called(tag, model.name);
    const place = holds(form.input(other).value, tag, name) ? other : this.target;
    const isOn = toggle(form.input(place), tag, { ...model, name, weight: model.weight ?? usualWeight });
    if (place === "prompt") accompany(form.input("negative_prompt"), model.negative_words, isOn);
  }

  moveCard(event) {
    const all = [...this.cards.children];
    const here = all.indexOf(event.target.closest(".network-card"));
    const across = all.filter((each) => each.offsetTop === all[0].offsetTop).length;
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across }[event.key];
    const next = all[here + step];
    if (here < 0 || !step || !next) return;
    event.preventDefault();
    next.firstChild.focus();
  }

  async refresh() {
    try {
      await post("sdapi/v1/refresh-checkpoints");
    } catch (error) {
      toast(error.message, { kind: "error" });
    }
    this.load();
  }
}

/** Learn from the settings of extensions how strongly networks are used that say nothing themselves. */
async function learnWeight() {
  const { extensions } = await get("api/v2/settings").catch(() => ({ extensions: [] }));
  const weight = extensions.map(({ values }) => values.extra_networks_default_multiplier).find((each) => each !== undefined);
  usualWeight = weight === 1 ? null : (weight ?? null);
}

export function build() {
  for (const page of Object.keys(forms)) panels.push(new NetworkPanel(page));
  receive("opened", ({ choices }) => {
    offered = [...choices.networks.sort((one, other) => rank(one) - rank(other)), CHECKPOINTS];
    for (const panel of panels.filter((each) => each.isOpen)) panel.open(true);
  });
  window.addEventListener("easel:model", ({ detail }) => {
    const isOther = detail.family !== current.family;
    current = { name: detail.name, family: detail.family };
    for (const panel of panels.filter((each) => each.isOpen)) isOther ? panel.load() : panel.mark();
  });
}
