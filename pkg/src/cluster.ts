// `embedlet/cluster`: near duplicates, communities and clusters of vectors that are already there. What is as large as the product of all
// vectors with each other comes in blocks from the encoder's device; the rest is little and happens here. No vector is made here.

import { checkNames, invalid, isCount } from "./arguments.js";
import type { Encoder } from "./encoder.js";
import type { Rows } from "./multi.js";
import { pause } from "./pause.js";
import type { CallOptions } from "./types.js";

/** Vectors, row after row, such as `embed` gives. */
export interface VectorRows {
  /** All values, a multiple of `dimensions` of them, all finite. */
  readonly data: Float32Array;
  /** Of each vector. */
  readonly dimensions: number;
}

/** What compares: any encoder, whatever model the vectors are of. */
export type Comparer = Pick<Encoder, "maxSim">;

/** Two vectors that are alike: `i < j`. */
export interface Pair {
  /** Their cosine, -1 to 1. */
  score: number;
  /** The number of the first, from 0. */
  i: number;
  /** The number of the second. */
  j: number;
}

/** Options of `paraphraseMining`. */
export interface MiningOptions extends CallOptions {
  /** Neighbours of each vector that are looked at. Default 100. */
  topK?: number;
  /** Most pairs of the result. Default 500,000. */
  maxPairs?: number;
  /** Least cosine of a pair. Default: any. */
  threshold?: number;
}

/** Options of `communityDetection`. */
export interface CommunityOptions extends CallOptions {
  /** Least cosine with the centre. Default 0.75. */
  threshold?: number;
  /** Fewest vectors of a community. Default 10. */
  minCommunitySize?: number;
}

/** Options of `kMeans`. */
export interface KMeansOptions extends CallOptions {
  /** How many clusters. */
  clusters: number;
  /** Of the random numbers that choose the first centres. Default 0; the same seed gives the same clusters. */
  seed?: number;
  /** The first centres, instead of random ones. */
  init?: VectorRows;
  /** Most rounds of assigning vectors and moving centres. Default 300. */
  maxIterations?: number;
  /** Stops where centres moved by less than this, as a share of the mean variance of the columns. Default 1e-4. */
  tolerance?: number;
}

/** Clusters of vectors. */
export interface Clusters {
  /** The cluster of each vector. */
  labels: Uint32Array;
  /** The mean of each cluster's vectors, row after row. */
  centers: Float32Array;
  /** The sum of the squared distances of the vectors to their centres. */
  inertia: number;
  /** Rounds that it took. */
  iterations: number;
}

/** What goes along with every call; progress is that of the whole. */
type Call = Pick<CallOptions, "signal">;
const callOf = ({ signal }: CallOptions): Call => (signal ? { signal } : {});

/** Rows and columns of a tile of scores. */
const SIDE = 2048;
/** Centres whose members are in memory at once. */
const CENTERS = 64;

/**
 * The pairs of vectors with the highest cosines, highest first: near duplicates. Equal scores stand in the order of their numbers.
 * Source of the procedure: `paraphrase_mining_embeddings` of sentence-transformers.
 */
export async function paraphraseMining(encoder: Comparer, vectors: VectorRows, options: MiningOptions = {}): Promise<Pair[]> {
  checkNames("paraphraseMining", options, ["topK", "maxPairs", "threshold", "signal", "onProgress"]);
  const { topK = 100, maxPairs = 500_000, threshold = -Infinity } = options;
  if (!isCount(topK) || !isCount(maxPairs)) throw invalid("`topK` and `maxPairs` must be positive whole numbers.");
  if (typeof threshold !== "number" || Number.isNaN(threshold)) throw invalid("`threshold` must be a number.");
  const rows = normalized(read(vectors));
  const count = rows.counts.length;
  let pairs = new Map<number, Pair>();
  const best = () => [...pairs.values()].sort((a, b) => b.score - a.score || a.i - b.i || a.j - b.j).slice(0, maxPairs);
  let least = threshold;
  for (let from = 0; from < count; from += SIDE) {
    const until = Math.min(count, from + SIDE);
    const tops = Array.from({ length: until - from }, () => new Top(topK, least));
    for await (const { first, last, scores } of tiles(encoder, slice(rows, from, until), rows, callOf(options))) {
      for (const [at, top] of tops.entries()) top.add(scores.subarray(at * (last - first), (at + 1) * (last - first)), first, from + at);
    }
    for (const [at, top] of tops.entries()) {
      for (const { score, row } of top.best()) {
        const [i, j] = from + at < row ? [from + at, row] : [row, from + at];
        // Either may be among the nearest of the other alone.
        if (!pairs.has(i * count + j)) pairs.set(i * count + j, { score, i, j });
      }
      if (pairs.size < 2 * maxPairs) continue;
      const kept = best();
      least = Math.max(least, kept.at(-1)!.score);
      pairs = new Map(kept.map((pair) => [pair.i * count + pair.j, pair]));
    }
    options.onProgress?.({ done: until, total: count });
  }
  return best();
}

