// Writing into a prompt what a network needs, and taking it out again.

import { type } from "./dom.js";

const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

/** Return the pattern of what `tag` (with {name} in it) leaves in a prompt for a network, whatever its weight. */
function pattern(tag, name) {
  const [before, after] = tag.split("{name}");
  const own = escaped(before) + escaped(name);
  if (after.startsWith(":")) return new RegExp(`\\s*${own}(?::[^>]*)?>`, "gi"); // <lora:name:0.8>
  const word = own + escaped(after);
  return new RegExp(`\\(${word}(?::[\\d.]+)?\\)|(?:^|(?<=[\\s,(\\[|]))${word}(?=[\\s,):\\]|]|$)`, "gi");
}

/** Return whether a prompt holds the tag of a network. */
export const holds = (text, tag, name) => pattern(tag, name).test(text);

/** Return what is written for a network, with the weight its card prefers. */
export function written(tag, name, weight) {
  const text = tag.replace("{name}", () => name);
  return weight === null || weight === undefined ? text : text.replace(/:1(\.0)?>$/, `:${weight}>`);
}

const tidy = (text) => text.replace(/^[\s,]+/, "").replace(/[ \t]+,/g, ",").replace(/(,\s*){2,}/g, ", ").replace(/[\s,]+$/, "");

/** Return a prompt with these words at its end, joined as people join them. */
function joined(text, words, between) {
  const before = text.replace(/\s+$/, "");
  return before ? `${before}${before.endsWith(",") ? " " : between}${words}` : words;
}

function without(text, words) {
  return words ? tidy(text.replace(new RegExp(`(?:,\\s*)?${escaped(words)}`, "i"), "")) : text;
}

/** Write a network into a prompt field, or take it out: its tag, and the words that make it take effect. */
export function toggle(input, tag, { name, weight, trigger_words: words }) {
  const text = input.value;
  if (holds(text, tag, name)) {
    type(input, without(tidy(text.replace(pattern(tag, name), "")), words));
    return false;
  }
  const isTag = tag.startsWith("<");
  let next = joined(text, written(tag, name, weight), isTag ? " " : ", ");
  if (words && !text.toLowerCase().includes(words.toLowerCase())) next = joined(next, words, ", ");
  type(input, next);
  return true;
}

/** Put the words that belong into the other prompt there, or take them out. */
export function accompany(input, words, isOn) {
  if (!words) return;
  const text = input.value;
  const has = text.toLowerCase().includes(words.toLowerCase());
  if (isOn && !has) type(input, joined(text, words, ", "));
  if (!isOn && has) type(input, without(text, words));
}
