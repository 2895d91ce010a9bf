// The Extensions page: what is installed, what waits for a yes, ways to install more, and saved states.

import { byId, make, mount } from "./dom.js";
import { inspection } from "./extension_inspection.js";
import * as installing from "./extension_installing.js";
import * as states from "./extension_states.js";
import { number, t } from "./page.js";
import { get, post } from "./server.js";
import { toast } from "./toast.js";

const NAMES = {
  scripts: "Scripts",
  panel: "Panel",
  cards: "Cards",
  settings: "Settings",
  tabs: "Tabs",
  routes: "Routes",
  preprocessors: "Preprocessors",
  samplers: "Samplers",
  schedules: "Schedules",
  upscalers: "Upscalers",
  tags: "Prompt tags",
  changes: "Changes",
  watches: "Watches",
  javascript: "JavaScript",
  styles: "Styles",
  translations: "Translations",
};
const HOVER = { active: "active", disabled: "off", failed: "failed", waiting: "after the next start" };
const PLAIN = { changes: true, watches: true }; // kinds whose names are words of ours
const POLL = 500; // milliseconds between two looks whether the server is back

let parts = null;
let list = null;

export const folderAddress = (view, action) => `api/v2/extensions/installed/${encodeURIComponent(view.folder)}/${action}`;

/** Carry out what a button asks for; the button waits meanwhile, and the page is drawn anew afterwards. */
export async function act(button, work) {
  const label = button.textContent;
  button.disabled = true;
  button.textContent = t("Working…");
  parts.panel.setAttribute("aria-busy", "true");
  try {
    await work();
  } catch (error) {
    toast(error.message, { kind: "error" });
  }
  button.disabled = false;
  button.textContent = label;
  parts.panel.removeAttribute("aria-busy");
  await load();
}

const action = (label, work, className = "link") => {
  const button = make("button", { type: "button", className, textContent: t(label), disabled: Boolean(list.refusal) });
  button.addEventListener("click", () => act(button, work));
  return button;
};

async function update(view) {
  const { waiting } = await post(folderAddress(view, "update"));
  if (!waiting) toast(t("{name} is up to date.", { name: view.title }));
}

async function remove(view) {
  if (!window.confirm(t("Move {name} into the trash?", { name: view.title }))) return;
  const { place } = await post(folderAddress(view, "remove"));
  toast(t("{name} is now in the trash.", { name: view.title }), { hint: place });
}

/** Say where an extension came from: an address as a link, and the commit's first digits. */
export function origin(source) {
  if (source.kind === "bundled") return t("comes with Easel");
  if (source.kind === "unknown") return t("put there by hand");
  const address = source.address.startsWith("https://")
    ? make("a", { href: source.address, target: "_blank", rel: "noreferrer noopener", textContent: source.address.replace("https://", "") })
    : source.address;
  const version = [source.ref, source.commit.slice(0, 8)].filter(Boolean).join(" @ ");
  return make("span", { title: source.commit }, address, version ? ` (${version})` : "");
}

function additions(view) {
  const words = ({ kind, names }) => (kind in PLAIN ? names.map((name) => t(name)) : names).join(", ");
  return view.additions.map((each) =>
    make("span", { className: "extension-adds" }, make("b", { textContent: t(NAMES[each.kind] ?? each.kind) }), ` ${words(each)}`),
  );
}

function buttons(view) {
  const made = [];
  if (view.state === "failed") made.push(action("Try again", () => post(folderAddress(view, "try-again"))));
  if (["git", "zip", "folder"].includes(view.source.kind)) made.push(action("Look for an update", () => update(view)));
  if (view.can_roll_back) made.push(action("Previous version", () => post(folderAddress(view, "roll-back"))));
  if (!view.is_bundled) made.push(action("Remove", () => remove(view)));
  return made;
}

function toggle(view) {
  const box = make("input", {
    type: "checkbox",
    checked: view.is_enabled,
    disabled: Boolean(list.refusal),
    "aria-label": t("Use {name}", { name: view.title }),
  });
  box.addEventListener("change", async () => {
    await post(folderAddress(view, box.checked ? "enable" : "disable")).catch((error) => toast(error.message, { kind: "error" }));
    load();
  });
  return box;
}

