// `embedlet/cluster` over a real encoder: what its device finds is what comparing all vectors one by one finds.

import assert from "node:assert/strict";
import { test } from "node:test";
import { browser, open, served, start } from "./harness.mjs";

start();

for (const device of ["wasm", "webgpu"]) {
  test(`pairs, communities and clusters on ${device}`, { timeout: 300_000 }, async () => {
    const page = await open(browser, served);
    const found = await page.evaluate(async (device) => {
      const { communityDetection, kMeans, paraphraseMining } = await import("/pkg/cluster.js");
      const encoder = await embedlet.Encoder.load("/golden/models/bert-mean", { device });
      // More products than are worth the caller's thread: 2,500 rows around 40 places.
      const [count, dimensions] = [2500, 16];
      let state = 1;
      const random = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 31 - 1;
      const places = Float32Array.from({ length: 40 * dimensions }, random);
      const data = Float32Array.from({ length: count * dimensions }, (_, at) => {
        const row = Math.floor(at / dimensions);
        return places[((row * 7) % 40) * dimensions + (at % dimensions)] + 0.05 * random();
      });
      const vectors = { data, dimensions };
      const row = (i) => data.subarray(i * dimensions, (i + 1) * dimensions);
      const dot = (a, b) => a.reduce((sum, value, c) => sum + value * b[c], 0);
      const cosine = (i, j) => dot(row(i), row(j)) / Math.sqrt(dot(row(i), row(i)) * dot(row(j), row(j)));
      const communities = await communityDetection(encoder, vectors, { threshold: 0.95 });
      const pairs = await paraphraseMining(encoder, vectors, { topK: 3, maxPairs: 50 });
      const { labels } = await kMeans(encoder, vectors, { clusters: 40, seed: 3 });
      let best = -1;
      for (let i = 0; i < count; i++) for (let j = i + 1; j < count; j++) best = Math.max(best, cosine(i, j));
      return {
        sizes: communities.map((community) => community.length),
        one: communities.every((community) => new Set(community.map((i) => (i * 7) % 40)).size === 1),
        near: communities.every(([center, ...others]) => others.every((i) => cosine(center, i) > 0.95 - 1e-5)),
        best, first: pairs[0].score,
        exact: pairs.every(({ score, i, j }) => Math.abs(score - cosine(i, j)) < 1e-5),
        // Of rows around one place most are in one cluster.
        pure: labels.reduce((same, label, i) => same + (label === labels[i % 40]), 0) / count,
      };
    }, device);
    assert.deepEqual(found.sizes.slice(0, 40), Array(40).fill(62).fill(63, 0, 20).sort((a, b) => b - a));
    assert.ok(found.one && found.near && found.exact);
    assert.ok(Math.abs(found.best - found.first) < 1e-5, `${found.first} of ${found.best}`);
    assert.ok(found.pure > 0.9, `${found.pure}`);
    await page.close();
  });
}
