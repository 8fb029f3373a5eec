// Documents in a file: what is read when the index is opened, and what is read when it is wanted. A segment is written once; documents that
// are removed later are marked so by the manifest.

import { xxh32 } from "../xxh32.js";
import { checked, damaged, frame, isDamage, isSize, layout, parsed, readFile, Reads, unframe, type At, type Bytes } from "./file.js";
import { checkMetadata } from "./metadata.js";
import type { IndexStorage } from "./storage.js";
import type { Metadata } from "./types.js";

/** Numbers of a document's record: bytes and checksum of its text, the two of its content's hash, passages, flags. */
const RECORD = 6;
/** Of a passage's: where it starts and ends, the checksum of its vector. */
const PLACE = 3;
/** The flag of a document that came with a vector. */
const GIVEN = 1;

/** The parts of a file, in their order. The first four are read, and checked, as a whole. */
const EAGER = ["entries", "records", "places", "rows"] as const;
const LAZY = ["texts", "vectors"] as const;

/** How rows and vectors are stored. */
export interface Shape {
  dimensions: number;
  rowBytes: number;
  /** Whether there are float32 vectors beside the rows. */
  vectors: boolean;
}

/** What a manifest says of a segment. */
export interface SegmentRef {
  name: string;
  bytes: number;
  /** Of the header. */
  checksum: number;
}

/** Where a passage is in its text, in UTF-16 units. */
export interface Place {
  start: number;
  end: number;
}

/** What a document is: what its passages and their vectors were made from, hashed. */
export type Hash = readonly [number, number];

/** A document that is new. */
export interface Fresh {
  id: string;
  metadata: Metadata | null;
  hash: Hash;
  /** Whether its vector came with it. */
  given: boolean;
  text: string;
  passages: readonly Place[];
  rows: Bytes;
  vectors: Float32Array<ArrayBuffer>;
}

/** A document that lies in a segment already, perhaps with other metadata. */
export interface Kept {
  id: string;
  metadata: Metadata | null;
  segment: Segment;
  index: number;
}

export class Segment {
  readonly documents: number;
  readonly passages: number;
  /** The first passage of each document, and of the one behind the last. */
  readonly #firstPassage: Float64Array;
  readonly #firstByte: Float64Array;
  /** Kept from the opening for the one who puts them into the scan. */
  #rows: Bytes | undefined;
  /** Of the file as it was opened: readable for as long as nobody deletes it. */
  readonly #reads: Reads;

