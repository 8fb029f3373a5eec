// The contract of `embedlet/search`: every public type of the index, documented once. Nothing here runs.

import type { Encoder } from "../encoder.js";
import type { ChunkOptions, FileBytes } from "../types.js";
import type { CollectionPrecision } from "../collection.js";
import type { IndexStorage } from "./storage.js";

/** What JSON can hold. */
export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };

/** What a document is filtered by. */
export type Metadata = { [key: string]: Json };

/** What an index asks of an encoder. */
export type SearchEncoder = Pick<Encoder, "info" | "chunk" | "embedDocuments" | "embedQuery" | "collection">;

/** What orders documents by a query. */
export type Reranker = Pick<Encoder, "rerank">;

/** A document as it is added. */
export interface Document {
  /** Names the document in the index. */
  id: string;
  /** What is embedded, in passages that the model reads whole. May be left out beside a `vector`. */
  text?: string;
  /** What filters go by: JSON of at most 8,192 characters. */
  metadata?: Metadata | null;
  /** Taken instead of the text's own vector; the document is one passage then. */
  vector?: Float32Array;
}

/** How vectors are kept for the scan. */
export type IndexPrecision = CollectionPrecision;

/** What an index is made with: options of `SearchIndex.open` and of `migrate`. What is left out is as the index has it. */
export interface IndexOptions {
  /** Names the model, so that vectors of another are refused by name: its address and revision, say. */
  model?: string;
  /** `"int8"` (default) takes a quarter of the memory of `"float32"`, `"binary"` a thirty-second. */
  precision?: IndexPrecision;
  /** Keeps the first so many dimensions of vectors (Matryoshka models). */
  dimensions?: number;
  /**
   * Keeps the vectors in float32 beside their `"int8"` or `"binary"` form, in storage alone, and compares what the scan finds by them.
   * Default `true`.
   */
  rescore?: boolean;
}

/** Options of `SearchIndex.open`. */
export interface OpenOptions extends IndexOptions {
  /** Names the index among those of this origin. A static index needs none. */
  name?: string;
  /** Embeds the documents and queries, and scans; it must outlive the index, which does not dispose of it. */
  encoder: SearchEncoder;
  /**
   * Where the index is kept: in the origin's private file system (`"opfs"`), for as long as this object lives (`"memory"`), or in memory
   * from what `export` gave. Or a static index, which is only read: the address of its folder on a host, or a handle of the folder. Default
   * `"opfs"`.
   */
  storage?: "opfs" | "memory" | FileBytes | IndexStorage | URL | FileSystemDirectoryHandle;
  /** Of a static index in cells: bytes of files that stay in memory between searches. Default 128 MB. */
  memory?: number;
  /** How texts are cut into passages. Default: as `encoder.chunk` does. */
  chunk?: ChunkOptions;
  /** Makes an empty full-text engine, for `hybrid` searches: `() => new MiniSearch({ fields: ["text"] })`. */
  lexical?: () => LexicalEngine;
  /**
   * Where another model made the index: embeds all texts with this one, as the method `migrate` does, before the promise resolves. The other
   * model need not be there. `onProgress` is called after every commit, with documents. Default `false`: such an index is refused.
   */
  migrate?: boolean | Pick<WorkOptions, "onProgress">;
  /** Gives the opening up: the promise rejects with the signal's reason. */
  signal?: AbortSignal;
  /** Called with the bytes of a static index that are wanted before it is open. */
  onProgress?: (event: TransferProgress) => void;
}

/** Bytes that have come, of those that are waited for. */
export interface TransferProgress {
  /** So far, of all files together. */
  loaded: number;
  /** Of the files that are known to be wanted. */
  total: number;
}

/** A full-text engine such as MiniSearch. Its documents are passages, with a number and a text. */
export interface LexicalEngine {
  /** Takes a passage in. */
  add(document: { id: number; text: string }): void;
  /** Forgets a passage. */
  discard(id: number): void;
  /** The passages that match and that `filter` lets through, best first. */
  search(query: string, options: { filter: (result: { id: number }) => boolean }): { id: number }[];
}

/** Options of `add`, `update`, `remove` and `compact`. */
export interface WorkOptions {
  /** Gives the work up: the promise rejects with the signal's reason. What was committed stays. */
  signal?: AbortSignal;
  /** Called after every commit, with documents. */
  onProgress?: (event: { done: number; total: number }) => void;
}

/** Options of `migrate`. */
export interface MigrateOptions extends IndexOptions, Pick<WorkOptions, "signal"> {
  /**
   * Lets the new model's queries be answered at once, by a map of the stored vectors onto those of the new model, which is fitted to a sample
   * of the texts (default 2,000 passages), until all texts are embedded again. Both models must compare by cosine. Default `false`.
   */
  map?: boolean | { sample: number };
  /** Called after every commit, with documents; with `map` also before the map is used, so that an abort then leaves the old model to answer. */
  onProgress?: (event: { done: number; total: number; map?: MapQuality }) => void;
}

