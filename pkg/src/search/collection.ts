// The exact scan as an index uses it: rows of vectors where the encoder runs, on its GPU or its CPU. Nothing here runs.

import type { IndexPrecision } from "./types.js";

/** Options of `encoder.collection`. */
export interface CollectionOptions {
  dimensions: number;
  precision: IndexPrecision;
  similarity: "cosine" | "dot";
  /** Appends all rows once more, and removes the removed: called after a crash or a lost device, before calls go on. */
  restore: (collection: Collection) => Promise<void>;
}

/** Options of a scan. */
export interface ScanOptions {
  /** 1 to 4,096. */
  topK: number;
  /** A bit a row, the lowest of a word first: only these take part. Rows that are yet to come may have theirs already. */
  allowed?: Uint32Array;
  signal?: AbortSignal;
}

/** Vectors that can be searched. */
export interface Collection {
  readonly dimensions: number;
  readonly precision: IndexPrecision;
  readonly rowBytes: number;
  /** Vectors as rows of `rowBytes` each; what storage keeps. */
  encode(vectors: Float32Array): Promise<Uint8Array>;
  /** Appends encoded rows; resolves with the number of the first. Rows are numbered as they come; removed ones keep their number. */
  append(rows: Uint8Array): Promise<number>;
  /** Removed rows are never found again. */
  remove(rows: Uint32Array): Promise<void>;
  /** The best rows, best first, ties by number. */
  search(query: Float32Array, options: ScanOptions): Promise<{ rows: Uint32Array; scores: Float32Array }>;
  dispose(): void;
}
