// What was fetched and waits for a yes: its name, source, commit, files, packages and what it says it does.

import { make } from "./dom.js";
import { act, origin } from "./extensions.js";
import { number, t } from "./page.js";
import { post } from "./server.js";

const bytes = (size) => (size < 1e6 ? `${number(size / 1e3, 1)} kB` : `${number(size / 1e6, 1)} MB`);

const fact = (label, ...content) => [make("dt", { textContent: t(label) }), make("dd", {}, ...content)];

function listing(label, names, total = names.length) {
  if (!names.length) return null;
  const more = total > names.length ? "\n…" : "";
  return make("details", {}, make("summary", { textContent: `${t(label)} (${number(total)})` }), make("pre", { textContent: names.join("\n") + more }));
}

/** Return the panel for one of them. */
export function inspection(found) {
  const { id, source, replaces } = found;
  const decide = (label, path, className) => {
    const button = make("button", { type: "button", className, textContent: t(label), "data-decision": path });
    button.addEventListener("click", () => act(button, () => post(`api/v2/extensions/waiting/${id}/${path}`)));
    return button;
  };
  const facts = [
    ...fact("Folder", found.folder),
    ...fact("Source", origin(source)),
    ...(source.commit ? fact(source.kind === "zip" ? "SHA-256" : "Commit", make("code", { textContent: source.commit })) : []),
    ...(replaces ? fact("Replaces", origin(replaces)) : []),
    ...fact("Size", t("{n} files, {size}", { n: number(found.file_count), size: bytes(found.size) })),
    ...fact("Says it does", found.permissions.length ? found.permissions.join(", ") : t("nothing beyond pictures, or it does not say")),
    ...fact("Packages", found.packages.length ? found.packages.join(", ") : t("none")),
    ...(found.requires.length ? fact("Requires", found.requires.join(", ")) : []),
  ];
  return make(
    "section",
    { className: "extension-inspection", "data-folder": found.folder, "aria-label": t("Waits to be installed") },
    make("h3", { textContent: [found.title, found.version].filter(Boolean).join(" ") }),
    found.description ? make("p", { textContent: found.description }) : null,
    make("dl", {}, ...facts),
    ...found.notes.map((note) => make("p", { className: "quiet", textContent: t(note) })),
    listing("Changed files", found.changed),
    listing("Files", found.files, found.file_count),
    make("p", { className: "extension-warning", textContent: t("Nothing of it has run yet. Once installed it may do whatever you may do on this machine. Install what you trust.") }),
    make("div", { className: "extension-actions" }, decide(replaces ? "Install update" : "Install", "accept", "solid primary"), decide("Do not install", "reject", "solid")),
  );
}
