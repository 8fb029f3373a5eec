// Comparisons of vectors, against numbers worked out by hand.

import assert from "node:assert/strict";
import { test } from "node:test";
import { sources } from "./bundle.mjs";

const { Embeddings, similarity } = sources;
const of = (...rows) => new Embeddings(Float32Array.from(rows.flat()), rows[0].length, new Uint32Array(rows.length), new Uint8Array(rows.length));

test("each similarity, every row with every row", () => {
  const a = of([3, 4], [0, 0]);
  const b = of([4, 3], [6, 8], [-3, -4]);
  const near = (found, expected) => found.forEach((value, i) => assert.ok(Math.abs(value - expected[i]) < 1e-6, `${[...found]}`));
  near(similarity(a, b, "cosine"), [24 / 25, 1, -1, 0, 0, 0]);
  near(similarity(a, b, "dot"), [24, 50, -25, 0, 0, 0]);
  near(similarity(a, b, "euclidean"), [-Math.SQRT2, -5, -10, -5, -10, -5]);
  near(similarity(a, b, "manhattan"), [-2, -7, -14, -7, -14, -7]);
  assert.throws(() => similarity(a, of([1]), "dot"), { code: "invalid-argument" });
});
