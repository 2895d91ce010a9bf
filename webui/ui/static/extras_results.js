// The right half of the Extras page: how far the job is, and each result beside what it came from.

import { tool } from "./brushes.js";
import { buildComparison } from "./compare.js";
import { copy, make } from "./dom.js";
import * as lightbox from "./lightbox.js";
import { number, t } from "./page.js";
import { sendTo } from "./sending.js";
import { toast } from "./toast.js";

const SENDS = { img2img: "Send to img2img", inpaint: "Send to inpaint", pnginfo: "Send to PNG info" };

export class ExtrasResults {
  list = []; // {source, address, width, height, infotext}
  chosen = -1;

  constructor() {
    this.comparison = buildComparison();
    this.thumbnails = make("div", { className: "thumbnails", hidden: true });
    this.facts = make("p", { className: "quiet facts-line" });
    this.text = make("span", { className: "progress-text" });
    this.fill = make("div", { className: "progress" });
    this.bar = make("div", { className: "progressDiv" }, this.fill);
    this.progress = make("div", { className: "progress-box", id: "extras_progress", hidden: true }, make("div", { className: "progress-line", role: "status" }, this.text), this.bar);
    const empty = make("div", { className: "empty" }, make("span", { className: "empty-mark" }), make("span", { textContent: t("The enlarged picture appears here") }));
    this.stage = make("div", { className: "stage extras-stage", "data-shows": "nothing" }, empty, this.comparison.box);
    this.node = make("div", { className: "extras-results" }, this.progress, this.stage, this.buildTools(), this.thumbnails, this.facts);
  }

  buildTools() {
    const copyInfotext = async () => {
      await copy(this.list[this.chosen].infotext);
      toast(t("Parameters copied"));
    };
    const send = ([target, name]) => tool(`to-${target}`, t(name), () => this.send(target), { id: `extras_send_to_${target}` });
    this.download = make("a", { className: "plain-tool icon-download", title: t("Download"), "aria-label": t("Download"), download: "" });
    return make("div", { className: "stage-tools" }, tool("open", t("Enlarge"), () => this.enlarge()), ...Object.entries(SENDS).map(send), tool("copy", t("Copy parameters"), copyInfotext), this.download);
  }

  /** Say where the job is: a state of the page's progress boxes, and how much of it is done. */
  say(state, text, fraction = null) {
    this.progress.hidden = false;
    this.progress.dataset.state = state;
    this.text.textContent = text;
    this.bar.hidden = fraction === null;
    if (fraction !== null) this.fill.style.width = `${(fraction * 100).toFixed(1)}%`;
  }

  clear() {
    this.list = [];
    this.chosen = -1;
    this.thumbnails.replaceChildren();
    this.thumbnails.hidden = true;
    this.comparison.hide();
    this.stage.dataset.shows = "nothing";
    this.facts.textContent = "";
  }

  add(result) {
    this.list.push(result);
    const place = this.list.length - 1;
    const { name } = result.source.file;
    const picture = make("img", { src: result.address, alt: "", loading: "lazy" });
    this.thumbnails.append(make("button", { type: "button", className: "thumbnail-item", title: name, "aria-label": name, onclick: () => this.select(place) }, picture));
    this.thumbnails.hidden = this.list.length < 2;
    if (place === 0) this.select(0);
  }

  select(place) {
    this.chosen = place;
    const { source, address, width, height } = this.list[place];
    this.stage.dataset.shows = "image";
    this.comparison.show(source.address, address, width, height);
    this.facts.textContent = `${source.file.name} · ${number(width)}×${number(height)}`;
    this.download.href = `${address}?download=1`;
    [...this.thumbnails.children].forEach((each, index) => each.classList.toggle("selected", index === place));
  }

  enlarge() {
    lightbox.open(this.list, this.chosen, (place) => this.select(place), (target) => this.send(target));
  }

  async send(target) {
    const { source, address } = this.list[this.chosen];
    try {
      const blob = await (await fetch(address)).blob();
      await sendTo(target, { file: new File([blob], source.file.name, { type: blob.type }) });
    } catch (error) {
      toast(error.message, { kind: "error" });
    }
  }
}
