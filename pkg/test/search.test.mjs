// What an index finds, over a stand-in for the encoder and its scan.

import assert from "node:assert/strict";
import { test } from "node:test";
import MiniSearch from "minisearch";
import { sources } from "./bundle.mjs";
import { fakeEncoder, faultyStorage, random } from "./search-fakes.mjs";

const { EmbedletError, SearchIndex, commits, memoryStorage } = sources;
const lexical = () => new MiniSearch({ fields: ["text"] });
const open = (options = {}) => SearchIndex.open({ name: "notes", encoder: fakeEncoder(), storage: "memory", ...options });
const ids = (hits) => hits.map(({ id }) => id);
const refused = (code) => (error) => error instanceof EmbedletError && error.code === code;

const WORDS = "boat bread brake bird river stone cloud music paper glass horse wheel light sugar smoke winter garden letter".split(" ");
/** Documents of one to thirty words. */
function corpus(count, seed = 1) {
  const next = random(seed);
  const pick = (from) => from[Math.floor(next() * from.length)];
  return Array.from({ length: count }, (_, i) => ({
    id: `d${i}`,
    text: Array.from({ length: 1 + Math.floor(next() * 30) }, () => pick(WORDS)).join(" "),
    metadata: { year: 2000 + (i % 30), lang: pick(["en", "de"]) },
  }));
}

/** The same by hand: the best passage of each document, by cosine in float64. */
async function byHand(documents, query, topK, encoder = fakeEncoder()) {
  const q = (await encoder.embedQuery(query)).row(0);
  const cosine = (a, b) => {
    const dot = (x, y) => x.reduce((sum, value, k) => sum + value * y[k], 0);
    return dot([...a], b) / Math.sqrt(dot([...a], a) * dot([...b], b));
  };
  const found = [];
  for (const { id, text } of documents) {
    const chunks = await encoder.chunk(text, { kind: "document" });
    const scores = await Promise.all(chunks.map(async (chunk) => Math.fround(cosine(q, (await encoder.embedDocuments(chunk.text)).row(0)))));
    const best = scores.indexOf(Math.max(...scores));
    found.push({ id, score: scores[best], passage: { start: chunks[best].start, end: chunks[best].end } });
  }
  return found.sort((a, b) => b.score - a.score || (a.id < b.id ? -1 : 1)).slice(0, topK);
}

for (const precision of ["float32", "int8", "binary"]) {
  test(`${precision}: documents by their best passages, as an exhaustive comparison finds them`, async () => {
    const documents = corpus(300);
    // As many as models have some of: with few a bit each says little.
    const encoder = fakeEncoder({ dimensions: 128 });
    const index = await open({ precision, encoder });
    await index.add(documents);
    for (const query of ["boat river", "winter garden letter", "sugar"]) {
      const hits = await index.search(query, { topK: 20 });
      const expected = await byHand(documents, query, 20, encoder);
      assert.deepEqual(ids(hits), ids(expected));
      hits.forEach((hit, i) => {
        // Scores of float32 are the scan's own.
        assert.ok(Math.abs(hit.score - expected[i].score) < 1e-6);
        assert.deepEqual(hit.passage, expected[i].passage);
        assert.equal(hit.text, documents[Number(hit.id.slice(1))].text);
        assert.deepEqual(hit.metadata, documents[Number(hit.id.slice(1))].metadata);
      });
    }
    const all = await index.search("stone", { topK: 1000 });
    assert.equal(all.length, 300);
    assert.equal(new Set(ids(all)).size, 300);
  });
}

test("without stored vectors the scan's own scores are given", async () => {
  const index = await open({ rescore: false });
  await index.add(corpus(50));
  const [best] = await index.search("boat bread", { topK: 1 });
  const rescored = await open();
  await rescored.add(corpus(50));
  const [exact] = await rescored.search("boat bread", { topK: 1 });
  assert.notEqual(best.score, exact.score);
  assert.ok(Math.abs(best.score - exact.score) < 0.02);
});

