// A collection of vectors that is searched where the model is. Its rows are in an engine; after a restart, in another, where `restore`
// puts them again. Checks arguments; the arithmetic is the crate's, and what rows are of is for others to remember.

import { readArray, readSearchOptions } from "./arguments.js";
import type { CollectionAnswers, CollectionArguments, CollectionCall } from "./engine.js";
import { EmbedletError } from "./errors.js";
import { abortable } from "./signal.js";
import type { Session, Supervisor } from "./supervisor.js";

/** How the values of a row are kept: as they are, in a byte each with a scale a row, or in a bit each, which says whether it is positive. */
export type CollectionPrecision = "float32" | "int8" | "binary";

/** Options of `Encoder.collection`. */
export interface CollectionOptions {
  /** Of a vector, up to 16,384. Default: `info.dimensions`. */
  dimensions?: number;
  /** Default `"float32"`. Of `"int8"` and `"binary"` every device gives the same bits. */
  precision?: CollectionPrecision;
  /** `"cosine"` (default) scales vectors and queries to length 1; zeros stay zeros. */
  similarity?: "cosine" | "dot";
  /**
   * Called with the collection, empty, when the engine was started again (see `ErrorCode`) and there were rows: appends again, to the
   * collection that it is given, what `append` had resolved for, in the same order, and removes what was removed. Calls wait for it,
   * so that a call on the outer collection inside `restore` waits for ever. Without it they reject with the code `collection-lost`.
   */
  restore?: (collection: Collection) => Promise<void>;
}

/** What a search found, best first. */
export interface Found {
  /** Numbers of rows; of two with one score the lower is first. */
  rows: Uint32Array<ArrayBuffer>;
  /** Products of query and row as they are kept; of binary rows the dimensions of one sign less those of two. */
  scores: Float32Array<ArrayBuffer>;
}

/** Options of `Collection.search`. */
export interface SearchOptions {
  /** How many rows, 1 to 4,096. */
  topK: number;
  /** A bitmap over rows (bit `i % 32` of word `i >> 5`) of those that may be found; none behind its end. Absent: all. */
  allowed?: Uint32Array;
  /** Gives the call up: the promise rejects with the signal's reason. */
  signal?: AbortSignal;
}

/**
 * Rows that are searched by comparing all of them. They are numbered from 0 in the order in which they came; removed ones keep their
 * number. Arrays that a call is given must stay as they are until it has settled.
 */
export interface Collection {
  /** Of a vector, and of a query. */
  readonly dimensions: number;
  /** How the values of a row are kept. */
  readonly precision: CollectionPrecision;
  /** Bytes of an encoded row. */
  readonly rowBytes: number;
  /**
   * Vectors, one after another, as rows of `rowBytes` each, which is what to keep and append. float32: the values; int8: the codes and
   * then the row's scale, an f32; binary: the first dimension in the highest bit. Values that are not finite are refused (`non-finite`).
   */
  encode(vectors: Float32Array): Promise<Uint8Array<ArrayBuffer>>;
  /** Appends encoded rows, all or none, and resolves with the number of the first. Rejects with `out-of-memory` where there is no room. */
  append(rows: Uint8Array): Promise<number>;
  /** Removed rows are never found again. */
  remove(rows: Uint32Array): Promise<void>;
  /** The best rows, or all where they are fewer. */
  search(query: Float32Array, options: SearchOptions): Promise<Found>;
  /** Frees the rows. Calls still running reject with `disposed`. */
  dispose(): void;
}

/** What the rows of a collection have in common. */
export interface CollectionShape {
  dimensions: number;
  precision: CollectionPrecision;
  similarity: "cosine" | "dot";
}

interface Opened {
  collection: number;
  rowBytes: number;
}

/** Asks for one call of a collection, wherever that is. */
type Ask = <K extends CollectionCall>(kind: K, argument: CollectionArguments[K], signal?: AbortSignal) => Promise<CollectionAnswers[K]>;

