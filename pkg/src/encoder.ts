/// <reference lib="esnext.disposable" preserve="true" />

// The public class: checks arguments, sends the work to the engine, and gives results their form. No arithmetic of models.

import {
  checkLoadOptions, invalid, readClassifyOptions, readCollectionOptions, readEmbedOptions, readExamples, readHead, readInputs, readIntegrity,
  readRequest, readSource, readTaskOptions, readTexts, readTrainOptions,
} from "./arguments.js";
import { modelCache } from "./cached.js";
import { nearestLabels } from "./classify.js";
import { openCollection, type Collection, type CollectionOptions } from "./collection.js";
import type { Connection } from "./connect.js";
import { Embeddings, isEmbeddings, similarity } from "./embeddings.js";
import type { Call, Loaded } from "./engine.js";
import { EmbedletError } from "./errors.js";
import type { Made, Vectors } from "./glue.js";
import { TrainedHead } from "./head.js";
import { chunksOf, ChunkVectors, isRows, maxSim, MultiVectors, TokenVectors, type Place, type Rows } from "./multi.js";
import { pooled } from "./pool.js";
import type { Quantized } from "./quantize.js";
import { abortable } from "./signal.js";
import { restarts, Supervisor, type Session } from "./supervisor.js";
import type {
  Answer, AnswerOptions, CallOptions, Chunk, ChunkTextOptions, ChunkVectorOptions, Classification, ClassifyOptions, EmbedOptions, EmbedProgress,
  EncoderInfo, Entity, Examples, ExplainOptions, Explanation, FileBytes, FillOptions, HeadOptions, Input, LabelScore, LoadOptions, LoadProgress,
  Mask, ModelSource, MultiOptions, QuantizedOptions, Ranked, RerankOptions, Scored, SparseOptions, SparseVector, TagOptions, TokenOptions, Tokens,
  TrainOptions, VectorOptions, ZeroShotOptions,
} from "./types.js";

type Texts = string | readonly string[];
/** What `embed` gives, by its options. */
type Embedded = Embeddings | Quantized | TokenVectors | ChunkVectors;
/** What the crate is asked beside vectors. */
type Request = { task: string; [argument: string]: unknown };

/** A loaded model. Made by `Encoder.load`; calls may overlap and run one after another. */
export class Encoder {
  /** The models that this origin keeps between visits. */
  static readonly cache = modelCache;

  readonly #supervisor: Supervisor;
  /** The vectors of the last examples of `classify`, which are usually those of the next. */
  #examples: { key: string; vectors: Embeddings } | undefined;

  /** @internal */
  constructor(supervisor: Supervisor) {
    this.#supervisor = supervisor;
  }

  /** What was loaded, and where it runs; after a restart, where it runs now. */
  get info(): EncoderInfo {
    return this.#supervisor.info;
  }

  /**
   * Embeds texts as they are, or with a prompt. An array gives one row per text, in its order, a string one row. A text may have 1 MiB of
   * UTF-8, else the call rejects with `limit-exceeded`.
   */
  async embed(texts: Texts, options: TokenOptions): Promise<TokenVectors>;
  async embed(texts: Texts, options: ChunkVectorOptions): Promise<ChunkVectors>;
  async embed(texts: Texts, options: QuantizedOptions): Promise<Quantized>;
  async embed(texts: Texts, options?: VectorOptions): Promise<Embeddings>;
  async embed(texts: Texts, options: EmbedOptions = {}): Promise<Embedded> {
    return this.#embed(texts, options);
  }

  /** As `embed`, with the model's prompt for queries where it has one. */
  async embedQuery(texts: Texts, options: TokenOptions): Promise<TokenVectors>;
  async embedQuery(texts: Texts, options: ChunkVectorOptions): Promise<ChunkVectors>;
  async embedQuery(texts: Texts, options: QuantizedOptions): Promise<Quantized>;
  async embedQuery(texts: Texts, options?: VectorOptions): Promise<Embeddings>;
  async embedQuery(texts: Texts, options: EmbedOptions = {}): Promise<Embedded> {
    return this.#embed(texts, options, "query");
  }