function row(view) {
  const facts = [view.version, view.author].filter(Boolean).join(" · ");
  return make(
    "li",
    { className: "extension", "data-state": view.state, "data-folder": view.folder },
    make(
      "header",
      {},
      toggle(view),
      make("b", { textContent: t(view.title) }),
      view.title === view.folder ? null : make("code", { textContent: view.folder }),
      facts ? make("span", { className: "quiet", textContent: facts }) : null,
      make("span", { className: "extension-state", textContent: t(HOVER[view.state]) }),
    ),
    view.description ? make("p", { textContent: t(view.description) }) : null,
    make("p", { className: "quiet" }, origin(view.source)),
    view.problem ? make("p", { className: "extension-problem", textContent: view.problem }) : null,
    ...view.notes.map((note) => make("p", { className: "quiet", textContent: t(note) })),
    make("div", { className: "extension-additions" }, ...additions(view)),
    view.log ? make("details", {}, make("summary", { textContent: t("Log") }), make("pre", { textContent: view.log })) : null,
    make("div", { className: "extension-actions" }, ...buttons(view)),
  );
}

async function restart(button) {
  button.disabled = true;
  button.textContent = t("Restarting…");
  const began = (await get("api/v2/status")).uptime;
  await post("api/v2/restart");
  const isBack = async () => {
    const status = await get("api/v2/status").catch(() => null);
    if (status && status.uptime < began) window.location.reload();
    else setTimeout(isBack, POLL);
  };
  setTimeout(isBack, POLL);
}

function notices() {
  const made = [];
  if (list.refusal) made.push(make("p", { className: "extension-refusal", textContent: list.refusal }));
  if (list.loads === "bundled") made.push(make("p", { textContent: t("Started with --disable-extra-extensions: only those that come with Easel are loaded.") }));
  if (list.loads === "none") made.push(make("p", { textContent: t("Started with --disable-all-extensions: none is loaded.") }));
  for (const problem of list.problems) made.push(make("p", { className: "extension-problem", textContent: problem }));
  if (list.needs_restart) {
    const words = make("span", { textContent: t("Something was changed. It counts after the next start.") });
    const button = make("button", { type: "button", className: "solid", id: "extensions_restart", textContent: t("Restart now") });
    button.addEventListener("click", () => restart(button).catch((error) => toast(error.message, { kind: "error" })));
    const how = make("span", { className: "quiet", textContent: t("End Easel in its console and start it again.") });
    made.push(make("div", { className: "extension-restart" }, words, list.can_restart ? button : how));
  }
  return made;
}

/** Ask for everything again and draw it. */
export async function load() {
  try {
    list = await get("api/v2/extensions");
  } catch (error) {
    toast(error.message, { kind: "error" });
    return;
  }
  parts.notices.replaceChildren(...notices());
  parts.waiting.replaceChildren(...list.waiting.map((each) => inspection(each)));
  const own = list.extensions.filter((view) => !view.is_bundled);
  const count = (views) => t("{n} extensions", { n: number(views.length) });
  const bundled = list.extensions.filter((view) => view.is_bundled);
  parts.own.replaceChildren(...own.map(row));
  parts.none.hidden = own.length > 0;
  parts.bundled.replaceChildren(...bundled.map(row));
  parts.summary.textContent = t("Come with Easel: {count}", { count: count(bundled) });
  installing.show(list);
  states.show(list);
}

export function build() {
  parts = {
    notices: make("div", { className: "extension-notices", role: "status" }),
    waiting: make("div", { id: "extensions_waiting" }),
    own: make("ul", { className: "extension-list", id: "extensions_own" }),
    none: make("p", { className: "quiet", textContent: t("No extensions are installed yet."), hidden: true }),
    bundled: make("ul", { className: "extension-list", id: "extensions_bundled" }),
    summary: make("summary"),
  };
  parts.panel = make(
    "div",
    { className: "extensions" },
    make(
      "section",
      { className: "extension-panel", "aria-label": t("Installed extensions") },
      parts.notices,
      parts.waiting,
      make("h2", { textContent: t("Installed") }),
      parts.own,
      parts.none,
      make("details", { className: "extension-bundled" }, parts.summary, parts.bundled),
    ),
    make("div", { className: "extension-side" }, installing.build(), states.build()),
  );
  mount("extensions_view").append(parts.panel);
  window.addEventListener("easel:page", ({ detail }) => detail === "tab_extensions" && load());
  if (byId("tab_extensions").classList.contains("selected")) load();
}
