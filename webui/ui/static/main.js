// Starts everything, in order, once Gradio has drawn the page.

import * as batch from "./batch.js";
import * as compat from "./compat.js";
import { byId } from "./dom.js";
import * as extras from "./extras.js";
import * as form from "./form.js";
import * as gallery from "./gallery.js";
import * as jobs from "./jobs.js";
import * as models from "./models.js";
import * as networks from "./networks.js";
import * as outpaint from "./outpaint.js";
import * as picture from "./picture.js";
import * as pnginfo from "./pnginfo.js";
import * as progress from "./progress.js";
import * as results from "./results.js";
import * as settings from "./settings.js";
import * as shortcuts from "./shortcuts.js";
import * as sizes from "./sizes.js";
import * as status from "./status.js";
import * as tabs from "./tabs.js";
import * as theme from "./theme.js";
import * as tokens from "./tokens.js";

theme.choose();
compat.install();
compat.onLoaded(async () => {
  tabs.build();
  status.brand();
  byId("easel_corner").append(theme.themeButton());
  gallery.build();
  progress.build();
  pnginfo.build();
  settings.build();
  form.build();
  networks.build();
  tokens.build();
  picture.build();
  outpaint.build();
  sizes.build();
  batch.build();
  extras.build();
  models.build();
  results.build();
  shortcuts.build();
  status.build();
  const last = await jobs.attach();
  if (last) gallery.showJob(last);
});