  /** As `embed`, with the model's prompt for documents, which are to be found, where it has one. */
  async embedDocuments(texts: Texts, options: TokenOptions): Promise<TokenVectors>;
  async embedDocuments(texts: Texts, options: ChunkVectorOptions): Promise<ChunkVectors>;
  async embedDocuments(texts: Texts, options: QuantizedOptions): Promise<Quantized>;
  async embedDocuments(texts: Texts, options?: VectorOptions): Promise<Embeddings>;
  async embedDocuments(texts: Texts, options: EmbedOptions = {}): Promise<Embedded> {
    return this.#embed(texts, options, "document");
  }

  /**
   * Compares every row of `a` with every row of `b` as the model is meant to (`info.similarity`): `a.count × b.count` numbers, row of `a`
   * after row, higher is closer. Throws `invalid-argument` where dimensions differ.
   */
  similarity(a: Embeddings, b: Embeddings): Float32Array {
    if (!isEmbeddings(a) || !isEmbeddings(b)) throw invalid("similarity compares results of embed.");
    const by = this.info.similarity;
    if (by === "maxsim") throw new EmbedletError("unsupported-option", "The texts of this model have a vector a token: `embedMulti` and `maxSim` compare them.");
    return similarity(a, b, by);
  }

  /**
   * Scores labels. With `labels` as an object from label to examples, any model can: each text takes every label's nearest
   * example, best first. Otherwise by the head of the checkpoint, which also takes pairs of texts; without one it rejects with
   * `no-head`. See also `trainHead`.
   */
  async classify(texts: Texts, options: ClassifyOptions): Promise<LabelScore[][]>;
  async classify(inputs: Input | readonly Input[], options?: HeadOptions): Promise<Classification[]>;
  async classify(inputs: Input | readonly Input[], options: ClassifyOptions | HeadOptions = {}): Promise<LabelScore[][] | Classification[]> {
    if (options?.labels !== undefined && !Array.isArray(options.labels)) return this.#nearest(inputs as Texts, options as ClassifyOptions);
    const read = readTaskOptions("classify", options as HeadOptions, ["labels", "topK", "function"]);
    return this.#json({ task: "classify", inputs: readInputs(inputs), options: read }, options);
  }

  /**
   * Trains a classifier on the vectors of labelled texts, two a label or more; with eight it is worth using. Any model can.
   * Nothing leaves the page, and the same examples give the same head.
   */
  async trainHead(examples: Examples, options: TrainOptions = {}): Promise<TrainedHead> {
    return this.#head({ task: "train-head", examples: readExamples(examples), ...readTrainOptions(options, this.info) }, options);
  }

  /** Takes a head that `save` gave. One that was trained with another model is refused with `invalid-argument`. */
  async loadHead(file: FileBytes, options: Pick<CallOptions, "signal"> = {}): Promise<TrainedHead> {
    readTaskOptions("loadHead", options, []);
    return this.#head({ task: "load-head" }, options, await readHead(file));
  }

  /** Scores labels that the model was not trained for, best first, by a head of natural language inference. */
  async zeroShot(texts: Texts, options: ZeroShotOptions): Promise<Scored[][]> {
    const read = readTaskOptions("zeroShot", options, ["labels", "hypothesisTemplate", "multiLabel"]);
    return this.#json({ task: "zero-shot", texts: readTexts(texts), options: read }, options);
  }

  /**
   * Orders documents by how well they answer a query, best first: by a cross-encoder, a Uni-Encoder, or late interaction, whichever was
   * loaded. Other models reject with `no-head`.
   */
  async rerank(query: string, documents: readonly string[], options: RerankOptions = {}): Promise<Ranked[]> {
    const read = readTaskOptions("rerank", options, ["topK", "function"]);
    if (typeof query !== "string") throw invalid("The query must be a string.");
    return this.#json({ task: "rerank", query, documents: readTexts(documents), options: read }, options);
  }

