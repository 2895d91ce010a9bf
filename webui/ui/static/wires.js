// The two wires to Python: `send` reaches a handler in blocks.py, `receive` gets its messages.

const ready = new Promise((resolve) => {
  if (document.documentElement.dataset.wires) resolve();
  else window.addEventListener("easel:wires", resolve, { once: true });
});

/** Send `content` to the Python handler of `event` ("apply" or "submit"). */
export async function send(event, content) {
  await ready;
  window.dispatchEvent(new CustomEvent("easel:send", { detail: { event, content } }));
}

/** Call `handler` with each message of `kind`. */
export function receive(kind, handler) {
  window.addEventListener("easel:message", (event) => {
    if (event.detail?.kind === kind) handler(event.detail);
  });
}