test("what is added again replaces; an update keeps what it leaves out, and embeds only texts", async () => {
  const encoder = fakeEncoder();
  const index = await open({ encoder });
  await index.add([{ id: "a", text: "boat on the river", metadata: { n: 1 } }, { id: "b", text: "bread and sugar" }]);
  await index.add({ id: "a", text: "smoke over the garden" });
  let [hit] = await index.search("smoke garden");
  assert.deepEqual([hit.id, hit.metadata], ["a", null]);
  assert.equal(index.stats().documents, 2);

  const before = encoder.embedded.length;
  await index.update({ id: "b", metadata: { n: 2 } });
  assert.equal(encoder.embedded.length, before);
  [hit] = await index.search("bread", { filter: { n: 2 } });
  assert.deepEqual([hit.id, hit.text], ["b", "bread and sugar"]);
  await index.update({ id: "b", text: "music of glass" });
  [hit] = await index.search("music", { filter: { n: 2 } });
  assert.deepEqual([hit.id, hit.text], ["b", "music of glass"]);
  await assert.rejects(index.update({ id: "c", text: "x" }), refused("invalid-argument"));

  assert.equal(await index.remove(["b", "b", "none"]), 1);
  assert.equal(await index.remove("none"), 0);
  assert.deepEqual(ids(await index.search("music")), ["a"]);
  assert.deepEqual(await (await open()).search("anything"), []);
});

test("vectors of the caller's own", async () => {
  const encoder = fakeEncoder();
  const index = await open({ encoder });
  const vector = new Float32Array(16).fill(-1);
  await index.add([{ id: "mine", vector }, { id: "named", text: "a long text of more than six words here", vector: vector.map((v, i) => v * i) }]);
  assert.equal(encoder.embedded.length, 1, "the probe alone");
  const hits = await index.search(vector);
  assert.deepEqual(hits.map(({ id, text, passage }) => [id, text, passage.end]), [["mine", "", 0], ["named", "a long text of more than six words here", 39]]);
  assert.ok(Math.abs(hits[0].score - 1) < 1e-6);
  for (const wrong of [new Float32Array(15), new Float32Array(16).fill(NaN), [1, 2]]) {
    await assert.rejects(index.add({ id: "x", vector: wrong }), refused("invalid-argument"));
    await assert.rejects(index.search(wrong), refused("invalid-argument"));
  }
});

test("filters", async () => {
  const index = await open();
  const metadata = {
    a: { lang: "en", year: 2020, tags: ["x", "y"], draft: true },
    b: { lang: "de", year: 2019.5, tags: [] },
    c: { lang: "fr", year: "2020", note: null, nested: { deep: 1 } },
    d: null,
    e: JSON.parse('{"__proto__": "own", "constructor": 5, "a.b": 1}'),
  };
  await index.add(Object.entries(metadata).map(([id, metadata]) => ({ id, text: `text ${id}`, metadata })));
  const cases = [
    [{}, "abcde"],
    [{ lang: "en" }, "a"],
    [{ lang: { $ne: "en" } }, "bcde"],
    [{ year: { $gte: 2019.5, $lt: 2020 } }, "b"],
    [{ year: { $gt: 2019 } }, "ab"],
    [{ year: { $lte: "2020" } }, "c"],
    [{ tags: "x" }, "a"],
    [{ tags: { $in: ["y", "z"] } }, "a"],
    [{ lang: { $in: ["en", "fr"] } }, "ac"],
    [{ lang: { $nin: ["en", "fr"] } }, "bde"],
    [{ lang: { $in: ["en", null] } }, "ade"],
    [{ note: null }, "abcde"],
    [{ note: { $exists: true } }, "c"],
    [{ note: { $exists: false } }, "abde"],
    [{ draft: true }, "a"],
    [{ draft: { $not: { $eq: true } } }, "bcde"],
    [{ draft: { $not: true } }, "bcde"],
    [{ $or: [{ lang: "en" }, { year: { $lt: 2020 } }] }, "ab"],
    [{ $and: [{ lang: "en" }, { year: 2019 }] }, ""],
    [{ $not: { lang: "en" } }, "bcde"],
    [{ $or: [] }, ""],
    [JSON.parse('{"__proto__": "own"}'), "e"],
    [{ constructor: 5 }, "e"],
    [{ constructor: { $exists: true } }, "e"],
    [{ toString: { $exists: true } }, ""],
    [{ "a.b": 1 }, "e"],
  ];
  for (const [filter, expected] of cases) {
    assert.equal(ids(await index.search("text", { filter })).sort().join(""), expected, JSON.stringify(filter));
  }
  assert.equal({}.own, undefined);
  const [e] = await index.search("text", { filter: { "a.b": 1 } });
  assert.equal(Object.getPrototypeOf(e.metadata), Object.prototype);
  assert.deepEqual(Object.keys(e.metadata), ["__proto__", "constructor", "a.b"]);
  let deep = { lang: "en" };
  for (let i = 0; i < 100_000; i++) deep = { $not: deep };
  const wrong = [{ $where: 1 }, { lang: { $regex: "e" } }, { lang: {} }, { lang: ["en"] }, { year: { $gt: NaN } }, { year: { $gt: null } }, { $or: {} }, { $and: [1] },
    { lang: { $in: "en" } }, { lang: { $exists: 1 } }, { lang: { deep: 1 } }, { lang: undefined }, "lang", [], null, deep];
  for (const filter of wrong) await assert.rejects(index.search("text", { filter }), refused("invalid-argument"));
});