  /** Finds the entities of each text. Long texts are read in windows. */
  async tag(texts: Texts, options: TagOptions = {}): Promise<Entity[][]> {
    const read = readTaskOptions("tag", options, ["aggregation", "ignoreLabels", "stride"]);
    return this.#json({ task: "tag", texts: readTexts(texts), options: read }, options);
  }

  /** Finds the parts of a context that answer a question, best first. Long contexts are read in windows. */
  async answer(question: string, context: string, options: AnswerOptions = {}): Promise<Answer[]> {
    const read = readTaskOptions("answer", options, ["topK", "maxAnswerTokens", "stride", "noAnswer"]);
    const inputs = readInputs({ text: question, pair: context });
    const [answers] = await this.#json<Answer[][]>({ task: "answer", inputs, options: read }, options);
    return answers ?? [];
  }

  /** Ranks tokens for every mask of each text; `info.maskToken` is the mask. */
  async fill(texts: Texts, options: FillOptions = {}): Promise<Mask[][]> {
    const { filter, ...read } = readTaskOptions("fill", options, ["topK", "targets", "filter"]);
    if (filter !== undefined && typeof filter !== "function" && !(filter instanceof RegExp)) throw invalid("`filter` must be a function or a RegExp.");
    const list = readTexts(texts);
    const ids = filter === undefined ? undefined : await this.#matching(filter, options.signal);
    return this.#json({ task: "fill", texts: list, options: { ...read, ids } }, options);
  }

  /** The weights of the terms of each text (SPLADE), heaviest first. */
  async embedSparse(texts: Texts, options: SparseOptions = {}): Promise<SparseVector[]> {
    const read = readTaskOptions("embedSparse", options, ["topK", "kind"]);
    return this.#json({ task: "sparse", texts: readTexts(texts), options: read }, options);
  }

