// The txt2img form: survives a reload, shows what is wrong at the field, and knows the model's proposals and examples.

import { byId, make, mount, type } from "./dom.js";
import { reuseSeed } from "./gallery.js";
import { requestOf } from "./infotext.js";
import { add } from "./jobs.js";
import { facts, t } from "./page.js";
import { readDropped } from "./pnginfo.js";
import { get } from "./server.js";
import { show } from "./tabs.js";
import { toast } from "./toast.js";
import { receive, send } from "./wires.js";

const KEY = "easel.txt2img.form";
const DROPDOWNS = ["sampler", "schedule", "styles"];
const HOVER = {
  txt2img_paste: "Use the settings of the last job",
  txt2img_clear_prompt: "Clear both prompts",
  txt2img_res_switch_btn: "Swap width and height",
  txt2img_random_seed: "Random seed each time",
  txt2img_reuse_seed: "Reuse the seed of the picture shown",
  refresh_sd_model_checkpoint: "Look for new checkpoints",
};

const block = (name) => byId(facts.fields[name]);
const input = (name) => block(name).querySelector("textarea, input[type=number], input");
const label = (name) => t(facts.labels[name] ?? name);

// What was typed survives a reload

function save() {
  const values = Object.fromEntries(
    Object.keys(facts.fields)
      .filter((name) => name !== "model")
      .map((name) => [name, input(name).value]),
  );
  localStorage.setItem(KEY, JSON.stringify(values));
}

function stored() {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? "{}") ?? {};
  } catch {
    return {};
  }
}

function restore(values) {
  for (const [name, value] of Object.entries(values)) {
    if (!(name in facts.fields) || DROPDOWNS.includes(name) || name === "model") continue;
    if (typeof value === "string" && input(name).value !== value) type(input(name), value);
  }
}

// Problems at their field

function clearProblem(name) {
  byId(`problem_${name}`)?.remove();
  input(name).removeAttribute("aria-invalid");
  block(name).classList.remove("invalid");
}

function showProblem({ field, text, limit, hint }) {
  const words = t(text, { limit });
  if (!(field in facts.fields)) {
    toast(words, { kind: "error", hint });
    return;
  }
  clearProblem(field);
  const sentence = facts.labels[field] && text.startsWith("must") ? `${label(field)}: ${words}` : words;
  block(field).append(
    make("div", { className: "field-problem", id: `problem_${field}`, role: "alert", textContent: [sentence, hint].filter(Boolean).join(" ") }),
  );
  block(field).classList.add("invalid");
  input(field).setAttribute("aria-invalid", "true");
  input(field).setAttribute("aria-describedby", `problem_${field}`);
}

const clearProblems = () => Object.keys(facts.fields).forEach(clearProblem);

// Model proposals and examples

let note = null;
let chips = null;
let examples = [];

function say(text) {
  note.replaceChildren();
  if (!text) return;
  note.append(
    make("span", { textContent: text }),
    make("button", { type: "button", className: "close", "aria-label": t("Close"), textContent: "×", onclick: () => say("") }),
  );
}

function drawExamples() {
  const isShown = examples.length > 0 && !input("prompt").value.trim();
  chips.hidden = !isShown;
  chips.replaceChildren();
  if (!isShown) return;
  const use = (text) => () => {
    type(input("prompt"), text);
    input("prompt").focus();
  };
  chips.append(
    make("span", { className: "chips-title", textContent: t("Try:") }),
    ...examples.map((text) => make("button", { type: "button", className: "chip", textContent: text, onclick: use(text) })),
  );
}

function shownModel(message) {
  examples = message.examples ?? [];
  drawExamples();
  window.dispatchEvent(new CustomEvent("easel:model", { detail: message }));
}

function proposed({ name, changed, kept }) {
  clearProblem("model");
  const list = (names) => names.map(label).join(", ");
  const words = [];
  if (Object.keys(changed).length) words.push(t("{model} proposed: {fields}.", { model: name, fields: list(Object.keys(changed)) }));
  if (kept.length) words.push(t("Your own values were kept: {fields}.", { fields: list(kept) }));
  say(words.join(" "));
}

// Tools

function swap() {
  const [width, height] = [input("width").value, input("height").value];
  type(input("width"), height);
  type(input("height"), width);
}

async function useLast() {
  const jobs = await get("api/v2/jobs?limit=10").catch(() => []);
  const job = jobs.find((each) => each.images.length);
  if (job) send("apply", { request: requestOf(job, job.images[0]) });
  else toast(t("There is no earlier job yet"));
}

function clearPrompts() {
  type(input("prompt"), "");
  type(input("negative_prompt"), "");
  input("prompt").focus();
}

const TOOLS = {
  txt2img_paste: useLast,
  txt2img_clear_prompt: clearPrompts,
  txt2img_res_switch_btn: swap,
  txt2img_random_seed: () => type(input("seed"), -1),
  txt2img_reuse_seed: reuseSeed,
};

function nameTools() {
  for (const [id, text] of Object.entries(HOVER)) {
    byId(id).title = t(text);
    byId(id).setAttribute("aria-label", t(text));
    if (TOOLS[id]) byId(id).addEventListener("click", TOOLS[id]);
  }
  for (const name of Object.keys(facts.fields)) {
    for (const each of block(name).querySelectorAll("textarea, input")) each.setAttribute("aria-label", label(name));
  }
}

// A picture dropped or pasted on the prompt brings its settings

function takeImage(event, files) {
  const file = [...(files ?? [])].find((each) => each.type.startsWith("image/"));
  if (!file || !event.target.closest?.(".prompt")) return;
  event.preventDefault();
  event.stopPropagation();
  readDropped(file);
}

function takeImages() {
  document.addEventListener("dragover", (event) => event.target.closest?.(".prompt") && event.preventDefault());
  document.addEventListener("drop", (event) => takeImage(event, event.dataTransfer?.files), true);
  document.addEventListener("paste", (event) => takeImage(event, event.clipboardData?.files), true);
}

// Messages of Python

function listen() {
  receive("submitted", ({ job, notes }) => {
    for (const text of notes) toast(text);
    clearProblems();
    add(job);
  });
  receive("problems", ({ problems }) => {
    clearProblems();
    problems.forEach(showProblem);
    input(problems[0].field in facts.fields ? problems[0].field : "prompt").scrollIntoView({ block: "nearest" });
  });
  receive("model", (message) => {
    shownModel(message);
    proposed(message);
  });
  receive("opened", (message) => {
    shownModel(message);
    (message.problems ?? []).forEach(showProblem);
    document.documentElement.dataset.easel = "ready";
  });
  receive("applied", (message) => {
    clearProblems();
    shownModel(message);
    show("tab_txt2img");
    say(message.notes.length ? t("Not taken over: {fields}", { fields: message.notes.join("; ") }) : "");
    toast(t("The settings are in the form"));
  });
}

export function build() {
  note = make("div", { className: "form-note", role: "status" });
  mount("txt2img_note").append(note);
  chips = make("div", { className: "chips", hidden: true });
  mount("txt2img_examples").append(chips);
  nameTools();
  takeImages();
  listen();
  const values = stored();
  restore(values);
  for (const name of Object.keys(facts.fields)) block(name).addEventListener("input", () => clearProblem(name));
  block("prompt").addEventListener("input", drawExamples);
  window.addEventListener("pagehide", save);
  document.addEventListener("visibilitychange", () => document.hidden && save());
  byId("txt2img_generate").addEventListener("click", save);
  send("submit", { stored: values });
}
