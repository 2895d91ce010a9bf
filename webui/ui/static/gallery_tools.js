// The buttons under the picture: what can be done with it.

import { copy, make } from "./dom.js";
import { formOf } from "./form.js";
import { t } from "./page.js";
import { pageOf } from "./plans.js";
import { sendTo, TARGETS } from "./sending.js";
import { toast } from "./toast.js";
import { send } from "./wires.js";

const link = (icon, name, id) => make("a", { className: `plain-tool icon-${icon}`, id, title: name, "aria-label": name, download: "" });

function tool(icon, name, act, id = "") {
  return make("button", { type: "button", className: `plain-tool icon-${icon}`, id, title: name, "aria-label": name, onclick: act });
}

/** Return the bar: {bar, follow({job, image}), count(images), sendPicture(target)}. `gallery` says which picture is shown. */
export function buildTools(gallery) {
  const shown = gallery.shownPicture;

  const settingsOf = ({ job, image }, more = {}) => ({ job: job.id, index: image.index, ...more });

  /** Send the picture itself, with what to ask for next where that page asks for it. */
  async function sendPicture(target) {
    const picture = shown();
    if (!picture) return;
    try {
      const file = await (await fetch(picture.image.address)).blob();
      const isGenerated = picture.job.request.kind === "generate" && picture.image.role === "image";
      const settings = ["img2img", "sketch", "inpaint"].includes(target) && isGenerated ? settingsOf(picture, { onwards: true }) : null;
      await sendTo(target, { file, settings });
    } catch (error) {
      toast(error.message, { kind: "error" });
    }
  }

  const use = () => shown() && send("apply", { page: pageOf(shown().job), ...settingsOf(shown()) });
  const enlargeBySettings = () => shown() && send("retry", { ...settingsOf(shown()), hires: formOf("txt2img").groups.hires() });

  async function copyInfotext() {
    if (!shown()) return;
    await copy(shown().image.infotext);
    toast(t("Parameters copied"));
  }

  const download = link("download", t("Download"), "save_txt2img");
  const zip = link("zip", t("Download all as a zip file"), "save_zip_txt2img");
  const forGenerated = [
    tool("paste", t("Put these settings into the form"), use),
    tool("reuse", t("Reuse this seed"), () => gallery.reuseSeed()),
    tool("hires", t("Enlarge this one with the settings of Hires. fix"), enlargeBySettings, "txt2img_upscale"),
  ];
  const targets = Object.entries(TARGETS).map(([target, name]) => tool(`to-${target}`, t(name), () => sendPicture(target), `txt2img_send_to_${target}`));
  const gap = () => make("span", { className: "tool-gap" });
  const bar = make(
    "div",
    { className: "stage-tools", role: "toolbar", "aria-label": t("What to do with this picture") },
    tool("open", t("Enlarge"), gallery.enlarge),
    ...forGenerated,
    gap(),
    ...targets,
    gap(),
    tool("copy", t("Copy parameters"), copyInfotext),
    download,
    zip,
  );

  function follow({ job, image }) {
    download.href = `${image.address}?download=1`;
    zip.href = `api/v2/jobs/${encodeURIComponent(job.id)}/images.zip`;
    const isGenerated = job.request.kind === "generate" && image.role === "image";
    for (const each of forGenerated) each.disabled = !isGenerated;
  }

  const count = (images) => {
    zip.hidden = images < 2;
  };
  return { bar, follow, count, sendPicture };
}
