// A migration whose queries are answered by a map of the stored vectors, until all texts are embedded again.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import MiniSearch from "minisearch";
import { sources } from "./bundle.mjs";
import { fakeEncoder, faultyStorage, random } from "./search-fakes.mjs";

const { EmbedletError, SearchIndex, commits, frame, makeMap, memoryStorage, polarFactor, readMap } = sources;
const open = (options = {}) => SearchIndex.open({ name: "notes", encoder: fakeEncoder(), storage: "memory", ...options });
const ids = (hits) => hits.map(({ id }) => id);
const refused = (code) => (error) => error instanceof EmbedletError && error.code === code;

before(() => (commits.passages = 16));
after(() => (commits.passages = 256));

const matrixOf = (rows, columns, seed, value = (next) => next() - 0.5) => {
  const next = random(seed);
  return { rows, columns, data: Float64Array.from({ length: rows * columns }, () => value(next)) };
};
const at = ({ columns, data }, r, c) => data[r * columns + c];
const times = (a, b) => ({
  rows: a.rows,
  columns: b.columns,
  data: Float64Array.from({ length: a.rows * b.columns }, (_, i) => {
    const [r, c] = [Math.floor(i / b.columns), i % b.columns];
    let sum = 0;
    for (let k = 0; k < a.columns; k++) sum += at(a, r, k) * at(b, k, c);
    return sum;
  }),
});
const transposed = (a) => ({ rows: a.columns, columns: a.rows, data: Float64Array.from(a.data, (_, i) => at(a, i % a.rows, Math.floor(i / a.rows))) });
const apart = (a, b) => Math.max(...a.data.map((value, i) => Math.abs(value - b.data[i])));
const identity = (n) => ({ rows: n, columns: n, data: Float64Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0)) });

/** An encoder whose vectors are those of another, turned. Its prompts say that it is one of its own. */
function turned(by, options = {}) {
  const encoder = fakeEncoder(options);
  const inner = encoder.embedDocuments;
  encoder.info = { ...encoder.info, dimensions: by.rows, architecture: "turned" };
  encoder.embedDocuments = async (texts, { signal } = {}) => {
    const { data } = await inner(texts, { signal });
    const rows = times({ rows: data.length / by.columns, columns: by.columns, data }, transposed(by));
    const all = Float32Array.from(rows.data);
    return { data: all, row: (i) => all.subarray(i * by.rows, (i + 1) * by.rows) };
  };
  encoder.embedQuery = (text, options) => encoder.embedDocuments(text, options).finally(() => encoder.embedded.pop());
  return encoder;
}

const WORDS = Array.from({ length: 200 }, (_, i) => `w${i}`);
function corpus(count, seed = 1) {
  const next = random(seed);
  const text = () => Array.from({ length: 1 + Math.floor(next() * 11) }, () => WORDS[Math.floor(next() * WORDS.length)]).join(" ");
  return Array.from({ length: count }, (_, i) => ({ id: `d${i}`, text: text(), metadata: { n: i } }));
}

test("the polar factor: orthonormal, nearest, and for any shape and rank", async () => {
  for (const [rows, columns] of [[1, 1], [5, 5], [24, 16], [16, 24], [3, 40]]) {
    const rotation = await polarFactor(matrixOf(rows, columns, 3));
    const least = Math.min(rows, columns);
    const gram = rows < columns ? times(rotation, transposed(rotation)) : times(transposed(rotation), rotation);
    assert.ok(apart(gram, identity(least)) < 1e-11, `${rows} × ${columns}`);
    assert.ok(apart(await polarFactor(rotation), rotation) < 1e-11);
    // A rotation times what is symmetric and positive has the rotation as its factor, however the scales differ.
    const root = times(matrixOf(columns, columns, 5), { ...identity(columns), data: identity(columns).data.map((one, i) => one * 10 ** -(3 * (i % columns) / columns)) });
    if (rows >= columns) assert.ok(apart(await polarFactor(times(rotation, times(root, transposed(root)))), rotation) < 1e-6);
    // No other orthonormal matrix has a larger product with the matrix.
    const matrix = matrixOf(rows, columns, 7);
    const trace = (a, b) => a.data.reduce((sum, value, i) => sum + value * b.data[i], 0);
    const best = trace(await polarFactor(matrix), matrix);
    for (let seed = 10; seed < 30; seed++) assert.ok(trace(await polarFactor(matrixOf(rows, columns, seed)), matrix) <= best + 1e-12);
  }
  const narrow = await polarFactor(times(matrixOf(12, 4, 1), matrixOf(4, 9, 2)));
  const projection = times(transposed(narrow), narrow);
  assert.ok(apart(times(projection, projection), projection) < 1e-6, "what nothing is known of is mapped to nothing");
  assert.deepEqual((await polarFactor({ rows: 2, columns: 2, data: new Float64Array(4) })).data, new Float64Array(4));
});

