// Follows one job by its server-sent events until it ends.

import { get } from "./server.js";

const ENDS = ["finished", "failed", "cancelled"];
const KINDS = ["queued", "started", "loading", "stepped", "image_done", "image_skipped", "image_failed", "noted", ...ENDS];

/** Call `happen(event)` with each event of a job; the promise has the last one. A lost connection is opened anew. */
export function follow(id, happen) {
  const address = `api/v2/jobs/${encodeURIComponent(id)}`;
  return new Promise((resolve, reject) => {
    const source = new EventSource(`${address}/events`);
    const end = (act, value) => {
      source.close();
      act(value);
    };
    for (const kind of KINDS) {
      source.addEventListener(kind, ({ data }) => {
        const event = JSON.parse(data);
        happen(event);
        if (ENDS.includes(kind) && !event.will_retry) end(resolve, event);
      });
    }
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) get(address).catch((error) => end(reject, error));
    };
  });
}
