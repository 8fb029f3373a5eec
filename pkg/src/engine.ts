// The library where the WebAssembly lives, in a worker or on the page's thread: loads models, queues and runs their calls.
// Arguments have been checked and prompts named by the caller (encoder.ts); the arithmetic is the crate's.

import { cacheStore, type Store } from "./cache.js";
import { EmbedletError } from "./errors.js";
import type { Glue, Job, Made, Model, Vectors } from "./glue.js";
import { Instance, type WasmInput } from "./instance.js";
import { loadKept } from "./kept.js";
import { loadModel } from "./load.js";
import { pause } from "./pause.js";
import type { SourceSpec } from "./source.js";
import type { EmbedProgress, EncoderInfo, LoadProgress, Tokens } from "./types.js";

export interface LoadRequest {
  wasm: WasmInput;
  source: SourceSpec;
  device: string;
  precision: string;
  task: string | undefined;
  /** Hexadecimal SHA-256 by path. */
  integrity: Map<string, string>;
  /** Whether folders with an address are kept. */
  cache: boolean;
  allowRemote: boolean;
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
  vocabulary(model: number, call: Call): Promise<(string | null)[]>;
  tokenize(request: { model: number; text: string }, call: Call): Promise<Tokens>;
  dispose(model: number): Promise<void>;
}

interface Entry {
  instance: Instance;
  model: Model;
  /** Calls waiting or running, and the last of them: each starts when the one before has settled. */
  calls: number;
  last: Promise<unknown>;
  disposed: boolean;
}

export class Engine implements Host {
  readonly #createGlue: () => Glue;
  readonly #models = new Map<number, Entry>();
  #instance: { wasm: WasmInput; started: Promise<Instance>; running?: Instance } | undefined;
  #named = 0;
  readonly #store: Store | undefined;

  constructor(createGlue: () => Glue, store = cacheStore()) {
    this.#createGlue = createGlue;
    this.#store = store;
  }

  async load(request: LoadRequest, { signal, onEvent = () => {} }: Call<LoadProgress>): Promise<Loaded> {
    const instance = await this.#start(request.wasm);
    signal?.throwIfAborted();
    const context = { instance, integrity: request.integrity, onEvent, signal };
    const { device, precision, task } = request;
    const { made: model, cache } = await loadKept(request, this.#store, signal, (source) =>
      loadModel({ ...context, source }, device, precision, task));
    try {
      signal?.throwIfAborted();
      const info = { ...(JSON.parse(await instance.run(() => model.info())) as EncoderInfo), cache };
      this.#models.set(++this.#named, { instance, model, calls: 0, last: Promise.resolve(), disposed: false });
      return { model: this.#named, info };
    } catch (error) {
      instance.free(model);
      throw error;
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

  vocabulary(name: number, { signal }: Call): Promise<(string | null)[]> {
    return this.#queue(name, signal, async ({ instance, model }) => JSON.parse(await instance.run(() => model.vocabulary())) as (string | null)[]);
  }

  /** Runs a call batch by batch, so that its caller hears of it and can give it up in between. */
  #run(name: number, { signal, onEvent }: Call<EmbedProgress>, begin: (model: Model) => Job): Promise<Made> {
    return this.#queue(name, signal, async ({ instance, model }, check) => {
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
        return await instance.run(() => finished.finish());
      } finally {
        instance.free(job);
      }
    });
  }

  tokenize(request: { model: number; text: string }, { signal }: Call): Promise<Tokens> {
    return this.#queue(request.model, signal, async ({ instance, model }) => JSON.parse(await instance.run(() => model.tokenize(request.text))) as Tokens);
  }

  /** Frees a model: at once when it is idle, else as soon as the call that runs has given up. */
  async dispose(name: number): Promise<void> {
    const entry = this.#models.get(name);
    if (!entry) return;
    this.#models.delete(name);
    entry.disposed = true;
    if (entry.calls === 0) entry.instance.free(entry.model);
  }

  /** A trap that reached the event loop: the promise of the call that caused it will never settle. */
  crash(cause: unknown): boolean {
    const instances = new Set([this.#instance?.running, ...[...this.#models.values()].map((entry) => entry.instance)]);
    const busy = [...instances].filter((instance) => instance?.busy);
    for (const instance of busy) instance?.crash(cause);
    return busy.length > 0;
  }

  /** Gives the running instance of `wasm`, or a new one where it crashed or is of another file. */
  async #start(wasm: WasmInput): Promise<Instance> {
    if (this.#instance?.wasm !== wasm || this.#instance.running?.crashed) {
      this.#instance = { wasm, started: Instance.start(this.#createGlue(), wasm) };
    }
    const current = this.#instance;
    try {
      return (current.running = await current.started);
    } catch (error) {
      if (this.#instance === current) this.#instance = undefined;
      throw error;
    }
  }

  /** Runs `work` when all calls made before on the same model have settled. */
  #queue<T>(name: number, signal: AbortSignal | undefined, work: (entry: Entry, check: () => void) => Promise<T>): Promise<T> {
    const entry = this.#models.get(name);
    if (!entry) return Promise.reject(disposed());
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
        if (--entry.calls === 0 && entry.disposed) entry.instance.free(entry.model);
      });
    return turn;
  }
}

function disposed(): EmbedletError {
  return new EmbedletError("disposed", "This encoder has been disposed of: load the model again.");
}