test("a model that is another one turned is mapped exactly: its queries find what the old one's do", async () => {
  for (const [rows, options] of [[16, {}], [24, {}], [16, { rescore: false }], [16, { precision: "float32" }]]) {
    const rotation = await polarFactor(matrixOf(rows, 16, 11));
    const [old, other] = [fakeEncoder(), turned(rotation)];
    const index = await open({ encoder: old, lexical: () => new MiniSearch({ fields: ["text"] }), ...options });
    await index.add(corpus(200));
    const queries = ["w1 w2 w3", "w77", "w100 w5"];
    const expected = await Promise.all(queries.map((query) => index.search(query)));
    const events = [];
    const checks = [];
    const onProgress = (event) => {
      events.push(event);
      if (event.map || checks.length > 3) return;
      assert.deepEqual(index.stats().map, events[0].map);
      assert.ok(old.collections[0].isDisposed(), "the old encoder is done with");
      checks.push(...queries.map(async (query, i) => {
        const hits = await index.search(query);
        // The rows of the index are those of the old model still, or those of the new one already.
        hits.forEach((hit, k) => assert.ok(Math.abs(hit.score - expected[i][k].score) < 0.02));
        if (options.rescore !== false) assert.deepEqual(ids(hits), ids(expected[i]));
        return ids(await index.search(query, { hybrid: true, topK: 5 })).length;
      }));
    };
    const quality = await index.migrate(other, { map: true, onProgress });
    assert.deepEqual(events[0].map, quality);
    assert.ok(quality.cosine > (options.rescore === false ? 0.9999 : 1 - 1e-6), `${quality.cosine}`);
    assert.ok(quality.agreement > (options.rescore === false ? 0.95 : 0.999), `${quality.agreement}`);
    assert.ok(events.length > 3 && events.slice(1).every(({ map }) => map === undefined));
    assert.deepEqual(await Promise.all(checks), checks.map(() => 5));
    assert.equal(index.stats().dimensions, rows);
    assert.equal(index.stats().map, undefined);
    if (options.rescore !== false) assert.deepEqual(ids(await index.search(queries[0])), ids(expected[0]));
  }
});

test("a model that has nothing to do with it has a bad map, and may be refused for it", async () => {
  const storage = faultyStorage();
  const old = fakeEncoder({ dimensions: 64 });
  const index = await open({ encoder: old, storage });
  await index.add(corpus(300));
  const expected = await index.search("w1 w2");
  const other = fakeEncoder({ dimensions: 48, seed: 5 });
  const abort = new AbortController();
  let quality;
  const onProgress = ({ map }) => {
    quality = map;
    if (map.agreement < 0.6) abort.abort(new Error("too bad"));
  };
  await assert.rejects(index.migrate(other, { map: { sample: 200 }, signal: abort.signal, onProgress }), /too bad/);
  assert.ok(quality.sample >= 190 && quality.sample <= 201 && quality.cosine < 0.6 && quality.agreement < 0.5, JSON.stringify(quality));
  assert.deepEqual(await index.search("w1 w2"), expected, "the old model answers");
  assert.equal(index.stats().map, undefined);
  await assert.rejects(open({ encoder: other, storage }), refused("index-mismatch"));
  await index.add({ id: "new", text: "w9" });
  assert.equal(index.stats().documents, 301);
});

