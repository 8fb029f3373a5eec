// A static index in cells: a search fetches the segments of the cells that are nearest to its query, and compares all of their rows. Each
// segment in memory is a view with a scan of its own; those that were not used for the longest time go when there are too many.

import { EmbedletError } from "../errors.js";
import { abortable } from "../signal.js";
import type { Cells, StaticManifest } from "./cells.js";
import { damaged } from "./file.js";
import { byScore, nearest, ranked, type Found, type Question } from "./find.js";
import type { Folder } from "./folder.js";
import { Part } from "./manifest.js";
import { documentsOf, type Reading, type Stored } from "./read.js";
import { Segment } from "./segment.js";
import { memoryStorage } from "./storage.js";
import type { Hit, IndexStats, SearchEncoder, TransferProgress } from "./types.js";
import { Unreadable, View } from "./view.js";

/** Segments that are fetched at once. */
const AT_ONCE = 6;
/** Where too few documents are found, a search goes on to this many times as many cells. */
const MOST_MORE = 4;

type Watch = (loaded: number) => void;

/** A segment in memory, or on its way. */
interface Shard {
  view: Promise<View>;
  bytes: number;
  loaded: number;
  isReady: boolean;
  /** Searches that wait for it, or use it. */
  users: number;
  readonly watches: Set<Watch>;
  readonly abort: AbortController;
}

export class Shards {
  readonly #folder: Folder;
  readonly #manifest: StaticManifest;
  readonly #cells: Cells;
  readonly #memory: number;
  /** By the segment's number, in the order of their last use. */
  readonly #shards = new Map<number, Shard>();
  #closed = false;

  constructor(folder: Folder, manifest: StaticManifest, cells: Cells, readonly encoder: SearchEncoder, memory: number) {
    this.#folder = folder;
    this.#manifest = manifest;
    this.#cells = cells;
    this.#memory = memory;
  }

  get made() {
    this.#check();
    return this.#manifest.made;
  }

