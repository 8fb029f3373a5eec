// What an index holds, document by document, as it lies in the files. Nobody is kept from writing meanwhile: each document is of one
// commit, that of the moment when it is read, and none comes twice.

import { EmbedletError } from "../errors.js";
import type { Core } from "./core.js";
import type { Bytes } from "./file.js";
import { fits } from "./identity.js";
import type { Made } from "./manifest.js";
import type { Predicate } from "./metadata.js";
import type { Kept, Segment } from "./segment.js";
import type { StoredDocument } from "./types.js";
import { readAll, Unreadable, type Entry } from "./view.js";

/** Passages that are read at once. */
const AT_ONCE = 256;

export interface Reading {
  /** Whether vectors are wanted. */
  vectors: boolean;
  holds: Predicate | undefined;
  signal: AbortSignal | undefined;
}

export type Stored = AsyncGenerator<StoredDocument, void, undefined>;

/** All documents for which `holds`, in the order of the files, so that no part of these is read twice. */
export async function* documents(core: Core, reading: Reading): Stored {
  const { state, made, documents } = await core.current();
  const order = new Map(state.parts.map(({ segment }, i) => [segment, i]));
  const placeOf = ({ segment }: Entry) => order.get(segment) ?? 0;
  const entries = [...documents.values()].sort((a, b) => placeOf(a) - placeOf(b) || a.index - b.index);
  const rows = new Rows();
  for (let at = 0; at < entries.length; ) {
    const ids: string[] = [];
    for (let passages = 0; at < entries.length && (passages === 0 || passages + entries[at]!.passages <= AT_ONCE); at++) {
      passages += entries[at]!.passages;
      ids.push(entries[at]!.id);
    }
    for (const document of await read(core, made, ids, reading, rows)) {
      reading.signal?.throwIfAborted();
      yield document;
    }
  }
}

/** The documents of a segment that stays as it is. */
export async function* documentsOf(segment: Segment, made: Made, { vectors, holds, signal }: Reading): Stored {
  const rows = vectors ? new Rows() : undefined;
  for (const [index, [id, metadata]] of segment.entries.entries()) {
    signal?.throwIfAborted();
    if (!holds || holds(metadata)) yield stored({ id, metadata, segment, index }, made, rows);
  }
}

/** The documents of these names that are there. */
export async function get(core: Core, ids: readonly string[], reading: Reading): Promise<Map<string, StoredDocument>> {
  const { made } = await core.current();
  const found = new Map<string, StoredDocument>();
  const rows = new Rows();
  for (let from = 0; from < ids.length; from += AT_ONCE) {
    for (const one of await read(core, made, ids.slice(from, from + AT_ONCE), reading, rows)) found.set(one.id, one);
  }
  return found;
}

/** Reads documents as they are now. Those that turn out to be damaged are lost, as for a search. */
async function read(core: Core, made: Made, ids: readonly string[], { vectors, holds, signal }: Reading, rows: Rows): Promise<StoredDocument[]> {
  for (;;) {
    signal?.throwIfAborted();
    const view = await core.current();
    const { state } = view;
    if (vectors && !fits(view.made, made)) {
      throw new EmbedletError("index-mismatch", "The index moved to another model while it was read: begin again.");
    }
    const entries = ids.flatMap((id) => view.documents.get(id) ?? []).filter(({ metadata }) => !holds || holds(metadata));
    try {
      return await readAll(entries, (entry) => stored(entry, made, vectors ? rows : undefined), (entry) => entry);
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error;
      await core.recover(view, state, error);
    }
  }
}

/** A document as it lies where it lies now; a commit may move it meanwhile. */
async function stored({ id, metadata, segment, index }: Kept, made: Made, rows: Rows | undefined): Promise<StoredDocument> {
  const [first, count] = segment.passagesOf(index);
  const text = await segment.text(index);
  const passages = Array.from({ length: count }, async (_, p) => {
    if (!rows) return segment.place(first + p);
    const vector = made.vectors ? await segment.vector(first + p) : decoded(made, await rows.of(segment), first + p);
    return { ...segment.place(first + p), vector };
  });
  return { id, text, metadata: structuredClone(metadata), passages: await Promise.all(passages) };
}

/** The vector that a row stands for. */
export function decoded({ precision, dimensions, rowBytes }: Made, rows: Bytes, passage: number): Float32Array {
  const row = rows.slice(passage * rowBytes, (passage + 1) * rowBytes);
  if (precision === "float32") return new Float32Array(row.buffer);
  if (precision === "binary") return Float32Array.from({ length: dimensions }, (_, k) => (row[k >> 3]! & (0x80 >> (k & 7)) ? 1 : -1));
  const scale = new DataView(row.buffer).getFloat32(dimensions, true);
  return Float32Array.from(new Int8Array(row.buffer, 0, dimensions), (code) => code * scale);
}

/** The rows of one segment, the last that was asked for. */
export class Rows {
  #held: { segment: Segment; rows: Promise<Bytes> } | undefined;

  of(segment: Segment): Promise<Bytes> {
    if (this.#held?.segment === segment) return this.#held.rows;
    const held = { segment, rows: segment.rows() };
    this.#held = held;
    held.rows.catch(() => {
      if (this.#held === held) this.#held = undefined;
    });
    return held.rows;
  }
}
