// The state line at the foot of the page, and the banner while the server cannot be reached.

import { byId, make, mount } from "./dom.js";
import { news } from "./jobs.js";
import * as needs from "./needs.js";
import { facts, number, t } from "./page.js";
import { get, post } from "./server.js";

const CALM = 5000; // ms between looks
const EAGER = 1000; // while the worker starts or the server is lost

let parts = null;
let timer = 0;
let failures = 0;
let uptime = 0;
let shownProblems = "";

const gigabytes = (bytes) => (bytes >= 1e9 ? t("{n} GB", { n: number(bytes / 1e9, 1) }) : t("{n} MB", { n: number(bytes / 1e6) }));

const WORKER = {
  starting: "Starting: loading PyTorch…",
  ready: "Ready",
  busy: "Generating",
  dead: "The worker has stopped; the next job starts it again",
};

function words(status) {
  const worker = status.worker_facts ?? {};
  const list = [t(WORKER[status.worker] ?? status.worker)];
  for (const name of ["device", "dtype"]) if (worker[name]) list.push(String(worker[name]));
  if (status.queued) list.push(t("{n} waiting", { n: status.queued }));
  if (status.paused) list.push(t("Queue paused after two crashes"));
  if (worker.memory) list.push(t("worker {size}", { size: gigabytes(worker.memory) }));
  list.push(t("server {size}", { size: gigabytes(status.server_memory) }));
  return list;
}

function draw(status) {
  parts.dot.dataset.state = status.paused ? "dead" : status.worker;
  needs.hear(status.worker_facts ?? {});
  parts.state.textContent = words(status).join(" · ");
  parts.resume.hidden = !status.paused;
  const count = status.problems.length;
  const problems = status.problems.join("\n");
  if (problems !== shownProblems) {
    shownProblems = problems;
    parts.problems.hidden = !problems;
    parts.problems.replaceChildren(
      make("summary", { textContent: count === 1 ? t("1 thing needs attention") : t("{n} things need attention", { n: count }) }),
      make("ul", {}, ...status.problems.map((text) => make("li", { textContent: text }))),
    );
  }
}

async function look() {
  clearTimeout(timer);
  let status = null;
  try {
    status = await get("api/v2/status");
    failures = 0;
    parts.banner.hidden = true;
    // Another server now, perhaps a newer one; the form survives. Five seconds, because answers may overtake each other.
    if (status.uptime < uptime - 5) location.reload();
    uptime = status.uptime;
    draw(status);
  } catch {
    failures += 1;
    parts.dot.dataset.state = "dead";
    if (failures > 1) parts.banner.hidden = false;
  }
  const wait = status && status.worker !== "starting" ? CALM : EAGER;
  timer = setTimeout(look, document.hidden ? CALM * 4 : wait);
}

async function resume() {
  await post("api/v2/queue/resume");
  look();
}

export function build() {
  parts = {
    dot: make("span", { className: "dot", "data-state": "starting" }),
    state: make("span", { className: "state-words" }),
    resume: make("button", { type: "button", id: "easel_resume", hidden: true, textContent: t("Go on"), onclick: resume }),
    problems: make("details", { className: "problems", hidden: true }),
    banner: make("div", { id: "easel_lost", role: "alert", hidden: true, textContent: t("The server cannot be reached. Trying again… nothing you typed is lost.") }),
  };
  document.body.prepend(parts.banner);
  mount("footer").append(
    make("div", { className: "state-line" }, parts.dot, parts.state, needs.build(), parts.resume, make("span", { className: "version", textContent: `Easel ${facts.version}` })),
    parts.problems,
  );
  document.addEventListener("visibilitychange", () => document.hidden || look());
  for (const name of ["start", "end"]) news.addEventListener(name, look);
  look();
}

export const brand = () =>
  byId("easel_brand").append(make("div", { className: "brand" }, make("span", { className: "brand-mark" }), make("span", { textContent: "Easel" })));
