// What can be made of models: a form for each kind of work, and how far the pieces of work are.

import { byId, make } from "./dom.js";
import { t } from "./page.js";
import { get, post } from "./server.js";
import { toast } from "./toast.js";

const EVERY = 1000; // milliseconds between two looks at running work

const LAYOUT = { name: "layout", label: "Layout", choices: ["original", "diffusers"], names: { original: "One file", diffusers: "Diffusers folder" } };
const PRECISION = { name: "precision", label: "Precision", choices: ["fp16", "bf16", "fp32", "fp8", ""], names: { "": "As it is" } };
const VAE = { name: "vae", label: "VAE to bake in", kind: "vae", isFree: true };
const KINDS = {
  convert: {
    label: "Convert",
    about: "Another layout or precision; what is not used, such as EMA weights, is left out.",
    fields: [{ name: "source", label: "Checkpoint", kind: "checkpoint" }, LAYOUT, PRECISION, VAE],
  },
  merge: {
    label: "Merge",
    about: "Two or three models of one family become one.",
    fields: [
      { name: "first", label: "Model A", kind: "checkpoint" },
      { name: "second", label: "Model B", kind: "checkpoint" },
      { name: "base", label: "Model C", kind: "checkpoint", isFree: true },
      {
        name: "method",
        label: "Method",
        choices: ["weighted_sum", "add_difference", "ties", "dare_linear", "dare_ties"],
        names: { weighted_sum: "Weighted sum: A·(1−M) + B·M", add_difference: "Add difference: A + (B−C)·M", ties: "TIES", dare_linear: "DARE, linear", dare_ties: "DARE, TIES" },
      },
      { name: "share", label: "Share of B (M)", number: 0.5, step: 0.05 },
      { name: "blocks", label: "Block weights", text: "" },
      LAYOUT,
      PRECISION,
      VAE,
    ],
  },
  extract: {
    label: "Extract LoRA",
    about: "What a model has learnt beyond another one, as a LoRA.",
    fields: [{ name: "tuned", label: "Trained model", kind: "checkpoint" }, { name: "base", label: "Its base", kind: "checkpoint" }, { name: "rank", label: "Rank", number: 64, step: 1 }],
  },
  quantise: {
    label: "Quantise",
    about: "The part that draws, as a smaller GGUF file.",
    fields: [{ name: "source", label: "Checkpoint", kind: "checkpoint" }, { name: "type", label: "Type", choices: ["Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "BF16", "F16"] }],
  },
};
const STATES = { waiting: "Waiting…", running: "Working…", finished: "done", failed: "failed", cancelled: "given up" };

let parts = null;
let kind = "convert";
let controls = {};
let names = { checkpoint: [], vae: [] };
let whenMade = () => {};
let timer = null;

function control(field) {
  const id = `work_${field.name}`;
  const options = field.kind ? [...(field.isFree ? [""] : []), ...names[field.kind]] : field.choices;
  const words = (value) => (field.names?.[value] ? t(field.names[value]) : value || "–");
  const node = options
    ? make("select", { id }, ...options.map((value) => make("option", { value, textContent: words(value) })))
    : make("input", { id, type: field.number === undefined ? "text" : "number", step: field.step ?? "any", value: field.number ?? field.text });
  return make("label", { className: "extras-field", "data-field": field.name }, make("span", { textContent: t(field.label) }), node);
}

function draw() {
  const { fields, about } = KINDS[kind];
  const name = { name: "target", label: "Name of the new model", text: "" };
  controls = Object.fromEntries([...fields, name].map((field) => [field.name, control(field)]));
  parts.fields.replaceChildren(make("p", { className: "quiet", textContent: t(about) }), ...Object.values(controls));
  for (const button of parts.kinds.children) button.setAttribute("aria-pressed", button.value === kind);
}

function read() {
  const content = { kind };
  for (const [name, each] of Object.entries(controls)) {
    const node = each.children[1];
    content[name] = node.type === "number" ? Number(node.value) : node.value;
  }
  for (const name of ["vae", "base", "precision"]) if (content[name] === "") content[name] = null;
  return content;
}

function sayProblem(message) {
  parts.problem.textContent = message;
  parts.problem.hidden = !message;
}

async function begin() {
  sayProblem("");
  try {
    await post("api/v2/model-work", read());
    await refresh();
  } catch (error) {
    sayProblem(error.message);
  }
}

function piece(view) {
  const isOpen = view.state === "waiting" || view.state === "running";
  const { progress } = view;
  const words = view.state === "failed" ? [view.error, view.hint].filter(Boolean).join(" ") : t(STATES[view.state]);
  return make(
    "li",
    { "data-state": view.state },
    make("span", { className: "name", textContent: view.target }),
    isOpen ? make("button", { type: "button", className: "link", textContent: t("Give up"), onclick: () => post(`api/v2/model-work/${view.id}/cancel`).then(refresh) }) : null,
    isOpen && progress ? make("progress", { max: progress.total, value: progress.done, "aria-label": view.target }) : null,
    make("span", { className: "state", textContent: words }),
  );
}

/** Look how far the work is, and again while some is under way. */
export async function refresh() {
  clearTimeout(timer);
  const views = await get("api/v2/model-work").catch((error) => toast(error.message, { kind: "error" }) ?? []);
  const done = views.filter((view) => view.state === "finished").map((view) => view.id).join();
  parts.list.replaceChildren(...views.map(piece));
  if (parts.list.dataset.done !== undefined && parts.list.dataset.done !== done) {
    await readNames();
    whenMade();
  }
  parts.list.dataset.done = done;
  if (views.some((view) => view.state === "waiting" || view.state === "running")) timer = setTimeout(refresh, EVERY);
}

async function readNames() {
  for (const sort of Object.keys(names)) {
    const found = await get(`api/v2/models?kind=${sort}&usable=true`).catch(() => ({ models: [] }));
    names[sort] = found.models.map((model) => model.name);
  }
  const before = Object.fromEntries(Object.entries(controls).map(([name, each]) => [name, each.children[1].value]));
  draw();
  for (const [name, value] of Object.entries(before)) {
    const node = controls[name]?.children[1];
    if (node && (node.tagName !== "SELECT" || [...node.options].some((each) => each.value === value))) node.value = value;
  }
}

/** Return the panel; `made` is called when there is a new model. */
export function build(made) {
  whenMade = made;
  const choose = (name) => () => {
    kind = name;
    sayProblem("");
    draw();
  };
  parts = {
    kinds: make(
      "div",
      { className: "model-kinds", role: "group", "aria-label": t("Make a model of models") },
      ...Object.entries(KINDS).map(([name, { label }]) => make("button", { type: "button", value: name, className: "chip", textContent: t(label), onclick: choose(name) })),
    ),
    fields: make("div", { className: "work-fields" }),
    problem: make("p", { className: "work-problem", role: "alert", id: "work_problem", hidden: true }),
    list: make("ul", { className: "file-list", id: "work_list" }),
  };
  draw();
  const panel = make(
    "section",
    { className: "model-work", "aria-label": t("Make a model of models") },
    make("h2", { textContent: t("Make a model of models") }),
    parts.kinds,
    parts.fields,
    parts.problem,
    make("button", { type: "button", className: "solid primary", id: "work_begin", textContent: t("Make"), onclick: begin }),
    parts.list,
  );
  const ready = () => byId("tab_models").classList.contains("selected") && readNames().then(refresh);
  window.addEventListener("easel:page", ({ detail }) => detail === "tab_models" && ready());
  queueMicrotask(ready);
  return panel;
}
