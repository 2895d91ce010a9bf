// One place for results: it stands on whichever of the two pages is open, since both share one queue.

import { byId } from "./dom.js";

const PAGES = ["txt2img", "img2img"];

export function build() {
  const here = [...byId("txt2img_results").children];
  const move = (id) => {
    const page = PAGES.find((each) => `tab_${each}` === id);
    if (page) byId(`${page}_results`).append(...here);
  };
  window.addEventListener("easel:page", ({ detail }) => move(detail));
  move(PAGES.map((page) => `tab_${page}`).find((id) => byId(id).classList.contains("selected")));
}
