// From the vectors of one model to those of another, by a map that turns and mirrors: with pairs of unit vectors x, y of the same texts, the
// matrix W with orthonormal rows or columns for which the sum of |Wx - y|² is least. That is the orthogonal Procrustes problem, whose
// solution is the polar factor of the sum of yxᵀ (Schönemann, Psychometrika 31, 1966). Its arithmetic, and its file; what it is for is
// `migrate.ts`'s.

import { EmbedletError } from "../errors.js";
import { pause } from "../pause.js";
import { xxh32 } from "../xxh32.js";
import { checked, damaged, frame, layout, readFile, unframe } from "./file.js";
import { compare } from "./identity.js";
import type { StoredMap } from "./manifest.js";
import type { SegmentRef } from "./segment.js";
import type { IndexStorage } from "./storage.js";
import type { MapQuality } from "./types.js";

/** Most numbers of a matrix. */
const MOST = 2 ** 24;
/** One pair of so many is kept from the fit, to be measured by. */
const HELD_OUT = 5;
/** Of what a query finds, what is compared. */
const NEAREST = 10;
/** Most texts that are queries of the measurement. */
const QUERIES = 400;
/** Singular values below this share of the largest are what the pairs say nothing of. */
const LEAST = 1e-8;

/** A matrix, row after row. */
export interface Matrix {
  rows: number;
  columns: number;
  data: Float64Array;
}

/** Vectors of the same texts, of two models, each row after row. */
export interface Pairs {
  from: Float32Array;
  to: Float32Array;
  /** Of texts. */
  count: number;
}

/** The file of a map, its matrix in float32. */
export function makeMap({ rows, columns, data }: Matrix, quality: MapQuality): { file: Blob; checksum: number } {
  const matrix = new Uint8Array(Float32Array.from(data).buffer);
  return frame({ kind: "map", rows, columns, quality, parts: { matrix: [matrix.length, xxh32(matrix)] } }, [matrix]);
}

export function readMap(storage: IndexStorage, ref: SegmentRef, rows: number, columns: number): Promise<StoredMap> {
  const { name } = ref;
  return readFile(storage, name, async (file) => {
    if (file.size !== ref.bytes) throw damaged(name);
    const { header, checksum, body } = await unframe(name, file);
    const { matrix: at } = layout(name, header.parts, ["matrix"], body, file.size);
    const shaped = header.kind === "map" && header.rows === rows && header.columns === columns && at[1] === 4 * rows * columns;
    const { sample, cosine, agreement } = (header.quality ?? {}) as Partial<MapQuality>;
    if (checksum !== ref.checksum || !shaped || ![sample, cosine, agreement].every(Number.isFinite)) throw damaged(name);
    const data = Float64Array.from(new Float32Array((await checked(name, file, ...at)).buffer));
    if (!data.every(Number.isFinite)) throw damaged(name);
    return { ref, matrix: { rows, columns, data }, quality: { sample, cosine, agreement } as MapQuality };
  });
}

/** Fits the map to four fifths of the pairs, and measures it by the others. */
export async function fitMap({ from, to, count }: Pairs, signal: AbortSignal | undefined): Promise<{ map: Matrix; quality: MapQuality }> {
  const [rows, columns] = [to.length / count, from.length / count];
  if (rows * columns > MOST) throw new EmbedletError("limit-exceeded", `A map may have ${MOST} numbers, not ${columns} × ${rows}.`);
  const x = units(from, columns);
  const y = units(to, rows);
  const fitted = [...Array(count).keys()].filter((i) => i % HELD_OUT !== 0);
  const turned = { data: chosen(y, rows, fitted), by: [1, rows] } as const;
  const data = await product(turned, chosen(x, columns, fitted), [rows, fitted.length, columns], signal);
  const map = await polarFactor({ rows, columns, data }, signal);
  return { map, quality: await measure(map, x, y, count, signal) };
}

/** A query of the new model as one of the old: Wᵀq, whose product with x is that of q with Wx. */
export function mapQuery({ rows, columns, data }: Matrix, query: Float32Array): Float32Array {
  const mapped = new Float64Array(columns);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) mapped[c]! += query[r]! * data[r * columns + c]!;
  }
  return Float32Array.from(mapped);
}

/**
 * The nearest matrix with orthonormal rows or columns, by the iteration of Newton and Schulz, X ← ρX(3 - ρ²XᵀX)/2 (Higham, Functions of
 * Matrices, 2008, chapter 8). With singular values in [l, 1], ρ² = 3 / (1 + l + l²) lifts the least the most that leaves none above 1;
 * near 3 it would take the largest to zero, where they lose their digits.
 */
