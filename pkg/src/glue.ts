// The private surface between TypeScript and the crate, as wasm-bindgen exposes it from crate/wasm.rs.
// Declared by hand because the generated files are not in the repository. Types only.

import type { Found } from "./collection.js";
import type { EncoderInfo, Tokens } from "./types.js";

/** JSON text of a value of type T. */
type Json<T> = string & { readonly json?: T };

/** Collects the small files of a model folder and knows from them which others it wants. */
export interface Folder {
  wanted(): string[];
  put(path: string, bytes?: Uint8Array): void;
  /** Where the weights are, if in one file. */
  weights(): string | undefined;
  free(): void;
}

/** Where and how a model is to run. */
export interface DeviceOptions {
  device: string;
  precision: string;
  /** Why the CPU is taken although `auto` was asked for. */
  reason?: string;
  /** What the model is loaded for; absent: as its folder says. */
  task?: string;
}

/** A model being loaded: planned, its device open, its buffers allocated; takes the weights as they come. */
export interface Loader {
  files(): string[];
  /** `sha256` is what the file must hash to; `checked`: it is the file that had the hash of its packed folder. */
  begin(path: string, sha256: string | undefined, checked: boolean): void;
  /** The bytes of several files may come in turn. */
  push(path: string, chunk: Uint8Array): void;
  end(path: string): void;
  /** Waits for what the device compiles, once every file was read. */
  compile(): Promise<void>;
  /** Consumes the loader, whatever comes of it. */
  finish(): Promise<Model>;
  free(): void;
}

export interface Model {
  info(): Json<EncoderInfo>;
  tokenize(text: string): Json<Tokens>;
  /** The strings of the vocabulary by their ids. */
  vocabulary(): Json<(string | null)[]>;
  embed(texts: string[], options: string): Job;
  /** Any other task; `request` is what `Request` of crate/wasm.rs reads. */
  ask(request: string, head?: Uint8Array): Job;
  /** Compares texts of so many vectors each, of which the first are queries: a row for each other, a column for each query. */
  maxSim(data: Float32Array, dimensions: number, counts: Uint32Array, queries: number): Job;
  /** Takes the choice of kernels that was kept, whatever that text is, and tells whether there is something to tune. */
  takeTuning(kept?: string): boolean;
  /** Measures kernels for some milliseconds, and tells whether there is more to do. */
  tune(): Promise<boolean>;
  /** What is chosen, with what is kept: the text to keep from now on. */
  tuning(kept?: string): string;
  free(): void;
}

/** One call, advanced a packed batch at a time. */
export interface Job {
  step(): Promise<void>;
  readonly done: number;
  readonly total: number;
  /** Consumes the job, whatever comes of it. */
  finish(): Made;
  free(): void;
}

/**
 * What a call gives: vectors, several a text where there are `counts`, which `details` tells apart, or JSON, with the file of a
 * head that was trained.
 */
export interface Vectors {
  data: Float32Array<ArrayBuffer>;
  dimensions: number;
  tokens: Uint32Array<ArrayBuffer>;
  truncated: Uint8Array<ArrayBuffer>;
  counts?: Uint32Array<ArrayBuffer>;
  details?: Json<unknown>;
}

/** Rows that are searched. */
export interface Collection {
  readonly rowBytes: number;
  /** Writes vectors as encoded rows, for which there must be room. */
  encode(vectors: Float32Array, rows: Uint8Array): void;
  append(rows: Uint8Array): Promise<number>;
  remove(rows: Uint32Array): void;
  search(query: Float32Array, topK: number, allowed?: Uint32Array): Promise<Found>;
  free(): void;
}

export type Made = Vectors | { json: string; head?: Uint8Array<ArrayBuffer> };

/** Gives the generated module, whose own tasks run by this `queueMicrotask`. */
export type CreateGlue = (queueMicrotask: (task: () => void) => void) => Glue;

/** The generated module. */
export interface Glue {
  /** `memory` is for the build that shares it. */
  default(input: { module_or_path: WebAssembly.Module; memory?: WebAssembly.Memory }): Promise<unknown>;
  /** Of the build that shares memory. Makes the calling worker the first of so many threads. */
  lead?(threads: number): void;
  /** Of the build that shares memory. Makes the calling worker one of the others, and does not return. */
  follow?(): void;
  Folder: new () => Folder;
  Collection: new (model: Model, dimensions: number, precision: string, similarity: string) => Collection;
  Loader: {
    /** Consumes the folder, whatever comes of it. */
    create(folder: Folder, options: DeviceOptions): Promise<Loader>;
  };
}
