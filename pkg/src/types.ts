// The contract of the package: every public type, documented once. Nothing here runs.
// Vectors are row-major Float32Arrays; sizes are in bytes unless a comment says otherwise.

export type * from "./tasks.js";
export type { Examples, TrainOptions } from "./head.js";
export type { CachedModel } from "./cache.js";
export type { CacheOptions } from "./cached.js";
export type { Collection, CollectionOptions, CollectionPrecision, Found, SearchOptions } from "./collection.js";
import type { Embeddings } from "./embeddings.js";
import type { ChunkVectors, TokenVectors } from "./multi.js";
import type { Quantized, Ranges } from "./quantize.js";

/** Where the arithmetic runs: the GPU through WebGPU, or the CPU through WebAssembly. */
export type Device = "webgpu" | "wasm";

/**
 * How weights are stored on the device: in 32 or 16 bits, or, on the CPU, as integers of 8. Sums of the first two are always taken in f32.
 */
export type Precision = "f32" | "f16" | "int8";

/** The same of a model that is loaded: `"packed"` are the integers of a packed folder, as a GPU holds them. */
export type StoredPrecision = Precision | "packed";

/** How token vectors become one text vector; several are concatenated in the order the model defines. */
export type Pooling = "cls" | "max" | "mean" | "mean_sqrt_len_tokens" | "weightedmean" | "lasttoken";

/** How two texts are compared. The distances are negated, so that higher always means closer; `maxsim` is of texts with a vector a token. */
export type Similarity = "cosine" | "dot" | "euclidean" | "manhattan" | "maxsim";

/**
 * The content of one file. A Blob is read piece by piece and is the cheapest to hand to the worker. What is in memory stays there until
 * the encoder is disposed of, for a restart reads it again: leave it as it is.
 */
export type FileBytes = ArrayBuffer | ArrayBufferView | Blob;

/**
 * A model folder, as sentence-transformers or Hugging Face save it:
 *  - `"org/name"`: a model of the Hugging Face hub, see {@link LoadOptions.revision};
 *  - any other string, or a `URL`: the folder's address, relative to the page (write `"./models/x"`, for `"models/x"` reads as a hub id);
 *  - the files of an `<input type="file" webkitdirectory>`, or of a drop;
 *  - a directory handle from `showDirectoryPicker()` or from the origin private file system;
 *  - a `Map` or plain object from path (`"1_Pooling/config.json"`) to content.
 */
export type ModelSource =
  | string
  | URL
  | FileList
  | readonly File[]
  | FileSystemDirectoryHandle
  | ReadonlyMap<string, FileBytes>
  | Readonly<Record<string, FileBytes>>;

