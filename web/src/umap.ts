// UMAP, loaded when it is asked for: places in the plane at which near neighbours are near again (McInnes, Healy and Melville, 2018, arXiv
// 1802.03426). All neighbours are compared, on the encoder's device; places are moved here, in slices. Nothing here touches the page.

import type { Encoder } from "embedlet";
import type { Rows } from "./projection.js";

const NEIGHBOURS = 15;
/** 1 / (1 + A d^2B) is near what it should be for places that may come as near as 0.1 to each other: 1 there, and falls off as exp(0.1 - d). */
const A = 1.576943;
const B = 0.8950609;
/** Points that push a point away, for each that pulls. */
const PUSHES = 5;
const STEP_LIMIT = 4;
/** Scores that are compared at once. */
const BLOCK = 1 << 21;
/** Time of a slice, in ms. */
const SLICE_MS = 12;

interface Edge { from: number; to: number; weight: number }
interface Work { signal: AbortSignal; onProgress(share: number): void }

/** Moves `places` (`x, y, x, y, …`), such as principal components, to where neighbours are near. The same input gives the same places. */
export async function umap(encoder: Pick<Encoder, "maxSim">, rows: Rows, places: Float32Array, work: Work): Promise<Float32Array> {
  const count = places.length / 2;
  const near = await neighbours(encoder, rows, Math.min(NEIGHBOURS, count) - 1, work);
  return laidOut(graph(near, count), places, work);
}

/** The nearest rows of each, nearest first, with their distance: 1 less the cosine. */
async function neighbours(encoder: Pick<Encoder, "maxSim">, { data, dimensions }: Rows, most: number, { signal, onProgress }: Work) {
  const count = data.length / dimensions;
  const some = (from: number, to: number) =>
    ({ data: data.subarray(from * dimensions, to * dimensions), dimensions, counts: new Uint32Array(to - from).fill(1) });
  const all = some(0, count);
  const size = Math.max(1, Math.floor(BLOCK / count));
  const found: { to: number; distance: number }[][] = [];
  for (let from = 0; from < count; from += size) {
    const to = Math.min(count, from + size);
    const scores = await encoder.maxSim(some(from, to), all, { signal });
    for (let row = from; row < to; row++) {
      const cosines = scores.subarray((row - from) * count, (row - from + 1) * count);
      const best: { to: number; distance: number }[] = [];
      cosines.forEach((cosine, other) => {
        const distance = Math.max(0, 1 - cosine);
        if (other === row || (best.length === most && !(distance < best[most - 1]!.distance))) return;
        let at = Math.min(best.length, most - 1);
        for (; at > 0 && best[at - 1]!.distance > distance; at--) best[at] = best[at - 1]!;
        best[at] = { to: other, distance };
      });
      found.push(best);
    }
    onProgress((0.3 * to) / count);
  }
  return found;
}

/** How surely two points are neighbours, by the one's or the other's reckoning: each has as many, in sum, as its distances allow. */
function graph(near: { to: number; distance: number }[][], count: number): Edge[] {
  const weights = new Map<number, number>();
  near.forEach((others, from) => {
    const nearest = others.find(({ distance }) => distance > 0)?.distance ?? 0;
    const beyond = others.map(({ distance }) => Math.max(0, distance - nearest));
    const scale = scaleOf(beyond, Math.log2(others.length + 1));
    others.forEach(({ to }, i) => weights.set(from * count + to, Math.exp(-beyond[i]! / scale)));
  });
  return [...weights].flatMap(([pair, weight]) => {
    const [from, to] = [Math.floor(pair / count), pair % count];
    const back = weights.get(to * count + from);
    if (from > to && back !== undefined) return []; // it is there from the other side
    return [{ from, to, weight: weight + (back ?? 0) * (1 - weight) }];
  });
}

/** The scale at which the weights of distances add up to `sum`, as near as they can. */
function scaleOf(distances: number[], sum: number): number {
  let [low, high] = [0, Infinity];
  let scale = 1;
  for (let step = 0; step < 64; step++) {
    const found = distances.reduce((all, distance) => all + Math.exp(-distance / scale), 0);
    if (found > sum) high = scale;
    else low = scale;
    scale = high === Infinity ? scale * 2 : (low + high) / 2;
  }
  // Where all are alike there is no such scale.
  return Math.max(scale, (1e-3 * distances.reduce((all, distance) => all + distance, 0)) / distances.length, 1e-12);
}

/** Pulls the ends of edges together, the oftener the heavier they are, and pushes others away, in steps that become smaller. */
async function laidOut(edges: Edge[], start: Float32Array, { signal, onProgress }: Work): Promise<Float32Array> {
  const count = start.length / 2;
  const rounds = count <= 10_000 ? 500 : 200;
  const random = randomNumbers();
  const spread = start.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1;
  // A little noise: points in one place would have no direction in which to part.
  const places = Float64Array.from(start, (value) => (10 * value) / spread + 1e-3 * (random() - 0.5));
  const heaviest = edges.reduce((most, { weight }) => Math.max(most, weight), 0);
  const pulls = edges.filter(({ weight }) => weight >= heaviest / rounds)
    .map(({ from, to, weight }) => ({ from, to, every: heaviest / weight, next: heaviest / weight }));
  /** Moves a point along its line to another, by so much of their difference; the other moves against it where it is pulled. */
  const move = (point: number, other: number, share: number, rate: number, both: boolean) => {
    for (let axis = 0; axis < 2; axis++) {
      const difference = places[2 * point + axis]! - places[2 * other + axis]!;
      const by = rate * Math.max(-STEP_LIMIT, Math.min(STEP_LIMIT, share * difference));
      places[2 * point + axis]! += by;
      if (both) places[2 * other + axis]! -= by;
    }
  };
  const squared = (a: number, b: number) => (places[2 * a]! - places[2 * b]!) ** 2 + (places[2 * a + 1]! - places[2 * b + 1]!) ** 2;

  let began = performance.now();
  for (let round = 1; round <= rounds; round++) {
    const rate = 1 - (round - 1) / rounds;
    for (const pull of pulls) {
      if (pull.next > round) continue;
      pull.next += pull.every;
      const { from, to } = pull;
      // Both ends are pulled, and both push others away.
      for (const [point, other] of [[from, to], [to, from]] as const) {
        const square = squared(point, other);
        if (square > 0) move(point, other, (-2 * A * B * square ** (B - 1)) / (A * square ** B + 1), rate, true);
        for (let push = 0; push < PUSHES; push++) {
          const stranger = Math.floor(random() * count);
          if (stranger === point) continue;
          const square = squared(point, stranger);
          if (square > 0) move(point, stranger, (2 * B) / ((0.001 + square) * (A * square ** B + 1)), rate, false);
        }
      }
    }
    if (performance.now() - began < SLICE_MS && round < rounds) continue;
    onProgress(0.3 + (0.7 * round) / rounds);
    await new Promise((resolve) => setTimeout(resolve)); // the page stays alive meanwhile
    signal.throwIfAborted();
    began = performance.now();
  }
  return Float32Array.from(places);
}

/** Numbers from 0 to 1, the same each time (xorshift32). */
function randomNumbers(): () => number {
  let state = 0x9e3779b9;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}