test("a filter that lets few through finds all of them", async () => {
  const index = await open({ precision: "binary" });
  await index.add(corpus(300));
  const hits = await index.search("boat", { topK: 50, filter: { year: { $in: [2003] } } });
  assert.equal(hits.length, 10);
  assert.ok(hits.every(({ metadata }) => metadata.year === 2003));
});

test("hybrid: ranks by words and by vectors are summed; what changes is followed", async () => {
  const index = await open({ lexical });
  await index.add([
    { id: "a", text: "boat river boat" },
    { id: "b", text: "the code XK4711 is on the label" },
    { id: "c", text: "bread and sugar, and then much more of it, until XK4712 comes" },
  ]);
  const near = ids(await index.search("XK4711"));
  const [first, ...others] = await index.search("XK4711", { hybrid: true });
  assert.equal(first.id, "b");
  assert.ok(Math.abs(first.score - (1 / 61 + 1 / (61 + near.indexOf("b")))) < 1e-12);
  assert.equal(others.length, 2);
  const [tail] = await index.search("XK4712", { hybrid: true, filter: { n: null } });
  assert.equal(tail.id, "c");
  await index.update({ id: "a", text: "XK4711 XK4711" });
  assert.equal((await index.search("XK4711", { hybrid: true, topK: 1 }))[0].id, "a");
  await index.remove("a");
  assert.equal((await index.search("XK4711", { hybrid: true, topK: 1 }))[0].id, "b");
  assert.deepEqual(ids(await index.search("XK4711", { hybrid: true, filter: { n: 1 } })), []);
  await assert.rejects((await open()).search("x", { hybrid: true }), refused("invalid-argument"));
  await assert.rejects(index.search(new Float32Array(16), { hybrid: true }), refused("invalid-argument"));
});

test("rerank: the best passages in another order", async () => {
  const index = await open();
  await index.add(corpus(200));
  let asked;
  const rerank = {
    async rerank(query, documents) {
      asked = { query, documents };
      return documents.map((text, index) => ({ index, score: -text.length - index / 1000 })).sort((a, b) => b.score - a.score);
    },
  };
  const hits = await index.search("boat bread", { topK: 3, rerank });
  assert.equal(asked.query, "boat bread");
  assert.equal(asked.documents.length, 100);
  const shortest = Math.min(...asked.documents.map((text) => text.length));
  assert.equal(hits.length, 3);
  assert.equal(hits[0].passage.end - hits[0].passage.start, shortest);
  assert.ok(hits[0].score >= hits[1].score);
});

test("an add that is given up keeps what was committed; again, and only the rest is embedded", async (t) => {
  commits.passages = 16;
  t.after(() => (commits.passages = 256));
  const documents = corpus(100);
  const encoder = fakeEncoder();
  const index = await open({ encoder });
  const abort = new AbortController();
  const events = [];
  const onProgress = (event) => events.push(event) === 4 && abort.abort(new Error("enough"));
  await assert.rejects(index.add(documents, { signal: abort.signal, onProgress }), /enough/);
  const { documents: kept, passages } = index.stats();
  assert.equal(kept, events.at(-1).done);
  assert.ok(kept > 0 && kept < 100);
  assert.equal(encoder.embedded.length, 1 + passages);

  await index.add(documents, { onProgress: (event) => events.push(event) });
  assert.deepEqual(events.at(-1), { done: 100, total: 100 });
  assert.equal(index.stats().documents, 100);
  assert.equal(encoder.embedded.length, 1 + index.stats().passages, "no passage twice");
  const { generation } = index.stats();
  await index.add(documents);
  assert.equal(index.stats().generation, generation, "nothing was committed");
  assert.ok(index.stats().segments < 20, `${index.stats().segments} segments`);
});

