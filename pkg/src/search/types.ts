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
  /** Names the index among those of this origin. */
  name: string;
  encoder: SearchEncoder;
  /**
   * Where the index is kept: in the origin's private file system (`"opfs"`), for as long as this object lives (`"memory"`), or in memory
   * from what `export` gave. Default `"opfs"`.
   */
  storage?: "opfs" | "memory" | FileBytes | IndexStorage;
  /** How texts are cut into passages. Default: as `encoder.chunk` does. */
  chunk?: ChunkOptions;
  /** Makes an empty full-text engine, for `hybrid` searches: `() => new MiniSearch({ fields: ["text"] })`. */
  lexical?: () => LexicalEngine;
  /**
   * Where another model made the index: embeds all texts with this one, as `migrate` does, before the promise resolves. The other model
   * need not be there. Default `false`: such an index is refused.
   */
  migrate?: boolean;
  signal?: AbortSignal;
  /** Called after every commit of such a migration, with documents. */
  onProgress?: WorkOptions["onProgress"];
}

/** A full-text engine such as MiniSearch. Its documents are passages, with a number and a text. */
export interface LexicalEngine {
  add(document: { id: number; text: string }): void;
  discard(id: number): void;
  search(query: string, options: { filter: (result: { id: number }) => boolean }): { id: number }[];
}

/** Options of `add`, `update`, `remove`, `compact` and `migrate`. */
export interface WorkOptions {
  /** Gives the work up: the promise rejects with the signal's reason. What was committed stays. */
  signal?: AbortSignal;
  /** Called after every commit, with documents. */
  onProgress?: (event: { done: number; total: number }) => void;
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
  /** Most documents. Default 10. */
  topK?: number;
  filter?: Filter;
  /** Takes the words of the query into account too: BM25, by the engine of `lexical`, fused by reciprocal rank. */
  hybrid?: boolean;
  /** Orders the best hundred passages once more. */
  rerank?: Reranker;
  signal?: AbortSignal;
}

/** A document that was found, by its best passage. */
export interface Hit {
  id: string;
  /** Of the passage, higher is closer: the similarity; with `hybrid` the sum of 1 / (60 + rank), with `rerank` the reranker's score. */
  score: number;
  /** The whole text. */
  text: string;
  metadata: Metadata | null;
  /** `text.slice(start, end)` */
  passage: { start: number; end: number };
}

/** Options of `documents` and `get`. */
export interface ReadOptions {
  /** Gives the vectors of the passages too. Default `false`. */
  vectors?: boolean;
  signal?: AbortSignal;
}

/** A document as the index holds it. */
export interface StoredDocument {
  id: string;
  text: string;
  metadata: Metadata | null;
  /** Where they are in the text, `text.slice(start, end)`, in its order. */
  passages: StoredPassage[];
}

/** A passage of a {@link StoredDocument}. */
export interface StoredPassage {
  start: number;
  end: number;
  /**
   * As the model gave it, where the index keeps that (`rescore`); else what its row stands for: of length 1 where the model compares by
   * cosine, of `"int8"` rounded, of `"binary"` 1 and -1.
   */
  vector?: Float32Array;
}

/** What an index holds. */
export interface IndexStats {
  documents: number;
  passages: number;
  /** Bytes of its files. */
  bytes: number;
  /** Files with documents. */
  segments: number;
  /** Passages in them that have been removed or replaced, until they are compacted. */
  dead: number;
  /** Commits since it was made. */
  generation: number;
  model: string | null;
  dimensions: number;
  precision: IndexPrecision;
  similarity: "cosine" | "dot";
  /** Documents whose bytes were gone, or not what was written. They are found no more; add them again. */
  lost: number;
  /** What was wrong with the files when they were opened; `null` where all was well. */
  problem: string | null;
}