  /** A vector for every token of each text that takes part in comparisons (ColBERT); `maxSim` compares them. */
  async embedMulti(texts: Texts, options: MultiOptions = {}): Promise<MultiVectors> {
    const read = readTaskOptions("embedMulti", options, ["kind", "poolFactor"]);
    return new MultiVectors(vectorsOf(await this.#made({ task: "multi", texts: readTexts(texts), options: read }, options)));
  }

  /**
   * How well each document answers each query, by the best match of every query vector: `queries.count × documents.count`
   * numbers, the documents of the first query first. Many are compared on the model's device, which takes 65,535 queries, of 2²⁴ vectors
   * in all, at most (`invalid-argument`).
   */
  async maxSim(queries: Rows, documents: Rows, options: CallOptions = {}): Promise<Float32Array> {
    readTaskOptions("maxSim", options, []);
    if (!isRows(queries) || !isRows(documents)) throw invalid("maxSim compares results of embedMulti.");
    const { signal, onEvent } = callOf(options);
    this.#supervisor.check(signal);
    return maxSim(queries, documents, async (request, first) => {
      const call = { signal, onEvent: onEvent && (({ done }: EmbedProgress) => onEvent({ done: first + done, total: documents.counts.length })) };
      return vectorsOf(await this.#supervisor.ask(signal, ({ host, model }) => host.maxSim({ model, ...request }, call))).data;
    });
  }

  /**
   * Opens a collection of vectors: rows that are searched exactly, by comparing all of them, where the model is. On a GPU many rows
   * live there. It ends with the encoder.
   */
  async collection(options: CollectionOptions = {}): Promise<Collection> {
    return openCollection(this.#supervisor, ...readCollectionOptions(options, this.info));
  }

  async #nearest(texts: Texts, options: ClassifyOptions): Promise<LabelScore[][]> {
    const { examples, temperature, topK, embed } = readClassifyOptions(options);
    const { onProgress, ...quiet } = embed;
    const list = readTexts(texts);
    const key = readRequest([examples, embed.prompt, embed.promptName]);
    let vectors = this.#examples?.key === key ? this.#examples.vectors : undefined;
    if (!vectors) {
      vectors = new Embeddings(await this.#vectors(examples.map(({ text }) => text), { ...quiet, normalize: true }));
      this.#examples = { key, vectors };
    }
    const rows = await this.#vectors(list, { ...embed, normalize: true });
    return nearestLabels(new Embeddings(rows), examples, vectors, temperature, topK);
  }

  /** Cuts a text into parts that the model reads whole: those that `embed` with `overflow: "chunk"` reads. */
  async chunk(text: string, options: ChunkTextOptions = {}): Promise<Chunk[]> {
    if (typeof text !== "string") throw invalid("chunk takes one string.");
    const { prompt, promptName, kind, ...chunk } = readTaskOptions("chunk", options, ["size", "overlap", "by", "prompt", "promptName", "kind"]);
    const places = await this.#json<Place[]>({ task: "chunk", text, options: { prompt, promptName, kind, chunk } }, options);
    return chunksOf(text, places);
  }

  /**
   * Scores the parts of a text by what they do for its similarity with the text `against`, or for the score of a label. The model
   * reads the text again without each of them.
   */
  async explain(text: string, options: ExplainOptions = {}): Promise<Explanation> {
    if (typeof text !== "string") throw invalid("explain takes one string.");
    const read = readTaskOptions("explain", options, ["against", "label", "method", "unit", "kind"]);
    return this.#json({ task: "explain", text, options: read }, options);
  }

  /** The tokens of one text, as the model would read it without a prompt. */
  async tokenize(text: string): Promise<Tokens> {
    if (typeof text !== "string") throw invalid("tokenize takes one string.");
    return this.#supervisor.ask(undefined, ({ host, model }) => host.tokenize({ model, text }, {}));
  }

  /** Frees the model, its GPU buffers and its worker. Calls still running reject with `disposed`; a second call does nothing. */
  dispose(): void {
    this.#examples = undefined;
    this.#supervisor.end(new EmbedletError("disposed", "This encoder has been disposed of: load the model again."));
  }

  /** For `using encoder = await Encoder.load(…)`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  async #embed(texts: Texts, options: EmbedOptions, kind?: "query" | "document"): Promise<Embedded> {
    const { tokens, chunkPooling, output = "float32", ranges } = options ?? {}; // what is no object is refused with its names
    const list = readTexts(texts);
    const vectors = await this.#vectors(list, options, kind);
    if (tokens) return new TokenVectors(vectors);
    if (chunkPooling === "none") return new ChunkVectors(vectors, list);
    const embeddings = new Embeddings(vectors);
    return output === "float32" ? embeddings : embeddings.quantize(output, ranges);
  }

  async #vectors(texts: string[], options: EmbedOptions, kind?: "query" | "document"): Promise<Vectors> {
    const request = { texts, options: readRequest(readEmbedOptions(options, this.info, kind)) };
    return this.#supervisor.ask(options.signal, ({ host, model }) => host.embed({ model, ...request }, callOf(options)));
  }

  async #head(request: Request, options: CallOptions, file?: Uint8Array<ArrayBuffer>): Promise<TrainedHead> {
    const made = await this.#made(request, options, file);
    if (!("json" in made) || !made.head) throw new EmbedletError("runtime-crashed", "The library gave no head.");
    const { json, head } = made;
    const classify = async (texts: string | readonly string[], options: HeadOptions = {}): Promise<Classification[]> => {
      const read = readTaskOptions("classify", options, ["labels", "topK", "function"]);
      return this.#json({ task: "classify-by", texts: readTexts(texts), options: read }, options, head);
    };
    return new TrainedHead(JSON.parse(json), head, classify);
  }

  async #made({ task, ...request }: Request, options: CallOptions, head?: Uint8Array<ArrayBuffer>): Promise<Made> {
    const asked = { request: readRequest({ [task]: request }), head };
    return this.#supervisor.ask(options.signal, ({ host, model }) => host.ask({ model, ...asked }, callOf(options)));
  }

  async #json<T>(request: Request, options: CallOptions, head?: Uint8Array<ArrayBuffer>): Promise<T> {
    const made = await this.#made(request, options, head);
    if (!("json" in made)) throw new EmbedletError("runtime-crashed", "The library gave no result.");
    return JSON.parse(made.json) as T;
  }

  async #matching(filter: NonNullable<FillOptions["filter"]>, signal: AbortSignal | undefined): Promise<number[]> {
    const vocabulary = await this.#supervisor.ask(signal, ({ host, model }) => host.vocabulary(model, {}));
    // A regular expression with the flag `g` would remember where it was.
    const matches = filter instanceof RegExp ? (token: string) => token.search(filter) >= 0 : filter;
    return vocabulary.flatMap((token, id) => (token !== null && matches(token, id) ? [id] : []));
  }
}

/** How long an engine may take to leave nothing behind of a load that is given up. Tests shorten it. */
export const undoing = { ms: 1000 };

/** Loads a model for an entry's `Encoder` class over what that entry connects to. */
export async function open<E>(
  Class: new (supervisor: Supervisor) => E,
  connect: (options: LoadOptions) => Promise<Connection>,
  source: ModelSource,
  given: LoadOptions,
): Promise<E> {
  checkLoadOptions(given);
  // A restart comes when the caller's object may have changed.
  const options = { ...given };
  const { device = "auto", precision = "auto", task, threads = 1, cache = true, allowRemote = true, tune = true } = options;
  const request = { source: readSource(source, options), precision, task, ...readIntegrity(options.integrity), cache, allowRemote, tune };

  const start = async (call: Call<LoadProgress>, lost?: string): Promise<Session> => {
    const { signal } = call;
    const cpu = device === "auto" && lost !== undefined;
    signal?.throwIfAborted();
    const givenUp = new EmbedletError("disposed", "The load has been given up.");
    const connecting = connect(options);
    const connection = await abortable(connecting, signal).catch((error) => {
      // A worker that does not start need not be waited for.
      connecting.then((late) => late.end(givenUp, undefined), () => {});
      throw error;
    });
    const { wasm } = connection;
    let loading: Promise<Loaded> | undefined;
    try {
      loading = connection.host.load({ ...request, wasm, device: cpu ? "wasm" : device }, call);
      const { model, info } = await abortable(loading, signal);
      const pool = threads > 1 && connection.worker && !connection.team && info.device === "wasm";
      const compiled = wasm instanceof WebAssembly.Module ? { wasmModule: wasm } : {};
      const another = () => connect({ ...options, ...compiled });
      const engine = pool ? pooled(connection, threads - 1, another, { ...request, wasm, device: "wasm" }) : connection;
      const { supervised } = connection;
      return { host: engine.host, model, info: cpu ? { ...info, reason: lost } : info, supervised, end: (reason) => engine.end(reason, model) };
    } catch (error) {
      const end = (model?: number) => connection.end(givenUp, model);
      // An abort may have crossed with a load that came to its end; else the engine deletes what it had kept, for which a worker has a moment.
      loading?.then(({ model }) => end(model), () => end());
      if (connection.worker) setTimeout(end, undoing.ms);
      else end();
      throw error;
    }
  };
  const session = await start(callOf(options), restarts.lost);
  return new Class(new Supervisor((signal, lost) => start({ signal }, lost), session));
}

function vectorsOf(made: Made): Vectors {
  if ("json" in made) throw new EmbedletError("runtime-crashed", "The library gave no vectors.");
  return made;
}

/** An exception of the caller's own callback is the caller's, not a failure of the call; after an abort nothing is reported. */
function callOf<Event>({ signal, onProgress }: { signal?: AbortSignal; onProgress?: (event: Event) => void }): Call<Event> {
  if (!onProgress) return { signal };
  const onEvent = (event: Event) => {
    if (!signal?.aborted) queueMicrotask(() => onProgress(event));
  };
  return { signal, onEvent };
}
