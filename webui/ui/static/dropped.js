// What was dropped on the page: files, whole folders, or a picture dragged from another place of the page.

const entriesOf = (reader) => new Promise((resolve, reject) => reader.readEntries(resolve, reject));
const fileOf = (entry) => new Promise((resolve, reject) => entry.file(resolve, reject));

/** Return all files below a folder. A reader gives them in portions until it gives none. */
async function filesBelow(entry) {
  if (entry.isFile) return [await fileOf(entry)];
  const reader = entry.createReader();
  const files = [];
  for (let some = await entriesOf(reader); some.length; some = await entriesOf(reader)) {
    for (const each of some) files.push(...(await filesBelow(each)));
  }
  return files;
}

async function fetched(address) {
  const url = new URL(address, location.href);
  if (url.origin !== location.origin) return [];
  const answer = await fetch(url);
  const blob = await answer.blob();
  return answer.ok && blob.type.startsWith("image/") ? [new File([blob], decodeURIComponent(url.pathname.split("/").at(-1)), { type: blob.type })] : [];
}

/** Return the files in a drop, at once or when they have been read. Pictures of other sites are not fetched. */
export async function droppedFiles(transfer) {
  const entries = [...(transfer.items ?? [])].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const files = [...transfer.files];
  const address = transfer.getData("text/uri-list").split("\n").find((line) => line && !line.startsWith("#"));
  if (entries.some((entry) => entry.isDirectory)) return (await Promise.all(entries.map(filesBelow))).flat();
  if (files.length || !address) return files;
  return fetched(address);
}

/** Let `take(files)` have what is dropped on an element. */
export function takeDrops(element, take) {
  element.addEventListener("dragover", (event) => {
    event.preventDefault();
    element.classList.add("over");
  });
  element.addEventListener("dragleave", () => element.classList.remove("over"));
  element.addEventListener("drop", async (event) => {
    event.preventDefault();
    element.classList.remove("over");
    const files = await droppedFiles(event.dataTransfer);
    if (files.length) take(files);
  });
}
