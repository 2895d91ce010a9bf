// Hires. fix, refiner, variation, guidance, tiling and scripts: folded groups over fields of our own. What they say
// goes into one hidden field of the form, as JSON; it survives a reload with what is open. Scripts: script_panel.js;
// extensions: panels.js.

import { Carried } from "./carried.js";
import { byId, make, mount, type } from "./dom.js";
import { control } from "./fields.js";
import { number, t } from "./page.js";
import { Panels } from "./panels.js";
import * as quick from "./quick.js";
import { choiceGroup, ScriptPanel } from "./script_panel.js";

/** One group: a header with a switch and what is on, and a body of fields. */
class Group {
  constructor(about, changed) {
    this.about = about;
    this.changed = changed;
    this.controls = new Map(about.controls.map((each) => [each.name, this.makeControl(each)]));
    this.draw();
    this.turn(false);
    this.fold(false);
  }

  makeControl(about) {
    const made = control({ ...about, isOptional: false }, `${about.id}_input`, this.changed);
    for (const input of made.inputs) input.setAttribute("aria-label", t(about.label));
    const label = make("label", { for: `${about.id}_input`, textContent: t(about.label) });
    const place = make("div", { className: `field field-${about.widget}`, id: about.id }, label, made.node);
    place.style.setProperty("--span", about.span);
    return { ...made, place, about };
  }

  draw() {
    const { id, title, part } = this.about;
    this.box = make("input", { type: "checkbox", "aria-label": t(title), onchange: () => this.switched() });
    this.words = make("span", { className: "group-words" });
    this.button = make(
      "button",
      { type: "button", className: "group-title", "aria-controls": `${id}_body`, onclick: () => this.fold(!this.isOpen) },
      make("span", { className: "group-name", textContent: t(title) }),
      this.words,
      make("span", { className: "chevron" }),
    );
    const often = [...this.controls.values()].filter((each) => !each.about.isRare).map((each) => each.place);
    const rare = [...this.controls.values()].filter((each) => each.about.isRare).map((each) => each.place);
    this.rare = rare.length ? make("details", { className: "group-rare" }, make("summary", { textContent: t("Its own checkpoint, sampler and prompts") }), make("div", { className: "fields" }, ...rare)) : null;
    this.body = make("div", { className: "group-body", id: `${id}_body` }, make("div", { className: "fields" }, ...often), this.rare);
    const header = make("div", { className: "group-header" }, make("span", { className: "group-switch", id: this.about.switch }, this.box), this.button);
    this.node = make("section", { className: "group", id, "data-part": part }, header, this.body);
  }

  get isOn() {
    return this.box.checked;
  }

  get isOpen() {
    return !this.body.hidden;
  }

  turn(isOn) {
    this.box.checked = isOn;
    this.node.classList.toggle("on", isOn);
  }

  switched() {
    this.turn(this.box.checked);
    this.fold(this.box.checked);
  }

  fold(isOpen) {
    this.body.hidden = !isOpen;
    this.node.classList.toggle("open", isOpen);
    this.button.setAttribute("aria-expanded", isOpen);
    this.changed();
  }

  /** Return the values of all fields; blanks are null, except empty texts. */
  values() {
    return Object.fromEntries([...this.controls].map(([name, each]) => [name, each.read()]));
  }

  write(values) {
    for (const [name, each] of this.controls) if (name in values) each.write(values[name]);
    if (this.rare) this.rare.open = [...this.controls.values()].some((each) => each.about.isRare && each.read());
  }

  fill(choices) {
    for (const each of this.controls.values()) if (each.about.choices) each.fill(each.about.choices === "models" ? choices.models : choices.names[each.about.choices]);
  }
}

const percent = (share) => `${number(share * 100)} %`;

/** Return what the header of a group says while it is on. */
function summary(part, values, form) {
  if (part === "hires") {
    const [from, to] = hiresSizes(values, form);
    return t("from {from} to {to}", { from: from.join("×"), to: to.join("×") });
  }
  if (part === "refiner") return t("{model} from {share}", { model: values.model ?? "–", share: percent(values.switch_at ?? 0) });
  if (part === "variation") return t("{share} of seed {seed}", { share: percent(values.strength ?? 0), seed: values.seed ?? -1 });
  const words = [];
  if (values.rescale) words.push(t("rescale {share}", { share: number(values.rescale, 2) }));
  if (values.minimum) words.push(`σ ≥ ${number(values.minimum, 2)}`);
  words.push(`${percent(values.start ?? 0)} – ${percent(values.end ?? 1)}`);
  return words.join(" · ");
}

/** Return the sizes of the first and the second pass. */
function hiresSizes({ scale, width, height }, form) {
  const [across, down] = ["width", "height"].map((name) => Number(form.input(name).value) || 0);
  const even = (side) => Math.floor(side / 8) * 8;
  let target = [across * (scale ?? 1), down * (scale ?? 1)];
  if (width && height) target = [width, height];
  else if (width) target = [width, (width * down) / (across || 1)];
  else if (height) target = [(height * across) / (down || 1), height];
  return [[across, down], target.map(even)];
}

