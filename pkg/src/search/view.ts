// An index in memory, at a commit: which documents there are, by id and by row of the scan, and the scan itself. Takes the next commit by
// what has changed in it, whoever made it.

import { EmbedletError } from "../errors.js";
import type { Collection } from "../collection.js";
import { isDamage } from "./file.js";
import type { Predicate } from "./metadata.js";
import { segmentsOf, type Made, type State, type StoredMap } from "./manifest.js";
import type { Hash, Segment } from "./segment.js";
import type { Metadata, SearchEncoder } from "./types.js";

/** A document that is there, and where it lies. */
export interface Entry {
  readonly id: string;
  metadata: Metadata | null;
  segment: Segment;
  index: number;
  /** Of its first passage; those of the others follow. */
  readonly row: number;
  readonly passages: number;
  alive: boolean;
}

/** How queries of another model are asked of an index that moves to it. */
export interface QueryMap extends Pick<StoredMap, "matrix" | "quality"> {
  /** What the model's own vectors will be made with. */
  made: Made;
}

/** Removed rows that a scan may have, whatever else it has. */
const MOST_REMOVED = 4096;
/** Rows that are appended at once. */
const BLOCK = 8192;

export class View {
  readonly documents = new Map<string, Entry>();
  /** The document of each row, also of those that are removed. */
  readonly rows: Entry[] = [];
  /** Rows in the order of their removal. */
  readonly removed: number[] = [];
  /** Documents that turned out to be lost since the last commit. */
  readonly lost = new Set<Entry>();
  /** Rows that are in the scan. */
  #appended = 0;
  #collection!: Collection;

  private constructor(
    readonly encoder: SearchEncoder,
    readonly made: Made,
    /** The commit that this is. */
    public state: State,
    /** Where the encoder is not the model that made the index. */
    readonly map: QueryMap | undefined,
  ) {}

  /** Brings an index into memory. The row size of `made` is the scan's to say. */
  static async make(encoder: SearchEncoder, made: Omit<Made, "rowBytes">, state: State, map?: QueryMap): Promise<View> {
    const { dimensions, precision, similarity } = made;
    let view: View | undefined;
    const restore = async (collection: Collection) => {
      if (view) await view.#restore(collection);
    };
    const collection = await encoder.collection({ dimensions, precision, similarity, restore });
    view = new View(encoder, { ...made, rowBytes: collection.rowBytes }, { ...state, parts: [] }, map);
    view.#collection = collection;
    try {
      await view.adopt(state);
      return view;
    } catch (error) {
      view.dispose();
      throw error;
    }
  }

  get collection(): Collection {
    return this.#collection;
  }

  /** Takes a commit. Where this fails the view is of no more use. */
  async adopt(state: State): Promise<void> {
    if (state.parts.length > 0 && state.made?.rowBytes !== this.made.rowBytes) {
      throw new EmbedletError("index-mismatch", "Another release laid the rows of this index out: add the documents to a new one.");
    }
    const before = new Map(this.state.parts.map((part) => [part.segment, part]));
    const now = new Map(state.parts.map((part) => [part.segment, part]));
    const added: Entry[] = [];
    for (const part of state.parts) {
      if (before.has(part.segment)) continue;
      for (const index of part.indices()) added.push(...this.#take(part.segment, index));
    }
    await this.#append(added);
    const dead: Entry[] = [];
    for (const entry of added) {
      const old = this.documents.get(entry.id);
      if (old) dead.push(old);
      this.documents.set(entry.id, entry);
    }
    for (const [segment, part] of before) {
      const left = now.get(segment);
      if (left?.documents === part.documents) continue;
      for (const index of part.indices()) {
        const entry = left?.has(index) ? undefined : this.documents.get(segment.entries[index]![0]);
        // What lies in another segment by now was copied, or replaced.
        if (entry?.segment === segment && entry.index === index) dead.push(entry);
      }
    }
    this.state = state;
    for (const entry of this.lost) if (!now.get(entry.segment)?.has(entry.index)) this.lost.delete(entry);
    await this.#kill(dead);
    for (const segment of segmentsOf(state)) segment.release();
  }

  /** Documents that turned out to be damaged are found no more; the next commit has not got them. Tells how many there were. */
  async lose(entries: readonly Entry[]): Promise<number> {
    const found = entries.filter(({ alive }) => alive);
    for (const entry of found) this.lost.add(entry);
    await this.#kill(found);
    return found.length;
  }

  /** Whether removed rows, which stay in the scan, are most of it. */
  get isWorn(): boolean {
    return this.removed.length > MOST_REMOVED && 2 * this.removed.length > this.rows.length;
  }

  /** Whether a row is a passage of a document that is there. */
  isThere(row: number): boolean {
    const entry = this.rows[row];
    return entry !== undefined && this.documents.get(entry.id) === entry;
  }

  /** Makes documents be there no more. */
  async #kill(entries: readonly Entry[]): Promise<void> {
    const rows: number[] = [];
    for (const entry of entries) {
      if (!entry.alive) continue;
      entry.alive = false;
      if (this.documents.get(entry.id) === entry) this.documents.delete(entry.id);
      for (let row = entry.row; row < entry.row + entry.passages; row++) rows.push(row);
    }
    for (const row of rows) this.removed.push(row);
    if (rows.length > 0) await this.#collection.remove(Uint32Array.from(rows));
  }