test("many small commits make few segments, and removed passages go by themselves", async () => {
  const storage = faultyStorage();
  const index = await open({ storage });
  const documents = corpus(150);
  for (const document of documents) await index.add(document);
  assert.ok(index.stats().segments <= 21, `${index.stats().segments} segments`);
  assert.equal(storage.files.size, index.stats().segments + 1);
  await index.remove(documents.slice(0, 100).map(({ id }) => id));
  const { dead, passages, bytes } = index.stats();
  assert.ok(dead <= passages);
  await index.compact();
  assert.deepEqual([index.stats().dead, index.stats().segments, index.stats().documents], [0, 1, 50]);
  assert.ok(index.stats().bytes <= bytes);
  assert.deepEqual(ids(await index.search("boat", { topK: 99 })), ids(await byHand(documents.slice(100), "boat", 99)));
  assert.equal(storage.files.size, 2);
});

test("export, and an index from the file", async () => {
  const documents = corpus(60);
  const index = await open({ model: "fake@1" });
  await index.add(documents);
  await index.remove("d3");
  const file = await index.export();
  const text = new TextDecoder().decode(await file.arrayBuffer());
  assert.ok(!text.includes(documents[3].text), "what was removed is not in it");
  for (const storage of [file, await file.arrayBuffer(), new Uint8Array(await file.arrayBuffer())]) {
    const copy = await open({ storage });
    assert.deepEqual(await copy.search("boat"), await index.search("boat"));
    await copy.add({ id: "new", text: "winter" });
    assert.deepEqual([copy.stats().documents, copy.stats().model], [60, "fake@1"]);
  }
  assert.equal(index.stats().documents, 59);
  assert.deepEqual(Buffer.from(await (await index.export()).arrayBuffer()), Buffer.from(await file.arrayBuffer()), "the same bytes");
  await assert.rejects(open({ storage: new Uint8Array(5) }), refused("index-damaged"));
  assert.equal((await open({ storage: await (await open()).export() })).stats().documents, 0);
});

test("an index takes no vectors of another kind", async () => {
  const storage = memoryStorage();
  const index = await open({ storage, model: "fake@1", dimensions: 8, precision: "binary" });
  await index.add(corpus(5));
  const reopen = (options) => open({ storage, ...options });
  assert.deepEqual([(await reopen()).stats().dimensions, (await reopen()).stats().precision], [8, "binary"]);
  const others = [{ model: "fake@2" }, { dimensions: 16 }, { precision: "int8" }, { rescore: false }, { encoder: fakeEncoder({ seed: 1 }) },
    { encoder: fakeEncoder({ similarity: "dot" }) }, { encoder: fakeEncoder({ prompts: { query: "q: " } }) }, { encoder: fakeEncoder({ dimensions: 6 }) }];
  for (const other of others) await assert.rejects(reopen(other), refused("index-mismatch"), JSON.stringify(other));
  await index.remove(corpus(5).map(({ id }) => id));
  const empty = await reopen({ encoder: fakeEncoder({ seed: 1 }), precision: "int8" });
  await empty.add({ id: "a", text: "boat" });
  await assert.rejects(index.search("boat"), refused("index-mismatch"));
});

