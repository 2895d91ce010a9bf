// What the server told this page at its start, and the translations.

export const facts = JSON.parse(document.getElementById("easel-page").textContent);

const wanted = navigator.languages.flatMap((tag) => [tag, tag.split("-")[0]]);
export const locale = wanted.find((tag) => tag in facts.translations) ?? "en";
const words = facts.translations[locale] ?? {};

/** Translate an English text and fill in its {names}. */
export function t(text, values = {}) {
  const translated = Object.hasOwn(words, text) ? words[text] : text;
  return translated.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** Translate an integer or fraction for people. */
export function number(value, digits = 0) {
  return value.toLocaleString(locale, { maximumFractionDigits: digits });
}

/** Say a duration: "3 s", "2 min 5 s". */
export function duration(seconds) {
  if (seconds < 10) return t("{n} s", { n: number(seconds, 1) });
  const whole = Math.round(seconds);
  if (whole < 60) return t("{n} s", { n: whole });
  return t("{m} min {s} s", { m: Math.floor(whole / 60), s: whole % 60 });
}