/**
 * Groups of vectors that are near one of them, largest first; the first of each is its centre, the others follow by their cosine with
 * it. No vector is in two. Source of the procedure: `community_detection` of sentence-transformers.
 */
export async function communityDetection(encoder: Comparer, vectors: VectorRows, options: CommunityOptions = {}): Promise<number[][]> {
  checkNames("communityDetection", options, ["threshold", "minCommunitySize", "signal", "onProgress"]);
  const { threshold = 0.75, minCommunitySize = 10 } = options;
  if (!Number.isFinite(threshold) || !isCount(minCommunitySize)) {
    throw invalid("`threshold` must be a number, and `minCommunitySize` a positive whole number.");
  }
  const rows = normalized(read(vectors));
  const count = rows.counts.length;
  const least = Math.fround(threshold);
  // Sizes first and members later, and those only of centres that nobody has taken: all members could be as many as all scores.
  const sizes = new Uint32Array(count);
  for (let from = 0; from < count; from += SIDE) {
    const until = Math.min(count, from + SIDE);
    for await (const { first, last, scores } of tiles(encoder, slice(rows, from, until), rows, callOf(options))) {
      for (const [at, score] of scores.entries()) if (score >= least) sizes[from + Math.floor(at / (last - first))]!++;
    }
    options.onProgress?.({ done: until, total: count });
  }
  const centers = Array.from(sizes.keys()).filter((i) => sizes[i]! >= minCommunitySize).sort((a, b) => sizes[b]! - sizes[a]! || a - b);
  const taken = new Uint8Array(count);
  const communities: number[][] = [];
  for (let next = 0; next < centers.length;) {
    const some: number[] = [];
    while (next < centers.length && some.length < CENTERS) {
      const center = centers[next++]!;
      if (!taken[center]) some.push(center);
    }
    const tops = some.map((center) => new Top(sizes[center]!, least));
    for await (const { first, last, scores } of tiles(encoder, pick(rows, some), rows, callOf(options))) {
      for (const [at, top] of tops.entries()) top.add(scores.subarray(at * (last - first), (at + 1) * (last - first)), first);
    }
    for (const [at, center] of some.entries()) {
      if (taken[center]) continue;
      const members = tops[at]!.best().map(({ row }) => row).filter((row) => !taken[row]);
      if (members.length < minCommunitySize) continue;
      const community = [center, ...members.filter((row) => row !== center)];
      for (const row of community) taken[row] = 1;
      communities.push(community);
    }
  }
  return communities.sort((a, b) => b.length - a.length);
}

/**
 * Lloyd's algorithm: each vector is in the cluster whose centre is nearest, each centre is the mean of its vectors. First centres are
 * drawn far from each other (k-means++, Arthur and Vassilvitskii 2007). A cluster that runs empty takes the vector farthest from its centre.
 */