test("after a crash the new encoder alone opens the index, and ends the migration", async () => {
  const storage = faultyStorage();
  const rotation = await polarFactor(matrixOf(24, 16, 11));
  const documents = corpus(120);
  const first = await open({ storage });
  await first.add(documents);
  const expected = ids(await first.search("w3 w4 w5"));
  const abort = new AbortController();
  let events = 0;
  const [quality] = await Promise.all([new Promise((resolve) => {
    const onProgress = ({ map }) => {
      if (map) resolve(map);
      if (++events === 3) abort.abort(new Error("gone"));
    };
    first.migrate(turned(rotation), { map: true, model: "turned@1", precision: "binary", signal: abort.signal, onProgress }).catch(() => {});
  })]);
  while (!abort.signal.aborted) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.deepEqual(ids(await first.search("w3 w4 w5")), expected);

  const encoder = turned(rotation);
  const index = await open({ encoder, storage });
  const still = await open({ storage: storage.tab() });
  assert.deepEqual(ids(await index.search("w3 w4 w5")), expected);
  assert.deepEqual(ids(await index.search((await encoder.embedQuery("w3 w4 w5")).row(0))), expected);
  await assert.rejects(index.search(new Float32Array(16)), refused("invalid-argument"));
  assert.deepEqual(index.stats().map, quality);
  assert.equal(index.stats().dimensions, 16);
  for (const change of [() => index.add({ id: "x", text: "w1" }), () => index.update({ id: "d1", text: "w1" }), () => index.add({ id: "x", vector: new Float32Array(24) })]) {
    await assert.rejects(change, (error) => error.code === "index-mismatch" || error.code === "invalid-argument");
  }
  await index.update({ id: "d1", metadata: { n: -1 } });
  await index.remove("d2");
  await index.compact();
  await still.add({ id: "other", text: "w3 w4 w5" });
  assert.equal((await index.search("w3 w4 w5"))[0].id, "other", "the old model's tabs may add");
  encoder.collections.at(-1).lose();
  assert.equal((await index.search("w3 w4 w5"))[0].id, "other");

  // Another tab with the new encoder ends it, and this one follows.
  const ending = turned(rotation);
  const last = await open({ encoder: ending, storage: storage.tab(), precision: "binary", model: "turned@1" });
  const before = ending.embedded.length;
  assert.deepEqual(await last.migrate(ending, { map: true }), quality);
  assert.ok(ending.embedded.length - before < last.stats().passages, "what was done is not done again, nor is the sample");
  const { map, precision, model, dimensions, documents: count } = last.stats();
  assert.deepEqual([map, precision, model, dimensions, count], [undefined, "binary", "turned@1", 24, 120]);
  assert.equal((await index.search("w3 w4 w5"))[0].id, "other");
  assert.deepEqual([index.stats().dimensions, index.stats().map], [24, undefined]);
  await index.add({ id: "x", text: "w1" });
  assert.equal((await last.search("w1", { topK: 200 })).length, 121);
  await assert.rejects(still.search("w1"), refused("index-mismatch"));
  assert.deepEqual([...storage.files.keys()].filter((name) => name.startsWith("map")), [], "the map goes with the old vectors");
});

test("open with `migrate` ends a migration by a map at once", async () => {
  const storage = faultyStorage();
  const rotation = await polarFactor(matrixOf(24, 16, 11));
  const first = await open({ storage });
  await first.add(corpus(60));
  const expected = ids(await first.search("w3 w4 w5"));
  const abort = new AbortController();
  const onProgress = ({ map }) => map && abort.abort(new Error("gone"));
  await assert.rejects(first.migrate(turned(rotation), { map: true, signal: abort.signal, onProgress }), /gone/);
  first.close();
  const index = await open({ encoder: turned(rotation), storage, migrate: true });
  const { map, dimensions, documents } = index.stats();
  assert.deepEqual([map, dimensions, documents], [undefined, 24, 60]);
  assert.deepEqual(ids(await index.search("w3 w4 w5")), expected);
  await assert.rejects(open({ storage }), refused("index-mismatch"));
  await assert.rejects(open({ storage: new URL("https://host.example/index/"), migrate: true }), refused("read-only"));
});

