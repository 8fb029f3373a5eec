// The contract of the package: every public type, documented once. Nothing here runs.
// Vectors are row-major Float32Arrays; sizes are in bytes unless a comment says otherwise.

import type { Embeddings } from "./embeddings.js";
import type { TokenVectors } from "./multi.js";
import type { Quantized, Ranges } from "./quantize.js";

/** Where the arithmetic runs: the GPU through WebGPU, or the CPU through WebAssembly. */
export type Device = "webgpu" | "wasm";

/** How weights are stored on the device. Sums are always taken in f32. */
export type Precision = "f32" | "f16";

/** How token vectors become one text vector; several are concatenated in the order the model defines. */
export type Pooling = "cls" | "max" | "mean" | "mean_sqrt_len_tokens" | "weightedmean" | "lasttoken";

/** How two vectors are compared. The distances are negated, so that higher always means closer. */
export type Similarity = "cosine" | "dot" | "euclidean" | "manhattan";

/** The content of one file. A Blob is read piece by piece and is the cheapest to hand to the worker. */
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
  /** `"auto"` (default) keeps what the model's files hold. `"f16"` halves what an f32 model takes on a GPU; the CPU rounds, but holds f32. */
  precision?: "auto" | Precision;
  /**
   * Which head of the checkpoint is loaded beside the encoder. Default: what the folder is for, by its modules or by
   * `architectures` of `config.json`; `"embed"` loads none. `"fill"`, which `embedSparse` can use too, must be named for a
   * plain folder: its head is as large as the token table.
   */
  task?: Task;
  /** Called while files are read. */
  onProgress?: (event: LoadProgress) => void;
  /** Gives the load up: the promise rejects with the signal's reason and everything loaded so far is freed. */
  signal?: AbortSignal;
  /** Branch, tag or commit of a hub model. Default `"main"`; name a commit to get the same bytes for ever. */
  revision?: string;
  /** Expected SHA-256 by path, as `"sha256-<base64>"` or 64 hex digits. A file that differs is not used. */
  integrity?: Readonly<Record<string, string>>;
  /** Sent with every request for a model file, such as `{ Authorization: "Bearer …" }`. */
  headers?: Readonly<Record<string, string>>;
  /**
   * `true` (default) runs in a worker of its own, or on this thread where there is no `Worker`; `false` runs on this thread.
   * A `Worker` that runs `embedlet/worker` is used and left running by `dispose()`.
   */
  worker?: boolean | Worker;
  /** Address of `worker.js`, where the bundler or host moved it. */
  workerUrl?: string | URL;
  /** Address of `embedlet_bg.wasm`, where the bundler or host moved it. */
  wasmUrl?: string | URL;
  /** The compiled `embedlet_bg.wasm`; nothing is fetched then. */
  wasmModule?: WebAssembly.Module;
}

/**
 * One step of a load. For each file `initiate`, `download`, `progress`…, `done`; `progress_total` sums all files;
 * `ready` comes last. Counts are exact; between the first and the last of a file they are reported at intervals. Where `"auto"` gives
 * a GPU up after its check, the files are read, and counted, once more.
 */
export interface LoadProgress {
  status: "initiate" | "download" | "progress" | "progress_total" | "done" | "ready";
  /** Path inside the model folder; absent on `progress_total` and `ready`. */
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
  /** Name of one of the model's prompts, see `info.prompts`. */
  promptName?: string;
  /** Keeps the first so many dimensions (Matryoshka models), before normalising. */
  dimensions?: number;
  /** Scales every vector to length 1. */
  normalize?: boolean;
  /** Pooling instead of the model's own. */
  pooling?: Pooling | readonly Pooling[];
  /** Runs only the first so many layers (2D Matryoshka models). */
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
  /** Gives the call up: the promise rejects with the signal's reason; the encoder stays usable. */
  signal?: AbortSignal;
  /** Called after every batch. */
  onProgress?: (event: EmbedProgress) => void;
}

