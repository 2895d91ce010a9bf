// The VAE beside the checkpoint. Choosing one changes the setting, as choosing a checkpoint does, and counts for both
// pages at once.

import { byId, make, mount } from "./dom.js";
import { control } from "./fields.js";
import { t } from "./page.js";
import { post } from "./server.js";
import { toast } from "./toast.js";

let list = null;
const watchers = [];

/** Return the VAE that jobs are to use, and show another. */
export const vae = () => list.read();
export function showVae(name) {
  list.write(name);
  watchers.forEach((watch) => watch());
}

/** Call `watch` when the VAE changed. */
export const onVae = (watch) => watchers.push(watch);

/** Offer these names, and show the one of the settings. */
export function offerVaes(names, chosen) {
  list.fill(names);
  showVae(chosen);
}

async function choose() {
  watchers.forEach((watch) => watch());
  try {
    await post("api/v2/settings", { sd_vae: vae() });
  } catch (error) {
    toast(error.message, { kind: "error" });
  }
}

export function build() {
  list = control({ widget: "select" }, "setting_sd_vae_list", choose);
  mount("easel_vae").append(
    make("div", { className: "field", id: "setting_sd_vae" }, make("label", { for: "setting_sd_vae_list", textContent: t("VAE") }), list.node),
  );
  byId("setting_sd_vae_list").title = t("The decoder of pictures: the checkpoint's own, or a file in models/VAE");
}
