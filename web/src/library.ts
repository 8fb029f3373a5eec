// The texts that can be searched, with their vectors: documents come in, are embedded a slice at a time, and are ranked against
// a query by their best passage. Knows no widget; whoever shows it passes `onProgress`.

import type { Embeddings, Encoder } from "embedlet";
import type { Document, Passage } from "./passages.js";

export interface Hit { document: Document; passage: Passage; score: number }
export interface Progress { done: number; total: number; textsPerSecond: number }

/** Memory and the time of a scan per key stroke both grow with this; at 384 dimensions it is 31 MB of vectors. */
const MAX_PASSAGES = 20_000;

/** Time that one slice should take, in ms: calls queue, so it is also the longest that a query waits while texts are embedded. */
const SLICE_MS = 200;

type Entry = { document: Document; passage: Passage };
type Slice = { entries: Entry[]; vectors: Embeddings };

export class Library {
  #documents: Document[] = [];
  #pending: Entry[] = [];
  #slices: Slice[] = [];
  #encoder: Encoder | null = null;
  #abort = new AbortController();
  #running: Promise<void> | null = null;
  #slice = 8;

  constructor(readonly onProgress: (progress: Progress) => void) {}

  get documents(): readonly Document[] { return this.#documents; }
  get passages(): number { return this.#documents.reduce((sum, { passages }) => sum + passages.length, 0); }
  get indexed(): number { return this.passages - this.#pending.length; }

  /** Takes documents as far as there is room and returns how many it took. */
  add(documents: Document[]): number {
    let room = MAX_PASSAGES - this.passages;
    const fitting = documents.filter(({ passages }) => (room -= passages.length) >= 0);
    this.#documents.push(...fitting);
    this.#pending.push(...fitting.flatMap(entriesOf));
    return fitting.length;
  }

  /** Forgets every document of one source. Its vectors go at once, so that no later ranking can meet them. */
  remove(source: string): void {
    const stays = ({ document }: Entry) => document.source !== source;
    this.#documents = this.#documents.filter((document) => document.source !== source);
    this.#pending = this.#pending.filter(stays);
    // Rows stay in place: the entry of a removed row is what tells `search` to pass it over.
    const live = new Set(this.#documents);
    this.#slices = this.#slices.filter(({ entries }) => entries.some(({ document }) => live.has(document)));
  }

  /** Takes another encoder, or none while one loads. Vectors of different encoders cannot be compared: all are made anew. */
  use(encoder: Encoder | null): void {
    this.#abort.abort();
    this.#abort = new AbortController();
    this.#running = null;
    this.#encoder = encoder;
    this.#slices = [];
    this.#pending = this.#documents.flatMap(entriesOf);
  }

  /** Embeds what is pending. Calls while it runs join it, as it takes up whatever has come in meanwhile. */
  index(): Promise<void> {
    const { signal } = this.#abort;
    this.#running ??= this.#embedPending(signal).finally(() => {
      if (!signal.aborted) this.#running = null;
    });
    return this.#running;
  }

  async #embedPending(signal: AbortSignal): Promise<void> {
    let done = 0;
    let busy = 0;
    while (this.#encoder && this.#pending.length > 0) {
      const entries = this.#pending.slice(0, this.#slice);
      const start = performance.now();
      const vectors = await this.#encoder.embedDocuments(entries.map(textOf), { signal });
      signal.throwIfAborted();
      const took = performance.now() - start;

      // What was removed meanwhile is no longer pending, and so is not the head of the queue.
      const taken = new Set(entries);
      this.#pending = this.#pending.filter((entry) => !taken.has(entry));
      this.#slices.push({ entries, vectors });
      this.#slice = Math.max(1, Math.min(512, Math.round(this.#slice * Math.min(2, SLICE_MS / took))));
      done += entries.length;
      busy += took;
      this.onProgress({ done: this.indexed, total: this.passages, textsPerSecond: (1000 * done) / busy });
    }
  }

  /** The documents that have vectors, each with the mean of its passages' vectors, at length 1. */
  points(): { documents: Document[]; vectors: { data: Float32Array; dimensions: number } } {
    const live = new Set(this.#documents);
    const dimensions = this.#slices[0]?.vectors.dimensions ?? 1;
    const sums = new Map<Document, Float32Array>();
    for (const { entries, vectors } of this.#slices) {
      entries.forEach(({ document }, at) => {
        if (!live.has(document)) return;
        const sum = sums.get(document) ?? new Float32Array(dimensions);
        vectors.row(at).forEach((value, c) => (sum[c]! += value));
        sums.set(document, sum);
      });
    }
    const data = new Float32Array(sums.size * dimensions);
    [...sums.values()].forEach((sum, row) => {
      const length = Math.sqrt(sum.reduce((all, value) => all + value * value, 0)) || 1;
      data.set(sum.map((value) => value / length), row * dimensions);
    });
    return { documents: [...sums.keys()], vectors: { data, dimensions } };
  }

  /** The best documents for a query vector, each with its best passage. */
  search(query: Embeddings, limit: number): Hit[] {
    const live = new Set(this.#documents);
    const best = new Map<Document, Hit>();
    for (const { entries, vectors } of this.#slices) {
      const scores = this.#encoder!.similarity(query, vectors);
      entries.forEach(({ document, passage }, at) => {
        const score = scores[at]!;
        if (live.has(document) && score > (best.get(document)?.score ?? -Infinity)) best.set(document, { document, passage, score });
      });
    }
    return [...best.values()].sort((a, b) => b.score - a.score).slice(0, limit);
  }
}

const entriesOf = (document: Document): Entry[] => document.passages.map((passage) => ({ document, passage }));
/** The title goes with every passage: it is often all that says what a sentence in the middle is about. */
const textOf = ({ document: { title, text }, passage: { start, end } }: Entry): string =>
  (title === "" ? "" : `${title}. `) + text.slice(start, end);
