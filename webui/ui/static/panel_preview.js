// A look at what a preprocessor makes of a picture before anything is generated.

import { make } from "./dom.js";
import { formOf } from "./form.js";
import * as lightbox from "./lightbox.js";
import { t } from "./page.js";
import { sendTo } from "./sending.js";
import { imageAddress, post } from "./server.js";
import { toast } from "./toast.js";

const ENDS = ["finished", "failed", "cancelled"];

let known = new Map(); // name → {name, label, options (a schema)}

/** Know the preprocessors there are. */
export function knowPreprocessors(list) {
  known = new Map(list.map((each) => [each.name, each]));
}

/** Return a preprocessor {name, label, options}; undefined for none. */
export const preprocessor = (name) => known.get(name);

/** Return the options of a preprocessor that stand among the fields: in a field for them, or under the same names. */
function optionsOf(fields, about) {
  const mapping = fields.described.find((each) => each.widget === "mapping" && each.optionsOf === about.name);
  if (mapping) return fields.values[mapping.name] ?? {};
  const names = Object.keys(preprocessor(fields.values[about.name])?.options.properties ?? {});
  return Object.fromEntries(names.filter((name) => (fields.values[name] ?? null) !== null).map((name) => [name, fields.values[name]]));
}

/** Return the job once it has ended. */
function ended(id) {
  return new Promise((resolve, reject) => {
    const source = new EventSource(`api/v2/jobs/${encodeURIComponent(id)}/events`);
    const end = (kind) => ({ data }) => {
      const event = JSON.parse(data);
      if (event.will_retry) return;
      source.close();
      if (kind === "finished") resolve(id);
      else reject(new Error([event.message, event.hint].filter(Boolean).join(" ") || t("cancelled")));
    };
    for (const kind of ENDS) source.addEventListener(kind, end(kind));
    source.onerror = () => source.readyState === EventSource.CLOSED && reject(new Error(t("The connection was lost")));
  });
}

/** Return the address of the picture that the preprocessor makes of the one among the fields, or of img2img's. */
async function drawn(fields, about) {
  const image = fields.picture() || (fields.page === "img2img" ? formOf("img2img").input("images").value.split(",")[0] : "");
  if (!image) throw new Error(t("Choose a picture first"));
  const job = await post("api/v2/jobs", { kind: "preprocess", image, preprocessor: fields.values[about.name], options: optionsOf(fields, about) });
  return imageAddress(await ended(job.id), 0);
}

/** Return {node, follow}: what the preprocessor named by `about` is, and a button that shows what it makes of the first
 * picture among the fields. */
export function previewButton(fields, about) {
  const picture = make("img", { alt: t("What the preprocessor makes of it"), className: "preview-picture", hidden: true });
  const send = async (target) => sendTo(target, { file: await (await fetch(picture.src)).blob() });
  picture.addEventListener("click", () => lightbox.open([{ address: picture.src }], 0, () => {}, send));
  const look = async () => {
    button.disabled = true;
    button.textContent = t("Working…");
    try {
      picture.src = await drawn(fields, about);
      picture.hidden = false;
    } catch (error) {
      picture.hidden = true;
      toast(error.message, { kind: "error" });
    }
    follow();
    button.textContent = t("Preview");
  };
  const button = make("button", { type: "button", className: "solid small", textContent: t("Preview"), onclick: look });
  const words = make("p", { className: "quiet" });
  const follow = () => {
    const chosen = preprocessor(fields.values[about.name]);
    words.textContent = chosen?.description ? t(chosen.description) : "";
    button.disabled = !chosen;
  };
  return { node: make("div", { className: "preview" }, words, button, picture), follow };
}
