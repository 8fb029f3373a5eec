// Vectors in a byte or a bit a dimension, as `quantize_embeddings` of sentence-transformers makes them.

import { EmbedletError } from "./errors.js";

/** The lowest and the highest value of each dimension, which bytes are spread over. */
export interface Ranges {
  /** A value for every dimension. */
  lowest: Float32Array;
  /** A value for every dimension. */
  highest: Float32Array;
}

/** Vectors of small integers, row after row. */
export class Quantized {
  /** `count` rows: a signed byte a dimension, or eight dimensions a byte, the first in the highest bit, less 128. */
  readonly data: Int8Array;
  /** How many texts there are. */
  readonly count: number;
  /** Of the vectors that were quantised. */
  readonly dimensions: number;
  /** Which of the two they are. */
  readonly precision: "int8" | "binary";
  /** What the bytes were spread over; give it with the next texts, so that their vectors can be compared with these. */
  readonly ranges: Ranges | undefined;

  /** @internal */
  constructor(data: Int8Array, count: number, dimensions: number, ranges?: Ranges) {
    this.data = data;
    this.count = count;
    this.dimensions = dimensions;
    this.precision = ranges ? "int8" : "binary";
    this.ranges = ranges;
  }

  /** The bytes of text `i`: a view into `data`. */
  row(i: number): Int8Array {
    if (!Number.isInteger(i) || i < 0 || i >= this.count) throw new EmbedletError("invalid-argument", `There is no text ${String(i)}: ${this.count} were embedded.`);
    const width = this.data.length / this.count;
    return this.data.subarray(i * width, (i + 1) * width);
  }
}

/** A byte a dimension. Without `ranges` they are those of the vectors themselves, of which there must be several. */
export function toBytes(vectors: Float32Array, dimensions: number, ranges = rangesOf(vectors, dimensions)): Quantized {
  const { lowest, highest } = ranges ?? {};
  if (lowest?.length !== dimensions || highest?.length !== dimensions) {
    throw new EmbedletError("invalid-argument", `\`ranges\` must have ${dimensions} lowest and ${dimensions} highest values.`);
  }
  // Rounded to f32 step by step, as numpy rounds: a value on a border falls on the same side.
  const { fround } = Math;
  const steps = lowest.map((low, k) => fround(fround(highest[k]! - low) / 255) || 1);
  const data = Int8Array.from(vectors, (value, i) => {
    const k = i % dimensions;
    const level = Math.floor(fround(fround(value - lowest[k]!) / steps[k]!));
    return Math.min(Math.max(level, 0), 255) - 128;
  });
  return new Quantized(data, vectors.length / dimensions, dimensions, { lowest, highest });
}

/** A bit a dimension: whether its value is above zero. */
export function toBits(vectors: Float32Array, dimensions: number): Quantized {
  const [count, width] = [vectors.length / dimensions, Math.ceil(dimensions / 8)];
  const data = new Int8Array(count * width).fill(-128);
  for (const [i, value] of vectors.entries()) {
    const k = i % dimensions;
    if (value > 0) data[Math.floor(i / dimensions) * width + (k >> 3)]! += 128 >> (k & 7);
  }
  return new Quantized(data, count, dimensions);
}

function rangesOf(vectors: Float32Array, dimensions: number): Ranges {
  if (vectors.length <= dimensions) {
    throw new EmbedletError("invalid-argument", "The ranges of bytes cannot be taken from a single vector: give `ranges`.");
  }
  const ranges = { lowest: vectors.slice(0, dimensions), highest: vectors.slice(0, dimensions) };
  for (const [i, value] of vectors.entries()) {
    const k = i % dimensions;
    ranges.lowest[k] = Math.min(ranges.lowest[k]!, value);
    ranges.highest[k] = Math.max(ranges.highest[k]!, value);
  }
  return ranges;
}
