// The end that runs encoders: accepts connections of the extension's own contexts and answers what they ask. A connection has one model;
// its end is the end of what it holds.

import { invalid, readCollectionOptions } from "../arguments.js";
import { isLost, lost, openCollection, type Collection, type CollectionOptions, type SearchOptions } from "../collection.js";
import type {
  AskRequest, Call, CollectionAnswers, CollectionCall, CollectionRequest, EmbedRequest, Host, Loaded, LoadRequest, MaxSimRequest,
} from "../engine.js";
import type { Made, Vectors } from "../glue.js";
import { serve } from "../rpc.js";
import { abortable } from "../signal.js";
import type { Session, Supervisor } from "../supervisor.js";
import type { EmbedProgress, EncoderInfo, LoadOptions, LoadProgress, Tokens } from "../types.js";
import type { Api, Runtime, RuntimePort } from "./api.js";
import { Channel } from "./channel.js";
import { isRequest } from "../messages.js";
import { malformed, readAsk, readAsked, readCollect, readEmbed, readMaxSim, readText } from "./checks.js";
import { over, Shelf, type Connect, type Shared } from "./shelf.js";

/** The name of the ports, and of the lock of the context that answers them. */
export const NAME = "embedlet encoders";

/** Options of `serveEncoders`. */
export interface ServeOptions extends Pick<LoadOptions, "workerUrl" | "wasmUrl" | "wasmModule"> {
  /** How long a model stays loaded when nobody holds it any more, in ms: a popup that opens again finds it there. Default 0. */
  keepMs?: number;
  /** Ends it: every connection is closed, every model freed. */
  signal?: AbortSignal;
}

/** What contexts that serve give to themselves, which no port reaches. `tell` hears where a model runs after a restart. */
export const here = new WeakMap<Runtime, (tell: Tell) => Served>();
type Tell = (info: EncoderInfo) => void;

export function hostEncoders(api: Api, options: ServeOptions, connect: Connect): void {
  const { keepMs = 0, signal, ...files } = options;
  if (!(keepMs >= 0)) throw invalid("`keepMs` must be a number of milliseconds.");
  signal?.throwIfAborted();
  const shelf = new Shelf(connect, files, keepMs);
  const channels = new Set<Channel>();
  const own = api.runtime.getURL("");
  const served = (tell: Tell) => new Served(shelf, own, tell);
  here.set(api.runtime, served);

  // Every listening context hears every connection, but only one may answer. Its second lock has a name that no other has: for whom that
  // one is free, this context is gone, which ports do not tell while another context listens.
  const lock = `${NAME} ${crypto.randomUUID()}`;
  const free = new Promise<void>((resolve) => signal?.addEventListener("abort", () => resolve()));
  const mine = new Promise<void>((resolve) => {
    const alone = (name: string, work: () => Promise<unknown>) => api.locks.request(name, signal ? { signal } : {}, work);
    alone(NAME, () => alone(lock, () => (resolve(), free))).catch(() => {});
  });

  const accept = (port: RuntimePort): void => {
    if (port.name !== NAME) return;
    // A content script has the extension's id too, but the address of its page.
    if (port.sender?.id !== api.runtime.id || !port.sender.url?.startsWith(own)) return port.disconnect();
    const channel = new Channel(port, api.runtime);
    channels.add(channel);
    channel.gone.addEventListener("abort", () => channels.delete(channel));
    Promise.all([mine, channel.ready]).then(() => {
      answer(channel, served((info) => channel.postMessage({ info })));
      channel.greet(lock);
    }, () => {});
  };
  api.runtime.onConnect.addListener(accept);
  signal?.addEventListener("abort", () => {
    here.delete(api.runtime);
    api.runtime.onConnect.removeListener(accept);
    for (const channel of channels) channel.end(over());
    shelf.end();
  });
}

function answer(channel: Channel, served: Served): void {
  const stop = serve({
    postMessage: (message) => channel.postMessage(message),
    addEventListener: (type, listener) =>
      channel.addEventListener(type, (event) => (isRequest(event.data) ? listener(event) : channel.end(invalid("What has come is no request.")))),
  }, served);
  channel.gone.addEventListener("abort", () => {
    stop();
    served.end();
  });
}

/** What one connection may ask for. */
export class Served implements Host {
  readonly #shelf: Shelf;
  readonly #own: string;
  readonly #tell: Tell;
  #shared: Shared | undefined;
  #supervisor: Supervisor | undefined;
  /** Where the other end believes its model to run. */
  #told: EncoderInfo | undefined;
  readonly #collections = new Map<number, Collection>();
  #named = 0;