export async function kMeans(encoder: Comparer, vectors: VectorRows, options: KMeansOptions): Promise<Clusters> {
  checkNames("kMeans", options, ["clusters", "seed", "init", "maxIterations", "tolerance", "signal", "onProgress"]);
  const { clusters, seed = 0, init, maxIterations = 300, tolerance = 1e-4 } = options;
  const call = callOf(options);
  const rows = read(vectors);
  const { data, dimensions } = rows;
  const count = rows.counts.length;
  if (!isCount(clusters) || clusters > count) throw invalid(`\`clusters\` must be a whole number from 1 to ${count}, the number of vectors.`);
  if (!isCount(maxIterations) || typeof tolerance !== "number" || !(tolerance >= 0) || !Number.isFinite(seed)) throw invalid("`maxIterations`, `tolerance` or `seed` is no fitting number.");
  let centers = init ? read(init).data.slice() : await spread(encoder, rows, clusters, seed, call);
  if (centers.length !== clusters * dimensions || (init && init.dimensions !== dimensions)) throw invalid(`\`init\` must be ${clusters} vectors of ${dimensions} dimensions.`);
  const least = tolerance * variance(rows);
  let assigned = await assign(encoder, rows, centers, call);
  let iterations = 0;
  for (;;) {
    const { labels, distances } = assigned;
    const next = means(rows, labels, distances, clusters);
    let moved = 0;
    for (let at = 0; at < next.length; at++) moved += (next[at]! - centers[at]!) ** 2;
    centers = next;
    assigned = await assign(encoder, rows, centers, call);
    iterations++;
    options.onProgress?.({ done: iterations, total: maxIterations });
    const settled = moved <= least || assigned.labels.every((label, i) => label === labels[i]);
    if (settled || iterations === maxIterations) break;
  }
  return { labels: assigned.labels, centers, inertia: inertia(data, dimensions, centers, assigned.labels), iterations };
}

/** The nearest centre of each vector, the first of equals, and the squared distance to it. */
async function assign(encoder: Comparer, rows: Rows, centers: Float32Array, call: Call): Promise<Assigned> {
  const count = rows.counts.length;
  const of = asRows(centers, rows.dimensions);
  const [lengths, own] = [squares(of), squares(rows)];
  const [labels, distances] = [new Uint32Array(count), new Float64Array(count)];
  for (let from = 0; from < count; from += SIDE) {
    const until = Math.min(count, from + SIDE);
    const dots = await compared(encoder, of, slice(rows, from, until), call);
    for (let i = from; i < until; i++) {
      let [label, best] = [0, Infinity];
      for (let center = 0; center < lengths.length; center++) {
        const distance = lengths[center]! - 2 * dots[center * (until - from) + i - from]!;
        if (distance < best) [label, best] = [center, distance];
      }
      labels[i] = label;
      distances[i] = Math.max(0, best + own[i]!);
    }
  }
  return { labels, distances };
}

interface Assigned {
  labels: Uint32Array;
  distances: Float64Array;
}

/** The first centres: each next one is drawn by the squared distance to the nearest there is. */
async function spread(encoder: Comparer, rows: Rows, clusters: number, seed: number, call: Call): Promise<Float32Array> {
  const { data, dimensions } = rows;
  const count = rows.counts.length;
  const random = generator(seed);
  const nearest = new Float64Array(count).fill(Infinity);
  const centers = new Float32Array(clusters * dimensions);
  let chosen = Math.floor(random() * count);
  for (let cluster = 0; cluster < clusters; cluster++) {
    const center = data.subarray(chosen * dimensions, (chosen + 1) * dimensions);
    centers.set(center, cluster * dimensions);
    const { distances } = await assign(encoder, rows, center, call);
    let sum = 0;
    for (let i = 0; i < count; i++) sum += nearest[i] = Math.min(nearest[i]!, distances[i]!);
    // Where all that is left is a centre already, any will do.
    let left = random() * sum;
    chosen = nearest.findIndex((distance) => (left -= distance) < 0);
    if (chosen < 0) chosen = Math.floor(random() * count);
  }
  return centers;
}

function means({ data, dimensions }: Rows, labels: Uint32Array, distances: Float64Array, clusters: number): Float32Array {
  const sums = new Float64Array(clusters * dimensions);
  const sizes = new Uint32Array(clusters);
  const add = (i: number, cluster: number, sign: number) => {
    sizes[cluster]! += sign;
    for (let c = 0; c < dimensions; c++) sums[cluster * dimensions + c]! += sign * data[i * dimensions + c]!;
  };
  for (const [i, label] of labels.entries()) add(i, label, 1);
  const far = sizes.includes(0) ? Array.from(labels.keys()).sort((a, b) => distances[b]! - distances[a]! || a - b) : [];
  for (const cluster of sizes.keys()) {
    if (sizes[cluster]! > 0) continue;
    const moved = far.shift()!;
    add(moved, labels[moved]!, -1);
    add(moved, cluster, 1);
  }
  return Float32Array.from(sums, (sum, at) => sum / (sizes[Math.floor(at / dimensions)]! || 1));
}

