// The end that asks: sees to the document that holds the pages, and asks it. Where that document goes in the middle, it is made again and
// asked again: every request may be done twice.

import { EmbedletError, ensureOffscreen } from "embedlet/extension";
import { PORT, readTold, type Asked, type Found, type Port, type Request, type State } from "./protocol.js";

/** Set where this context is itself the one that holds the pages, as Firefox's background page is: no port leads to oneself. */
export const here: { accept?: (port: Port) => void } = {};

interface Waiting {
  resolve(found: Found[]): void;
  reject(error: unknown): void;
}

export class Client {
  readonly #show: (state: State) => void;
  readonly #waiting = new Map<number, Waiting>();
  #port: Promise<Port> | undefined;
  #next = 0;

  constructor(show: (state: State) => void = () => {}) {
    this.#show = show;
  }

  /** Asks; what a search has found comes back. An abort gives it up. */
  async ask(request: Request, signal?: AbortSignal): Promise<Found[]> {
    try {
      return await this.#send(request, signal);
    } catch (error) {
      if (!(error instanceof EmbedletError && error.code === "disconnected")) throw error;
      return this.#send(request, signal);
    }
  }

  async #send(request: Request, signal: AbortSignal | undefined): Promise<Found[]> {
    const port = await (this.#port ??= this.#connect());
    signal?.throwIfAborted();
    const id = this.#next++;
    const post = (message: Asked) => {
      try {
        port.postMessage(message);
      } catch {
        this.#lose();
      }
    };
    const abort = () => {
      this.#waiting.get(id)?.reject(signal?.reason);
      post({ abort: id });
    };
    try {
      return await new Promise<Found[]>((resolve, reject) => {
        this.#waiting.set(id, { resolve, reject });
        signal?.addEventListener("abort", abort);
        post({ id, request });
      });
    } finally {
      this.#waiting.delete(id);
      signal?.removeEventListener("abort", abort);
    }
  }

  async #connect(): Promise<Port> {
    try {
      if (!here.accept) await ensureOffscreen({ url: "offscreen.html" });
      const port = here.accept ? toHere(here.accept) : chrome.runtime.connect({ name: PORT });
      port.onMessage.addListener((message) => this.#receive(message));
      port.onDisconnect.addListener(() => this.#lose());
      return port;
    } catch (error) {
      this.#port = undefined;
      throw error;
    }
  }

  #receive(message: unknown): void {
    const told = readTold(message);
    if ("state" in told) return this.#show(told.state);
    const waiting = this.#waiting.get(told.id);
    if ("found" in told) waiting?.resolve(told.found);
    else waiting?.reject(Object.assign(new Error(told.error.message), { code: told.error.code }));
  }

  #lose(): void {
    this.#port = undefined;
    const error = new EmbedletError("disconnected", "The document that holds the pages has gone: try again.");
    for (const { reject } of [...this.#waiting.values()]) reject(error);
  }
}

/** A connection within one context. */
function toHere(accept: (port: Port) => void): Port {
  const ends: ((message: unknown) => void)[][] = [[], []];
  const end = (own: number): Port => ({
    name: PORT,
    onMessage: { addListener: (listener) => void ends[own]!.push(listener) },
    onDisconnect: { addListener: () => {} },
    postMessage: (message) => queueMicrotask(() => ends[1 - own]!.forEach((listener) => listener(message))),
    disconnect: () => {},
  });
  accept(end(1));
  return end(0);
}
