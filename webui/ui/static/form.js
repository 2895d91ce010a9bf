// The forms of txt2img and img2img: they survive a reload, show what is wrong at the field, and know the model's
// proposals and examples. Their groups (groups.js) keep what they say themselves.

import { byId, make, mount, type } from "./dom.js";
import { droppedFiles } from "./dropped.js";
import { reuseSeed } from "./gallery.js";
import { Groups } from "./groups.js";
import { add } from "./jobs.js";
import { facts, t } from "./page.js";
import { isInfotext, readDropped, readText } from "./pnginfo.js";
import * as quick from "./quick.js";
import { get } from "./server.js";
import { show } from "./tabs.js";
import { toast } from "./toast.js";
import { receive, send } from "./wires.js";

const BY_GROUPS = "parts";
const BY_PYTHON = ["model", "sampler", "schedule", "styles", "resize", "content", "extension_content", "area"]; // only it can set a dropdown
const HOVER = {
  paste: "Use the settings of the last job, or the parameters that stand in the prompt",
  clear_prompt: "Clear both prompts",
  res_switch_btn: "Swap width and height",
  random_seed: "Random seed each time",
  reuse_seed: "Reuse the seed of the picture shown",
};

export const forms = {};

/** Return the form of a page ("txt2img" or "img2img"). */
export const formOf = (page) => forms[page];

class PageForm {
  constructor(page, { fields, labels, groups, tilings }) {
    this.page = page;
    this.fields = fields;
    this.labels = labels;
    this.key = `easel.${page}.form`;
    this.examples = [];
    this.styles = []; // names of those chosen
    this.note = make("div", { className: "form-note", role: "status" });
    mount(`${page}_note`).append(this.note);
    this.chips = make("div", { className: "chips", hidden: true });
    mount(`${page}_examples`).append(this.chips);
    this.nameTools();
    for (const name of this.names) this.block(name).addEventListener("input", () => this.clearProblem(name));
    this.block("prompt").addEventListener("input", () => this.drawExamples());
    byId(`${page}_generate`).addEventListener("click", () => this.save());
    this.groups = new Groups(this, { groups, tilings });
  }

  get names() {
    return Object.keys(this.fields);
  }

  block = (name) => byId(this.fields[name]);
  input = (name) => this.block(name).querySelector("textarea, input[type=number], input");
  label = (name) => t(this.labels[name] ?? name);
  has = (name) => name in this.fields;
  isCheckbox = (name) => this.input(name).type === "checkbox";
  value = (name) => (this.isCheckbox(name) ? this.input(name).checked : this.input(name).value);

  /** Set a field as if the user had. */
  set(name, value) {
    if (!this.isCheckbox(name)) type(this.input(name), value);
    else if (this.input(name).checked !== value) this.input(name).click();
  }

  // What was typed survives a reload

  save() {
    const names = this.names.filter((name) => name !== "model" && name !== BY_GROUPS);
    const values = Object.fromEntries(names.map((name) => [name, this.choice(name)]));
    localStorage.setItem(this.key, JSON.stringify({ ...values, styles: this.styles }));
  }

  /** Return a field's value; of a dropdown the value behind the label that it shows. */
  choice(name) {
    const shown = this.value(name);
    return CHOICES[name]?.[shown] ?? shown;
  }

  stored() {
    try {
      return JSON.parse(localStorage.getItem(this.key) ?? "{}") ?? {};
    } catch {
      return {};
    }
  }

  restore(values) {
    for (const [name, value] of Object.entries(values)) {
      if (!this.has(name) || name === BY_GROUPS || BY_PYTHON.includes(name)) continue;
      if (["string", "boolean"].includes(typeof value) && this.value(name) !== value) this.set(name, value);
    }
  }

  // Problems at their field

  clearProblem(name) {
    byId(`problem_${this.page}_${name}`)?.remove();
    this.input(name).removeAttribute("aria-invalid");
    this.block(name).classList.remove("invalid");
  }

  clearProblems() {
    this.names.forEach((name) => this.clearProblem(name));
    this.groups.clearProblems();
  }