function inertia(data: Float32Array, dimensions: number, centers: Float32Array, labels: Uint32Array): number {
  let sum = 0;
  for (const [i, label] of labels.entries()) {
    for (let c = 0; c < dimensions; c++) sum += (data[i * dimensions + c]! - centers[label * dimensions + c]!) ** 2;
  }
  return sum;
}

/** The mean over the columns. */
function variance({ data, dimensions, counts: { length: count } }: Rows): number {
  let sum = 0;
  for (let c = 0; c < dimensions; c++) {
    let [mean, square] = [0, 0];
    for (let at = c; at < data.length; at += dimensions) mean += data[at]! / count;
    for (let at = c; at < data.length; at += dimensions) square += (data[at]! - mean) ** 2 / count;
    sum += square;
  }
  return sum / dimensions;
}

/** Numbers from 0 to 1: a linear congruence of 2³² (Numerical Recipes), of which the upper bits are used. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) / 2 ** 24;
  };
}

/** The scores of rows with others. What is little is made on this thread, which answers to others, and to an abort, in between. */
async function compared(encoder: Comparer, rows: Rows, others: Rows, call: Call): Promise<Float32Array> {
  if (typeof encoder?.maxSim !== "function") throw invalid("Vectors are compared by an `encoder`, as `Encoder.load` gives it.");
  await pause();
  return encoder.maxSim(rows, others, call);
}

/** Every row's scores with all others, a tile of columns at a time. */
async function* tiles(encoder: Comparer, rows: Rows, others: Rows, call: Call) {
  const count = others.counts.length;
  for (let first = 0; first < count; first += SIDE) {
    const last = Math.min(count, first + SIDE);
    yield { first, last, scores: await compared(encoder, rows, slice(others, first, last), call) };
  }
}

/** The highest scores of a row from `least` on, the first of equals first. */
class Top {
  #found: { score: number; row: number }[] = [];
  #bar: number;

  constructor(private readonly most: number, least: number) {
    this.#bar = least;
  }

  /** Scores of the rows from `first` on. */
  add(scores: Float32Array, first: number, except = -1): void {
    for (const [at, score] of scores.entries()) {
      if (!(score >= this.#bar) || first + at === except) continue;
      this.#found.push({ score, row: first + at });
      if (this.#found.length < 2 * this.most) continue;
      this.#found = this.best();
      this.#bar = this.#found.at(-1)!.score;
    }
  }

  best(): { score: number; row: number }[] {
    return this.#found.sort((a, b) => b.score - a.score || a.row - b.row).slice(0, this.most);
  }
}

/** Vectors as texts of one vector each, which is how an encoder compares them. */
function read(vectors: VectorRows): Rows {
  const { data, dimensions } = vectors ?? {};
  if (!(data instanceof Float32Array) || !isCount(dimensions) || data.length % dimensions !== 0) {
    throw invalid("The vectors must be a result of `embed`, or `{ data, dimensions }` with a Float32Array of whole rows.");
  }
  if (!data.every(Number.isFinite)) throw invalid("The vectors hold numbers that are not finite.");
  return asRows(data, dimensions);
}

function asRows(data: Float32Array, dimensions: number): Rows {
  return { data, dimensions, counts: new Uint32Array(data.length / dimensions).fill(1) };
}

const slice = ({ data, dimensions }: Rows, from: number, until: number) => asRows(data.subarray(from * dimensions, until * dimensions), dimensions);

function pick({ data, dimensions }: Rows, rows: readonly number[]): Rows {
  const picked = new Float32Array(rows.length * dimensions);
  for (const [at, row] of rows.entries()) picked.set(data.subarray(row * dimensions, (row + 1) * dimensions), at * dimensions);
  return asRows(picked, dimensions);
}

/** Rows of length 1; rows of zeros stay what they are. */
function normalized(rows: Rows): Rows {
  const lengths = squares(rows).map(Math.sqrt);
  return { ...rows, data: rows.data.map((value, at) => value / (lengths[Math.floor(at / rows.dimensions)]! || 1)) };
}

function squares({ data, dimensions, counts }: Rows): Float64Array {
  const sums = new Float64Array(counts.length);
  for (let at = 0; at < data.length; at++) sums[Math.floor(at / dimensions)]! += data[at]! ** 2;
  return sums;
}
