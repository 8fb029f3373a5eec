/// <reference lib="esnext.disposable" preserve="true" />

// The public class: checks arguments, sends the work to the engine, and gives results their form. No arithmetic of models.

import { checkLoadOptions, invalid, readClassifyOptions, readEmbedOptions, readIntegrity, readSource, readTexts } from "./arguments.js";
import { nearestLabels } from "./classify.js";
import type { Connection } from "./connect.js";
import { Embeddings, similarity } from "./embeddings.js";
import type { Call, Host, Loaded } from "./engine.js";
import { EmbedletError } from "./errors.js";
import type { ClassifyOptions, EmbedOptions, EncoderInfo, LabelScore, LoadOptions, ModelSource, Tokens } from "./types.js";

/** A loaded model. Made by `Encoder.load`; calls may overlap and run one after another. */
export class Encoder {
  /** What was loaded, and where it runs. */
  readonly info: EncoderInfo;
  readonly #connection: Connection;
  readonly #model: number;
  /** Why nothing can be asked any more. */
  #ended: EmbedletError | undefined;
  /** The vectors of the last examples of `classify`, which are usually those of the next. */
  #examples: { key: string; vectors: Embeddings } | undefined;

  /** @internal */
  constructor(connection: Connection, { model, info }: Loaded) {
    this.#connection = connection;
    this.#model = model;
    this.info = info;
  }

  /** Embeds texts as they are, or with a prompt. An array gives one row per text, a string one row. */
  async embed(texts: string | readonly string[], options: EmbedOptions = {}): Promise<Embeddings> {
    return this.#embed(texts, options);
  }

  /** Embeds queries, with the model's prompt for queries where it has one. */
  async embedQuery(texts: string | readonly string[], options: EmbedOptions = {}): Promise<Embeddings> {
    return this.#embed(texts, options, "query");
  }

  /** Embeds documents to be searched, with the model's prompt for documents where it has one. */
  async embedDocuments(texts: string | readonly string[], options: EmbedOptions = {}): Promise<Embeddings> {
    return this.#embed(texts, options, "document");
  }

  /** Compares every row of `a` with every row of `b` as the model is meant to: `a.count × b.count` numbers, higher is closer. */
  similarity(a: Embeddings, b: Embeddings): Float32Array {
    if (!(a instanceof Embeddings) || !(b instanceof Embeddings)) throw invalid("similarity compares results of embed.");
    return similarity(a, b, this.info.similarity);
  }

  /** Gives each text its labels, best first, by the nearest example of each. */
  async classify(texts: string | readonly string[], options: ClassifyOptions): Promise<LabelScore[][]> {
    const { examples, temperature, topK, embed } = readClassifyOptions(options);
    const { onProgress, ...quiet } = embed;
    const list = readTexts(texts);
    const key = JSON.stringify([examples, embed.prompt, embed.promptName]);
    let vectors = this.#examples?.key === key ? this.#examples.vectors : undefined;
    if (!vectors) {
      vectors = await this.#embed(examples.map(({ text }) => text), { ...quiet, normalize: true });
      this.#examples = { key, vectors };
    }
    const rows = await this.#embed(list, { ...embed, normalize: true });
    return nearestLabels(rows, examples, vectors, temperature, topK);
  }

  /** The tokens of one text, as the model would read it without a prompt. */
  async tokenize(text: string): Promise<Tokens> {
    if (typeof text !== "string") throw invalid("tokenize takes one string.");
    return this.#ask(undefined, (host) => host.tokenize({ model: this.#model, text }, {}));
  }

  /** Frees the model, its GPU buffers and its worker. Calls still running reject with `disposed`; a second call does nothing. */
  dispose(): void {
    this.#end(new EmbedletError("disposed", "This encoder has been disposed of: load the model again."));
  }

  /** For `using encoder = await Encoder.load(…)`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  async #embed(texts: string | readonly string[], options: EmbedOptions, kind?: "query" | "document"): Promise<Embeddings> {
    const { signal } = options;
    const request = { model: this.#model, texts: readTexts(texts), options: readEmbedOptions(options, this.info, kind) };
    const { data, dimensions, tokens, truncated } = await this.#ask(signal, (host) => host.embed(request, callOf(options)));
    return new Embeddings(data, dimensions, tokens, truncated);
  }

  async #ask<T>(signal: AbortSignal | undefined, ask: (host: Host) => Promise<T>): Promise<T> {
    signal?.throwIfAborted();
    if (this.#ended) throw this.#ended;
    try {
      return await abortable(ask(this.#connection.host), signal);
    } catch (error) {
      if (error instanceof EmbedletError && error.code === "runtime-crashed") this.#end(error);
      throw error;
    }
  }

  #end(reason: EmbedletError): void {
    if (this.#ended) return;
    this.#ended = reason;
    this.#examples = undefined;
    this.#connection.end(reason, this.#model);
  }
}

/** Loads a model for an entry's `Encoder` class over what that entry connects to. */
export async function open<E>(
  Class: new (connection: Connection, loaded: Loaded) => E,
  connect: (options: LoadOptions) => Promise<Connection>,
  source: ModelSource,
  options: LoadOptions,
): Promise<E> {
  checkLoadOptions(options);
  const { device = "auto", precision = "auto", signal } = options;
  const request = { source: readSource(source, options), device, precision, integrity: readIntegrity(options.integrity) };
  signal?.throwIfAborted();
  const connection = await connect(options);
  let loading: Promise<Loaded> | undefined;
  try {
    signal?.throwIfAborted();
    loading = connection.host.load({ ...request, wasm: connection.wasm }, callOf(options));
    return new Class(connection, await abortable(loading, signal));
  } catch (error) {
    const reason = new EmbedletError("disposed", "The load has been given up.");
    // An abort may have crossed with a load that came to its end.
    loading?.then(({ model }) => connection.end(reason, model), () => {});
    connection.end(reason, undefined);
    throw error;
  }
}

/** An exception of the caller's own callback is the caller's, not a failure of the call; after an abort nothing is reported. */
function callOf<Event>({ signal, onProgress }: { signal?: AbortSignal; onProgress?: (event: Event) => void }): Call<Event> {
  if (!onProgress) return { signal };
  const onEvent = (event: Event) => {
    if (!signal?.aborted) queueMicrotask(() => onProgress(event));
  };
  return { signal, onEvent };
}

/** Settles as `work` does, or rejects at once with the signal's reason; the work stops at its next look at the signal. */
function abortable<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work;
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
