// The models that are loaded where encoders run: one for all who ask for the same, freed when nobody holds it any more. Knows nothing of
// ports.

import type { Connection } from "../connect.js";
import { open } from "../encoder.js";
import { EmbedletError } from "../errors.js";
import type { Supervisor } from "../supervisor.js";
import type { LoadOptions, LoadProgress } from "../types.js";
import type { Asked } from "./checks.js";

export type Connect = (options: LoadOptions) => Promise<Connection>;

/** What becomes of everything when encoders are no longer served. */
export const over = () => new EmbedletError("disposed", "Encoders are no longer served here: connect again.");

/** What `open` makes here in place of an encoder. */
class Opened {
  constructor(readonly supervisor: Supervisor) {}
}

/** A model, and who holds it. */
export class Shared {
  readonly opened: Promise<Supervisor>;
  readonly holders = new Set<object>();
  readonly #listeners = new Set<(event: LoadProgress) => void>();
  readonly #abort = new AbortController();
  #last: LoadProgress | undefined;
  #loaded = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor({ source, options }: Asked, connect: Connect, files: LoadOptions) {
    const onProgress = (event: LoadProgress) => {
      this.#last = event;
      for (const listener of this.#listeners) listener(event);
    };
    const opened = open(Opened, connect, source, { ...options, ...files, onProgress, signal: this.#abort.signal });
    this.opened = opened.then(({ supervisor }) => ((this.#loaded = true), supervisor));
  }

  /** Tells where the load is, and of all that comes. Gives a function that ends that. */
  follow(listener: (event: LoadProgress) => void): () => void {
    if (this.#last) listener(this.#last);
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  hold(holder: object): void {
    clearTimeout(this.#timer);
    this.holders.add(holder);
  }

  /** Calls `unused` when nobody holds it for so long, which of a load that has not ended is at once. */
  release(holder: object, ms: number, unused: () => void): void {
    if (!this.holders.delete(holder) || this.holders.size > 0) return;
    if (ms > 0 && this.#loaded) this.#timer = setTimeout(unused, ms);
    else unused();
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#abort.abort(over());
    this.opened.then((supervisor) => supervisor.end(over()), () => {});
  }
}

export class Shelf {
  /** By what was asked for. */
  readonly #models = new Map<string, Shared>();
  readonly #connect: Connect;
  readonly #files: LoadOptions;
  readonly #keepMs: number;

  constructor(connect: Connect, files: LoadOptions, keepMs: number) {
    this.#connect = connect;
    this.#files = files;
    this.#keepMs = keepMs;
  }

  hold(asked: Asked, holder: object): Shared {
    const key = JSON.stringify([asked.source, asked.options]);
    let shared = this.#models.get(key);
    if (!shared) {
      const made = new Shared(asked, this.#connect, this.#files);
      made.opened.catch(() => this.drop(made));
      this.#models.set(key, (shared = made));
    }
    shared.hold(holder);
    return shared;
  }

  release(shared: Shared, holder: object): void {
    shared.release(holder, this.#keepMs, () => this.drop(shared));
  }

  /** The next who asks for the same gets another; this one goes with its last holder. */
  drop(shared: Shared): void {
    for (const [key, model] of this.#models) if (model === shared) this.#models.delete(key);
    if (shared.holders.size === 0) shared.end();
  }

  end(): void {
    for (const shared of this.#models.values()) shared.end();
    this.#models.clear();
  }
}