test("a map that is damaged, or gone, is fitted again", async () => {
  const rotation = await polarFactor(matrixOf(16, 16, 11));
  for (const spoil of ["flip", "cut", "delete"]) {
    const storage = faultyStorage();
    const first = await open({ storage });
    await first.add(corpus(60));
    const abort = new AbortController();
    const onProgress = ({ map }) => !map && abort.abort(new Error("gone"));
    await assert.rejects(first.migrate(turned(rotation), { map: true, signal: abort.signal, onProgress }), /gone/);
    const name = [...storage.files.keys()].find((name) => name.startsWith("map"));
    const bytes = new Uint8Array(await storage.files.get(name).arrayBuffer());
    bytes[bytes.length - 1] ^= 1;
    if (spoil === "delete") storage.files.delete(name);
    else storage.files.set(name, new Blob([spoil === "flip" ? bytes : bytes.slice(9)]));
    await assert.rejects(open({ encoder: turned(rotation), storage }), refused("index-mismatch"));
    const index = await open({ storage });
    const { cosine } = await index.migrate(turned(rotation), { map: true });
    assert.ok(cosine > 0.9999);
    assert.equal(storage.files.size, index.stats().segments + 1);
  }
});

test("the file of a map is believed only where all of it fits", async () => {
  const quality = { sample: 10, cosine: 0.5, agreement: 0.25 };
  const matrix = matrixOf(4, 3, 1, (next) => Math.fround(next()));
  const read = ({ file, checksum }, rows = 4, columns = 3, bytes = file.size) =>
    readMap(memoryStorage(new Map([["map-1-0", file]])), { name: "map-1-0", bytes, checksum }, rows, columns);
  const { ref: _ref, ...right } = await read(makeMap(matrix, quality));
  assert.deepEqual(right, { matrix, quality });
  const good = makeMap(matrix, quality);
  const wrong = [
    read(good, 3, 4), read(good, 4, 4), read(good, 4, 3, good.file.size + 1), read({ ...good, checksum: good.checksum + 1 }),
    read(makeMap({ ...matrix, data: matrix.data.map((value, i) => (i === 5 ? NaN : value)) }, quality)), read(makeMap(matrix, { ...quality, cosine: "high" })),
    read(makeMap(matrix, undefined)), read(frame({ kind: "segment", rows: 4, columns: 3 })), read(frame({ kind: "map", rows: 2 ** 31, columns: 2 ** 31, quality, parts: { matrix: [2 ** 40, 0] } }), 2 ** 31, 2 ** 31),
  ];
  for (const one of wrong) await assert.rejects(one, refused("index-damaged"));
});

test("what cannot be mapped is refused, and nothing is changed", async () => {
  const index = await open();
  assert.equal(await index.migrate(fakeEncoder({ seed: 1 }), { map: true }), undefined, "nothing to map");
  await index.add(corpus(20));
  for (const map of [{}, { sample: 3 }, { sample: 1e9 }, { sample: 100, more: 1 }, 7, "yes", null]) {
    await assert.rejects(index.migrate(fakeEncoder(), { map }), refused("invalid-argument"), JSON.stringify(map));
  }
  await assert.rejects(index.migrate(fakeEncoder({ similarity: "dot" }), { map: true }), refused("unsupported-option"));
  const same = fakeEncoder({ seed: 1 });
  assert.ok((await index.migrate(same, { map: true })).cosine > 1 - 1e-6, "the same model");
  assert.equal(same.collections.filter((one) => !one.isDisposed()).length, 1);
  await index.add({ id: "mine", vector: new Float32Array(16).fill(1) });
  await assert.rejects(index.migrate(fakeEncoder(), { map: true }), refused("invalid-argument"));
  assert.equal((await index.search("w1", { topK: 99 })).length, 21);
  assert.equal(index.stats().map, undefined);
});
