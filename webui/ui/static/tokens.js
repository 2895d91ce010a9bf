// How many tokens each prompt takes up, in its corner, while it is typed.

import { byId, make } from "./dom.js";
import { facts, t } from "./page.js";
import { get } from "./server.js";

const PAUSE = 300; // ms without a keystroke before the server is asked
const LONGEST = 10000; // characters that surely fit into an address
const COUNTERS = { prompt: "token_counter", negative_prompt: "negative_token_counter" };

function watch(block, id) {
  const input = block.querySelector("textarea");
  const counter = make("output", { id, className: "token-counter", title: t("Tokens of the prompt / room in its chunks") });
  block.append(counter);
  let timer = 0;
  let newest = 0;
  let isCounting = false;

  async function count() {
    const number = ++newest;
    let text = "";
    if (isCounting && input.value.length <= LONGEST) {
      // a checkpoint whose tokenizer cannot be read: Generate will say so
      const answer = await get(`api/v2/tokens?text=${encodeURIComponent(input.value)}`).catch(() => null);
      if (answer) text = `${answer.tokens}/${answer.limit}`;
    }
    if (number === newest) counter.textContent = text;
  }

  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(count, PAUSE);
  };
  input.addEventListener("input", later);
  window.addEventListener("easel:model", ({ detail }) => {
    isCounting = Boolean(detail.name); // without a checkpoint there is nothing to count in
    later();
  });
}

export function build() {
  for (const [page, { fields }] of Object.entries(facts.forms)) {
    for (const [name, id] of Object.entries(COUNTERS)) watch(byId(fields[name]), `${page}_${id}`);
  }
}
