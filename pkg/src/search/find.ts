// A search over a view: candidates by the scan and by words, exact scores from the stored vectors, one hit a document. It changes
// nothing; documents that it cannot read it names.

import { invalid } from "../arguments.js";
import { compare } from "./identity.js";
import { fuse, type Lexical } from "./lexical.js";
import type { Predicate } from "./metadata.js";
import type { Place } from "./segment.js";
import type { Hit, Reranker } from "./types.js";
import { bitmapOf, readAll, type Entry, type View } from "./view.js";

/** Rows that the scan is asked for, for every document that is wanted: what the coarser forms order wrongly is put right by the vectors. */
const MARGIN = { float32: 1, int8: 4, binary: 16 };
const LEAST_MARGIN = 64;
/** Most rows that a scan gives at once. */
const MOST_ROWS = 4096;
/** Documents that rankings are fused over, and that are ranked once more. */
const DEPTH = 100;

export interface Question {
  vector: Float32Array;
  /** Where the query was a text. */
  text: string | undefined;
  topK: number;
  /** Which documents take part. */
  holds: Predicate | undefined;
  lexical: Lexical | undefined;
  rerank: Reranker | undefined;
  signal: AbortSignal | undefined;
}

/** A document by its best passage. */
export interface Found {
  entry: Entry;
  row: number;
  score: number;
}

/** Orders by score; equal ones by id, for rows depend on what was added when. */
export const byScore = (a: Found, b: Found) => b.score - a.score || (a.entry.id < b.entry.id ? -1 : 1);

/** Finds documents. Throws `Unreadable` where some that should be looked at cannot be read. */
export function find(view: View, question: Question): Promise<Hit[]> {
  const { text, holds, lexical, signal } = question;
  return ranked(question, async (depth) => {
    const found = await nearest(view, question, depth);
    if (!lexical || text === undefined) return found;
    return fused(found, ofDocuments(view, await lexical.search(text, holds, signal)).slice(0, depth));
  });
}

/** The best of what `candidates` gives, as they lie in the files. Throws as {@link find} does. */
export async function ranked(question: Question, candidates: (depth: number) => Promise<Found[]>): Promise<Hit[]> {
  const { topK, text, lexical, rerank, signal } = question;
  const texts = new Map<Entry, string>();
  const read = async (found: readonly Found[]) => {
    const missing = found.map(({ entry }) => entry).filter((entry) => !texts.has(entry));
    const results = await readAll(missing, (entry) => entry.segment.text(entry.index), (entry) => entry);
    missing.forEach((entry, i) => texts.set(entry, results[i]!));
  };
  const depth = lexical || rerank ? Math.max(topK, DEPTH) : topK;
  let found = await candidates(depth);
  if (rerank && text !== undefined) {
    const best = found.slice(0, depth);
    await read(best);
    const passages = best.map((one) => texts.get(one.entry)!.slice(...ends(placeOf(one))));
    const ranked = passages.length > 0 ? await rerank.rerank(text, passages, signal ? { signal } : {}) : [];
    found = ranked.map(({ index, score }) => {
      if (!best[index]) throw invalid("The reranker ranked a document that it was not given.");
      return { ...best[index], score };
    });
  }
  const hits = found.slice(0, topK);
  await read(hits);
  return hits.map((one) => {
    const { id, metadata } = one.entry;
    return { id, score: one.score, text: texts.get(one.entry)!, metadata: structuredClone(metadata), passage: placeOf(one) };
  });
}

/** The documents whose passages are closest. Passages are asked for until there are enough documents, or no more passages. */
export async function nearest(view: View, { vector, holds, signal }: Question, wanted: number): Promise<Found[]> {
  const { vectors, precision } = view.made;
  const seen = new Set<number>();
  const best = new Map<Entry, Found>();
  for (let most = vectors ? Math.max(wanted * MARGIN[precision], LEAST_MARGIN) : wanted; best.size < wanted; most *= 4) {
    while (seen.size < most) {
      signal?.throwIfAborted();
      const topK = Math.min(most - seen.size, MOST_ROWS);
      // Made here, so that it has a bit for every row that the scan can have by then.
      const allowed = holds || seen.size > 0 ? bitmapOf(view, holds, seen) : undefined;
      const scan = await view.collection.search(vector, { topK, ...(allowed && { allowed }), ...(signal && { signal }) });
      const there = [...scan.rows.keys()].filter((i) => view.isThere(scan.rows[i]!));
      const rows = there.map((i) => scan.rows[i]!);
      const scores = vectors ? await rescore(view, vector, rows) : there.map((i) => scan.scores[i]!);
      rows.forEach((row, i) => take(best, { entry: view.rows[row]!, row, score: scores[i]! }));
      for (const row of scan.rows) seen.add(row);
      if (scan.rows.length < topK) return sorted(best, wanted);
    }
  }
  return sorted(best, wanted);
}

/** Keeps a document's best passage; of equal ones the first of the text. */
function take(best: Map<Entry, Found>, found: Found): void {
  const other = best.get(found.entry);
  const isBetter = !other || found.score > other.score || (found.score === other.score && found.row < other.row);
  if (Number.isFinite(found.score) && isBetter) best.set(found.entry, found);
}

const sorted = (best: ReadonlyMap<Entry, Found>, most: number) => [...best.values()].sort(byScore).slice(0, most);

/** Compares the query with the vectors of rows, as they were before they became rows. */
async function rescore(view: View, query: Float32Array, rows: readonly number[]): Promise<Float32Array> {
  const entryOf = (row: number) => view.rows[row]!;
  const vectors = await readAll(rows, (row) => {
    const { segment, index, row: first } = entryOf(row);
    return segment.vector(segment.passagesOf(index)[0] + row - first);
  }, entryOf);
  const all = new Float32Array(rows.length * query.length);
  vectors.forEach((vector, i) => all.set(vector, i * query.length));
  return compare(query, all, view.made.similarity);
}

/** Documents in the order of their best rows. */
function ofDocuments(view: View, rows: readonly number[]): Found[] {
  const best = new Map<Entry, Found>();
  for (const row of rows) {
    const entry = view.rows[row]!;
    if (!best.has(entry)) best.set(entry, { entry, row, score: 0 });
  }
  return [...best.values()];
}

/** The passage of a document is the closest one, where it is among those. */
function fused(vectors: readonly Found[], words: readonly Found[]): Found[] {
  const found = new Map([...words, ...vectors].map((one) => [one.entry, one]));
  const scores = fuse([vectors, words].map((ranking) => ranking.map(({ entry }) => entry)));
  return [...scores].map(([entry, score]) => ({ ...found.get(entry)!, score })).sort(byScore);
}

function placeOf({ entry: { segment, index, row: first }, row }: Found): Place {
  return segment.place(segment.passagesOf(index)[0] + row - first);
}

const ends = ({ start, end }: Place) => [start, end] as const;