export async function polarFactor(matrix: Matrix, signal: AbortSignal | undefined): Promise<Matrix> {
  // Of the two products of the matrix and its transpose the small one is needed.
  if (matrix.rows < matrix.columns) return transposed(await polarFactor(transposed(matrix), signal));
  const { rows, columns } = matrix;
  const norm = Math.sqrt(matrix.data.reduce((sum, value) => sum + value * value, 0));
  if (!(norm > 0)) return matrix;
  let x = matrix.data.map((value) => value / norm);
  for (let least = LEAST; least < 1 - 1e-12; ) {
    const rho = Math.sqrt(Math.min(3 / (1 + least + least * least), 2.5));
    const lifted = (value: number) => 0.5 * rho * value * (3 - rho * rho * value * value);
    const gram = await product({ data: x, by: [1, columns] }, x, [columns, rows, columns], signal);
    const next = await product({ data: x, by: [columns, 1] }, gram, [rows, columns, columns], signal);
    x = next.map((value, i) => 0.5 * rho * (3 * x[i]! - rho * rho * value));
    least = Math.min(1, lifted(least), lifted(1));
  }
  return { rows, columns, data: x };
}

/** The product of two matrices. `by` is how far apart neighbours of the first are, in a column and in a row: it may lie transposed. */
async function product(
  { data, by: [down, right] }: { data: Float64Array; by: readonly [number, number] },
  other: Float64Array,
  [rows, inner, columns]: readonly [number, number, number],
  signal: AbortSignal | undefined,
): Promise<Float64Array> {
  const result = new Float64Array(rows * columns);
  for (let r = 0; r < rows; r++) {
    const sum = result.subarray(r * columns, (r + 1) * columns);
    let k = 0;
    // Four rows at once, for a sum is read and written once for all of them.
    for (; k + 4 <= inner; k += 4) {
      const [at, from] = [r * down + k * right, k * columns];
      const [p, q, s, t] = [data[at]!, data[at + right]!, data[at + 2 * right]!, data[at + 3 * right]!];
      for (let c = 0, i = from; c < columns; c++, i++) {
        sum[c]! += p * other[i]! + q * other[i + columns]! + s * other[i + 2 * columns]! + t * other[i + 3 * columns]!;
      }
    }
    for (; k < inner; k++) for (let c = 0; c < columns; c++) sum[c]! += data[r * down + k * right]! * other[k * columns + c]!;
    if (r % 16 === 15) await turn(signal);
  }
  return result;
}

/** How near mapped vectors are to those of the new model, and how far both find the same, all of texts that the map was not fitted to. */
async function measure(map: Matrix, x: Float64Array, y: Float64Array, count: number, signal: AbortSignal | undefined): Promise<MapQuality> {
  const heldOut = [...Array(count).keys()].filter((i) => i % HELD_OUT === 0);
  const { rows, columns, data } = transposed(map);
  const from = { data: chosen(x, rows, heldOut), by: [rows, 1] } as const;
  const mapped = Float32Array.from(await product(from, data, [heldOut.length, rows, columns], signal));
  const own = Float32Array.from(chosen(y, columns, heldOut));
  // Of few, all but half would be found by chance.
  const most = Math.min(NEAREST, Math.floor((heldOut.length - 1) / 2));
  let [cosine, common, wanted] = [0, 0, 0];
  for (let i = 0; i < heldOut.length; i++) {
    const query = own.subarray(i * columns, (i + 1) * columns);
    cosine += compare(query, mapped.subarray(i * columns, (i + 1) * columns), "cosine")[0]!;
    if (i >= QUERIES) continue;
    const right = new Set(nearestTo(query, own, i, most));
    common += nearestTo(query, mapped, i, most).filter((other) => right.has(other)).length;
    wanted += most;
    await turn(signal);
  }
  return { sample: count, cosine: cosine / heldOut.length, agreement: wanted > 0 ? common / wanted : 0 };
}

/** The nearest rows, but for one. */
function nearestTo(query: Float32Array, vectors: Float32Array, without: number, most: number): number[] {
  const scores = compare(query, vectors, "cosine");
  return [...scores.keys()].filter((i) => i !== without).sort((a, b) => scores[b]! - scores[a]! || a - b).slice(0, most);
}

/** Some rows, one after another. */
function chosen(vectors: Float64Array, width: number, rows: readonly number[]): Float64Array {
  const some = new Float64Array(rows.length * width);
  rows.forEach((from, i) => some.set(vectors.subarray(from * width, (from + 1) * width), i * width));
  return some;
}

/** Rows of length 1; zeros stay zeros. */
function units(vectors: Float32Array, width: number): Float64Array {
  const scaled = new Float64Array(vectors.length);
  for (let at = 0; at < vectors.length; at += width) {
    const row = Float64Array.from(vectors.subarray(at, at + width));
    const length = Math.sqrt(row.reduce((sum, value) => sum + value * value, 0)) || 1;
    scaled.set(row.map((value) => value / length), at);
  }
  return scaled;
}

function transposed({ rows, columns, data }: Matrix): Matrix {
  return { rows: columns, columns: rows, data: data.map((_, i) => data[(i % rows) * columns + Math.floor(i / rows)]!) };
}

/** Lets others have their turn. */
async function turn(signal: AbortSignal | undefined): Promise<void> {
  await pause();
  signal?.throwIfAborted();
}