  private constructor(
    readonly storage: IndexStorage,
    file: Blob,
    readonly ref: SegmentRef,
    readonly shape: Shape,
    readonly entries: readonly (readonly [string, Metadata | null])[],
    readonly records: Uint32Array<ArrayBuffer>,
    readonly places: Uint32Array<ArrayBuffer>,
    rows: Bytes,
    readonly at: Record<(typeof EAGER | typeof LAZY)[number], At>,
  ) {
    const { name } = ref;
    this.#reads = new Reads(name, file);
    this.documents = entries.length;
    this.passages = places.length / PLACE;
    this.#rows = rows;
    this.#firstPassage = new Float64Array(this.documents + 1);
    this.#firstByte = new Float64Array(this.documents + 1);
    for (let i = 0; i < this.documents; i++) {
      this.#firstPassage[i + 1] = this.#firstPassage[i]! + this.#number(i, 4);
      this.#firstByte[i + 1] = this.#firstByte[i]! + this.#number(i, 0);
      if (this.#number(i, 4) === 0) throw damaged(name);
    }
    if (this.#firstPassage.at(-1) !== this.passages || this.#firstByte.at(-1) !== at.texts[1]) throw damaged(name);
    for (let p = 0; p < this.passages; p++) {
      const { start, end } = this.place(p);
      if (start > end) throw damaged(name);
    }
  }

  /** Reads what is needed of a segment before documents are wanted, and all that the search is made of. */
  static open(storage: IndexStorage, ref: SegmentRef, shape: Shape): Promise<Segment> {
    const { name } = ref;
    return readFile(storage, name, async (file) => {
      if (file.size !== ref.bytes) throw damaged(name);
      const { header, checksum, body } = await unframe(name, file);
      if (checksum !== ref.checksum || header.kind !== "segment") throw damaged(name);
      const { documents, passages, dimensions, rowBytes, vectors } = header;
      if (!isSize(documents) || !isSize(passages)) throw damaged(name);
      if (dimensions !== shape.dimensions || rowBytes !== shape.rowBytes || vectors !== shape.vectors) throw damaged(name);
      const at = layout(name, header.parts, [...EAGER, ...LAZY], body, file.size);
      const numbers = 4 * (RECORD * documents + PLACE * passages);
      const floats = shape.vectors ? 4 * shape.dimensions * passages : 0;
      if (at.records[1] + at.places[1] !== numbers || at.places[1] !== 4 * PLACE * passages) throw damaged(name);
      if (at.rows[1] !== shape.rowBytes * passages || at.vectors[1] !== floats) throw damaged(name);
      const [entries, records, places, rows] = await Promise.all(EAGER.map(async (part) => checked(name, file, ...at[part])));
      const numbersOf = (bytes: Bytes | undefined) => new Uint32Array(bytes!.buffer);
      return new Segment(storage, file, ref, shape, entriesOf(name, entries!, documents), numbersOf(records), numbersOf(places), rows!, at);
    });
  }

  /** The passages of a document: number of the first, and how many. */
  passagesOf(index: number): [first: number, count: number] {
    return [this.#firstPassage[index]!, this.#number(index, 4)];
  }

  place(passage: number): Place {
    return { start: this.places[PLACE * passage]!, end: this.places[PLACE * passage + 1]! };
  }

  hash(index: number): Hash {
    return [this.#number(index, 2), this.#number(index, 3)];
  }

  isGiven(index: number): boolean {
    return (this.#number(index, 5) & GIVEN) !== 0;
  }

  /** All rows. They are not kept in memory beside the scan's own: but for the first time, they are read again. */
  async rows(): Promise<Bytes> {
    const held = this.#rows;
    this.#rows = undefined;
    return held ?? this.#read(...this.at.rows);
  }

  /** Lets go of what {@link rows} was to be given. */
  release(): void {
    this.#rows = undefined;
  }

  async text(index: number): Promise<string> {
    const bytes = await this.#read(this.at.texts[0] + this.#firstByte[index]!, this.#number(index, 0), this.#number(index, 1));
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
  }

  async vector(passage: number): Promise<Float32Array> {
    const bytes = 4 * this.shape.dimensions;
    const found = await this.#read(this.at.vectors[0] + bytes * passage, bytes, this.places[PLACE * passage + 2]!);
    const vector = new Float32Array(found.buffer);
    if (!vector.every(Number.isFinite)) throw damaged(this.ref.name);
    return vector;
  }

  /** The part of the file that has the texts, or the vectors, of some documents in a row. */
  async range(part: (typeof LAZY)[number], from: number, to: number): Promise<Blob> {
    const [start] = this.at[part];
    const scale = part === "texts" ? 1 : 4 * this.shape.dimensions;
    const first = part === "texts" ? this.#firstByte : this.#firstPassage;
    return this.#whole(async (file) => file.slice(start + scale * first[from]!, start + scale * first[to]!));
  }

  /** Throws where the file is not there any more as it was opened. */
  async verify(): Promise<void> {
    await this.#whole((file) => checked(this.ref.name, file, ...this.at.rows));
  }

  #whole<T>(read: (file: Blob) => Promise<T>): Promise<T> {
    const { name, bytes } = this.ref;
    return readFile(this.storage, name, (file) => {
      if (file.size !== bytes) throw damaged(name);
      return read(file);
    });
  }

  #number(index: number, field: number): number {
    return this.records[RECORD * index + field]!;
  }

  #read(start: number, bytes: number, checksum: number): Promise<Bytes> {
    const { name } = this.ref;
    return this.#reads.checked(start, bytes, checksum).catch((error) => {
      if (!isDamage(error)) throw error;
      return readFile(this.storage, name, (file) => checked(name, file, start, bytes, checksum));
    });
  }
}

