// Requests, answers and events between the page and the engine in a worker, over anything that posts messages.
// Both ends offer `Host`, so that the caller cannot tell where the engine runs. Vectors are transferred, not copied.

import type { AskRequest, Call, CollectionAnswers, CollectionCall, CollectionRequest, EmbedRequest, Host, Loaded, LoadRequest, MaxSimRequest } from "./engine.js";
import { EmbedletError, fromCrate, textOf } from "./errors.js";
import type { Made, Vectors } from "./glue.js";
import type { SharedWasm } from "./instance.js";
import { isReply, isRequest, TAG, type Failure, type Reply, type Request } from "./messages.js";
import type { EmbedProgress, LoadProgress, Tokens } from "./types.js";

/** A worker, the inside of one, or a MessagePort. */
export interface Port {
  postMessage(message: unknown, transfer?: Transferable[]): void;
  addEventListener(type: "message", listener: (event: MessageEvent) => void): void;
}

const METHODS = ["load", "embed", "ask", "maxSim", "collect", "vocabulary", "tokenize", "dispose"] as const satisfies (keyof Host)[];
type Method = (typeof METHODS)[number];

const isMethod = (method: string): method is Method => (METHODS as readonly string[]).includes(method);

interface Pending {
  resolve: (result: never) => void;
  reject: (error: unknown) => void;
  onEvent: ((event: never) => void) | undefined;
}

/** Answers the requests that arrive at `port` with `host`, or follows where it can. Gives a function that aborts those that run. */
export function serve(port: Port, host: Host, follow?: (wasm: SharedWasm) => Promise<void>): () => void {
  const running = new Map<number, AbortController>();
  port.addEventListener("message", async ({ data }: MessageEvent<unknown>) => {
    if (!isRequest(data)) return;
    if ("abort" in data) return running.get(data.abort)?.abort();
    const { id, method, argument } = data;
    const abort = new AbortController();
    running.set(id, abort);
    const call = { signal: abort.signal, onEvent: (event: unknown) => port.postMessage({ ...TAG, id, event } satisfies Reply) };
    try {
      let result: unknown = VERSION;
      if (follow && method === "follow") await follow(argument as SharedWasm);
      // The other end is `Remote` of the same release: it says so in "hello".
      else if (isMethod(method)) result = await host[method](argument as never, call);
      else if (method !== "hello") throw new EmbedletError("invalid-argument", `There is no request "${method}".`);
      port.postMessage({ ...TAG, id, result } satisfies Reply, buffersOf(result));
    } catch (error) {
      port.postMessage({ ...TAG, id, error: failureOf(error, abort.signal) } satisfies Reply);
    } finally {
      running.delete(id);
    }
  });
  return () => running.forEach((abort) => abort.abort());
}

/** Waits until the other end answers, and makes sure that it is of this release. */
export async function greet(remote: Remote, where: string): Promise<void> {
  const version = await remote.hello();
  if (version !== VERSION) throw new EmbedletError("wasm-load", `${where} is of version ${version}, the rest of embedlet of ${VERSION}: a stale copy.`);
}

/** The other end of `serve`. */
export class Remote implements Host {
  readonly #port: Port;
  readonly #pending = new Map<number, Pending>();
  #sent = 0;
  #failed: EmbedletError | undefined;

  constructor(port: Port) {
    this.#port = port;
    port.addEventListener("message", ({ data }: MessageEvent<unknown>) => isReply(data) && this.#receive(data));
  }

  /** Resolves with the version at the other end, once it listens. */
  hello(): Promise<string> {
    return this.#request("hello", undefined, {});
  }

  /** Makes the worker at the other end a thread of a team. It answers nothing from then on, unless it fails. */
  follow(wasm: SharedWasm): Promise<unknown> {
    return this.#request("follow", wasm, {});
  }

  load(request: LoadRequest, call: Call<LoadProgress>): Promise<Loaded> {
    return this.#request("load", request, call);
  }

  embed(request: EmbedRequest, call: Call<EmbedProgress>): Promise<Vectors> {
    return this.#request("embed", request, call);
  }

  ask(request: AskRequest, call: Call<EmbedProgress>): Promise<Made> {
    return this.#request("ask", request, call);
  }

  maxSim(request: MaxSimRequest, call: Call<EmbedProgress>): Promise<Made> {
    return this.#request("maxSim", request, call);
  }

  collect<K extends CollectionCall>(request: CollectionRequest<K>, call: Call): Promise<CollectionAnswers[K]> {
    return this.#request("collect", request, call);
  }

  vocabulary(model: number, call: Call): Promise<(string | null)[]> {
    return this.#request("vocabulary", model, call);
  }

  tokenize(request: { model: number; text: string }, call: Call): Promise<Tokens> {
    return this.#request("tokenize", request, call);
  }

  dispose(model: number): Promise<void> {
    return this.#request("dispose", model, {});
  }

  /** The other end is gone: everything that waits for it, and every later request, rejects with `error`. */
  fail(error: EmbedletError): void {
    this.#failed ??= error;
    for (const { reject } of this.#pending.values()) reject(this.#failed);
    this.#pending.clear();
  }

  #request<Result, Event>(method: Method | "hello" | "follow", argument: unknown, { signal, onEvent }: Call<Event>): Promise<Result> {
    return new Promise((resolve, reject) => {
      if (this.#failed) throw this.#failed;
      signal?.throwIfAborted();
      const id = ++this.#sent;
      try {
        this.#port.postMessage({ ...TAG, id, method, argument } satisfies Request);
      } catch (error) {
        throw fromCrate(error) ?? new EmbedletError("invalid-argument", `An argument cannot be sent to the worker (${textOf(error)}).`, { cause: error });
      }
      const abort = () => this.#port.postMessage({ ...TAG, abort: id } satisfies Request);
      signal?.addEventListener("abort", abort);
      const settled = () => signal?.removeEventListener("abort", abort);
      this.#pending.set(id, {
        resolve: (result) => (settled(), resolve(result)),
        reject: (error) => (settled(), reject(error)),
        onEvent,
      });
    });
  }

  #receive(reply: Reply): void {
    const pending = this.#pending.get(reply.id);
    if (!pending) return;
    if ("event" in reply) return pending.onEvent?.(reply.event as never);
    this.#pending.delete(reply.id);
    if ("error" in reply) return pending.reject(errorOf(reply.error));
    // A result that is nothing need not have arrived.
    pending.resolve(reply.result as never);
  }
}

/** What a result, or an object of results, has in buffers. They were made for it: nobody else has them. */
function buffersOf(result: unknown): Transferable[] {
  if (typeof result !== "object" || result === null || Array.isArray(result)) return [];
  const values: unknown[] = ArrayBuffer.isView(result) ? [result] : Object.values(result);
  return values.filter((value) => ArrayBuffer.isView(value)).map(({ buffer }) => buffer as ArrayBuffer);
}

/** Errors lose their class on the way, and a cause may be anything: only its text travels. */
function failureOf(error: unknown, signal: AbortSignal): Failure {
  if (signal.aborted) return "aborted";
  const { code, message, cause, text } = fromCrate(error) ?? new EmbedletError("runtime-crashed", textOf(error));
  return { code, message, ...(cause !== undefined && { cause: textOf(cause) }), ...(text !== undefined && { text }) };
}

function errorOf(failure: Failure): unknown {
  if (failure === "aborted") return new DOMException("The call was aborted.", "AbortError");
  const { code, message, cause, text } = failure;
  return new EmbedletError(code, message, { ...(cause !== undefined && { cause: new Error(cause) }), ...(text !== undefined && { text }) });
}
