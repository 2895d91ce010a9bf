// What is told of a model, and where the server keeps it.

/** Return the address of a model's card. */
export const cardAddress = ({ kind, name }) => `api/v2/models/${kind}/${name.split("/").map(encodeURIComponent).join("/")}`;

/** Return the address of the picture on it, at most `side` pixels large. */
export const previewAddress = (model, side = 320) => `${cardAddress(model)}/preview?side=${side}`;

const size = (bytes) => (bytes >= 2 ** 30 ? `${(bytes / 2 ** 30).toFixed(1)} GB` : `${Math.max(1, Math.round(bytes / 2 ** 20))} MB`);

/** Return the short facts below a model's name. */
export function facts(model) {
  const family = model.family ? model.family.toUpperCase().replaceAll("_", " ") : "";
  return [family, model.variant, size(model.size), model.short_hash].filter(Boolean);
}