/** Opens a collection that moves from engine to engine as the encoder does. */
export async function openCollection(supervisor: Supervisor, shape: CollectionShape, restore: CollectionOptions["restore"]): Promise<Collection> {
  /** Its calls stand behind each other, and not behind those of the model. */
  const ended = new AbortController();
  let place: { session: Session; opened: Promise<Opened> } | undefined;
  /** Whether there were ever rows. */
  let rows = false;

  const end = () => {
    ended.abort(new EmbedletError("disposed", "This collection has been disposed of: open another."));
    const { session, opened } = place ?? {};
    // It fails only where the engine is gone, and the rows with it.
    opened?.then(({ collection }) => session?.host.collect({ kind: "close", name: collection, argument: {} }, {})).catch(() => {});
  };

  const openIn = async ({ host, model }: Session): Promise<Opened> => {
    const opened = await host.collect({ kind: "open", name: model, argument: shape }, {});
    if (!rows) return opened;
    const { collection: name, rowBytes } = opened;
    const ask: Ask = (kind, argument, signal) => host.collect({ kind, name, argument }, { signal });
    try {
      if (!restore) throw lost();
      await restore(new Rows(shape, rowBytes, ask, end));
      return opened;
    } catch (error) {
      host.collect({ kind: "close", name, argument: {} }, {}).catch(() => {});
      throw error;
    }
  };

  const openedIn = (session: Session): Promise<Opened> => {
    if (place?.session === session) return place.opened;
    const opened = openIn(session);
    place = { session, opened };
    // What failed is tried again by the next call.
    opened.catch(() => {
      if (place?.opened === opened) place = undefined;
    });
    return opened;
  };

  const ask: Ask = async (kind, argument, signal) => {
    ended.signal.throwIfAborted();
    const answer = supervisor.ask(signal, async (session) => {
      const asked = async (opened: Promise<Opened>) => session.host.collect({ kind, name: (await opened).collection, argument }, { signal });
      const opened = openedIn(session);
      try {
        return await asked(opened);
      } catch (error) {
        if (!restore || !isLost(error)) throw error;
        // Engines that another supervisor has restarted lose their rows without a loss of the session.
        if (place?.opened === opened) place = undefined;
        return asked(openedIn(session)).catch((cause) => {
          throw isLost(cause) ? new EmbedletError("runtime-crashed", "The engine was started again twice while this call ran.", { cause }) : cause;
        });
      }
    }, ended);
    const made = await abortable(answer, ended.signal);
    rows ||= kind === "append";
    return made;
  };

  const { rowBytes } = await supervisor.ask(undefined, openedIn, ended);
  return new Rows(shape, rowBytes, ask, end);
}

/** Says that the rows of a collection are gone, and nobody here has them. */
export function lost(): EmbedletError {
  return new EmbedletError("collection-lost", "The engine was started again and the rows are gone: open another collection, or give `restore`.");
}

export function isLost(error: unknown): boolean {
  return error instanceof EmbedletError && error.code === "collection-lost";
}

class Rows implements Collection {
  readonly dimensions: number;
  readonly precision: CollectionPrecision;
  readonly rowBytes: number;
  readonly #ask: Ask;
  readonly #end: () => void;

  constructor({ dimensions, precision }: CollectionShape, rowBytes: number, ask: Ask, end: () => void) {
    this.dimensions = dimensions;
    this.precision = precision;
    this.rowBytes = rowBytes;
    this.#ask = ask;
    this.#end = end;
  }

  async encode(vectors: Float32Array): Promise<Uint8Array<ArrayBuffer>> {
    const whole = readArray("encode", vectors, Float32Array, this.dimensions);
    return this.#ask("encode", { vectors: whole, bytes: (whole.length / this.dimensions) * this.rowBytes });
  }

  async append(rows: Uint8Array): Promise<number> {
    return this.#ask("append", { rows: readArray("append", rows, Uint8Array, this.rowBytes) });
  }

  async remove(rows: Uint32Array): Promise<void> {
    return this.#ask("remove", { rows: readArray("remove", rows, Uint32Array) });
  }

  async search(query: Float32Array, options: SearchOptions): Promise<Found> {
    const { topK, allowed, signal } = readSearchOptions(options);
    return this.#ask("search", { query: readArray("search", query, Float32Array, this.dimensions, 1), topK, allowed }, signal);
  }

  dispose(): void {
    this.#end();
  }
}