  constructor(shelf: Shelf, own: string, tell: Tell) {
    this.#shelf = shelf;
    this.#own = own;
    this.#tell = tell;
  }

  async load(request: LoadRequest, { signal, onEvent = () => {} }: Call<LoadProgress>): Promise<Loaded> {
    if (this.#shared) throw invalid("A connection has one encoder.");
    const shared = (this.#shared = this.#shelf.hold(readAsked(request, this.#own), this));
    const unfollow = shared.follow(onEvent);
    try {
      this.#supervisor = await abortable(shared.opened, signal);
      return { model: 0, info: (this.#told = this.#supervisor.info) };
    } catch (error) {
      this.end();
      throw error;
    } finally {
      unfollow();
    }
  }

  async embed(request: EmbedRequest, call: Call<EmbedProgress>): Promise<Vectors> {
    const read = readEmbed(request);
    return this.#ask(call, ({ host, model }) => host.embed({ model, ...read }, call));
  }

  async ask(request: AskRequest, call: Call<EmbedProgress>): Promise<Made> {
    const read = readAsk(request);
    return this.#ask(call, ({ host, model }) => host.ask({ model, ...read }, call));
  }

  async maxSim(request: MaxSimRequest, call: Call<EmbedProgress>): Promise<Made> {
    const read = readMaxSim(request);
    return this.#ask(call, ({ host, model }) => host.maxSim({ model, ...read }, call));
  }

  /** Their rows are in an engine, and gone with it: who has asked knows what they were, and is told. */
  async collect<K extends CollectionCall>(request: CollectionRequest<K>, { signal }: Call): Promise<CollectionAnswers[K]> {
    return this.#asking((supervisor) => this.#collect(supervisor, request, signal)) as Promise<CollectionAnswers[K]>;
  }

  async #collect(supervisor: Supervisor, request: unknown, signal: AbortSignal | undefined): Promise<CollectionAnswers[CollectionCall]> {
    const { kind, name, argument } = readCollect(request);
    if (kind === "open") {
      const { dimensions, precision, similarity } = argument as CollectionOptions;
      const [shape] = readCollectionOptions({ dimensions, precision, similarity } as CollectionOptions, supervisor.info);
      const collection = await openCollection(supervisor, shape, undefined);
      if (supervisor !== this.#supervisor) {
        collection.dispose();
        throw over();
      }
      this.#collections.set(++this.#named, collection);
      return { collection: this.#named, rowBytes: collection.rowBytes };
    }
    const collection = this.#collections.get(name);
    if (!collection) throw lost();
    try {
      // What the arguments are is for these to see.
      const { vectors, rows, query, ...options } = argument as { vectors: Float32Array; rows: never; query: Float32Array };
      if (kind === "encode") return await collection.encode(vectors);
      if (kind === "append") return await collection.append(rows);
      if (kind === "remove") return await collection.remove(rows);
      if (kind === "search") return await collection.search(query, { ...(options as SearchOptions), ...(signal && { signal }) });
    } catch (error) {
      if (isLost(error)) this.#collections.delete(name);
      throw error;
    }
    if (kind !== "close") throw malformed("collect");
    this.#collections.delete(name);
    return collection.dispose();
  }

  async vocabulary(_model: number, call: Call): Promise<(string | null)[]> {
    return this.#ask(call, ({ host, model }) => host.vocabulary(model, call));
  }

  async tokenize(request: { model: number; text: string }, call: Call): Promise<Tokens> {
    const text = readText(request);
    return this.#ask(call, ({ host, model }) => host.tokenize({ model, text }, call));
  }

  async dispose(): Promise<void> {
    this.end();
  }

  /** Gives its model back. */
  end(): void {
    const shared = this.#shared;
    for (const collection of this.#collections.values()) collection.dispose();
    this.#collections.clear();
    this.#shared = this.#supervisor = undefined;
    shared?.release(this);
  }

  async #ask<T>({ signal }: Call, work: (session: Session) => Promise<T>): Promise<T> {
    return this.#asking((supervisor) => supervisor.ask(signal, work));
  }

  async #asking<T>(work: (supervisor: Supervisor) => Promise<T>): Promise<T> {
    const [supervisor, shared] = [this.#supervisor, this.#shared];
    if (!supervisor || !shared) throw invalid("This connection has no encoder.");
    try {
      return await work(supervisor);
    } finally {
      if (supervisor.ended) shared.drop();
      const { info } = supervisor;
      if (info !== this.#told) this.#tell((this.#told = info));
    }
  }
}