/** All groups of one page's form. */
export class Groups {
  constructor(form, { groups, tilings }) {
    this.form = form;
    this.key = `easel.${form.page}.groups`;
    this.isQuiet = true; // while it is built and filled
    const changed = () => this.write();
    this.groups = new Map(groups.map((about) => [about.part, new Group(about, changed)]));
    this.tiling = control({ widget: "select", choices: tilings, default: "none", isTranslated: true }, `${form.page}_tiling_input`, changed);
    this.script = new ScriptPanel(form.page, changed);
    this.panels = new Panels(form.page, changed);
    this.carried = new Carried(changed);
    const tiling = choiceGroup(`${form.page}_tiling`, "Tiling", this.tiling);
    const place = mount(`${form.page}_groups`);
    place.id = `${form.page}_script_container`;
    place.append(this.carried.node, make("div", { className: "groups" }, ...[...this.groups.values()].map((each) => each.node), tiling, this.script.node), this.panels.node);
    this.restore();
    this.isQuiet = false;
    this.write();
    for (const name of ["width", "height"]) form.block(name).addEventListener("input", () => this.say());
    // Gradio fills the form's fields some time after the message that says so, and without an event.
    window.addEventListener("easel:message", () => [50, 500, 2000].forEach((wait) => setTimeout(() => this.say(), wait)));
    quick.onVae(changed);
  }

  // What the form sends

  parts() {
    const parts = { vae: quick.vae(), tiling: this.tiling.read(), ...this.carried.parts() };
    for (const [name, group] of this.groups) if (group.isOn) parts[name] = meant(group);
    const script = this.script.read();
    const extensions = this.panels.read();
    return { ...parts, ...(script ? { script } : {}), ...(Object.keys(extensions).length ? { extensions } : {}) };
  }

  /** Return what "Hires. fix" says, whether it is on or not. */
  hires = () => meant(this.groups.get("hires"));

  write() {
    if (this.isQuiet) return;
    type(this.form.input("parts"), JSON.stringify(this.parts()));
    this.say();
    this.save();
  }

  say() {
    for (const [name, group] of this.groups) {
      group.words.textContent = group.isOn ? summary(name, group.values(), this.form) : "";
      group.words.title = group.words.textContent;
    }
  }

  // What survives a reload

  save() {
    const groups = [...this.groups].map(([name, group]) => [name, { on: group.isOn, open: group.isOpen, values: group.values() }]);
    const kept = { groups: Object.fromEntries(groups), tiling: this.tiling.read(), script: this.script.kept(), panels: this.panels.kept(), carried: this.carried.values };
    localStorage.setItem(this.key, JSON.stringify(kept));
  }

  restore() {
    let kept = {};
    try {
      kept = JSON.parse(localStorage.getItem(this.key) ?? "{}") ?? {};
    } catch {
      return; // written by nobody we know
    }
    for (const [name, group] of this.groups) {
      const { on, open, values } = kept.groups?.[name] ?? {};
      group.write(values ?? {});
      group.turn(Boolean(on));
      group.fold(Boolean(open));
    }
    this.tiling.write(kept.tiling ?? "none");
    this.script.restore(kept.script ?? {});
    this.panels.restore(kept.panels);
    this.carried.restore(kept.carried);
  }

  // What the server offers, and what settings bring

  offer(choices) {
    this.isQuiet = true;
    for (const group of this.groups.values()) group.fill(choices);
    this.script.offer(choices);
    this.panels.offer(choices);
    this.isQuiet = false;
    this.write();
  }

  /** Show the parts of a request; what it says nothing of is switched off and keeps its values. */
  show(parts) {
    this.isQuiet = true;
    for (const [name, group] of this.groups) {
      const given = parts[name];
      const isOn = Boolean(given) && !(name === "guiding" && isPlain(group, given));
      if (isOn) group.write(given);
      group.turn(isOn);
      if (!isOn) group.fold(false);
    }
    this.tiling.write(parts.tiling ?? "none");
    if (parts.vae) quick.showVae(parts.vae);
    this.script.show(parts.script);
    this.panels.show(parts.extensions);
    this.carried.show(parts);
    this.isQuiet = false;
    this.write();
  }

  // Problems at their field

  /** Return the element that stands for `hires.scale` or `script.options.values`, opened; null when there is none. */
  place(path) {
    const [part, ...rest] = path.split(".");
    if (part === "script") return this.script.place(rest.at(-1));
    if (part === "extensions") return this.panels.place(rest);
    if (part === "tiling") return byId(`${this.form.page}_tiling`);
    const group = this.groups.get(part);
    if (!group) return null;
    group.fold(true);
    const found = group.controls.get(rest[0]);
    if (found?.about.isRare) group.rare.open = true;
    return found?.place ?? group.body;
  }

  showProblem(place, words) {
    place.querySelector(":scope > .field-problem")?.remove();
    place.append(make("div", { className: "field-problem", role: "alert", textContent: words }));
    if (place.matches(".group-body")) return; // of the group as a whole: no field of it is wrong by itself
    place.classList.add("invalid");
    place.querySelector("input, select, textarea")?.setAttribute("aria-invalid", "true");
  }

  clearProblems() {
    const root = byId(`${this.form.page}_groups`);
    root.querySelectorAll(".field-problem").forEach((each) => each.remove());
    root.querySelectorAll(".invalid").forEach((each) => each.classList.remove("invalid"));
    root.querySelectorAll("[aria-invalid]").forEach((each) => each.removeAttribute("aria-invalid"));
  }
}

/** Return what a group that is on says: without the fields that were left blank. */
function meant(group) {
  return Object.fromEntries(Object.entries(group.values()).filter(([, value]) => value !== null));
}

const isPlain = (group, given) => [...group.controls.values()].every(({ about }) => (given[about.name] ?? about.default) === about.default);
