// What the Extras page asks for: how large, and by which upscalers. It survives a reload.

import { make } from "./dom.js";
import { t } from "./page.js";
import { get } from "./server.js";

const KEY = "easel.extras.form";
const NO_UPSCALER = "None";

const label = (text, input, more = "") => make("label", { className: `extras-field ${more}` }, make("span", { textContent: text }), input);
const option = (value, text = value) => make("option", { value, textContent: text });
const amount = (id, least, most, step, start) => make("input", { type: "number", id, min: least, max: most, step, value: start });

function stored() {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? "{}") ?? {};
  } catch {
    return {};
  }
}

export class ExtrasForm {
  /** `changed` is called whenever something else is asked for. */
  constructor(changed) {
    this.changed = changed;
    this.fields = {
      scaling: make("select", { id: "extras_scaling" }, option("by", t("Scale by")), option("to", t("Scale to"))),
      scale: amount("extras_upscaling_resize", 0.05, 8, 0.05, 2),
      width: amount("extras_upscaling_resize_w", 8, 16384, 8, 1024),
      height: amount("extras_upscaling_resize_h", 8, 16384, 8, 1024),
      crop: make("input", { type: "checkbox", id: "extras_upscaling_crop", checked: true }),
      upscaler: make("select", { id: "extras_upscaler_1" }),
      second: make("select", { id: "extras_upscaler_2" }),
      share: make("input", { type: "range", id: "extras_upscaler_2_visibility", min: 0, max: 1, step: 0.01, value: 0.5 }),
    };
    this.shownShare = make("output", { textContent: "0.5" });
    this.node = this.build();
    this.node.addEventListener("input", () => this.fit());
  }

  build() {
    const { scaling, scale, width, height, crop, upscaler, second, share } = this.fields;
    return make(
      "div",
      { className: "extras-form" },
      label(t("Resize"), scaling),
      make("div", { className: "by-scale-fields" }, label(t("Factor"), scale)),
      make("div", { className: "to-size-fields" }, label(t("Width"), width), label(t("Height"), height), label(t("Crop to fit"), crop, "crop-field")),
      label(t("Upscaler 1"), upscaler),
      label(t("Upscaler 2"), second),
      make("label", { className: "extras-field share-field" }, make("span", {}, `${t("Upscaler 2 visibility")} `, this.shownShare), share),
    );
  }

  get isReady() {
    return this.fields.upscaler.options.length > 0;
  }

  number = (name) => Number(this.fields[name].value);
  scalesTo = () => this.fields.scaling.value === "to";

  fit() {
    this.node.dataset.scaling = this.fields.scaling.value;
    this.node.classList.toggle("has-second", this.fields.second.value !== NO_UPSCALER);
    this.shownShare.textContent = this.fields.share.value;
    this.changed();
  }

  /** Ask the server which upscalers there are, and choose as before or a network. */
  async offer() {
    const found = (await get("api/v2/upscalers").catch(() => [])).filter((each) => each.kind !== "latent" && each.name !== NO_UPSCALER);
    const names = found.map((each) => each.name);
    this.fields.upscaler.replaceChildren(...names.map((name) => option(name)));
    this.fields.second.replaceChildren(option(NO_UPSCALER, t(NO_UPSCALER)), ...names.map((name) => option(name)));
    this.fields.upscaler.value = found.find((each) => each.kind === "network")?.name ?? "Lanczos";
    this.restore();
    this.fit();
  }

  /** Return [width, height] of what becomes of a picture. */
  size({ width, height }) {
    if (!this.scalesTo()) return [width, height].map((side) => Math.round(side * this.number("scale")));
    const wanted = [this.number("width"), this.number("height")];
    if (this.fields.crop.checked) return wanted;
    const factor = Math.max(wanted[0] / width, wanted[1] / height);
    return [width, height].map((side) => Math.round(side * factor));
  }

  /** Return the request for stored pictures; `infotexts` are what their files say. */
  request(images, infotexts) {
    const { upscaler, second, crop } = this.fields;
    return {
      kind: "upscale",
      images,
      infotexts,
      upscaler: upscaler.value,
      ...(second.value === NO_UPSCALER ? {} : { second_upscaler: second.value, second_share: this.number("share") }),
      ...(this.scalesTo() ? { width: this.number("width"), height: this.number("height"), crop: crop.checked } : { scale: this.number("scale") }),
    };
  }

  save() {
    const values = Object.entries(this.fields).map(([name, field]) => [name, name === "crop" ? field.checked : field.value]);
    localStorage.setItem(KEY, JSON.stringify(Object.fromEntries(values)));
  }

  restore() {
    const kept = stored();
    for (const [name, field] of Object.entries(this.fields)) {
      if (!(name in kept)) continue;
      if (name === "crop") field.checked = kept.crop;
      else if (!field.options || [...field.options].some((each) => each.value === kept[name])) field.value = kept[name];
    }
  }
}
