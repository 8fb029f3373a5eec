// Near duplicates, communities and clusters, against what sentence-transformers and scikit-learn found in the same vectors.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { sources } from "./bundle.mjs";

const { communityDetection, kMeans, maxSim, paraphraseMining } = sources;
const golden = JSON.parse(readFileSync(new URL("../../tests/golden/clusters.json", import.meta.url), "utf8"));
const bytes = Uint8Array.from(Buffer.from(golden.vectors, "base64"));
const vectors = { data: new Float32Array(bytes.buffer), dimensions: golden.dimensions };

/** Compares on this thread; what is many products too. */
const calls = [];
const encoder = {
  maxSim(queries, documents, options) {
    options.signal?.throwIfAborted();
    calls.push(queries.counts.length * documents.counts.length);
    return maxSim(queries, documents, async ({ data, dimensions, counts, queries }) => {
      const rows = Array.from(counts, (_, row) => data.subarray(row * dimensions, (row + 1) * dimensions));
      const dot = (a, b) => a.reduce((sum, value, c) => sum + value * b[c], 0);
      return Float32Array.from(rows.slice(queries).flatMap((row) => rows.slice(0, queries).map((query) => dot(query, row))));
    });
  },
};

/** Numbers from -1 to 1. */
function random(count, seed = 1) {
  let state = seed;
  return Float32Array.from({ length: count }, () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 31 - 1);
}

test("paraphraseMining finds the pairs of sentence-transformers", async () => {
  const found = await paraphraseMining(encoder, vectors, { topK: 4, maxPairs: 150 });
  const scores = new Map(golden.pairs.map(([score, i, j]) => [`${i} ${j}`, score]));
  assert.deepEqual(found.map(({ i, j }) => `${i} ${j}`).sort(), [...scores.keys()].sort());
  for (const [at, { score, i, j }] of found.entries()) {
    assert.ok(Math.abs(score - scores.get(`${i} ${j}`)) < 1e-6 && (at === 0 || found[at - 1].score >= score));
  }
  const some = await paraphraseMining(encoder, vectors, { topK: 4, maxPairs: 150, threshold: 0.955 });
  assert.deepEqual(some, found.filter(({ score }) => score >= 0.955));
});

test("communityDetection finds the communities of sentence-transformers", async () => {
  for (const { threshold, minCommunitySize, found } of golden.communities) {
    assert.deepEqual(await communityDetection(encoder, vectors, { threshold, minCommunitySize }), found, `${threshold}`);
  }
});

test("kMeans comes to where scikit-learn comes from the same centres", async () => {
  const { clusters, labels, inertia, iterations } = golden.kMeans;
  const first = vectors.data.subarray(0, clusters * vectors.dimensions);
  const near = first.map((value, at) => first[at % vectors.dimensions] + Math.fround(Math.fround(0.01) * value));
  const init = { data: near, dimensions: vectors.dimensions };
  const found = await kMeans(encoder, vectors, { clusters, init, tolerance: 0 });
  assert.deepEqual([...found.labels], labels);
  assert.ok(Math.abs(found.inertia / inertia - 1) < 1e-6);
  assert.ok(found.iterations >= iterations - 1 && iterations > 5, `${found.iterations} of ${iterations}`);
  for (let cluster = 0; cluster < clusters; cluster++) {
    const own = labels.flatMap((label, i) => (label === cluster ? [i] : []));
    const mean = own.reduce((sum, i) => sum + vectors.data[i * vectors.dimensions], 0) / own.length;
    assert.ok(Math.abs(found.centers[cluster * vectors.dimensions] - mean) < 1e-6);
  }
});

test("kMeans starts by itself, the same way for the same seed, and no cluster stays empty", async () => {
  const run = (seed) => kMeans(encoder, vectors, { clusters: 12, seed });
  const [first, again, other] = [await run(1), await run(1), await run(2)];
  assert.deepEqual(first, again);
  assert.notDeepEqual(first.labels, other.labels);
  assert.equal(new Set(first.labels).size, 12);
  assert.equal((await kMeans(encoder, vectors, { clusters: 12, maxIterations: 1 })).iterations, 1);
  // Two far points and a cluster too many for the places of the rest.
  const twins = { data: Float32Array.of(0, 0, 0, 0, 9, 9, 9, 9, 100), dimensions: 1 };
  const init = { data: Float32Array.of(0, 0, 9), dimensions: 1 };
  const { labels, inertia } = await kMeans(encoder, twins, { clusters: 3, init });
  assert.deepEqual([new Set(labels).size, inertia], [3, 0]);
});

