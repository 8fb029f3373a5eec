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
  readonly #shelf: Shelf;
  readonly #holders = new Set<object>();
  readonly #listeners = new Set<(event: LoadProgress) => void>();
  readonly #abort = new AbortController();
  #last: LoadProgress | undefined;
  #loaded = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(shelf: Shelf, { source, options }: Asked) {
    this.#shelf = shelf;
    const onProgress = (event: LoadProgress) => {
      this.#last = event;
      for (const listener of this.#listeners) listener(event);
    };
    const opened = open(Opened, shelf.connect, source, { ...options, ...shelf.files, onProgress, signal: this.#abort.signal });
    this.opened = opened.then(({ supervisor }) => ((this.#loaded = true), supervisor));
    this.opened.catch(() => this.drop());
  }

  /** Tells where the load is, and of all that comes. Gives a function that ends that. */
  follow(listener: (event: LoadProgress) => void): () => void {
    if (this.#last) listener(this.#last);
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  hold(holder: object): void {
    clearTimeout(this.#timer);
    this.#holders.add(holder);
  }

  /** The last to do so frees it, at once or when nobody has come for so long; a load that has not ended is given up at once. */
  release(holder: object): void {
    if (!this.#holders.delete(holder) || this.#holders.size > 0) return;
    const { keepMs } = this.#shelf;
    if (keepMs <= 0 || !this.#loaded) this.drop();
    // A timer of longer would end at once.
    else if (keepMs < 2 ** 31) this.#timer = setTimeout(() => this.drop(), keepMs);
  }

  /** The next who asks for the same gets another; this one goes with its last holder. */
  drop(): void {
    this.#shelf.remove(this);
    if (this.#holders.size === 0) this.end();
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#abort.abort(over());
    this.opened.then((supervisor) => supervisor.end(over()), () => {});
  }
}

/** The models by what was asked for; `files` says where the library's own are. */
export class Shelf {
  readonly #models = new Map<string, Shared>();

  constructor(readonly connect: Connect, readonly files: LoadOptions, readonly keepMs: number) {}

  hold(asked: Asked, holder: object): Shared {
    const key = JSON.stringify([asked.source, asked.options]);
    const shared = this.#models.get(key) ?? new Shared(this, asked);
    this.#models.set(key, shared);
    shared.hold(holder);
    return shared;
  }

  remove(shared: Shared): void {
    for (const [key, model] of this.#models) if (model === shared) this.#models.delete(key);
  }

  end(): void {
    for (const shared of this.#models.values()) shared.end();
    this.#models.clear();
  }
}