/** Options of `Encoder.load`. */
export interface LoadOptions {
  /**
   * `"auto"` (default) takes WebGPU unless there is none, it is a software adapter or its self-check fails; then the CPU,
   * and `info.reason` says why. A named device is taken or refused, never exchanged.
   */
  device?: "auto" | Device;
  /**
   * `"auto"` (default) keeps what the model's files hold: of a packed folder a GPU reads the integers themselves, and the CPU makes f32
   * of them. `"f16"` halves what an f32 model takes on a GPU; the CPU rounds, but holds f32.
   * `"int8"` is no longer exact: matrices, and what they multiply, are rounded to integers. On the CPU, which `device: "auto"` then takes,
   * it is about twice as fast. On a GPU linear layers take a quarter of the memory; what it saves there in time has not been measured,
   * and Apple's have no instruction for it. A browser without `packed_4x8_integer_dot_product` in its WGSL refuses it there
   * (`unsupported-option`), as do models that multiply otherwise too: mixtures of experts, convolutions, sparse vectors.
   */
  precision?: "auto" | Precision;
  /**
   * Which head of the checkpoint is loaded beside the encoder. Default: what the folder is for, by its modules or by
   * `architectures` of `config.json`; `"embed"` loads none. `"fill"`, which `embedSparse` can use too, must be named for a
   * plain folder: its head is as large as the token table.
   */
  task?: Task;
  /** Called as files are read, and when the load goes over to something else. */
  onProgress?: (event: LoadProgress) => void;
  /** Gives the load up: the promise rejects with the signal's reason and everything loaded so far is freed. */
  signal?: AbortSignal;
  /**
   * Branch, tag or commit of a hub model. Default `"main"`; name a commit to get the same bytes for ever. Which commit a branch names is
   * asked once a load, so that its files never are of two; a server that has the hub's files but not its API cannot say.
   */
  revision?: string;
  /**
   * `true` (default) keeps a model that comes from an address in the browser's cache, and reads it from there the next time, without the
   * network. `info.cache` says what was done. `Encoder.cache` lists and deletes what is kept.
   */
  cache?: boolean;
  /** `false` reads from the cache only; a model that is not kept is refused with the code `network`. Default `true`. */
  allowRemote?: boolean;
  /**
   * `true` (default) lets a model on a GPU that is hardware choose among kernels by measuring them, for a tenth of a second in all, in
   * pieces of some 20 ms, when nothing has been asked for a second. Vectors stay the same to the bit. What is chosen stays in the
   * browser's cache unless `cache` is `false`. Where the browser's clock is too coarse, nothing is measured.
   */
  tune?: boolean;
  /**
   * Expected SHA-256 by path, as `"sha256-<base64>"` or 64 hex digits. A file that differs is refused with `wrong-hash`; with
   * `onFailure: "warn"` the console is told, and the model loads without this check.
   */
  integrity?: Readonly<Record<string, string> & { onFailure?: "error" | "warn" }>;
  /** Sent with every request for a model file, such as `{ Authorization: "Bearer …" }`. */
  headers?: Readonly<Record<string, string>>;
  /**
   * `true` (default) runs in a worker of its own, or on this thread where there is no `Worker`; `false` runs on this thread.
   * A `Worker` that runs `embedlet/worker` is used and left running by `dispose()`.
   */
  worker?: boolean | Worker;
  /**
   * Workers on the CPU, 1 to 16; on a GPU there is one. Default 1. On a page that is cross-origin isolated, with `device: "wasm"` or without
   * WebGPU, they share one memory and the work of every call; elsewhere the texts of an `embed` call, each with the whole model in its memory. The
   * first does not wait for the others; one that does not start, or has no room for the model, is done without. Needs `worker: true`.
   */
  threads?: number;
  /** Address of `worker.js`, where the bundler or host moved it. */
  workerUrl?: string | URL;
  /**
   * Address of `embedlet_bg.wasm`, where the bundler or host moved it; or of `embedlet_relaxed_bg.wasm`, which is faster on the CPU and does not
   * start everywhere.
   */
  wasmUrl?: string | URL;
  /** The compiled `embedlet_bg.wasm`; nothing is fetched then. */
  wasmModule?: WebAssembly.Module;
}

/**
 * What a load is at:
 *  - `download`: files come from the network. Weights are hashed, and go to the device, as they come;
 *  - `verify`: files that have been read are held against their hashes, and the library makes sure of what is in them;
 *  - `upload`: weights go to the device from where they are already, which is the cache, files or memory;
 *  - `compile`: all is read. Kernels, which the browser compiles beside the weights, are waited for; the CPU has none;
 *  - `check`: kernels are compared with the CPU, and a packed folder must give the vectors that it names.
 */
export type LoadPhase = "download" | "verify" | "upload" | "compile" | "check";

/**
 * One step of a load. For each file `initiate`, `download`, `progress`…, `done`; `progress_total` sums all files; `phase` says that
 * the load is at something else from here on; `ready` comes last. Counts are exact; between the first and the last of a file they are
 * reported at intervals. Where `"auto"` gives a GPU up after its check, the files are read, and counted, once more.
 */
export interface LoadProgress {
  status: "initiate" | "download" | "progress" | "progress_total" | "done" | "phase" | "ready";
  /** Downloads and checks take turns, for small files name others. */
  phase: LoadPhase;
  /** Path inside the model folder; only where the step is one of a file's. */
  file?: string;
  /** Bytes read so far. */
  loaded: number;
  /** Bytes expected, 0 while not known. */
  total: number;
  /** Percent, 0 to 100; 0 while the total is not known. */
  progress: number;
}