test("more vectors than a tile has rows", async () => {
  const [count, dimensions] = [2500, 3];
  const many = { data: random(count * dimensions), dimensions };
  const unit = many.data.map((value, at) => {
    const row = many.data.subarray(at - (at % dimensions), at - (at % dimensions) + dimensions);
    return value / Math.hypot(...row);
  });
  const score = (i, j) => Math.fround(unit[3 * i] * unit[3 * j] + unit[3 * i + 1] * unit[3 * j + 1] + unit[3 * i + 2] * unit[3 * j + 2]);
  const expected = [];
  const near = new Uint32Array(count).fill(1);
  for (let i = 0; i < count; i++) {
    for (let j = i + 1; j < count; j++) {
      const own = score(i, j);
      if (own >= 0.999) near[i]++, near[j]++;
      if (own > 0.9999) expected.push([own, i, j]);
    }
  }
  expected.sort((a, b) => b[0] - a[0]);
  const found = await paraphraseMining(encoder, many, { topK: 50, maxPairs: 100, threshold: 0.9999 });
  assert.equal(found.length, 100);
  for (const [at, { score: own, i, j }] of found.entries()) {
    assert.ok(Math.abs(own - expected[at][0]) < 1e-6 && i < j && Math.abs(score(i, j) - own) < 1e-6);
  }
  assert.equal(new Set(found.map(({ i, j }) => i * count + j)).size, 100);
  const communities = await communityDetection(encoder, many, { threshold: 0.999, minCommunitySize: 3 });
  const members = communities.flat();
  assert.ok(members.some((i) => i > 2048) && new Set(members).size === members.length);
  for (const [center, ...others] of communities) {
    assert.ok(others.every((i) => score(center, i) >= 0.999 - 1e-6));
    assert.ok(others.every((i, at) => at === 0 || score(center, others[at - 1]) >= score(center, i) - 1e-6), "by their cosine");
  }
  assert.equal(communities[0].length, Math.max(...near));
  assert.ok(Math.max(...calls) <= 2048 * 2048);
});

test("a timer's turn comes, and with it an abort", async () => {
  const abort = new AbortController();
  setTimeout(() => abort.abort(), 1);
  const many = { data: random(3000 * 8), dimensions: 8 };
  const options = { clusters: 50, tolerance: 0, maxIterations: 1e6, signal: abort.signal };
  await assert.rejects(kMeans(encoder, many, options), { name: "AbortError" });
});

test("nothing, zeros, progress, aborts, and what is no vectors", async () => {
  const none = { data: new Float32Array(), dimensions: 3 };
  assert.deepEqual([await paraphraseMining(encoder, none), await communityDetection(encoder, none)], [[], []]);
  const zeros = { data: new Float32Array(6), dimensions: 3 };
  assert.deepEqual(await paraphraseMining(encoder, zeros), [{ score: 0, i: 0, j: 1 }]);
  const seen = [];
  await communityDetection(encoder, vectors, { onProgress: (event) => seen.push(event) });
  assert.deepEqual(seen, [{ done: 400, total: 400 }]);
  const refused = (code, work) => assert.rejects(work, (error) => error.code === code || error.name === code);
  await refused("AbortError", paraphraseMining(encoder, vectors, { signal: AbortSignal.abort() }));
  for (const wrong of [null, {}, { data: [1], dimensions: 1 }, { data: new Float32Array(4), dimensions: 3 }, { data: Float32Array.of(NaN), dimensions: 1 }]) {
    await refused("invalid-argument", paraphraseMining(encoder, wrong));
    await refused("invalid-argument", kMeans(wrong, vectors, { clusters: 1 }));
  }
  for (const options of [{ topK: 0 }, { maxPairs: 1.5 }, { k: 1 }, { threshold: NaN }]) await refused("invalid-argument", paraphraseMining(encoder, vectors, options));
  for (const options of [{ threshold: NaN }, { minCommunitySize: 0 }]) await refused("invalid-argument", communityDetection(encoder, vectors, options));
  for (const options of [{ clusters: 0 }, { clusters: 401 }, { clusters: 2, tolerance: -1 }, { clusters: 2, init: vectors }, undefined,
    { clusters: 2, init: { data: new Float32Array(2 * vectors.dimensions), dimensions: 2 * vectors.dimensions } }]) {
    await refused("invalid-argument", kMeans(encoder, vectors, options));
  }
});
