// The PNG info page: a picture in, the parameters out, and from there into the form.

import { byId, copy, make, mount } from "./dom.js";
import { pairs } from "./infotext.js";
import { t } from "./page.js";
import { upload } from "./server.js";
import { toast } from "./toast.js";
import { send } from "./wires.js";

let parts = null;

const apply = (found, page = "txt2img") => send("apply", { page, request: found.request, picture: found.start, unmapped: found.unmapped });

/** Read a picture dropped on the prompt and put its settings into the form. */
export async function readDropped(file, page) {
  try {
    const found = await upload("api/v2/png-info", file);
    if (found.request) apply(found, page);
    else toast(t("This picture carries no generation parameters"));
  } catch (error) {
    toast(error.message, { kind: "error" });
  }
}

function result(found) {
  if (!found.infotext) {
    return [make("p", { className: "quiet", textContent: t("This picture carries no generation parameters") })];
  }
  const buttons = make(
    "div",
    { className: "button-line" },
    make("button", { type: "button", id: "pnginfo_send_to_txt2img", className: "solid primary", textContent: t("Send to txt2img"), disabled: !found.request, onclick: () => apply(found) }),
    make("button", { type: "button", id: "pnginfo_send_to_img2img", className: "solid", textContent: t("Send to img2img"), disabled: !found.request, onclick: () => apply(found, "img2img") }),
    make("button", {
      type: "button",
      className: "solid",
      textContent: t("Copy parameters"),
      onclick: async () => {
        await copy(found.infotext);
        toast(t("Parameters copied"));
      },
    }),
  );
  const prompts = [];
  if (found.request?.prompt) prompts.push(make("p", { className: "infotext-prompt", textContent: found.request.prompt }));
  if (found.request?.negative_prompt) {
    prompts.push(make("p", { className: "infotext-negative" }, make("b", { textContent: t("Without:") }), ` ${found.request.negative_prompt}`));
  }
  const unmapped = found.unmapped.length
    ? make("div", { className: "form-note warning" }, make("span", { textContent: t("Not taken over: {fields}", { fields: found.unmapped.join("; ") }) }))
    : null;
  return [
    buttons,
    make("div", { className: "infotext" }, ...prompts, pairs(Object.entries(found.fields))),
    unmapped,
    make("details", {}, make("summary", { textContent: t("Parameters as text") }), make("pre", { className: "infotext-raw", id: "html_info_pnginfo", textContent: found.infotext })),
  ].filter(Boolean);
}

async function read(file) {
  if (parts.picture.src) URL.revokeObjectURL(parts.picture.src);
  parts.picture.src = URL.createObjectURL(file);
  parts.zone.classList.add("filled");
  parts.answer.replaceChildren(make("p", { className: "quiet", textContent: t("Reading…") }));
  try {
    const found = await upload("api/v2/png-info", file);
    parts.answer.replaceChildren(
      make("p", { className: "quiet", textContent: `${file.name} · ${found.width}×${found.height}` }),
      ...result(found),
    );
  } catch (error) {
    parts.zone.classList.remove("filled");
    parts.answer.replaceChildren(
      make("p", { className: "field-problem", role: "alert", textContent: error.message }),
    );
  }
}

export function build() {
  const chooser = make("input", { type: "file", accept: "image/*", id: "pnginfo_file", onchange: () => chooser.files[0] && read(chooser.files[0]) });
  parts = { picture: make("img", { alt: t("The picture that was read") }), answer: make("div", { className: "answer" }) };
  parts.zone = make(
    "label",
    { className: "drop-zone", id: "pnginfo_image" },
    chooser,
    parts.picture,
    make("span", { className: "drop-words" }, make("b", { textContent: t("Drop a picture here") }), make("span", { textContent: t("or click to choose one · Ctrl+V pastes") })),
  );
  parts.answer.append(make("p", { className: "quiet", textContent: t("The parameters a picture was made with appear here.") }));
  parts.zone.addEventListener("dragover", (event) => {
    event.preventDefault();
    parts.zone.classList.add("over");
  });
  parts.zone.addEventListener("dragleave", () => parts.zone.classList.remove("over"));
  parts.zone.addEventListener("drop", (event) => {
    event.preventDefault();
    parts.zone.classList.remove("over");
    if (event.dataTransfer.files[0]) read(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find((each) => each.type.startsWith("image/"));
    if (file && byId("tab_pnginfo").classList.contains("selected")) read(file);
  });
  mount("pnginfo_view").append(make("div", { className: "pnginfo" }, parts.zone, parts.answer));
}