/** Options of `embed` that give {@link TokenVectors}. */
export type TokenOptions = Omit<EmbedOptions, "dimensions" | "normalize" | "pooling" | "output" | "ranges"> & { tokens: true };

/** Options of `embed` that give {@link Quantized} vectors. */
export type QuantizedOptions = EmbedOptions & { output: "int8" | "binary"; tokens?: false };

/** Options of `embed` that give {@link Embeddings}. */
export type VectorOptions = EmbedOptions & { output?: "float32"; tokens?: false };

/** What a model can be loaded for; each has the methods that need its head. */
export type Task = "embed" | "classify" | "tag" | "answer" | "fill" | "sparse" | "multi" | "uni-encoder";

/** What every call can be given. */
export type CallOptions = Pick<EmbedOptions, "signal" | "onProgress">;

/** A text, or two that the model reads together. */
export type Input = string | { text: string; pair: string };

/** Options of `classify` by the model's own head, or by one that was trained. */
export interface HeadOptions extends CallOptions {
  /** Only these labels take part: scores are among them. */
  labels?: readonly string[];
  /** Keeps the best so many labels. Default: all. */
  topK?: number;
  /** What makes scores of the head's columns. Default: as the model's configuration says; `"softmax"` where it was trained. */
  function?: "softmax" | "sigmoid" | "none";
}

/** A label and its score. */
export interface Scored {
  label: string;
  score: number;
}

/** What a head says of a text. */
export interface Classification {
  /** The columns of the head, in the order of `info.labels`, or of its own `labels`. */
  logits: number[];
  /** Best first. */
  scores: Scored[];
}

/** Options of `zeroShot`. */
export interface ZeroShotOptions extends CallOptions {
  /** The candidates. */
  labels: readonly string[];
  /** What is claimed of a text, with `{}` for a label. Default `"This example is {}."` */
  hypothesisTemplate?: string;
  /** Scores each label for itself. Default: one of them holds. */
  multiLabel?: boolean;
}

/** Options of `rerank`. */
export interface RerankOptions extends CallOptions {
  /** Keeps the best so many documents. Default: all. */
  topK?: number;
  /** What makes scores of logits. Default: of a cross-encoder as its configuration says, of a Uni-Encoder a softmax, of late interaction nothing. */
  function?: "softmax" | "sigmoid" | "none";
}

/** A document of a `rerank` call. */
export interface Ranked {
  /** Its place in the list that was given. */
  index: number;
  score: number;
}

/** Options of `tag`. */
export interface TagOptions extends CallOptions {
  /** How tokens become entities, by the names of transformers. Default `"simple"`. */
  aggregation?: "none" | "simple" | "first" | "average" | "max";
  /** Labels that are no entities. Default `["O"]`. */
  ignoreLabels?: readonly string[];
  /** Tokens that the windows of a long text share. */
  stride?: number;
}

/** A part of a text that has a label. */
export interface Entity {
  label: string;
  score: number;
  word: string;
  /** In UTF-16 units, as `text.slice(start, end)` takes them. */
  start: number;
  end: number;
}

/** Options of `answer`. */
export interface AnswerOptions extends CallOptions {
  /** Keeps the best so many answers. Default 1. */
  topK?: number;
  /** Most tokens of an answer. Default 15. */
  maxAnswerTokens?: number;
  /** Tokens that the windows of a long context share. */
  stride?: number;
  /** Lets an empty answer take part. */
  noAnswer?: boolean;
}

/** A part of a context that answers a question. */
export interface Answer {
  answer: string;
  score: number;
  /** In UTF-16 units of the context. */
  start: number;
  end: number;
}

/** Options of `fill`. */
export interface FillOptions extends CallOptions {
  /** Candidates a mask. Default 5. */
  topK?: number;
  /** Only these tokens are candidates. */
  targets?: readonly string[];
  /** Only tokens of the vocabulary that match are candidates. */
  filter?: RegExp | ((token: string, id: number) => boolean);
}