function entriesOf(name: string, bytes: Bytes, documents: number): [string, Metadata | null][] {
  const entries = parsed(name, bytes);
  if (!Array.isArray(entries) || entries.length !== documents) throw damaged(name);
  for (const entry of entries as unknown[]) {
    const fits = Array.isArray(entry) && entry.length === 2 && typeof entry[0] === "string";
    if (!fits || checkMetadata(entry[1]) !== undefined) throw damaged(name);
  }
  return entries;
}

/** Makes the file of a segment. What lies in other segments is copied as it is, with its checksums; rows are read, and checked. */
export async function makeSegment(documents: readonly (Fresh | Kept)[], shape: Shape): Promise<{ file: Blob; checksum: number }> {
  const rowsOf = new Map<Segment, Bytes>();
  const records: number[] = [];
  const places: number[] = [];
  const rows: Bytes[] = [];
  const texts: BlobPart[] = [];
  const vectors: BlobPart[] = [];
  for (const [i, document] of documents.entries()) {
    if (!("segment" in document)) {
      const text = new TextEncoder().encode(document.text);
      const width = shape.dimensions;
      records.push(text.length, xxh32(text), ...document.hash, document.passages.length, document.given ? GIVEN : 0);
      document.passages.forEach(({ start, end }, p) => {
        const vector = document.vectors.slice(p * width, (p + 1) * width);
        places.push(start, end, shape.vectors ? xxh32(new Uint8Array(vector.buffer)) : 0);
      });
      rows.push(document.rows);
      texts.push(text);
      if (shape.vectors) vectors.push(document.vectors);
      continue;
    }
    const { segment, index } = document;
    if (!rowsOf.has(segment)) rowsOf.set(segment, await segment.rows());
    const [first, count] = segment.passagesOf(index);
    const all = segment.records.subarray(RECORD * index, RECORD * (index + 1));
    records.push(...all);
    for (let p = PLACE * first; p < PLACE * (first + count); p++) places.push(segment.places[p]!);
    rows.push(rowsOf.get(segment)!.subarray(shape.rowBytes * first, shape.rowBytes * (first + count)));
    // Neighbours are copied in one piece.
    if (isNext(documents[i - 1], document)) continue;
    let end = i + 1;
    while (isNext(documents[end - 1], documents[end])) end++;
    const to = index + end - i;
    texts.push(await segment.range("texts", index, to));
    if (shape.vectors) vectors.push(await segment.range("vectors", index, to));
  }
  const eager = [
    new TextEncoder().encode(JSON.stringify(documents.map(({ id, metadata }) => [id, metadata]))),
    new Uint8Array(Uint32Array.from(records).buffer),
    new Uint8Array(Uint32Array.from(places).buffer),
    new Uint8Array(await new Blob(rows).arrayBuffer()),
  ];
  const lazy = [new Blob(texts), new Blob(vectors)];
  const parts = Object.fromEntries([
    ...EAGER.map((part, i) => [part, [eager[i]!.length, xxh32(eager[i]!)]]),
    ...LAZY.map((part, i) => [part, [lazy[i]!.size]]),
  ]);
  const counts = { documents: documents.length, passages: places.length / PLACE };
  return frame({ kind: "segment", ...counts, ...shape, parts }, [...eager, ...lazy]);
}

function isNext(a: Fresh | Kept | undefined, b: Fresh | Kept | undefined): boolean {
  return a !== undefined && b !== undefined && "segment" in a && "segment" in b && a.segment === b.segment && a.index + 1 === b.index;
}