test("migrate: the old model answers until the new one can, across an abort", async (t) => {
  commits.passages = 16;
  t.after(() => (commits.passages = 256));
  const storage = faultyStorage();
  const documents = corpus(80);
  const [old, other] = [fakeEncoder(), fakeEncoder({ seed: 5, dimensions: 24 })];
  const index = await open({ encoder: old, storage, lexical });
  await index.add(documents);
  const expected = await index.search("boat");
  const abort = new AbortController();
  let events = 0;
  const onProgress = () => ++events === 3 && abort.abort(new Error("enough"));
  await assert.rejects(index.migrate(other, { signal: abort.signal, onProgress }), /enough/);
  assert.deepEqual(await index.search("boat"), expected);
  const done = other.embedded.length;
  assert.ok(done > 30);
  // Meanwhile the world goes on, in another tab and after a crash.
  const again = await open({ encoder: old, storage, lexical });
  await again.remove("d0");
  await again.update({ id: "d1", text: "winter winter winter" });
  await again.update({ id: "d79", metadata: { year: 1 } });
  const searching = [];
  await again.migrate(other, { model: "other", precision: "float32", onProgress: () => searching.push(again.search("winter")) });
  assert.ok(searching.length > 1);
  for (const hits of await Promise.all(searching)) assert.deepEqual([hits.length, hits[0].id], [10, "d1"]);
  const { dimensions, precision, model, documents: count } = again.stats();
  assert.deepEqual([dimensions, precision, model, count], [24, "float32", "other", 79]);
  const [hit] = await again.search("winter", { topK: 1, hybrid: true });
  assert.equal(hit.id, "d1");
  assert.equal((await again.search("winter", { filter: { year: 1 } }))[0].id, "d79");
  await again.add({ id: "late", text: "sugar" });
  assert.equal(storage.files.size, again.stats().segments + 1);
  assert.ok(old.collections.at(-1).isDisposed());
  await assert.rejects(index.search("boat"), refused("index-mismatch"));
  const reopened = await open({ encoder: other, storage });
  assert.equal(reopened.stats().documents, 80);
});

test("open migrates an index of another model, which need not be there, across an abort", async () => {
  const documents = corpus(20);
  const storage = memoryStorage();
  (await open({ storage })).close();
  const index = await open({ storage });
  await index.add(documents);
  index.close();
  const other = { encoder: fakeEncoder({ dimensions: 24, seed: 9 }), storage };
  await assert.rejects(open(other), refused("index-mismatch"));
  await assert.rejects(open({ ...other, migrate: 1 }), refused("invalid-argument"));
  for (const encoder of [undefined, null, {}]) await assert.rejects(open({ encoder }), refused("invalid-argument"));

  commits.passages = 8;
  try {
    const abort = new AbortController();
    await assert.rejects(open({ ...other, migrate: { onProgress: () => abort.abort() }, signal: abort.signal }), { name: "AbortError" });
    (await open({ storage })).close(); // as it was
    const events = [];
    const moved = await open({ ...other, migrate: { onProgress: ({ done, total }) => events.push([done, total]) }, precision: "float32" });
    assert.ok(events.length > 1 && events.at(-1).join() === "20,20", `${events}`);
    const { precision, dimensions } = moved.stats();
    assert.deepEqual([precision, dimensions], ["float32", 24]);
    const fresh = await open({ encoder: other.encoder, precision: "float32" });
    await fresh.add(documents);
    assert.deepEqual(await moved.search("winter garden"), await fresh.search("winter garden"));
    moved.close();
  } finally {
    commits.passages = 256;
  }
  // Where it fits, there is nothing to do.
  const embedded = other.encoder.embedded.length;
  (await open({ ...other, migrate: true })).close();
  assert.equal(other.encoder.embedded.length, embedded + 1);
  await assert.rejects(open({ storage }), refused("index-mismatch"));
});

test("a migration that is gone on with embeds nothing twice", async (t) => {
  commits.passages = 16;
  t.after(() => (commits.passages = 256));
  const index = await open();
  await index.add(corpus(80));
  const other = fakeEncoder({ seed: 5 });
  const abort = new AbortController();
  let events = 0;
  await assert.rejects(index.migrate(other, { signal: abort.signal, onProgress: () => ++events === 3 && abort.abort() }));
  await index.migrate(other);
  assert.equal(other.embedded.length, index.stats().passages + 2, "two probes");
  await index.add({ id: "mine", vector: new Float32Array(16) });
  await assert.rejects(index.migrate(fakeEncoder()), refused("invalid-argument"));
  await assert.rejects(index.migrate({}), refused("invalid-argument"));
  assert.equal(index.stats().documents, 81);
});

test("the scan may lose its rows at any call", async () => {
  const encoder = fakeEncoder();
  const index = await open({ encoder });
  const [collection] = encoder.collections;
  const documents = corpus(60);
  let calls = 0;
  collection.before = () => ++calls % 2 === 0 && collection.lose();
  await index.add(documents.slice(0, 40));
  await index.remove(["d0", "d1"]);
  await index.add(documents.slice(40));
  await index.compact();
  await index.update({ id: "d2", text: "boat boat" });
  documents[2].text = "boat boat";
  const expected = ids(await byHand(documents.slice(2), "boat bread", 99));
  for (let i = 0; i < 3; i++) assert.deepEqual(ids(await index.search("boat bread", { topK: 99 })), expected);
  const { rows } = await collection.search(new Float32Array(16), { topK: 4096 });
  assert.equal(rows.length, index.stats().passages, "removed rows are not found by the scan itself");
  assert.equal(encoder.collections.length, 1);
});

