// What a cluster is about, in words: those that stand in its titles, and in its texts more often than in others. Pure functions.

import type { Document } from "./parse.js";

/** Words of a name. */
const WORDS = 3;
/** A word in more than this share of all texts says little about any. */
const COMMON = 0.1;
/** What stands for the title of a text that has none. */
const BEGINNING = 80;

export const titleOf = ({ title, text }: Pick<Document, "title" | "text">): string =>
  title || (text.length <= BEGINNING ? text : `${text.slice(0, text.lastIndexOf(" ", BEGINNING) + 1 || BEGINNING).trimEnd()} …`);

/** A name for each cluster, by the cluster of each document. */
export function topics(documents: readonly Document[], labels: ArrayLike<number>, clusters: number): string[] {
  const segmenter = new Intl.Segmenter(undefined, { granularity: "word" });
  const words = (text: string) => new Set([...segmenter.segment(text.toLowerCase())]
    .flatMap(({ segment, isWordLike }) => (isWordLike && /\p{L}{2}/u.test(segment) ? [segment] : [])));
  const everywhere = new Map<string, number>();
  const within = Array.from({ length: clusters }, () => ({ size: 0, counts: new Map<string, number>(), titles: new Set<string>() }));
  documents.forEach((document, at) => {
    const cluster = within[labels[at]!]!;
    cluster.size++;
    for (const word of words(titleOf(document))) cluster.titles.add(word);
    for (const word of words(`${document.title} ${document.text}`)) {
      everywhere.set(word, (everywhere.get(word) ?? 0) + 1);
      cluster.counts.set(word, (cluster.counts.get(word) ?? 0) + 1);
    }
  });
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
