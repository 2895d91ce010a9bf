// What a picture brought along that no field shows: options of sampling, and files in the place of a model's parts, that
// differ from the settings. Each is a chip that can be taken away; as long as it is there, jobs are made with it.

import { make } from "./dom.js";
import { t } from "./page.js";

const NAMES = {
  eta: "Eta",
  churn: "Sigma churn",
  tmin: "Sigma tmin",
  tmax: "Sigma tmax",
  noise: "Sigma noise",
  sigma_min: "Sigma min",
  sigma_max: "Sigma max",
  rho: "Rho",
  beta_alpha: "Beta scheduler: alpha",
  beta_beta: "Beta scheduler: beta",
  discard_penultimate: "Always discard next-to-last sigma",
  noise_source: "Random number generator source",
  seed_delta: "Eta noise seed delta",
  emphasis: "Emphasis mode",
  modules: "VAE / Text Encoder",
};

export class Carried {
  constructor(changed) {
    this.changed = changed;
    this.values = {}; // name → value
    this.node = make("div", { className: "chips carried", hidden: true });
  }

  /** Return the parts of a request that these are. */
  parts() {
    const { emphasis, modules, ...sampling } = this.values;
    return { ...(Object.keys(sampling).length ? { sampling } : {}), ...(emphasis ? { emphasis } : {}), ...(modules ? { modules } : {}) };
  }

  show({ sampling = {}, emphasis = null, modules = null }) {
    this.values = { ...sampling, ...(emphasis ? { emphasis } : {}), ...(modules ? { modules } : {}) };
    this.draw();
  }

  restore(values) {
    this.values = Object.fromEntries(Object.entries(values ?? {}).filter(([name]) => name in NAMES));
    this.draw();
  }

  remove(name) {
    delete this.values[name];
    this.draw();
    this.changed();
  }

  draw() {
    const chip = ([name, value]) => {
      const words = `${t(NAMES[name])}: ${value}`;
      const close = make("button", { type: "button", className: "close", "aria-label": t("Without {what}", { what: words }), textContent: "×", onclick: () => this.remove(name) });
      return make("span", { className: "chip" }, make("span", { textContent: words }), close);
    };
    this.node.replaceChildren(make("span", { className: "chips-title", textContent: t("Unlike the settings:") }), ...Object.entries(this.values).map(chip));
    this.node.hidden = Object.keys(this.values).length === 0;
  }
}
