// The result of an embed call, and how two results are compared. Plain arithmetic on the caller's thread.

import { EmbedletError } from "./errors.js";
import type { Vectors } from "./glue.js";
import { toBits, toBytes, type Quantized, type Ranges } from "./quantize.js";
import type { Similarity } from "./types.js";

/** Vectors of a list of texts, in the order of the texts. */
export class Embeddings {
  /** All vectors, row after row: `count × dimensions` numbers. */
  readonly data: Float32Array;
  /** How many texts there are. */
  readonly count: number;
  /** Of each vector. */
  readonly dimensions: number;
  readonly #tokens: Uint32Array;
  readonly #truncated: Uint8Array;

  /** @internal */
  constructor({ data, dimensions, tokens, truncated }: Vectors) {
    this.data = data;
    this.count = tokens.length;
    this.dimensions = dimensions;
    this.#tokens = tokens;
    this.#truncated = truncated;
  }

  /** The vector of text `i`: a view into `data`. */
  row(i: number): Float32Array {
    const start = this.#checked(i) * this.dimensions;
    return this.data.subarray(start, start + this.dimensions);
  }

  /** Tokens of text `i` that the model read, special tokens included. */
  tokens(i: number): number {
    return this.#tokens[this.#checked(i)] ?? 0;
  }

  /** Whether text `i` was longer than the model reads. */
  truncated(i: number): boolean {
    return this.#truncated[this.#checked(i)] === 1;
  }

  /** The vectors in a byte a dimension (`"int8"`, spread over `ranges`) or a bit a dimension (`"binary"`). */
  quantize(precision: "int8" | "binary", ranges?: Ranges): Quantized {
    if (precision === "int8") return toBytes(this.data, this.dimensions, ranges);
    if (precision === "binary") return toBits(this.data, this.dimensions);
    throw new EmbedletError("invalid-argument", `Vectors are quantised to "int8" or "binary", not to "${String(precision)}".`);
  }

  #checked(i: number): number {
    if (Number.isInteger(i) && i >= 0 && i < this.count) return i;
    throw new EmbedletError("invalid-argument", `There is no text ${String(i)}: ${this.count} were embedded.`);
  }
}

/** The name of a value's class. Other pages (a frame, an extension's background document) have typed arrays of their own. */
export const classOf = (value: unknown): string => Object.prototype.toString.call(value).slice(8, -1);

/** Another entry of the package has a class of its own, so it is not the class that tells. */
export function isEmbeddings(value: unknown): value is Embeddings {
  const { data, count, dimensions, row } = (value ?? {}) as Partial<Embeddings>;
  return classOf(data) === "Float32Array" && Number.isInteger(count) && Number.isInteger(dimensions) && data!.length === count! * dimensions! && typeof row === "function";
}

/** Compares every row of `a` with every row of `b`: `a.count × b.count` numbers, higher is closer. Sums are taken in f64. */
export function similarity(a: Embeddings, b: Embeddings, by: Exclude<Similarity, "maxsim">): Float32Array {
  if (a.dimensions !== b.dimensions) {
    throw new EmbedletError("invalid-argument", `Vectors of ${a.dimensions} and ${b.dimensions} dimensions cannot be compared.`);
  }
  const scores = new Float32Array(a.count * b.count);
  const lengths = by === "cosine" ? Array.from({ length: b.count }, (_, j) => length(b.row(j))) : [];
  for (let i = 0; i < a.count; i++) {
    const row = a.row(i);
    const own = by === "cosine" ? length(row) : 1;
    for (let j = 0; j < b.count; j++) {
      const scale = by === "cosine" ? 1 / (own * (lengths[j] ?? 1) || 1) : 1;
      scores[i * b.count + j] = compare(row, b.row(j), by) * scale;
    }
  }
  return scores;
}

function length(row: Float32Array): number {
  return Math.sqrt(compare(row, row, "dot"));
}

function compare(a: Float32Array, b: Float32Array, by: Exclude<Similarity, "maxsim">): number {
  let sum = 0;
  // The bounds are equal by construction; `?? 0` only satisfies the compiler.
  for (let k = 0; k < a.length; k++) {
    const x = a[k] ?? 0;
    const y = b[k] ?? 0;
    if (by === "euclidean") sum += (x - y) ** 2;
    else if (by === "manhattan") sum += Math.abs(x - y);
    else sum += x * y;
  }
  if (by === "euclidean") return -Math.sqrt(sum);
  return by === "manhattan" ? -sum : sum;
}