  showProblem({ field, text, limit, hint }) {
    const words = t(text, { limit });
    const place = this.groups.place(field ?? "");
    if (place) {
      this.groups.showProblem(place, [words, hint].filter(Boolean).join(" "));
      return;
    }
    if (!this.has(field) || this.block(field).offsetParent === null) {
      toast(words, { kind: "error", hint });
      return;
    }
    this.clearProblem(field);
    const sentence = this.labels[field] && text.startsWith("must") ? `${this.label(field)}: ${words}` : words;
    const id = `problem_${this.page}_${field}`;
    this.block(field).append(make("div", { className: "field-problem", id, role: "alert", textContent: [sentence, hint].filter(Boolean).join(" ") }));
    this.block(field).classList.add("invalid");
    this.input(field).setAttribute("aria-invalid", "true");
    this.input(field).setAttribute("aria-describedby", id);
  }

  showProblems(problems) {
    this.clearProblems();
    problems.forEach((problem) => this.showProblem(problem));
    const { field } = problems[0];
    const place = this.groups.place(field ?? "") ?? this.input(this.has(field) ? field : "prompt");
    place.scrollIntoView({ block: "nearest" });
  }

  // Model proposals and examples

  /** Offer the guidance that the network is told, if it is; what the user typed stays. Gradio shows 0 for nothing. */
  tellGuidance(usual) {
    const input = this.input("distilled_guidance");
    const isOwn = Number(input.value) !== 0 && Number(input.value) !== this.usualGuidance;
    this.block("distilled_guidance").hidden = usual === null;
    if (!isOwn || usual === null) type(input, usual ?? 0);
    this.usualGuidance = usual;
  }

  say(text) {
    this.note.replaceChildren();
    if (!text) return;
    this.note.append(
      make("span", { textContent: text }),
      make("button", { type: "button", className: "close", "aria-label": t("Close"), textContent: "×", onclick: () => this.say("") }),
    );
  }

  drawExamples() {
    const isShown = this.examples.length > 0 && !this.input("prompt").value.trim();
    this.chips.hidden = !isShown;
    this.chips.replaceChildren();
    if (!isShown) return;
    const use = (text) => () => {
      type(this.input("prompt"), text);
      this.input("prompt").focus();
    };
    this.chips.append(
      make("span", { className: "chips-title", textContent: t("Try:") }),
      ...this.examples.map((text) => make("button", { type: "button", className: "chip", textContent: text, onclick: use(text) })),
    );
  }

  proposed({ name, changed, kept }) {
    this.clearProblem("model");
    const list = (names) => names.map(this.label).join(", ");
    const words = [];
    if (Object.keys(changed).length) words.push(t("{model} proposed: {fields}.", { model: name, fields: list(Object.keys(changed)) }));
    if (kept.length) words.push(t("Your own values were kept: {fields}.", { fields: list(kept) }));
    this.say(words.join(" "));
  }

  // Tools

  swap() {
    const [width, height] = [this.input("width").value, this.input("height").value];
    type(this.input("width"), height);
    type(this.input("height"), width);
  }

  async useLast() {
    const written = this.input("prompt").value;
    if (isInfotext(written)) {
      await readText(written, this.page);
      return;
    }
    const jobs = await get("api/v2/jobs?limit=50").catch(() => []);
    const isHere = ({ request }) => request.kind === "generate" && (request.start.kind === "noise") === (this.page === "txt2img");
    const job = jobs.find((each) => each.images.length && isHere(each));
    if (job) send("apply", { page: this.page, job: job.id, index: job.images[0].index });
    else toast(t("There is no earlier job yet"));
  }

  clearPrompts() {
    type(this.input("prompt"), "");
    type(this.input("negative_prompt"), "");
    this.input("prompt").focus();
  }

