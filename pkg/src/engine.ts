// The library where the WebAssembly lives, in a worker or on the page's thread: loads models, queues and runs their calls.
// Arguments have been checked and prompts named by the caller (encoder.ts); the arithmetic is the crate's.

import type { CollectionShape, Found } from "./collection.js";
import { EmbedletError } from "./errors.js";
import type { Collection, CreateGlue, Job, Made, Model, Vectors } from "./glue.js";
import { Instance, type WasmInput } from "./instance.js";
import { loadKept } from "./kept.js";
import { loadModel } from "./load.js";
import { pause } from "./pause.js";
import type { Source, SourceSpec } from "./source.js";
import { modelStore, type Store } from "./stores.js";
import { Idle, keepTuning, readTuning } from "./tuning.js";
import type { EmbedProgress, EncoderInfo, LoadProgress, Tokens } from "./types.js";

export interface LoadRequest {
  wasm: WasmInput;
  source: SourceSpec;
  device: string;
  precision: string;
  task: string | undefined;
  /** Hexadecimal SHA-256 by path. */
  integrity: Map<string, string>;
  /** Whether a file with another hash is only told of. */
  isLenient?: boolean;
  /** Whether folders with an address are kept. */
  cache: boolean;
  allowRemote: boolean;
  /** Whether kernels are chosen by measuring them. */
  tune: boolean;
}

export interface Loaded {
  /** Names the model in later requests. */
  model: number;
  info: EncoderInfo;
}

export interface EmbedRequest {
  model: number;
  texts: string[];
  /** JSON of the options the crate reads. */
  options: string;
}

export interface AskRequest {
  model: number;
  /** JSON of the task and its options, as the crate reads them. */
  request: string;
  /** The file of a trained head, for tasks that need one. */
  head?: Uint8Array<ArrayBuffer> | undefined;
}

export interface MaxSimRequest {
  model: number;
  /** The vectors of queries and then those of documents, and how many of each text. */
  data: Float32Array;
  dimensions: number;
  counts: Uint32Array;
  queries: number;
}

/** What the calls of a collection are given; arguments have been checked, but for their meaning. */
export interface CollectionArguments {
  open: CollectionShape;
  /** Vectors, and the bytes of their rows. */
  encode: { vectors: Float32Array; bytes: number };
  append: { rows: Uint8Array };
  remove: { rows: Uint32Array };
  search: { query: Float32Array; topK: number; allowed?: Uint32Array | undefined };
  close: object;
}

/** What they give. */
export interface CollectionAnswers {
  /** Names the collection in later requests. */
  open: { collection: number; rowBytes: number };
  encode: Uint8Array<ArrayBuffer>;
  append: number;
  remove: void;
  search: Found;
  close: void;
}

export type CollectionCall = keyof CollectionAnswers;

export interface CollectionRequest<K extends CollectionCall> {
  kind: K;
  /** Names the model where a collection is opened, else the collection. */
  name: number;
  argument: CollectionArguments[K];
}

type AnyCollectionRequest = { [K in CollectionCall]: CollectionRequest<K> }[CollectionCall];

/** What goes along with a request. */
export interface Call<Event = never> {
  signal?: AbortSignal | undefined;
  onEvent?: ((event: Event) => void) | undefined;
}

/** The engine, or a way to one elsewhere. */
export interface Host {
  load(request: LoadRequest, call: Call<LoadProgress>): Promise<Loaded>;
  embed(request: EmbedRequest, call: Call<EmbedProgress>): Promise<Vectors>;
  ask(request: AskRequest, call: Call<EmbedProgress>): Promise<Made>;
  maxSim(request: MaxSimRequest, call: Call<EmbedProgress>): Promise<Made>;
  collect<K extends CollectionCall>(request: CollectionRequest<K>, call: Call): Promise<CollectionAnswers[K]>;
  vocabulary(model: number, call: Call): Promise<(string | null)[]>;
  tokenize(request: { model: number; text: string }, call: Call): Promise<Tokens>;
  dispose(model: number): Promise<void>;
}

/** A model, or a collection. */
interface Entry<T extends { free(): void }> {
  instance: Instance;
  object: T;
  /** Calls waiting or running, and the last of them: each starts when the one before has settled. */
  calls: number;
  last: Promise<unknown>;
  disposed: boolean;
}

interface ModelEntry extends Entry<Model> {
  /** Where there is something left to tune: whether it has answered, before which that must not begin, and where the choice is kept. */
  tuning?: { answered: boolean; store: Store | undefined } | undefined;
}

export class Engine implements Host {
  readonly #createGlue: CreateGlue;
  readonly #models = new Map<number, ModelEntry>();
  readonly #collections = new Map<number, Entry<Collection> & { model: number }>();
  /** Those in which a model is being loaded. */
  readonly #loading = new Set<{ instance: Instance }>();
  #instance: { wasm: WasmInput; started: Promise<Instance>; running?: Instance } | undefined;
  #named = 0;
  readonly #idle = new Idle(() => this.#tune());
  readonly #store: Store | undefined;