/** A masked token and what may stand there. */
export interface Mask {
  /** Its place among the tokens of the text, special tokens included. */
  position: number;
  /** Best first. */
  top: { id: number; token: string; score: number; sequence: string }[];
}

/** Options of `embedSparse`. */
export interface SparseOptions extends CallOptions {
  /** Keeps the heaviest so many terms. Default: all above zero. */
  topK?: number;
  /** What the texts are, where the model has prompts for them. */
  kind?: "query" | "document";
}

/** A text as weights of terms, heaviest first. */
export interface SparseVector {
  indices: number[];
  weights: number[];
  tokens: string[];
}

/** Options of `embedMulti`. */
export interface MultiOptions extends CallOptions {
  /** What the texts are: queries are filled up, documents lose what is not compared. */
  kind?: "query" | "document";
  /** Keeps about one vector in so many, means of those that are closest. */
  poolFactor?: number;
}

/** Texts done of a call. */
export interface EmbedProgress {
  done: number;
  total: number;
}

/** Options of `classify` by examples, which any model can do. */
export interface ClassifyOptions extends Pick<EmbedOptions, "prompt" | "promptName" | "signal" | "onProgress"> {
  /** At least one example text for every label. */
  labels: Readonly<Record<string, readonly string[]>>;
  /** Divides the similarities before the softmax. Default 0.05, the usual scale of contrastive training. */
  temperature?: number;
  /** Keeps the best so many labels of each text. Default: all. */
  topK?: number;
}

/** A text and its label. */
export interface Example {
  text: string;
  label: string;
}

export type { Examples, TrainOptions } from "./head.js";

/** One label of one text. */
export interface LabelScore {
  label: string;
  /** Softmax over all labels, 0 to 1. */
  score: number;
  /** Cosine between the text and the label's nearest example. */
  similarity: number;
  /** That example. */
  example: string;
}

/** The tokens of one text as the model sees them, special tokens included. */
export interface Tokens {
  ids: number[];
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
  layers: number;
  device: Device;
  /** The GPU in use; `null` on the CPU. */
  adapter: { vendor: string; architecture: string; description: string; software: boolean } | null;
  /** Why `device: "auto"` did not take WebGPU; `null` otherwise. */
  reason: string | null;
  precision: Precision;
  /** Bytes of weights held on the device. */
  weightBytes: number;
  /** Compute dispatches of one packed batch; 0 on the CPU. */
  dispatches: number;
  /** What the model was loaded for beside vectors. */
  task: Task;
  /** The labels of its head, in the order of its columns. */
  labels: string[];
  /** What stands for a token to be filled in; `null` where the tokenizer has no such token. */
  maskToken: string | null;
  pooling: Pooling[];
  normalized: boolean;
  similarity: Similarity;
  /** The model's prompts by name. */
  prompts: Record<string, string>;
  defaultPromptName: string | null;
  /** The model's adapters by name, of which a call may choose one as its `task`. */
  loraAdaptations: string[];
  /** Every kernel in use, run on the device against its CPU side at load; `null` on the CPU. */
  selfCheck: { kernels: number; maxError: number; passed: boolean } | null;
}

/**
 * Why something failed:
 *  - the model's files: `missing-file`, `invalid-file`, `html-instead-of-file`, `truncated-file`, `wrong-hash`, `missing-tensor`,
 *    `wrong-shape`, `unsupported-dtype`, `unsupported-architecture`, `unsupported-option`, `limit-exceeded`, `token-out-of-range`,
 *    `invalid-tokenizer`;
 *  - the caller: `invalid-argument`, `no-head` (the model was loaded without the head that a call needs), `disposed`;
 *  - the device: `no-webgpu`, `no-adapter`, `device-lost`, `out-of-memory`, `shader`, `self-check-failed`, `non-finite`;
 *  - the surroundings: `network` (a file could not be read), `wasm-load` (the library's own files could not be),
 *    `runtime-crashed` (the WebAssembly instance trapped: load the model again).
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
  | "runtime-crashed"
  | "wasm-load";