  nameTools() {
    const acts = {
      paste: () => this.useLast(),
      clear_prompt: () => this.clearPrompts(),
      res_switch_btn: () => this.swap(),
      random_seed: () => type(this.input("seed"), -1),
      reuse_seed: () => reuseSeed(this.page),
    };
    for (const [name, text] of Object.entries(HOVER)) {
      const button = byId(`${this.page}_${name}`);
      button.title = t(text);
      button.setAttribute("aria-label", t(text));
      button.addEventListener("click", acts[name]);
    }
    this.input("styles").placeholder = t("Styles");
    for (const name of this.names) {
      for (const each of this.block(name).querySelectorAll("textarea, input")) each.setAttribute("aria-label", this.label(name));
    }
  }
}

// Label of a dropdown's choice → its value, where they differ.
const CHOICES = {
  resize: { "Just resize": "just_resize", "Crop and resize": "crop", "Resize and fill": "fill", "Just resize (latent upscale)": "latent" },
  extension_content: { "latent noise": "latent_noise", "latent nothing": "latent_nothing" },
  content: { "latent noise": "latent_noise", "latent nothing": "latent_nothing" },
  area: { "Whole picture": "whole", "Only masked": "masked" },
};

// A picture dropped or pasted on the prompt brings its settings

async function takeImage(event, transfer) {
  const prompt = event.target.closest?.(".prompt");
  const hasPicture = [...(transfer?.files ?? [])].some((each) => each.type.startsWith("image/"));
  const isDragged = event.type === "drop" && transfer?.types.includes("text/uri-list"); // from this page
  if (!prompt || !(hasPicture || isDragged)) return;
  event.preventDefault();
  event.stopPropagation();
  const file = (await droppedFiles(transfer)).find((each) => each.type.startsWith("image/"));
  if (file) readDropped(file, prompt.closest("#tab_img2img") ? "img2img" : "txt2img");
}

function takeImages() {
  document.addEventListener("dragover", (event) => event.target.closest?.(".prompt") && event.preventDefault());
  document.addEventListener("drop", (event) => takeImage(event, event.dataTransfer), true);
  document.addEventListener("paste", (event) => takeImage(event, event.clipboardData), true);
}

// Messages of Python

function shownModel(message) {
  for (const form of Object.values(forms)) {
    form.examples = message.examples ?? [];
    form.drawExamples();
    form.tellGuidance(message.told_guidance ?? null);
  }
  window.dispatchEvent(new CustomEvent("easel:model", { detail: message }));
}

function listen() {
  receive("submitted", ({ page, job, notes }) => {
    for (const text of notes) toast(text);
    forms[page].clearProblems();
    add(job);
  });
  receive("problems", ({ page, problems }) => forms[page].showProblems(problems));
  receive("model", (message) => {
    shownModel(message);
    forms.txt2img.proposed(message);
  });
  receive("opened", (message) => {
    shownModel(message);
    quick.offerVaes(message.choices.names.vae, message.vae);
    for (const form of Object.values(forms)) form.groups.offer(message.choices);
    (message.problems ?? []).forEach((problem) => forms.txt2img.showProblem(problem));
    document.documentElement.dataset.easel = "ready";
  });
  receive("applied", (message) => {
    const form = forms[message.page];
    form.clearProblems();
    shownModel(message);
    form.groups.show(message.parts);
    show(`tab_${message.page}`);
    form.say(message.notes.length ? t("Not taken over: {fields}", { fields: message.notes.join("; ") }) : "");
    toast(t("The settings are in the form"));
  });
}

export function build() {
  quick.build();
  const refresh = byId("refresh_sd_model_checkpoint");
  refresh.title = t("Look for new checkpoints");
  refresh.setAttribute("aria-label", refresh.title);
  const stored = {};
  for (const [page, described] of Object.entries(facts.forms)) {
    forms[page] = new PageForm(page, described);
    stored[page] = forms[page].stored();
    forms[page].styles = stored[page].styles ?? [];
    forms[page].restore(stored[page]);
  }
  takeImages();
  listen();
  const save = () => Object.values(forms).forEach((form) => form.save());
  window.addEventListener("pagehide", save);
  document.addEventListener("visibilitychange", () => document.hidden && save());
  window.addEventListener("easel:styles", ({ detail: { page, styles } }) => {
    forms[page].styles = styles ?? [];
  });
  send("submit", { stored });
}
