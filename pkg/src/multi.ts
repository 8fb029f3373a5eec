// Results in which a text has several vectors, and how two of them are compared: on the caller's thread, or where the model is.

import { classOf } from "./embeddings.js";
import { EmbedletError } from "./errors.js";
import type { MaxSimRequest } from "./engine.js";
import type { Vectors } from "./glue.js";
import type { Chunk, Tokens } from "./types.js";

/** Vectors of the tokens of a list of texts, in the order of the texts. */
export class MultiVectors {
  /** All vectors, row after row. */
  readonly data: Float32Array;
  /** Of each vector. */
  readonly dimensions: number;
  /** How many vectors each text has. */
  readonly counts: Uint32Array;
  readonly #truncated: Uint8Array;

  /** @internal */
  constructor({ data, dimensions, counts, truncated }: Vectors) {
    if (!counts) throw new EmbedletError("runtime-crashed", "The library gave no vectors.");
    this.data = data;
    this.dimensions = dimensions;
    this.counts = counts;
    this.#truncated = truncated;
  }

  /** How many texts there are. */
  get count(): number {
    return this.counts.length;
  }

  /** The vectors of text `index`, row after row, without a copy. */
  vectors(index: number): Float32Array {
    const count = this.#of(this.counts, index);
    const first = this.counts.subarray(0, index).reduce((sum, count) => sum + count, 0);
    return this.data.subarray(first * this.dimensions, (first + count) * this.dimensions);
  }

  /** Whether text `index` was longer than the model reads. */
  truncated(index: number): boolean {
    return this.#of(this.#truncated, index) === 1;
  }

  #of(values: ArrayLike<number>, index: number): number {
    const value = Number.isInteger(index) ? values[index] : undefined;
    if (value === undefined) throw new EmbedletError("invalid-argument", `There is no text ${String(index)}; there are ${this.count}.`);
    return value;
  }
}

/** The last hidden state of every token of a list of texts: the result of `embed` with `tokens: true`. */
export class TokenVectors extends MultiVectors {
  /** What the vectors of each text are of. Offsets are in the text without its prompt; what is of the prompt has `[0, 0]`. */
  readonly texts: readonly Tokens[];

  /** @internal */
  constructor(vectors: Vectors) {
    super(vectors);
    this.texts = JSON.parse(vectors.details ?? "[]") as Tokens[];
  }
}

/** A vector for every chunk of a list of texts: the result of `embed` with `overflow: "chunk"` and `chunkPooling: "none"`. */
export class ChunkVectors extends MultiVectors {
  /** The chunks of each text. */
  readonly chunks: readonly Chunk[][];

  /** @internal */
  constructor(vectors: Vectors, texts: readonly string[]) {
    super(vectors);
    const places = JSON.parse(vectors.details ?? "[]") as Place[][];
    this.chunks = places.map((list, i) => chunksOf(texts[i]!, list));
  }
}

/** First unit, one past the last, and the tokens of a chunk. */
export type Place = [start: number, end: number, tokens: number];

export function chunksOf(text: string, places: readonly Place[]): Chunk[] {
  return places.map(([start, end, tokens]) => ({ text: text.slice(start, end), start, end, tokens }));
}

/** Multiplications from which on it is the device that compares: the way there takes longer than fewer of them. */
const DEVICE_PRODUCTS = 1 << 24;
/** Bytes of documents that are sent there at once, unless one document has more. */
const PART_BYTES = 16 << 20;

/** Texts of several vectors, of whatever class they are. */
export type Rows = Pick<MultiVectors, "data" | "dimensions" | "counts">;

/** Another entry of the package has a class of its own, so it is not the class that tells. */
export function isRows(value: unknown): value is Rows {
  const { data, dimensions, counts } = (value ?? {}) as Partial<Rows>;
  if (classOf(data) !== "Float32Array" || classOf(counts) !== "Uint32Array" || !Number.isInteger(dimensions)) return false;
  return data!.length === dimensions! * counts!.reduce((sum, count) => sum + count, 0);
}

/** For every vector of a query its best dot product with one of the document's, summed. `onDevice` does the same, a row a document. */
export async function maxSim(
  queries: Rows,
  documents: Rows,
  onDevice: (request: Omit<MaxSimRequest, "model">, first: number) => Promise<Float32Array>,
): Promise<Float32Array> {
  const { dimensions } = queries;
  const count = { queries: queries.counts.length, documents: documents.counts.length };
  if (count.queries > 0 && count.documents > 0 && dimensions !== documents.dimensions) {
    throw new EmbedletError("invalid-argument", `Vectors of ${dimensions} dimensions cannot be compared with vectors of ${documents.dimensions}.`);
  }
  const products = (queries.data.length / dimensions) * documents.data.length;
  if (!(products >= DEVICE_PRODUCTS)) return onHost(queries, documents);
  const scores = new Float32Array(count.queries * count.documents);
  let row = 0;
  for (let first = 0, last = 0; first < count.documents; first = last) {
    let rows = 0;
    do rows += documents.counts[last++]!;
    while (last < count.documents && (rows + documents.counts[last]!) * dimensions * 4 <= PART_BYTES);
    const data = new Float32Array(queries.data.length + rows * dimensions);
    data.set(queries.data);
    data.set(documents.data.subarray(row * dimensions, (row + rows) * dimensions), queries.data.length);
    const counts = Uint32Array.from([...queries.counts, ...documents.counts.subarray(first, last)]);
    const part = await onDevice({ data, dimensions, counts, queries: count.queries }, first);
    for (const [at, score] of part.entries()) {
      scores[(at % count.queries) * count.documents + first + Math.floor(at / count.queries)] = score;
    }
    row += rows;
  }
  return scores;
}

function onHost(queries: Rows, documents: Rows): Float32Array {
  const scores = new Float32Array(queries.counts.length * documents.counts.length);
  const rows = rowsOf(documents);
  for (const [i, query] of rowsOf(queries).entries()) {
    for (const [j, document] of rows.entries()) scores[i * rows.length + j] = score(query, document, queries.dimensions);
  }
  return scores;
}

function rowsOf({ data, dimensions, counts }: Rows): Float32Array[] {
  let at = 0;
  return Array.from(counts, (count) => data.subarray(at, (at += count * dimensions)));
}

function score(query: Float32Array, document: Float32Array, dimensions: number): number {
  let sum = 0;
  for (let q = 0; q < query.length && document.length > 0; q += dimensions) {
    let best = -Infinity;
    for (let d = 0; d < document.length; d += dimensions) {
      let dot = 0;
      for (let c = 0; c < dimensions; c++) dot += query[q + c]! * document[d + c]!;
      best = Math.max(best, dot);
    }
    sum += best;
  }
  return sum;
}