/** Options of `embed`, `embedQuery` and `embedDocuments`. Each default is what the model's own files say. */
export interface EmbedOptions {
  /** Put before every text. Wins over `promptName`. */
  prompt?: string;
  /** Name of one of the model's prompts, see `info.prompts`. Default: `info.defaultPromptName`, or the one of the kind of text. */
  promptName?: string;
  /** Keeps the first so many dimensions (Matryoshka models), before normalising. Default: all. */
  dimensions?: number;
  /** Scales every vector to length 1. Default: as the model does. */
  normalize?: boolean;
  /** How token vectors become one. Default: as the model does. */
  pooling?: Pooling | readonly Pooling[];
  /** Runs only the first so many layers (2D Matryoshka models). Default: all. */
  layers?: number;
  /** What a dimension takes: an f32 (default), a byte, or a bit, as sentence-transformers quantises. */
  output?: "float32" | "int8" | "binary";
  /** What bytes are spread over: the `ranges` of an earlier result. Default: the ranges of the vectors of this call. */
  ranges?: Ranges;
  /** The adapter to use, one of `info.loraAdaptations`. It chooses no prompt. Default: the plain encoder. */
  task?: string;
  /** Divides attention scores: below 1, vectors of long texts keep farther apart. Default 1. */
  attentionTemperature?: number;
  /** Gives the last hidden state of every token, with no pooling and nothing behind it, instead of a vector a text. */
  tokens?: boolean;
  /**
   * What becomes of a text that is longer than the model reads. `"truncate"` (default) cuts it, and `truncated(i)` says so;
   * `"error"` refuses the call with the code `text-too-long`; `"chunk"` reads the text in chunks, each behind the prompt.
   */
  overflow?: "error" | "truncate" | "chunk";
  /**
   * How the vectors of a text's chunks become one: their mean, weighted by the tokens of each chunk (default), or the largest value
   * of each dimension; either is scaled to length 1 again where vectors are. `"none"` gives {@link ChunkVectors}.
   */
  chunkPooling?: "mean" | "max" | "none";
  /** How texts are cut into chunks. Default: into as few as the model reads whole. */
  chunk?: ChunkOptions;
  /** Gives the call up: the promise rejects with the signal's reason; the encoder stays usable. */
  signal?: AbortSignal;
  /** Called after every batch. A call that is asked again, see `ErrorCode`, begins again. */
  onProgress?: (event: EmbedProgress) => void;
}

/** Options of `embed` that give {@link TokenVectors}. */
export type TokenOptions = Omit<EmbedOptions, "dimensions" | "normalize" | "pooling" | "output" | "ranges" | "chunkPooling" | "chunk"> & {
  tokens: true;
  overflow?: "error" | "truncate";
};

/** Options of `embed` that give {@link ChunkVectors}. */
export type ChunkVectorOptions = Omit<EmbedOptions, "output" | "ranges"> & { overflow: "chunk"; chunkPooling: "none"; tokens?: false };

/** Options of `embed` that give {@link Quantized} vectors. */
export type QuantizedOptions = EmbedOptions & { output: "int8" | "binary"; tokens?: false; chunkPooling?: "mean" | "max" };

/** Options of `embed` that give {@link Embeddings}. */
export type VectorOptions = EmbedOptions & { output?: "float32"; tokens?: false; chunkPooling?: "mean" | "max" };

/** How a text is cut into chunks. */
export interface ChunkOptions {
  /** Most tokens of a chunk as the model reads it, with special tokens and prompt. Default `info.maxTokens`. */
  size?: number;
  /** Tokens that a chunk repeats of the one before; by sentences, as many whole ones as have no more. Default 0. */
  overlap?: number;
  /**
   * Cuts behind as many tokens (default), or sentences, as fit. Sentences end by the rules of Unicode (UAX #29); one that does not fit
   * alone is cut between words, and a word that does not between tokens.
   */
  by?: "tokens" | "sentences";
}

/** Options of `chunk`. Chunks leave room for the prompt that they are to be embedded with. */
export interface ChunkTextOptions extends ChunkOptions, Pick<EmbedOptions, "prompt" | "promptName" | "signal"> {
  /** Leaves room for the prompt of `embedQuery` or `embedDocuments`. */
  kind?: "query" | "document";
}

/** A part of a text: `text.slice(start, end)`. A text that fits is one chunk, as it is; where one was cut, blanks are left out. */
export interface Chunk {
  text: string;
  /** Where it begins in the text, in UTF-16 units. */
  start: number;
  /** One past its last unit. */
  end: number;
  /** Tokens that the model reads of it, with special tokens and prompt. */
  tokens: number;
}

/**
 * What a model can be loaded for beside its vectors: `classify`, `zeroShot` and `rerank` need the head `"classify"`, `tag`, `answer` and
 * `fill` the one of their name, `embedSparse` `"sparse"` or `"fill"`, `embedMulti` `"multi"`; `rerank` also goes by `"multi"` and
 * `"uni-encoder"`. A call without its head rejects with `no-head`.
 */
export type Task = "embed" | "classify" | "tag" | "answer" | "fill" | "sparse" | "multi" | "uni-encoder";

/** What every call can be given: `signal` and `onProgress` of {@link EmbedOptions}. */
export type CallOptions = Pick<EmbedOptions, "signal" | "onProgress">;

/** What is done of a call: texts, or the chunks, windows or variants of texts where the model reads those. */
export interface EmbedProgress {
  /** How many of them are done. */
  done: number;
  /** How many there are. */
  total: number;
}

/** The tokens of one text as the model sees them, special tokens included. */
export interface Tokens {
  /** Their places in the vocabulary. */
  ids: number[];
  /** The same as strings of the vocabulary, such as `"##ing"`. */
  tokens: string[];
  /** Start and end of each token in the text, in UTF-16 units; `[0, 0]` for special tokens. */
  offsets: [number, number][];
  /** Whether the text was cut at `info.maxTokens`. */
  truncated: boolean;
}

