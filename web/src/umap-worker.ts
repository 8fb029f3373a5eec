// The worker of `umap.ts`: gets neighbours and places, says how far it is, and gives the places to which umap-js moved them.

import { UMAP } from "umap-js";
import type { Near } from "./umap.js";

self.onmessage = ({ data: { near: { size, indices, distances }, places } }: MessageEvent<{ near: Near; places: Float32Array }>) => {
  const count = places.length / 2;
  const random = randomNumbers();
  const points = Array.from({ length: count }, (_, point) => [point * size, (point + 1) * size] as const);
  // Its own number of rounds falls with the texts; with 200 at 10,000, fewer neighbours are kept.
  const umap = new UMAP({ random, nNeighbors: size, nEpochs: count <= 10_000 ? 500 : 200 });
  umap.setPrecomputedKNN(points.map((range) => [...indices.subarray(...range)]), points.map((range) => [...distances.subarray(...range)]));
  const rounds = umap.initializeFit(points.map(() => [])); // with neighbours given, it asks of the rows only how many they are
  const moved = umap.getEmbedding();
  const spread = places.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1;
  // What it moves starts anywhere; here it starts from `places`, with a little noise: points in one place would have no direction in which to part.
  moved.forEach((place, point) => {
    for (const axis of [0, 1]) place[axis] = (10 * places[2 * point + axis]!) / spread + 1e-3 * (random() - 0.5);
  });
  for (let round = 1; round <= rounds; round++) {
    umap.step();
    postMessage(round / rounds);
  }
  postMessage(Float32Array.from(moved.flat()));
};

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
