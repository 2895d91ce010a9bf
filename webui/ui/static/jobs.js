// The jobs of this page: follows the oldest unfinished one by server-sent events, and finds them again after a reload.
//
// Events: start {job}, progress {job, progress}, loading {job, model}, image {job, image}, imageFailed {job, image},
// end {job, event}, waiting {count, position}.

import { plannedImages } from "./plans.js";
import { get, post } from "./server.js";

const KEY = "easel.txt2img.jobs";
const LAST = "easel.txt2img.last";
const RETRY = 1500; // ms
const POLL = 2000; // ms, while the job waits for others

export const news = new EventTarget();
const tell = (name, detail) => news.dispatchEvent(new CustomEvent(name, { detail }));
const hasEnded = (job) => !["queued", "running"].includes(job.state);

let own = []; // ids not ended yet, oldest first
let followed = null; // {job, source, timer}

export const current = () => followed?.job ?? null;
export const waiting = () => Math.max(0, own.length - (followed ? 1 : 0));

function remember() {
  localStorage.setItem(KEY, JSON.stringify(own));
  tell("waiting", { count: waiting() });
}

function stored() {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? "[]").filter((id) => typeof id === "string");
  } catch {
    return [];
  }
}

/** Follow a job that was just queued. */
export function add(id) {
  if (!own.includes(id)) own.push(id);
  localStorage.setItem(LAST, id);
  remember();
  if (!followed) next();
}

async function next() {
  const id = own[0];
  if (!id || followed) return;
  followed = { job: { id }, source: null, timer: 0 };
  try {
    followed.job = await get(`api/v2/jobs/${encodeURIComponent(id)}`);
  } catch (error) {
    followed = null;
    if (error.status === 404) {
      own.shift();
      remember();
      next();
    } else setTimeout(next, RETRY);
    return;
  }
  tell("start", { job: followed.job });
  remember();
  listen();
}

function listen() {
  const here = followed;
  const job = here.job;
  here.source = new EventSource(`api/v2/jobs/${encodeURIComponent(job.id)}/events`);
  const on = (kind, act) =>
    here.source.addEventListener(kind, (message) => {
      if (followed !== here) return;
      const event = JSON.parse(message.data);
      if (event.progress) tell("progress", { job, progress: event.progress });
      act(event);
    });
  on("queued", () => watchPosition(here));
  on("started", () => clearInterval(here.timer));
  on("loading", (event) => tell("loading", { job, model: event.model }));
  on("stepped", () => {});
  on("previewed", () => {});
  on("image_done", (event) => tell("image", { job, image: event }));
  on("image_skipped", () => {});
  on("noted", (event) => tell("noted", { job, message: event.message }));
  on("image_failed", (event) => tell("imageFailed", { job, image: event }));
  on("finished", (event) => end(here, event));
  on("cancelled", (event) => end(here, event));
  on("failed", (event) => event.will_retry || end(here, event));
  here.source.onerror = () => here.source.readyState === EventSource.CLOSED && retry(here);
}

function watchPosition(here) {
  const look = async () => {
    const job = await get(`api/v2/jobs/${encodeURIComponent(here.job.id)}`).catch(() => null);
    if (followed === here && job?.state === "queued") tell("waiting", { count: waiting(), position: job.position });
  };
  clearInterval(here.timer);
  here.timer = setInterval(look, POLL);
  look();
}

function retry(here) {
  setTimeout(async () => {
    if (followed !== here) return;
    clearInterval(here.timer);
    followed = null;
    next();
  }, RETRY);
}

async function end(here, event) {
  here.source.close();
  clearInterval(here.timer);
  own = own.filter((id) => id !== here.job.id);
  followed = null;
  remember();
  tell("end", { job: here.job, event });
  next();
}

/** Stop the followed job; a waiting one is cancelled. */
export const interrupt = async () => followed && post(`api/v2/jobs/${encodeURIComponent(followed.job.id)}/interrupt`);

/** Give up the batch that is being computed. */
export const skip = async () => followed && post(`api/v2/jobs/${encodeURIComponent(followed.job.id)}/skip`);

/** Cancel the jobs of this page that wait behind the followed one. */
export async function cancelWaiting() {
  const behind = own.filter((id) => id !== followed?.job.id);
  own = own.filter((id) => id === followed?.job.id);
  remember();
  await Promise.allSettled(behind.map((id) => post(`api/v2/jobs/${encodeURIComponent(id)}/interrupt`)));
}

/** Return the images of a job that has ended which could not be made: {index, message, hint} each. */
export async function failures(job) {
  const made = job.images.filter((image) => image.role === "image").length;
  if (made === plannedImages(job.plan).length) return [];
  const log = await fetch(`api/v2/jobs/${encodeURIComponent(job.id)}/events`).then((answer) => answer.text());
  const failed = log.split("\n\n").filter((entry) => entry.includes("\nevent: image_failed\n"));
  return failed.map((entry) => JSON.parse(entry.slice(entry.indexOf("\ndata: ") + 7)));
}

/** After a load: follow what still runs, else return the last job so that its result can be shown. */
export async function attach() {
  own = stored();
  const last = localStorage.getItem(LAST);
  const recent = await get("api/v2/jobs?limit=20").catch(() => []);
  const fromPage = recent.filter((job) => job.source === "ui");
  if (!own.length) own = fromPage.filter((job) => !hasEnded(job)).map((job) => job.id).reverse();
  if (own.length) {
    next();
    return null;
  }
  if (last) {
    const job = await get(`api/v2/jobs/${encodeURIComponent(last)}`).catch(() => null);
    if (job?.images?.length) return job;
  }
  return fromPage.find((job) => job.images.length) ?? null;
}