  constructor(createGlue: CreateGlue, store = modelStore()) {
    this.#createGlue = createGlue;
    this.#store = store;
  }

  async load(request: LoadRequest, call: Call<LoadProgress>): Promise<Loaded> {
    // What is kept is looked for while the instance starts.
    const starting = this.#start(request.wasm);
    starting.catch(() => {});
    const store = request.cache ? this.#store : undefined;
    const tuned = request.tune && request.device !== "wasm" ? readTuning(store) : undefined;
    const { made: model, cache } = await loadKept(request, this.#store, call.signal, async (source) => this.#load(await starting, source, request, call));
    const instance = await starting;
    try {
      call.signal?.throwIfAborted();
      const info = { ...(JSON.parse(await instance.run(() => model.info())) as EncoderInfo), cache };
      const text = await tuned;
      call.signal?.throwIfAborted();
      const tunes = request.tune && (await instance.run(() => model.takeTuning(text)));
      const tuning = tunes ? { answered: false, store } : undefined;
      this.#models.set(++this.#named, { instance, object: model, calls: 0, last: Promise.resolve(), disposed: false, tuning });
      return { model: this.#named, info };
    } catch (error) {
      instance.free(model);
      throw error;
    }
  }

  async #load(instance: Instance, source: Source, request: LoadRequest, { signal, onEvent = () => {} }: Call<LoadProgress>): Promise<Model> {
    signal?.throwIfAborted();
    const { device, precision, task } = request;
    const load = (integrity: LoadRequest["integrity"]) => loadModel({ instance, source, integrity, onEvent, signal }, device, precision, task);
    const loading = { instance };
    this.#loading.add(loading);
    try {
      return await load(request.integrity);
    } catch (error) {
      if (!request.isLenient || !(error instanceof EmbedletError) || error.code !== "wrong-hash") throw error;
      console.warn(`embedlet: ${error.message}`);
      return await load(new Map());
    } finally {
      this.#loading.delete(loading);
      if (this.#untuned) this.#idle.answered();
    }
  }

  embed(request: EmbedRequest, call: Call<EmbedProgress>): Promise<Vectors> {
    return this.#run(request.model, call, (model) => model.embed(request.texts, request.options)) as Promise<Vectors>;
  }

  ask(request: AskRequest, call: Call<EmbedProgress>): Promise<Made> {
    return this.#run(request.model, call, (model) => model.ask(request.request, request.head));
  }

  maxSim({ model: name, data, dimensions, counts, queries }: MaxSimRequest, call: Call<EmbedProgress>): Promise<Made> {
    return this.#run(name, call, (model) => model.maxSim(data, dimensions, counts, queries));
  }

  collect<K extends CollectionCall>(request: CollectionRequest<K>, { signal }: Call): Promise<CollectionAnswers[K]> {
    return this.#collect(request as AnyCollectionRequest, signal) as Promise<CollectionAnswers[K]>;
  }

  async #collect({ kind, name, argument }: AnyCollectionRequest, signal: AbortSignal | undefined): Promise<CollectionAnswers[CollectionCall]> {
    if (kind === "open") {
      const { dimensions, precision, similarity } = argument;
      const { instance, object: model } = found(this.#models, name);
      const object = await instance.run((glue) => new glue.Collection(model, dimensions, precision, similarity));
      if (!this.#models.has(name)) {
        instance.free(object);
        throw disposed();
      }
      this.#collections.set(++this.#named, { instance, object, model: name, calls: 0, last: Promise.resolve(), disposed: false });
      return { collection: this.#named, rowBytes: object.rowBytes };
    }
    if (kind === "close") return retire(this.#collections, name);
    // They do not stand behind the calls of the model: a search need not wait for what is being embedded.
    return this.#inTurn(found(this.#collections, name), signal, async ({ instance, object }) => {
      if (kind === "append") return instance.run(() => object.append(argument.rows));
      if (kind === "remove") return instance.run(() => object.remove(argument.rows));
      if (kind === "search") return instance.run(() => object.search(argument.query, argument.topK, argument.allowed));
      const rows = bytes(argument.bytes);
      await instance.run(() => object.encode(argument.vectors, rows));
      return rows;
    });
  }

  vocabulary(name: number, { signal }: Call): Promise<(string | null)[]> {
    return this.#queue(name, signal, async ({ instance, object: model }) => JSON.parse(await instance.run(() => model.vocabulary())) as (string | null)[]);
  }

  /** Runs a call batch by batch, so that its caller hears of it and can give it up in between. */
  #run(name: number, { signal, onEvent }: Call<EmbedProgress>, begin: (model: Model) => Job): Promise<Made> {
    return this.#queue(name, signal, async ({ instance, object: model, tuning }, check) => {
      let job: Job | undefined = await instance.run(() => begin(model));
      try {
        const { total } = job;
        while (job.done < total) {
          const running: Job = job;
          await instance.run(() => running.step());
          onEvent?.({ done: job.done, total });
          if (job.done < total) await pause();
          check();
        }
        const finished: Job = job;
        job = undefined;
        const made = await instance.run(() => finished.finish());
        if (tuning) tuning.answered = true;
        return made;
      } finally {
        instance.free(job);
      }
    });
  }

  tokenize(request: { model: number; text: string }, { signal }: Call): Promise<Tokens> {
    return this.#queue(request.model, signal, async ({ instance, object: model }) => JSON.parse(await instance.run(() => model.tokenize(request.text))) as Tokens);
  }

  /** Frees a model and its collections: at once when they are idle, else as soon as the call that runs has given up. */
  async dispose(name: number): Promise<void> {
    for (const [collection, { model }] of this.#collections) if (model === name) retire(this.#collections, collection);
    retire(this.#models, name);
  }

  /** A trap that reached the event loop: the promise of the call that caused it will never settle. */
  crash(cause: unknown): boolean {
    const held = [...this.#models.values(), ...this.#loading].map(({ instance }) => instance);
    const instances = new Set([this.#instance?.running, ...held]);
    const busy = [...instances].filter((instance) => instance?.busy);
    for (const instance of busy) instance?.crash(cause);
    return busy.length > 0;
  }

  /** Gives the running instance of `wasm`, or a new one where it crashed or is of another file. */
  async #start(wasm: WasmInput): Promise<Instance> {
    if (this.#instance?.wasm !== wasm || this.#instance.running?.crashed) {
      this.#instance = { wasm, started: Instance.start(this.#createGlue, wasm) };
    }
    const current = this.#instance;
    try {
      return (current.running = await current.started);
    } catch (error) {
      if (this.#instance === current) this.#instance = undefined;
      throw error;
    }
  }

  async #queue<T>(name: number, signal: AbortSignal | undefined, work: (entry: ModelEntry, check: () => void) => Promise<T>): Promise<T> {
    return this.#inTurn(found(this.#models, name), signal, work);
  }

  async #inTurn<E extends Entry<{ free(): void }>, T>(entry: E, ...rest: [AbortSignal | undefined, (entry: E, check: () => void) => Promise<T>]): Promise<T> {
    this.#idle.asked();
    return inTurn(entry, ...rest).finally(() => {
      if (this.#untuned) this.#idle.answered();
    });
  }

  /** A model that has answered, and has something left to tune. */
  get #untuned(): ModelEntry | undefined {
    return [...this.#models.values()].find(({ tuning }) => tuning?.answered);
  }

  /** Tunes a model for some milliseconds, unless something runs or waits. What goes wrong is for the next call to find. */
  async #tune(): Promise<boolean> {
    const busy = this.#loading.size > 0 || [...this.#models.values(), ...this.#collections.values()].some(({ calls }) => calls > 0);
    const entry = this.#untuned;
    if (busy || !entry) return false;
    try {
      if (await inTurn(entry, undefined, ({ instance, object: model }) => instance.run(() => model.tune()))) return true;
      const { store } = entry.tuning!;
      entry.tuning = undefined;
      const kept = await readTuning(store);
      if (entry.disposed) return true;
      const text = await inTurn(entry, undefined, ({ instance, object: model }) => instance.run(() => model.tuning(kept)));
      if (text !== (kept ?? "")) await keepTuning(store, text);
    } catch {
      entry.tuning = undefined;
    }
    return true; // another model may be there
  }
}

/** Runs `work` when all calls made before on the same model, or collection, have settled. */
function inTurn<E extends Entry<{ free(): void }>, T>(
  entry: E,
  signal: AbortSignal | undefined,
  work: (entry: E, check: () => void) => Promise<T>,
): Promise<T> {
  const check = () => {
    if (entry.instance.crashed) throw entry.instance.crashed;
    if (entry.disposed) throw disposed();
    signal?.throwIfAborted();
  };
  const turn = entry.last.then(() => {
    check();
    return work(entry, check);
  });
  entry.calls++;
  entry.last = turn
    .catch(() => {})
    .then(() => {
      if (--entry.calls === 0 && entry.disposed) entry.instance.free(entry.object);
    });
  return turn;
}

function found<E>(entries: ReadonlyMap<number, E>, name: number): E {
  const entry = entries.get(name);
  if (!entry) throw disposed();
  return entry;
}

function retire(entries: Map<number, Entry<{ free(): void }>>, name: number): void {
  const entry = entries.get(name);
  if (!entry) return;
  entries.delete(name);
  entry.disposed = true;
  if (entry.calls === 0) entry.instance.free(entry.object);
}

function bytes(count: number): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(count);
  } catch (cause) {
    throw new EmbedletError("out-of-memory", `There is no room for ${count} bytes of rows: encode fewer vectors at once.`, { cause });
  }
}

function disposed(): EmbedletError {
  return new EmbedletError("disposed", "This encoder has been disposed of: load the model again.");
}
