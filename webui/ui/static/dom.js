// Making and finding elements. Text always goes through textContent: names and infotext are not ours.

export const byId = (id) => document.getElementById(id);

/** Make an element. Properties are set on it, `data-`, `aria-` and `role` become attributes, `on…` are listeners. */
export function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (/^(data-|aria-)|^(role|for|list)$/.test(name)) node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Return the place inside an empty gr.HTML that we may fill, emptied. */
export function mount(id) {
  const place = make("div", { className: "mounted" });
  byId(id).append(place);
  return place;
}

/** Set a text, number or range input as if the user had typed. */
export function type(input, value) {
  input.value = value;
  input.dispatchEvent(new Event("input", { bubbles: true }));
}

/** Copy text; works without the clipboard API too (plain http on another machine). */
export async function copy(text) {
  if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
  const area = make("textarea", { value: text, className: "off-screen" });
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
