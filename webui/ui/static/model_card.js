// One model's card in a dialog: what is known about it, what a user may write on it, and its picture.

import { make } from "./dom.js";
import { cardAddress, facts, previewAddress } from "./model_facts.js";
import { t } from "./page.js";
import { get, patch, put, upload } from "./server.js";
import { show } from "./tabs.js";
import { toast } from "./toast.js";
import { send } from "./wires.js";

const TEXTS = [
  ["title", "Title"],
  ["description", "Description", true],
  ["notes", "Notes", true],
  ["trigger_words", "Trigger words"],
  ["negative_words", "Negative words"],
];

function field(id, label, value, isLong) {
  const node = make(isLong ? "textarea" : "input", { id, value: value ?? "", rows: 3 });
  return make("label", { className: "card-field" }, make("span", { textContent: t(label) }), node);
}

function details(model, page) {
  const rows = [
    [t("File"), model.filename],
    [t("Kind"), facts(model).join(" · ")],
    ["SHA-256", model.sha256],
    [t("Parts"), model.parts.join(", ")],
    ...Object.entries(page.details ?? {}),
  ].filter(([, value]) => value !== null && value !== undefined && value !== "");
  return make("dl", { className: "card-details" }, ...rows.flatMap(([name, value]) => [make("dt", { textContent: name }), make("dd", { textContent: String(value) })]));
}

const DEFAULTS = { width: "Width", height: "Height", steps: "Sampling steps", guidance: "CFG scale", distilled_guidance: "Distilled CFG scale" };
const LISTS = { sampler: ["Sampling method", "sdapi/v1/samplers", "name"], schedule: ["Schedule type", "sdapi/v1/schedulers", "label"] };

/** Return the fields of what a checkpoint proposes, and how to read them. */
async function defaultFields(values) {
  const inputs = Object.fromEntries(
    Object.entries(DEFAULTS).map(([name]) => [name, make("input", { type: "number", step: "any", min: 0, value: values[name] ?? "" })]),
  );
  for (const [name, [, path, key]] of Object.entries(LISTS)) {
    const names = ["", ...(await get(path)).map((each) => each[key])];
    inputs[name] = make("select", {}, ...names.map((value) => make("option", { value, textContent: value || "–" })));
    inputs[name].value = values[name] ?? "";
  }
  const label = (name) => DEFAULTS[name] ?? LISTS[name][0];
  const read = () =>
    Object.fromEntries(
      Object.entries(inputs).map(([name, input]) => [name, input.value === "" ? null : input.type === "number" ? Number(input.value) : input.value]),
    );
  const rows = Object.entries(inputs).map(([name, input]) => make("label", { className: "card-field" }, make("span", { textContent: t(label(name)) }), input));
  return { read, before: read(), node: make("fieldset", { className: "card-defaults" }, make("legend", { textContent: t("What this model proposes") }), ...rows) };
}

async function setPicture(model, file, image) {
  const stored = await upload("api/v2/inputs", file);
  await put(`${cardAddress(model)}/preview`, { image: stored.id });
  image.src = `${previewAddress(model, 512)}&at=${Date.now()}`;
  image.hidden = false;
}

/** Open the card of a model; `changed` is called when something on it was. */
export async function openCard(model, changed) {
  let page;
  try {
    page = await get(cardAddress(model));
  } catch (error) {
    toast(error.message, { kind: "error" });
    return;
  }
  const defaults = model.kind === "checkpoint" && !model.problem ? await defaultFields(page.card.defaults) : null;
  const fields = TEXTS.map(([name, label, isLong]) => [name, field(`card_${name}`, label, page.card[name], isLong)]);
  const image = make("img", { alt: t("The picture on the card"), src: model.has_preview ? previewAddress(model, 512) : "", hidden: !model.has_preview });
  const dialog = make("dialog", { className: "card-dialog", "aria-label": model.name, onclose: () => dialog.remove() });
  const close = () => dialog.close();
  const report = (work) => work().then(changed).catch((error) => toast(error.message, { kind: "error" }));
  const chooser = make("input", {
    type: "file",
    accept: "image/*",
    hidden: true,
    onchange: () => chooser.files[0] && report(() => setPicture(model, chooser.files[0], image)),
  });
  const save = async () => {
    const change = Object.fromEntries(fields.map(([name, each]) => [name, each.lastChild.value]).filter(([name, text]) => text !== (page.card[name] ?? "")));
    const proposed = defaults?.read();
    if (proposed && JSON.stringify(proposed) !== JSON.stringify(defaults.before)) change.defaults = proposed;
    if (Object.keys(change).length) await patch(cardAddress(model), change);
    close();
  };
  const use = () => {
    send("apply", { checkpoint: model.name });
    close();
    show("tab_txt2img");
  };
  const button = (text, onclick, className = "solid", more = {}) => make("button", { type: "button", className, textContent: t(text), onclick, ...more });
  dialog.append(
    make("header", {}, make("h2", { textContent: page.card.title || model.name }), button("Close", close, "solid", { id: "card_close" })),
    model.problem ? make("p", { className: "field-problem", textContent: model.problem }) : "",
    make(
      "div",
      { className: "card-body" },
      make("div", { className: "card-picture" }, image, chooser, button("Choose a picture", () => chooser.click())),
      make("div", { className: "card-texts" }, details(model, page), ...fields.map(([, each]) => each), defaults?.node ?? null),
    ),
    make(
      "div",
      { className: "button-line" },
      model.kind === "checkpoint" && !model.problem ? button("Use this checkpoint", use, "solid primary", { id: "card_use" }) : "",
      button("Save", () => report(save), "solid", { id: "card_save" }),
    ),
  );
  document.querySelector(".gradio-container").append(dialog);
  dialog.showModal();
}