test("a scan that is mostly removed rows is made anew", async () => {
  const encoder = fakeEncoder();
  const index = await open({ encoder, lexical });
  const documents = corpus(400);
  for (let round = 0; encoder.collections.length < 2; round++) {
    await index.add(documents.map((one) => ({ ...one, text: `${one.text} ${round}` })));
    assert.ok(round < 30, "some thousand rows of which most are removed");
    assert.equal((await index.search(`boat ${round}`, { topK: 999, hybrid: true })).length, 400);
  }
  assert.deepEqual(encoder.collections.map((one) => one.isDisposed()), [true, false]);
  assert.equal((await index.search("boat bread", { topK: 999 })).length, 400);
});

test("a scan that fails in a commit: what was committed is there at the next call", async () => {
  const encoder = fakeEncoder();
  const index = await open({ encoder });
  await index.add({ id: "a", text: "boat" });
  encoder.collections[0].before = (name) => {
    if (name === "append") throw new EmbedletError("out-of-memory", "no room");
  };
  await assert.rejects(index.add({ id: "b", text: "bread" }), refused("out-of-memory"));
  assert.deepEqual(ids(await index.search("bread")).sort(), ["a", "b"]);
  assert.ok(encoder.collections[0].isDisposed());
});

test("wrong arguments are named, and change nothing", async () => {
  const index = await open();
  await index.add({ id: "a", text: "boat" });
  const deep = { a: {} };
  for (let i = 0, at = deep.a; i < 50; i++) at = at.a = {};
  const cyclic = {};
  cyclic.self = cyclic;
  const documents = [null, {}, { id: 5, text: "x" }, { id: "x" }, { id: "x", text: 5 }, { id: "x".repeat(2000), text: "" }, { id: "x", text: "", tags: [] },
    { id: "x", text: "", metadata: [] }, { id: "x", text: "", metadata: { at: new Date() } }, { id: "x", text: "", metadata: { n: NaN } },
    { id: "x", text: "", metadata: deep }, { id: "x", text: "", metadata: cyclic }, { id: "x", text: "", metadata: { long: "x".repeat(9000) } }];
  for (const document of documents) await assert.rejects(index.add([{ id: "good", text: "good" }, document]), refused("invalid-argument"));
  await assert.rejects(index.add([{ id: "x", text: "" }, { id: "x", text: "" }]), refused("invalid-argument"));
  await assert.rejects(open({ encoder: fakeEncoder({ similarity: "euclidean" }) }), refused("unsupported-option"));
  for (const topK of [0, -1, 1.5, NaN, 1e9]) await assert.rejects(index.search("x", { topK }), refused("invalid-argument"));
  await assert.rejects(index.search("x", { limit: 5 }), refused("invalid-argument"));
  await assert.rejects(index.add(new Array(2)), refused("invalid-argument"));
  await assert.rejects(index.get(new Array(2)), refused("invalid-argument"));
  for (const options of [{ signal: {} }, { onProgress: 5 }]) await assert.rejects(index.add({ id: "x", text: "" }, options), refused("invalid-argument"));
  for (const rerank of [5, "x", {}]) await assert.rejects(index.search("x", { rerank }), refused("invalid-argument"));
  for (const options of [{ name: "" }, { precision: "int4" }, { dimensions: 0 }, { storage: "disk" }, { storage: null }, { lexical: {} }, { chunks: {} }]) {
    await assert.rejects(open(options), refused("invalid-argument"), JSON.stringify(options));
  }
  assert.equal(index.stats().documents, 1);
});

