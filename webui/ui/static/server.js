// Our own routes, always by addresses relative to the page.

/** What the server answered instead of success. */
export class Refused extends Error {
  constructor(status, answer) {
    super(typeof answer.detail === "string" && answer.detail ? answer.detail : `HTTP ${status}`);
    this.status = status;
  }
}

async function answer(response) {
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, body);
  return body;
}

export const get = async (path) => answer(await fetch(path, { headers: { Accept: "application/json" } }));

const sendJson = async (method, path, content) =>
  answer(await fetch(path, { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(content) }));

export const post = (path, content = {}) => sendJson("POST", path, content);
export const put = (path, content) => sendJson("PUT", path, content);
export const patch = (path, content) => sendJson("PATCH", path, content);

export const upload = async (path, file) =>
  answer(await fetch(path, { method: "POST", headers: { "Content-Type": file.type || "image/png" }, body: file }));

export const imageAddress = (job, index) => `api/v2/jobs/${encodeURIComponent(job)}/images/${index}`;
