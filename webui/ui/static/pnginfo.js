// The PNG info page: a picture in, what it says about itself out, and from there to the other pages.

import { byId, copy, make, mount } from "./dom.js";
import { takeDrops } from "./dropped.js";
import { pairs } from "./infotext.js";
import { t } from "./page.js";
import { sendTo, takes } from "./sending.js";
import { post, upload } from "./server.js";
import { toast } from "./toast.js";
import { send } from "./wires.js";

let parts = null;

/** Return what the "apply" message wants to know of something that was read; null when it has no parameters. */
const settingsOf = (found) => (found.request ? { request: found.request, picture: found.start, unmapped: found.unmapped } : null);

function apply(found, page) {
  const settings = settingsOf(found);
  if (settings) send("apply", { page, ...settings });
  else toast(t("This picture carries no generation parameters"));
}

/** Read a picture dropped on the prompt and put its settings into the form. */
export async function readDropped(file, page) {
  try {
    apply(await upload("api/v2/png-info", file), page);
  } catch (error) {
    toast(error.message, { kind: "error" });
  }
}

/** Return whether a text in the prompt is more than a prompt: parameters that were pasted there. */
export const isInfotext = (text) => /^\s*(Steps|Sampler|Seed):\s/m.test(text) || /^\s*Negative prompt:/m.test(text);

/** Put the settings that a text holds into the form. */
export async function readText(text, page) {
  try {
    apply(await post("api/v2/infotext", { text }), page);
  } catch (error) {
    toast(error.message, { kind: "error" });
  }
}

// What was found

function sendButtons(found, file) {
  const settings = settingsOf(found);
  const button = (target, text, more = {}) =>
    make("button", {
      type: "button",
      id: `pnginfo_send_to_${target}`,
      className: "solid",
      textContent: text,
      onclick: () => sendTo(target, { file, settings: target === "extras" ? null : settings }).catch((error) => toast(error.message, { kind: "error" })),
      ...more,
    });
  return make(
    "div",
    { className: "button-line" },
    button("txt2img", t("Send to txt2img"), { className: "solid primary", disabled: !settings }),
    button("img2img", t("Send to img2img")),
    button("inpaint", t("Send to inpaint")),
    button("extras", t("Send to Extras")),
    copyButton(found),
  );
}

function copyButton(found) {
  const act = async () => {
    await copy(found.infotext);
    toast(t("Parameters copied"));
  };
  return make("button", { type: "button", className: "solid", textContent: t("Copy parameters"), disabled: !found.infotext, onclick: act });
}

function prompts(request) {
  return [
    request?.prompt ? make("p", { className: "infotext-prompt", textContent: request.prompt }) : null,
    request?.negative_prompt ? make("p", { className: "infotext-negative" }, make("b", { textContent: t("Without:") }), ` ${request.negative_prompt}`) : null,
  ];
}

const raw = (title, text, more = {}) =>
  make("details", more.open ? { open: true } : {}, make("summary", { textContent: title }), make("pre", { className: "infotext-raw", id: more.id ?? "", textContent: text }));

function unmapped(list) {
  if (!list.length) return null;
  const lines = list.map((reason) => make("li", { textContent: reason }));
  return make("div", { className: "form-note warning" }, make("div", {}, make("b", { textContent: t("Cannot be taken over:") }), make("ul", {}, ...lines)));
}

function result(found, file) {
  const made = found.program ? make("p", { className: "quiet", id: "pnginfo_program", textContent: t("Made with {program}", { program: found.program }) }) : null;
  const parameters = found.infotext
    ? [
        make("div", { className: "infotext" }, ...prompts(found.request).filter(Boolean), pairs(Object.entries(found.fields))),
        unmapped(found.unmapped),
        raw(t("Parameters as text"), found.infotext, { id: "html_info_pnginfo", open: true }),
      ]
    : [make("p", { className: "quiet", textContent: t("This picture carries no generation parameters") })];
  const texts = Object.entries(found.items).map(([name, text]) => raw(name, text));
  return [
    sendButtons(found, file),
    make("p", { className: "quiet", id: "pnginfo_size", textContent: `${file.name} · ${found.width}×${found.height}` }),
    made,
    ...parameters,
    texts.length ? make("h3", { className: "quiet", textContent: t("Other texts in the file") }) : null,
    ...texts,
  ].filter(Boolean);
}

async function read(file) {
  if (parts.picture.src) URL.revokeObjectURL(parts.picture.src);
  parts.picture.src = URL.createObjectURL(file);
  parts.zone.classList.add("filled");
  parts.answer.replaceChildren(make("p", { className: "quiet", textContent: t("Reading…") }));
  try {
    parts.answer.replaceChildren(...result(await upload("api/v2/png-info", file), file));
  } catch (error) {
    parts.zone.classList.remove("filled");
    parts.answer.replaceChildren(make("p", { className: "field-problem", role: "alert", textContent: error.message }));
  }
}

takes("pnginfo", (file) => read(file instanceof File ? file : new File([file], t("Picture"), { type: file.type })));

// The page

const firstPicture = (files) => [...(files ?? [])].find((each) => each.type.startsWith("image/")) ?? files?.[0];

function listen() {
  takeDrops(parts.zone, (files) => read(firstPicture(files)));
  document.addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length && byId("tab_pnginfo").classList.contains("selected")) read(firstPicture(event.clipboardData.files));
  });
}

export function build() {
  const chooser = make("input", { type: "file", accept: "image/*", id: "pnginfo_file", "aria-label": t("Choose a picture"), onchange: () => chooser.files[0] && read(chooser.files[0]) });
  parts = { picture: make("img", { alt: t("The picture that was read") }), answer: make("div", { className: "answer" }) };
  parts.zone = make(
    "label",
    { className: "drop-zone", id: "pnginfo_image" },
    chooser,
    parts.picture,
    make("span", { className: "drop-words" }, make("b", { textContent: t("Drop a picture here") }), make("span", { textContent: t("or click to choose one · Ctrl+V pastes") })),
  );
  parts.answer.append(make("p", { className: "quiet", textContent: t("The parameters a picture was made with appear here.") }));
  listen();
  mount("pnginfo_view").append(make("div", { className: "pnginfo" }, parts.zone, parts.answer));
}