  /** A document of a new segment, if its rows are not in the scan already. It counts when they are. */
  #take(segment: Segment, index: number): Entry[] {
    const [id, metadata] = segment.entries[index]!;
    const old = this.documents.get(id);
    if (old && isSame(old, segment.hash(index))) {
      Object.assign(old, { metadata, segment, index });
      return [];
    }
    const passages = segment.passagesOf(index)[1];
    const entry: Entry = { id, metadata, segment, index, row: this.rows.length, passages, alive: true };
    for (let p = 0; p < passages; p++) this.rows.push(entry);
    return [entry];
  }

  async #append(entries: readonly Entry[]): Promise<void> {
    for await (const { first, rows } of this.#blocks(entries)) {
      if ((await this.#collection.append(rows)) !== first) throw new EmbedletError("runtime-crashed", "The scan numbers its rows otherwise.");
      this.#appended = first + rows.length / this.made.rowBytes;
    }
  }

  /** All rows once more, with their old numbers. Nothing is left of the removed: zeros stand for them. */
  async #restore(collection: Collection): Promise<void> {
    const entries: Entry[] = [];
    for (let row = 0; row < this.#appended; row += this.rows[row]!.passages) entries.push(this.rows[row]!);
    for await (const { rows } of this.#blocks(entries)) await collection.append(rows);
    const dead = entries.filter(({ alive }) => !alive).flatMap(({ row, passages }) => Array.from({ length: passages }, (_, p) => row + p));
    if (dead.length > 0) await collection.remove(Uint32Array.from(dead));
  }

  /** The rows of documents whose rows follow one another. */
  async *#blocks(entries: readonly Entry[]): AsyncGenerator<{ first: number; rows: Uint8Array<ArrayBuffer> }> {
    const { rowBytes } = this.made;
    const rowsOf = new Map<Segment, Uint8Array>();
    for (let from = 0; from < entries.length; ) {
      const first = entries[from]!.row;
      let to = from;
      let count = 0;
      while (to < entries.length && (count === 0 || count + entries[to]!.passages <= BLOCK)) count += entries[to++]!.passages;
      const rows = new Uint8Array(count * rowBytes);
      for (const { segment, index, row, passages, alive } of entries.slice(from, to)) {
        if (!alive) continue;
        if (!rowsOf.has(segment)) rowsOf.set(segment, await segment.rows());
        const [passage] = segment.passagesOf(index);
        rows.set(rowsOf.get(segment)!.subarray(passage * rowBytes, (passage + passages) * rowBytes), (row - first) * rowBytes);
      }
      yield { first, rows };
      from = to;
    }
  }

  dispose(): void {
    this.#collection.dispose();
  }
}

/** Some documents could not be read: they lie elsewhere by now, or are lost. */
export class Unreadable {
  constructor(readonly entries: readonly Entry[]) {}
}

/** Reads something of documents, at once. Throws {@link Unreadable}, with all of those whose bytes are not what was written. */
export async function readAll<T, R>(list: readonly T[], read: (one: T) => Promise<R>, entryOf: (one: T) => Entry): Promise<R[]> {
  const lost = new Set<Entry>();
  const results = await Promise.all(list.map((one) => read(one).catch((error) => {
    if (!isDamage(error)) throw error;
    lost.add(entryOf(one));
    return undefined as never;
  })));
  if (lost.size > 0) throw new Unreadable([...lost]);
  return results;
}

/** Whether a document's vectors are those of `hash`. */
export function isSame({ segment, index }: Entry, hash: Hash): boolean {
  const [a, b] = segment.hash(index);
  return a === hash[0] && b === hash[1];
}

/** Rows of the documents for which `holds`, but for those that were `seen`, as the scan takes them. */
export function bitmapOf(view: View, holds: Predicate | undefined, seen: ReadonlySet<number>): Uint32Array {
  const words = new Uint32Array(Math.ceil(view.rows.length / 32));
  for (const { metadata, row, passages } of view.documents.values()) {
    if (holds && !holds(metadata)) continue;
    for (let r = row; r < row + passages; r++) words[r >> 5]! |= 1 << (r & 31);
  }
  for (const row of seen) words[row >> 5]! &= ~(1 << (row & 31));
  return words;
}
