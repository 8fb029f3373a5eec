// The groups of the map's texts, and their names. What a cluster is about is said in words: those that stand in its titles, and in its
// texts more often than in others. Pure functions.

import { type Document, titleOf } from "./document.js";

/** The group of each text, and the names of the groups. */
export interface Grouping { labels: Uint32Array; names: string[] }

/** Groups of a grouping; colours of more are not told apart, and nobody reads a list of more. */
const GROUPS = 50;
/** Words of a name. */
const WORDS = 3;
/** Characters that are read of a text, from its beginning, and of all texts: of a long one, twice as much takes more than twice as long. */
const [MOST_READ, MOST_READ_IN_ALL] = [2000, 2_000_000];
/** Milliseconds of work in one go. */
const BUSY = 30;
/** A word in more than this share of all texts says little about any. */
const COMMON = 0.1;

/** A group for each value, largest first; `rest` is the last, of texts whose value is empty or rare. */
export function grouped(values: readonly string[], rest: string): Grouping {
  const counts = new Map<string, number>();
  for (const value of values) if (value !== "") counts.set(value, (counts.get(value) ?? 0) + 1);
  const kept = [...counts].sort(([, a], [, b]) => b - a).slice(0, counts.size > GROUPS ? GROUPS - 1 : GROUPS).map(([value]) => value);
  const numbers = new Map(kept.map((value, group) => [value, group]));
  const labels = Uint32Array.from(values, (value) => numbers.get(value) ?? kept.length);
  return { labels, names: labels.includes(kept.length) ? [...kept, rest] : kept };
}

/** A name for each cluster, by the cluster of each document. */
export async function topics(
  documents: readonly Pick<Document, "title" | "text">[],
  labels: ArrayLike<number>,
  clusters: number,
  signal: AbortSignal,
): Promise<string[]> {
  const segmenter = new Intl.Segmenter(undefined, { granularity: "word" });
  const most = Math.min(MOST_READ, Math.ceil(MOST_READ_IN_ALL / documents.length));
  const words = (text: string) => {
    const found = new Set<string>();
    for (const { segment, isWordLike } of segmenter.segment(text.slice(0, most).toLowerCase())) {
      if (isWordLike && /\p{L}{2}/u.test(segment)) found.add(segment);
    }
    return found;
  };
  const everywhere = new Map<string, number>();
  const within = Array.from({ length: clusters }, () => ({ size: 0, counts: new Map<string, number>(), titles: new Set<string>() }));
  let since = performance.now();
  for (const [at, document] of documents.entries()) {
    if (performance.now() - since > BUSY) {
      await new Promise((resolve) => setTimeout(resolve)); // the page stays alive meanwhile
      signal.throwIfAborted();
      since = performance.now();
    }
    const cluster = within[labels[at]!]!;
    cluster.size++;
    for (const word of words(titleOf(document))) cluster.titles.add(word);
    for (const word of words(`${document.title} ${document.text}`)) {
      everywhere.set(word, (everywhere.get(word) ?? 0) + 1);
      cluster.counts.set(word, (cluster.counts.get(word) ?? 0) + 1);
    }
  }
  return within.map(({ size, counts, titles }, cluster) => {
    // The log-likelihood of a word, less what its absence says: how often it is here, and how much more often than elsewhere.
    const weight = (word: string) => {
      const here = counts.get(word)!;
      return here * Math.log((here * documents.length) / (everywhere.get(word)! * size));
    };
    const rare = (word: string) => (everywhere.get(word) ?? Infinity) <= Math.max(3, COMMON * documents.length);
    // A cluster of everything has no words that others lack: there the commonest stand.
    const best = [...titles].filter(rare).map((word) => ({ word, weight: weight(word), here: counts.get(word)! }))
      .sort((a, b) => b.weight - a.weight || b.here - a.here);
    return best.slice(0, WORDS).map(({ word }) => word).join(", ") || `Cluster ${cluster + 1}`;
  });
}
