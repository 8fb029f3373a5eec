// Comparisons of vectors, against numbers worked out by hand.

import assert from "node:assert/strict";
import { test } from "node:test";
import { sources } from "./bundle.mjs";

const { Embeddings, similarity } = sources;
const of = (...rows) => new Embeddings({ data: Float32Array.from(rows.flat()), dimensions: rows[0].length, tokens: new Uint32Array(rows.length), truncated: new Uint8Array(rows.length) });

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

test("bytes and bits are those of sentence-transformers", () => {
  // quantize_embeddings of sentence-transformers 6.2.0, of these rows.
  const rows = [
    [1.789, 0.437, 0.096, -1.863, -0.277, -0.355, -0.083, 0.25, -0.044, -0.477],
    [-1.314, 0.885, 0.881, 1.71, 0.05, -0.405, -0.545, 0.25, 0.982, -1.101],
    [-1.185, -0.206, 1.486, 0.237, -1.024, -0.713, 0.625, 0.25, -0.769, -0.23],
    [0.745, 1.976, -1.244, -0.626, -0.804, -2.419, -0.924, 0.25, 1.124, -0.132],
    [-1.623, 0.647, -0.356, -1.743, -0.597, -0.589, -0.874, 0.25, -2.248, -0.268],
  ];
  const all = of(...rows);
  const bytes = all.quantize("int8");
  assert.deepEqual(Array.from({ length: 5 }, (_, i) => [...bytes.row(i)]), [
    [127, -53, -3, -128, 49, 127, 10, -128, 38, 36],
    [-105, -1, 70, 127, 127, 120, -66, -128, 116, -128],
    [-96, -128, 127, 21, -128, 82, 127, -128, -17, 101],
    [48, 127, -128, -40, -76, -128, -128, -128, 127, 127],
    [-128, -29, -46, -120, -27, 98, -120, -128, -128, 91],
  ]);
  assert.deepEqual([...all.quantize("binary").data], [97, -128, -7, 0, -77, -128, 65, 0, -63, -128]);
  const ranges = { lowest: new Float32Array(10).fill(-1), highest: new Float32Array(10).fill(1) };
  assert.deepEqual([...of(rows[0]).quantize("int8", ranges).data], [127, 55, 11, -128, -36, -46, -12, 31, -7, -62]);
  assert.deepEqual([...of(rows[1]).quantize("int8", bytes.ranges).data], [...bytes.row(1)]);
  for (const wrong of [() => of(rows[0]).quantize("int8"), () => all.quantize("int4"), () => all.quantize("int8", { lowest: [], highest: [] }), () => all.quantize("int8", null), () => bytes.row(5)]) {
    assert.throws(wrong, { code: "invalid-argument" });
  }
});