/** How good the map of a migration is, measured on a fifth of the sample, to which it was not fitted. */
export interface MapQuality {
  /** Passages that were embedded for it. */
  sample: number;
  /** Of mapped vectors and those of the new model, on average. */
  cosine: number;
  /** What share of the ten of these that are nearest to one of them, by the new model, is nearest by mapped vectors too. */
  agreement: number;
}

/** A value that metadata is compared with. */
export type Scalar = string | number | boolean | null;

/**
 * What must hold of a key of metadata: a value that it equals, or all of these. Of an array, one element must. Order is among numbers, or
 * among strings, by code unit. A key that is not there equals `null`.
 */
export type Condition =
  | Scalar
  | {
      $eq?: Scalar;
      $ne?: Scalar;
      $gt?: string | number;
      $gte?: string | number;
      $lt?: string | number;
      $lte?: string | number;
      $in?: readonly Scalar[];
      $nin?: readonly Scalar[];
      $exists?: boolean;
      $not?: Condition;
    };

/** Which documents take part: those for which every entry holds. */
export type Filter = { $and?: readonly Filter[]; $or?: readonly Filter[]; $not?: Filter } & {
  [key: string]: Condition | Filter | readonly Filter[];
};

/** Options of `search`. */
export interface SearchOptions {
  /** Most documents, up to 10,000. Default 10. */
  topK?: number;
  /** Which documents take part. Default: all. */
  filter?: Filter;
  /**
   * Takes the words of the query into account too: by the engine of `lexical` (BM25 in MiniSearch), fused by reciprocal rank, the sum of
   * 1 / (60 + rank) over both lists (Cormack, Clarke and Büttcher 2009). A static index in cells refuses it (`unsupported-option`).
   * Default `false`.
   */
  hybrid?: boolean;
  /** An encoder with a reranking head, which orders the best 100 documents, or `topK` if that is more, by their best passages once more. */
  rerank?: Reranker;
  /**
   * Of a static index in cells: how many cells are looked at, of those that are nearest; `Infinity` finds what comparing with everything
   * does. Where fewer than `topK` documents are found, up to four times as many. Default: as the index was measured with (`stats().cells`).
   */
  probes?: number;
  /** Gives the search up: the promise rejects with the signal's reason. */
  signal?: AbortSignal;
  /** Of a static index in cells: called with the bytes that the search waits for. */
  onProgress?: (event: TransferProgress) => void;
}

/** A document that was found, by its best passage. */
export interface Hit {
  /** Of the document. */
  id: string;
  /** Of the passage, higher is closer: the similarity; with `hybrid` the sum of 1 / (60 + rank), with `rerank` the reranker's score. */
  score: number;
  /** The whole text. */
  text: string;
  /** As it was added. */
  metadata: Metadata | null;
  /** Where the best passage is: `text.slice(start, end)`. */
  passage: { start: number; end: number };
}

/** Options of `documents` and `get`. */
export interface ReadOptions {
  /** Gives the vectors of the passages too. Default `false`. */
  vectors?: boolean;
  /** Gives the reading up: the promise rejects with the signal's reason. */
  signal?: AbortSignal;
}

/** A document as the index holds it. */
export interface StoredDocument {
  /** As it was added. */
  id: string;
  /** The whole text; empty where there was none beside a `vector`. */
  text: string;
  /** As it was added. */
  metadata: Metadata | null;
  /** Where they are in the text, `text.slice(start, end)`, in its order. */
  passages: StoredPassage[];
}

/** A passage of a {@link StoredDocument}. */
export interface StoredPassage {
  /** In UTF-16 units of the text. */
  start: number;
  /** Behind its last. */
  end: number;
  /**
   * As the model gave it, where the index keeps that (`rescore`); else what its row stands for: of length 1 where the model compares by
   * cosine, of `"int8"` rounded, of `"binary"` 1 and -1.
   */
  vector?: Float32Array;
}

/** What an index holds. */
export interface IndexStats {
  /** Documents that can be found. */
  documents: number;
  /** Their passages, each with a vector. */
  passages: number;
  /** Bytes of its files. */
  bytes: number;
  /** Files with documents. */
  segments: number;
  /** Passages in them that have been removed or replaced, until they are compacted. */
  dead: number;
  /** The number of its last commit: greater by one with each, and never that of an index of this name that was deleted; 0 before the first. */
  generation: number;
  /** The name of the model, where `open` was given one. */
  model: string | null;
  /** Of a vector. */
  dimensions: number;
  /** How vectors are kept for the scan. */
  precision: IndexPrecision;
  /** How they are compared. */
  similarity: "cosine" | "dot";
  /** Documents whose bytes were gone, or not what was written. They are found no more; add them again. */
  lost: number;
  /** What was wrong with the files when they were opened; `null` where all was well. */
  problem: string | null;
  /** While queries are answered by the map of a migration: how good it is. */
  map?: MapQuality;
  /** Of a static index: bytes that have come from the network. */
  fetched?: number;
  /** Of a static index in cells: how many, and what share of the ten nearest so many of them have, as it was measured. */
  cells?: { count: number; probes: number; recall: [probes: number, share: number][] };
}