test("a document that the model refuses is named, and those before it can be added", async () => {
  const encoder = fakeEncoder({ words: 2 });
  const index = await open({ encoder });
  const refuse = (code, text) => new EmbedletError(code, "it is too long", { text });
  const { chunk } = encoder;
  encoder.chunk = async (text, options) => {
    if (text === "too long") throw refuse("limit-exceeded");
    return chunk(text, options);
  };
  const named = (code, id) => (error) => refused(code)(error) && error.message === `Document "${id}": it is too long` && error.cause.code === code;
  await assert.rejects(index.add([{ id: "a", text: "boat" }, { id: "long", text: "too long" }]), named("limit-exceeded", "long"));
  encoder.onEmbed = () => {
    throw refuse("text-too-long", 3);
  };
  const documents = [{ id: "a", text: "boat bread river" }, { id: "v", text: "x", vector: new Float32Array(16).fill(1) }, { id: "b", text: "stone cloud music" }];
  await assert.rejects(index.add(documents), named("text-too-long", "b"));
  encoder.onEmbed = () => {
    throw refuse("disposed");
  };
  await assert.rejects(index.add(documents), (error) => refused("disposed")(error) && error.message === "it is too long");
  encoder.onEmbed = () => {};
  await index.add(documents);
  assert.equal(index.stats().documents, 3);
});

test("more documents than a scan gives rows, and more passages than documents", async () => {
  const index = await open({ precision: "float32" });
  const vector = (i) => Float32Array.from({ length: 16 }, (_, k) => Math.sin(i * (k + 1)));
  await index.add(Array.from({ length: 5000 }, (_, i) => ({ id: `${i}`, vector: vector(i) })));
  const hits = await index.search(vector(7), { topK: 4500 });
  assert.deepEqual([hits.length, new Set(ids(hits)).size, hits[0].id], [4500, 4500, "7"]);
  assert.ok(hits.every(({ score }, i) => i === 0 || score <= hits[i - 1].score));
  const long = await open();
  await long.add([{ id: "long", text: "boat ".repeat(1800) }, { id: "short", text: "bread" }]);
  assert.deepEqual(ids(await long.search("boat", { topK: 2 })), ["long", "short"]);
  assert.ok((await long.search("boat", { topK: 1 }))[0].passage.start === 0);
});

test("a closed index refuses, and frees its scan", async () => {
  const encoder = fakeEncoder();
  const index = await open({ encoder });
  await index.add(corpus(10));
  const searching = index.search("boat").catch((error) => error);
  index.close();
  index.close();
  const ended = await searching;
  assert.ok(Array.isArray(ended) || ended.code === "disposed", String(ended));
  const calls = [index.search("x"), index.add({ id: "a", text: "" }), index.remove("a"), index.compact(), index.export()];
  for (const call of calls) await assert.rejects(call, refused("disposed"));
  assert.throws(() => index.stats(), refused("disposed"));
  assert.ok(encoder.collections[0].isDisposed());
});

test("an index that is closed at any turn of a call: it answers, or is `disposed`", async () => {
  const encoder = fakeEncoder();
  const calls = {
    search: (index) => index.search("boat"),
    add: (index) => index.add({ id: "b", text: "b" }),
    update: (index) => index.update({ id: "a", text: "b" }),
    remove: (index) => index.remove("a"),
    compact: (index) => index.compact(),
    export: (index) => index.export(),
  };
  for (const [name, call] of Object.entries(calls)) {
    for (let turns = 0; turns < 60; turns++) {
      const index = await open({ encoder });
      await index.add({ id: "a", text: "a" });
      const ended = call(index).then(() => {}, (error) => error);
      for (let turn = 0; turn < turns; turn++) await undefined;
      index.close();
      const error = await ended;
      assert.ok(error === undefined || refused("disposed")(error), `${name}, ${turns}: ${error}`);
    }
  }
});

test("ids and texts of any characters come back as they were", async () => {
  const index = await open();
  const names = ["__proto__", "constructor", "", "\u0000", "😀".repeat(3), "a/b\\c", "\ufeffbom"];
  await index.add(names.map((id) => ({ id, text: `\ufeff${id} text 😀`, metadata: { [id]: id } })));
  const copy = await open({ storage: await index.export() });
  const hits = await copy.search("text", { topK: 99 });
  assert.deepEqual(ids(hits).sort(), [...names].sort());
  for (const { id, text, metadata } of hits) assert.deepEqual([text, Object.entries(metadata)], [`\ufeff${id} text 😀`, [[id, id]]]);
  await index.add({ id: "half", text: "half \ud83d of a pair" });
  const half = (await index.search("half pair", { topK: 1 }))[0];
  assert.equal(half.text, "half \ufffd of a pair");
});