/** What was loaded, and where it runs. */
export interface EncoderInfo {
  /** The model type of its `config.json`, such as `"bert"`. */
  architecture: string;
  /** Length of a vector, before any `dimensions` option. */
  dimensions: number;
  /** Tokens of a text that are read, special tokens included. */
  maxTokens: number;
  /** Blocks of the encoder. */
  layers: number;
  /** Where the arithmetic runs. */
  device: Device;
  /** The GPU in use; `null` on the CPU. */
  adapter: { vendor: string; architecture: string; description: string; software: boolean } | null;
  /** Why `device: "auto"` did not take WebGPU; `null` otherwise. */
  reason: string | null;
  /** How weights are stored there. */
  precision: StoredPrecision;
  /** Bytes of weights held on the device. */
  weightBytes: number;
  /** Compute dispatches for one short text; 0 on the CPU. On a GPU that is hardware a batch of many tokens may take two more a layer. */
  dispatches: number;
  /** What the model was loaded for beside vectors. */
  task: Task;
  /** The labels of its head, in the order of its columns. */
  labels: string[];
  /** What stands for a token to be filled in; `null` where the tokenizer has no such token. */
  maskToken: string | null;
  /** How token vectors become one, unless a call says otherwise. */
  pooling: Pooling[];
  /** Whether vectors are scaled to length 1, unless a call says otherwise. */
  normalized: boolean;
  /** How vectors are meant to be compared, which `similarity` does. */
  similarity: Similarity;
  /** The model's prompts by name. */
  prompts: Record<string, string>;
  /** The one that `embed` puts before texts where a call names none; `null`: none. */
  defaultPromptName: string | null;
  /** The model's adapters by name, of which a call may choose one as its `task`. */
  loraAdaptations: string[];
  /** Whether the files came out of the browser's cache, were put there, or neither; `reason` says why not, where it was tried. */
  cache: { used: "read" | "written" | "none"; reason: string | null };
  /** Every kernel in use, run on the device against its CPU side at load: how many, and their largest error. `null` on the CPU. */
  selfCheck: { kernels: number; maxError: number; passed: boolean } | null;
}

/**
 * Why something failed:
 *  - the model's files: `missing-file`, `invalid-file`, `html-instead-of-file`, `truncated-file`, `wrong-hash`, `missing-tensor`,
 *    `wrong-shape`, `unsupported-dtype`, `unsupported-architecture`, `unsupported-option`, `limit-exceeded`, `token-out-of-range`,
 *    `invalid-tokenizer`;
 *  - the caller: `invalid-argument`, `text-too-long` (with `overflow: "error"`), `no-head` (the model was loaded without the head
 *    that a call needs), `disposed`, `collection-lost` (after a restart, without `restore`);
 *  - the device: `no-webgpu`, `no-adapter`, `device-lost`, `out-of-memory`, `shader`, `self-check-failed`, `non-finite`;
 *  - the surroundings: `network` (a file could not be read), `wasm-load` (the library's own files could not be),
 *    `runtime-crashed` (the WebAssembly instance trapped, or its worker failed), `disconnected` (of `embedlet/extension`: the document
 *    that runs the encoders is gone, or does not answer);
 *  - an index of `embedlet/search`: `index-mismatch` (something else made it), `index-version` (a newer release wrote it), `index-damaged`
 *    (its files are gone, or not what was written), `storage-full`, `storage-failed` (that of the models too), `read-only` (a static index
 *    takes no changes).
 *
 * After `device-lost`, `runtime-crashed` and `disconnected` the encoder loads the model again and asks its calls once more; a call rejects with them
 * where it met them twice. After two such restarts without an answer the encoder stops, and says so. What to do about each code is in
 * `docs/guide-web.md` of the repository.
 */
export type ErrorCode =
  | "missing-file"
  | "invalid-file"
  | "html-instead-of-file"
  | "truncated-file"
  | "wrong-hash"
  | "missing-tensor"
  | "wrong-shape"
  | "unsupported-dtype"
  | "unsupported-architecture"
  | "unsupported-option"
  | "limit-exceeded"
  | "token-out-of-range"
  | "invalid-tokenizer"
  | "invalid-argument"
  | "text-too-long"
  | "no-head"
  | "no-webgpu"
  | "no-adapter"
  | "device-lost"
  | "out-of-memory"
  | "shader"
  | "self-check-failed"
  | "non-finite"
  | "network"
  | "disposed"
  | "collection-lost"
  | "runtime-crashed"
  | "disconnected"
  | "wasm-load"
  | "index-mismatch"
  | "index-version"
  | "index-damaged"
  | "storage-full"
  | "storage-failed"
  | "read-only";
