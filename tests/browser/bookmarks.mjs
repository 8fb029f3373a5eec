// Bookmarks for the extension of `web/extension`, and which of them are the closest to a query by an encoder and a plain product.

const WORDS = [
  "the old man counted boats", "the cold river froze", "birds walked along the water", "nobody wrote the first book", "spring came into the school",
];
const MORE = [
  "in the morning", "before winter", "with the family", "and the lamp is blue", "on the train", "for a name", "under the wire", "without a word",
];

/** So many, no two of one title. */
export function bookmarks(count) {
  return Array.from({ length: count }, (_, i) => ({
    title: `${WORDS[i % 5]} ${MORE[(i >> 2) % 8]} ${i}`, url: `https://${i}.example/${MORE[i % 8].replaceAll(" ", "-")}`,
  }));
}

/** Runs in a page of the extension: the addresses of these bookmarks, best first, by an encoder of the page's own. */
export async function closest({ query, list }) {
  const { Encoder } = await import("/embedlet/index.js");
  const encoder = await Encoder.load("/model/", { cache: false, device: "wasm" });
  const words = (url) => `${new URL(url).hostname} ${new URL(url).pathname}`.replace(/[^\w.]+/g, " ").trim();
  const asked = await encoder.embedQuery(query);
  const found = [];
  for (const { title, url } of list) {
    // As the index does: a text that the model does not read whole is as close as its closest part.
    const parts = await encoder.chunk(`${title}\n${words(url)}`, { kind: "document" });
    const scores = encoder.similarity(asked, await encoder.embedDocuments(parts.map(({ text }) => text)));
    found.push({ score: Math.max(...scores), url: new URL(url).href });
  }
  encoder.dispose();
  return found.sort((a, b) => b.score - a.score).map(({ url }) => url);
}