  /** Finds documents in the `probes` nearest cells; in more where there are too few. */
  async find(question: Question, probes: number | undefined, onProgress: ((event: TransferProgress) => void) | undefined): Promise<Hit[]> {
    const { vector, topK, signal } = question;
    const { segments, cells } = this.#manifest;
    const order = this.#cells.nearest(vector).map((cell) => this.#cells.segments[cell]!);
    const first = probes ?? cells!.probes;
    const report = summed(onProgress, signal);
    const candidates = async (depth: number) => {
      let found: Found[] = [];
      const searched = new Set<number>();
      for (let count = first; ; count = Math.min(2 * count, MOST_MORE * first)) {
        const next = [...new Set(order.slice(0, count))].filter((segment) => !searched.has(segment));
        const waited = next.filter((segment) => !this.#shards.get(segment)?.isReady);
        const watches = new Map(waited.map((segment) => [segment, report(segments[segment]!.bytes)]));
        await several(next, signal, async (segment, signal) => {
          searched.add(segment);
          const more = await this.#use(segment, watches.get(segment), signal, (view) => nearest(view, { ...question, signal }, depth));
          found = best([...found, ...more], depth);
        });
        if (found.length >= topK || count >= MOST_MORE * first || count >= order.length) return found;
      }
    };
    return ranked(question, candidates).catch((error) => {
      throw error instanceof Unreadable ? damaged(error.entries[0]!.segment.ref.name) : error;
    });
  }

  /** All documents, one segment after another. */
  async *documents(reading: Reading): Stored {
    for (const number of this.#manifest.segments.keys()) {
      this.#check();
      reading.signal?.throwIfAborted();
      yield* documentsOf(await this.#read(number, reading.signal, () => {}), this.made, reading);
    }
  }

  stats(): IndexStats {
    const { model, dimensions, precision, similarity } = this.made;
    const { segments, cells } = this.#manifest;
    const sum = (counts: number[]) => counts.reduce((all, count) => all + count, 0);
    const { count, probes, recall } = cells!;
    return {
      documents: sum(segments.map((one) => one.documents)),
      passages: sum([...this.#cells.rows]),
      bytes: sum(segments.map((one) => one.bytes)),
      segments: segments.length,
      dead: 0,
      generation: 1,
      model,
      dimensions,
      precision,
      similarity,
      lost: 0,
      problem: null,
      cells: { count, probes, recall: recall.map(([probes, share]) => [probes, share]) },
    };
  }

  close(): void {
    this.#closed = true;
    for (const { abort, view } of this.#shards.values()) {
      abort.abort(closed());
      view.then((view) => view.dispose(), () => {});
    }
    this.#shards.clear();
  }

  /** Does something with a segment in memory, which stays there meanwhile. */
  async #use<T>(number: number, watch: Watch | undefined, signal: AbortSignal, work: (view: View) => Promise<T>): Promise<T> {
    this.#check();
    signal.throwIfAborted();
    const shard = this.#shards.get(number) ?? this.#load(number);
    this.#shards.delete(number);
    this.#shards.set(number, shard);
    shard.users++;
    if (watch) shard.watches.add(watch);
    watch?.(shard.loaded);
    try {
      return await work(await abortable(shard.view, signal));
    } finally {
      shard.users--;
      if (watch) shard.watches.delete(watch);
      // Nobody waits for it any more.
      if (shard.users === 0 && !shard.isReady) this.#end(number, shard);
      this.#evict();
    }
  }

  #load(number: number): Shard {
    const abort = new AbortController();
    const watches = new Set<Watch>();
    const onBytes = (loaded: number) => {
      shard.loaded = loaded;
      for (const watch of watches) watch(loaded);
    };
    const { bytes } = this.#manifest.segments[number]!;
    const view = abortable(this.#open(number, abort.signal, onBytes), abort.signal);
    const shard: Shard = { view, bytes, loaded: 0, isReady: false, users: 0, watches, abort };
    view.then(() => (shard.isReady = true), () => this.#end(number, shard));
    return shard;
  }

  async #open(number: number, signal: AbortSignal, onBytes: Watch): Promise<View> {
    const segment = await this.#read(number, signal, onBytes);
    const { made } = this.#manifest;
    const state = { generation: 1, made, parts: [new Part(segment)], next: undefined, lost: 0, problem: null };
    const view = await View.make(this.encoder, made, state);
    if (!signal.aborted) return view;
    view.dispose();
    throw signal.reason;
  }

  async #read(number: number, signal: AbortSignal | undefined, onBytes: Watch): Promise<Segment> {
    const { segments, made } = this.#manifest;
    const named = segments[number]!;
    const file = await this.#folder.read(named, signal, onBytes);
    const segment = await Segment.open(memoryStorage(new Map([[named.name, file]])), named, made);
    if (segment.documents !== named.documents || segment.passages !== this.#cells.rows[number]) throw damaged(named.name);
    return segment;
  }

  #end(number: number, shard: Shard): void {
    shard.abort.abort(new DOMException("Nobody waits for it.", "AbortError"));
    if (this.#shards.get(number) === shard) this.#shards.delete(number);
  }

  #evict(): void {
    let bytes = [...this.#shards.values()].reduce((sum, shard) => sum + shard.bytes, 0);
    for (const [number, shard] of this.#shards) {
      if (bytes <= this.#memory) return;
      if (shard.users > 0) continue;
      bytes -= shard.bytes;
      this.#shards.delete(number);
      shard.view.then((view) => view.dispose(), () => {});
    }
  }

  #check(): void {
    if (this.#closed) throw closed();
  }
}

const closed = () => new EmbedletError("disposed", "This index has been closed: open it again.");

/** The best documents, each once. */
function best(found: readonly Found[], most: number): Found[] {
  const sorted = [...found].sort(byScore);
  const ids = new Set<string>();
  return sorted.filter(({ entry: { id } }) => !ids.has(id) && ids.add(id)).slice(0, most);
}

/** Reports the bytes of several files as one sum: gives, for each that is to come, what is told how many have. */
export function summed(onProgress: ((event: TransferProgress) => void) | undefined, signal: AbortSignal | undefined): (bytes: number) => Watch {
  let [loaded, total] = [0, 0];
  return (bytes) => {
    let own = 0;
    total += bytes;
    return (now) => {
      loaded += now - own;
      own = now;
      const event = { loaded, total };
      // What the caller throws is not the file's, which others wait for too.
      queueMicrotask(() => !signal?.aborted && onProgress?.(event));
    };
  };
}

/** Does some work for each of a list, several at once. The first that fails ends the others, as the signal does. */
export async function several<T>(
  list: readonly T[],
  signal: AbortSignal | undefined,
  work: (one: T, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const ended = new AbortController();
  const abort = () => ended.abort(signal?.reason);
  signal?.throwIfAborted();
  signal?.addEventListener("abort", abort);
  const waiting = [...list].reverse();
  const run = async () => {
    while (waiting.length > 0 && !ended.signal.aborted) await work(waiting.pop()!, ended.signal);
  };
  try {
    await Promise.all(Array.from({ length: AT_ONCE }, run));
    // Between two works an abort ends nothing by itself.
    ended.signal.throwIfAborted();
  } catch (error) {
    ended.abort(error);
    throw error;
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}
