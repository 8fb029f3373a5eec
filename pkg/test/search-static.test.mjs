// A static index: what is asked of its host, what is found, and everything that a host, a cache and the files themselves can do wrong.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import MiniSearch from "minisearch";
import { sources } from "./bundle.mjs";
import { fakeEncoder, random } from "./search-fakes.mjs";
import { fakeCaches, fakeHost, staticFiles } from "./static-files.mjs";

const { EmbedletError, SearchIndex, retry, several } = sources;
const AT = "https://host.example/some/index/";
const CELLS = 16;
const encoderOf = (options) => fakeEncoder({ dimensions: 32, words: 1000, ...options });
const open = (options = {}) => SearchIndex.open({ encoder: encoderOf(), storage: new URL(AT), ...options });
const ids = (hits) => hits.map(({ id }) => id);
const refused = (code, pattern = /./) => (error) => {
  assert.ok(error instanceof EmbedletError && error.code === code && pattern.test(error.message), error.stack);
  return true;
};

const WORDS = Array.from({ length: 60 }, (_, i) => `word${i}`);
const next = random(7);
const documents = Array.from({ length: 300 }, (_, i) => {
  // Words of a subject, so that there are cells.
  const subject = 4 * Math.floor(next() * 14);
  const words = Array.from({ length: 3 + Math.floor(next() * 6) }, () => WORDS[subject + Math.floor(next() * 5)]);
  return { id: `d${i}`, text: `${words.join(" ")} unique${i}`, metadata: { n: i } };
});
const queries = ["word3 word4", "word20", "word31 word33 unique7", "word50 word51 word52", "word10 word40"];

let files;
let host;
let delays;
const { fetch, caches } = globalThis;
before(async () => {
  delays = retry.delays;
  retry.delays = [1, 2, 3];
  files = await staticFiles(documents, encoderOf(), { cells: CELLS, probes: 3 });
});
after(() => (retry.delays = delays));
beforeEach(() => serve(files));
afterEach(() => Object.assign(globalThis, { fetch, caches }));

/** Has another host from here on, and an empty cache, or none. */
function serve(files, cache) {
  host = fakeHost(AT, files);
  Object.assign(globalThis, { fetch: host.fetch, caches: cache });
  return host;
}

const segmentsOf = (names) => names.filter((name) => name.startsWith("segment")).sort();
const flipped = (files, name, at = files.get(name).length - 1) => new Map([...files]).set(name, Uint8Array.from(files.get(name), (byte, i) => (i === at ? byte ^ 1 : byte)));
const settled = () => new Promise((resolve) => setTimeout(resolve, 20));

/** The same documents in an index of one's own. */
async function exact(options = {}) {
  const index = await SearchIndex.open({ name: "exact", encoder: encoderOf(), storage: "memory", rescore: false, ...options });
  await index.add(documents);
  return index;
}

test("all cells are what comparing with everything is; few cells ask for few files", async () => {
  const own = await exact();
  const index = await open();
  assert.deepEqual(host.asked.map((name) => name.replace(/-[0-9a-f]*$/, "")), ["manifest", "cells-1"]);
  const all = segmentsOf([...files.keys()]);
  for (const query of queries) {
    host.asked.length = 0;
    const few = await index.search(query);
    assert.ok(segmentsOf(host.asked).length <= 3);
    assert.ok(few.length === 10);
  }
  const { cells, fetched, ...stats } = index.stats();
  assert.deepEqual(cells, { count: CELLS, probes: 3, recall: [[3, 0.9], [CELLS, 1]] });
  assert.deepEqual([stats.documents, stats.passages, stats.segments, stats.model], [300, 300, CELLS, null]);
  assert.ok(fetched > 0 && fetched < stats.bytes);
  for (const query of queries) {
    const expected = await own.search(query, { topK: 40 });
    assert.deepEqual(await index.search(query, { topK: 40, probes: Infinity }), expected);
    assert.deepEqual(await index.search(query, { topK: 40, probes: CELLS }), expected);
    const few = await index.search(query, { topK: 5 });
    const scores = new Map((await own.search(query, { topK: 300 })).map(({ id, score }) => [id, score]));
    for (const { id, score } of few) assert.equal(score, scores.get(id));
  }
  assert.deepEqual(segmentsOf(host.asked), [...new Set(segmentsOf(host.asked))], "no file twice");
  assert.ok(all.length === CELLS && host.most <= 7, `${host.most} at once`);
  const recalled = await Promise.all(queries.map(async (query) => {
    const right = ids(await own.search(query));
    return ids(await index.search(query)).filter((id) => right.includes(id)).length / 10;
  }));
  assert.ok(recalled.reduce((sum, one) => sum + one) / queries.length > 0.6, `${recalled}`);
});

test("other precisions, cells that share a segment, and dot products", async () => {
  for (const options of [{ precision: "float32" }, { precision: "binary" }, { inSegment: 5 }, { similarity: "dot" }]) {
    const { similarity = "cosine", precision = "int8" } = options;
    serve(await staticFiles(documents, encoderOf({ similarity }), { cells: CELLS, probes: 2, ...options }));
    const own = await exact({ precision, encoder: encoderOf({ similarity }) });
    const index = await open({ encoder: encoderOf({ similarity }) });
    const [some] = [await index.search(queries[0])];
    assert.equal(some.length, 10);
    // Of binary rows many have one score, of which the scan gives the first.
    const topK = precision === "binary" ? 300 : 40;
    assert.deepEqual(await index.search(queries[0], { probes: Infinity, topK }), await own.search(queries[0], { topK }));
  }
});

test("a filter that few pass looks at more cells, and at four times as many at most", async () => {
  const index = await open();
  const far = await index.search(queries[0], { filter: { n: { $lt: 40 } }, topK: 10 });
  assert.ok(far.every(({ metadata }) => metadata.n < 40) && far.length >= 1);
  assert.ok(segmentsOf(host.asked).length > 3, "it went on");
  serve(files);
  const other = await open();
  assert.deepEqual(await other.search(queries[0], { filter: { n: -1 }, probes: 1 }), []);
  assert.ok(segmentsOf(host.asked).length <= 4, `${segmentsOf(host.asked).length} segments`);
  const every = await other.search(queries[0], { filter: { n: { $in: [0, 100, 200, 299] } }, probes: Infinity });
  assert.deepEqual(ids(every).sort(), ["d0", "d100", "d200", "d299"]);
});

test("rerank; what needs all documents, or would change them, is refused", async () => {
  const index = await open({ lexical: () => new MiniSearch({ fields: ["text"] }) });
  const rerank = { rerank: async (_, texts) => texts.map((text, index) => ({ index, score: text.length })).sort((a, b) => b.score - a.score) };
  const [first, second] = await index.search(queries[1], { rerank });
  assert.ok(first.score >= second.score && first.score === first.text.length);
  for (const work of [() => index.search("x", { hybrid: true }), () => index.export(), () => index.get("d1")]) {
    await assert.rejects(work, refused("unsupported-option"));
  }
  const changes = (index) => [() => index.add({ id: "x", text: "x" }), () => index.update({ id: "d1", text: "x" }), () => index.remove("d1"), () => index.compact(), () => index.migrate(encoderOf())];
  for (const change of changes(index)) await assert.rejects(change, refused("read-only"));
  for (const options of [{ probes: 0 }, { probes: 1.5 }, { probes: "all" }]) await assert.rejects(index.search("x", options), refused("invalid-argument"));
  await assert.rejects(open({ memory: -1 }), refused("invalid-argument"));
  await assert.rejects(open({ storage: new URL("file:///tmp/x/") }), refused("invalid-argument"));
  const found = [];
  for await (const document of index.documents({ filter: { n: { $lt: 100 } }, vectors: true })) found.push(document);
  assert.deepEqual(found.map(({ id }) => id).sort(), documents.slice(0, 100).map(({ id }) => id).sort());
  assert.ok(found.every(({ id, text, passages: [{ vector, end }] }) => text === documents[Number(id.slice(1))].text && vector.length === 32 && end === text.length));

  serve(await staticFiles(documents, encoderOf(), { cells: 0 }));
  const whole = await open({ lexical: () => new MiniSearch({ fields: ["text"] }) });
  const own = await exact({ lexical: () => new MiniSearch({ fields: ["text"] }) });
  assert.equal(segmentsOf(host.asked).length, 1);
  for (const options of [{}, { hybrid: true }, { filter: { n: { $gt: 200 } } }]) {
    assert.deepEqual(ids(await whole.search("unique77 word3", options)), ids(await own.search("unique77 word3", options)));
  }
  for (const change of changes(whole)) await assert.rejects(change, refused("read-only"));
  assert.ok(whole.stats().fetched > whole.stats().bytes);
  assert.equal((await whole.get("d5"))[0].text, documents[5].text);
  const copy = await SearchIndex.open({ name: "copy", encoder: encoderOf(), storage: await whole.export() });
  await copy.add({ id: "new", text: "word1" });
  assert.equal(copy.stats().documents, 301);
});

test("in memory is what was used last, within a bound, and what goes comes again", async () => {
  const encoder = encoderOf();
  const sizes = segmentsOf([...files.keys()]).map((name) => files.get(name).length);
  const memory = 2 * Math.max(...sizes);
  const index = await open({ encoder, memory });
  const living = () => encoder.collections.filter((one) => !one.isDisposed()).length;
  const expected = [];
  for (const query of queries) {
    expected.push(await index.search(query, { probes: Infinity }));
    await settled();
    assert.ok(living() * Math.min(...sizes) <= memory, `${living()} scans`);
  }
  for (const [i, query] of queries.entries()) assert.deepEqual(await index.search(query, { probes: Infinity }), expected[i]);
  const asked = segmentsOf(host.asked);
  assert.ok(asked.length > 2 * CELLS, "no cache, hence fetched again");
  index.close();
  await settled();
  assert.equal(living(), 0);
  await assert.rejects(index.search("x"), refused("disposed"));
  assert.throws(() => index.stats(), refused("disposed"));
});

test("a visit without the network answers what was fetched before", async () => {
  const cache = fakeCaches();
  serve(files, cache);
  const index = await open();
  const expected = await index.search(queries[0]);
  index.close();
  await settled();
  const kept = cache.all.get("embedlet indexes 1");
  assert.ok(kept.size >= 3);

  serve(new Map(), cache);
  host.before = () => Promise.reject(new TypeError("no network"));
  const again = await open();
  assert.deepEqual(await again.search(queries[0]), expected);
  assert.equal(again.stats().fetched, 0);
  const before = host.asked.length;
  await assert.rejects(again.search(queries[3], { probes: Infinity }), refused("network"));
  assert.ok(host.asked.length > before);
  // What is in the cache is not believed either.
  const [name] = [...kept.keys()].filter((key) => key.includes("segment"));
  kept.set(name, kept.get(name).slice(1));
  const third = await open();
  await assert.rejects(third.search(queries[0], { probes: Infinity }), refused("network"));
  serve(files, cache);
  assert.deepEqual(await third.search(queries[0]), expected, "the network is back");

  const other = await staticFiles(documents.slice(0, 200), encoderOf(), { cells: CELLS });
  serve(other, cache);
  const rebuilt = await open();
  assert.equal(rebuilt.stats().documents, 200);
  await settled();
  assert.ok([...kept.keys()].every((key) => other.has(key.slice(key.lastIndexOf("/") + 1))), "what is of the old index goes");
  // A server that has nothing there any more is believed.
  serve(new Map(), cache);
  await assert.rejects(open(), refused("missing-file", /host\.example.*manifest-1/));
});

test("a cache that fails, or has no room, is done without", async () => {
  for (const failing of ["match", "put"]) {
    serve(files, fakeCaches((kind) => kind === failing && Promise.reject(new DOMException("no room", "QuotaExceededError"))));
    const index = await open();
    assert.equal((await index.search(queries[0])).length, 10);
  }
});

test("a flipped byte in any file is refused by name; what is right is found when it is there again", async () => {
  const index = await open();
  await index.search(queries[0], { probes: 1, topK: 1 });
  const [used] = segmentsOf(host.asked);
  const expected = await index.search(queries[0], { probes: 2 });
  for (const name of files.keys()) {
    serve(flipped(files, name));
    if (!name.startsWith("segment")) {
      await assert.rejects(open(), refused("index-damaged", new RegExp(name)));
      continue;
    }
    const other = await open();
    await assert.rejects(other.search(queries[0], { probes: Infinity }), refused("index-damaged", new RegExp(name)));
    if (name !== used) assert.ok((await other.search(queries[0], { probes: 1, topK: 1 })).length > 0, "others are there");
    const modes = host.inits.filter(([asked]) => asked === name).map(([, { cache }]) => cache);
    assert.ok(modes.includes("default") && modes.includes("reload"), `${modes}`);
    serve(files);
    assert.deepEqual(await other.search(queries[0], { probes: 2 }), expected);
  }
});

test("a host that fails on the way is asked again; one that is wrong is not believed", async () => {
  const index = await open();
  const expected = await index.search(queries[2]);
  const answers = {
    "no connection, twice": (n) => n <= 2 && Promise.reject(new TypeError("failed")),
    "busy": (n) => n <= 2 && new Response("", { status: 503 }),
    "breaks off": (n, bytes) => n === 1 && new Response(new ReadableStream({
      pull(to) {
        to.enqueue(bytes.slice(0, 99));
        to.error(new TypeError("reset"));
      },
    })),
  };
  for (const [what, answer] of Object.entries(answers)) {
    serve(files);
    const counts = new Map();
    host.before = (name) => {
      counts.set(name, (counts.get(name) ?? 0) + 1);
      return answer(counts.get(name), files.get(name)) || undefined;
    };
    assert.deepEqual(await (await open()).search(queries[2]), expected, what);
    assert.ok(Math.max(...counts.values()) > 1, what);
  }
  serve(files);
  host.before = (name) => (name.startsWith("segment") ? Promise.reject(new TypeError("failed")) : undefined);
  const alone = await open();
  await assert.rejects(alone.search(queries[2], { probes: 1 }), refused("network"));
  assert.equal(segmentsOf(host.asked).length, 4);
  const wrong = { "missing-file": () => new Response("", { status: 404 }), network: () => new Response("", { status: 403 }),
    "html-instead-of-file": () => new Response("<html>", { headers: { "content-type": "text/html" } }) };
  for (const [code, answer] of Object.entries(wrong)) {
    host.before = (name) => (name.startsWith("segment") ? answer() : undefined);
    await assert.rejects(alone.search(queries[2]), refused(code, /segment-1-/));
  }
  // What fails gives up what else it was fetching.
  const signals = [];
  host.before = (name, { signal }) => name.startsWith("segment") && (signals.push(signal) === 2 ? new Response("", { status: 403 }) : new Promise(() => {}));
  await assert.rejects(alone.search(queries[2], { probes: 5 }), refused("network"));
  await settled();
  assert.ok(signals.length > 1 && signals.every((signal, i) => i === 1 || signal.aborted));
  // A file without an end is not read to it.
  let given = 0;
  host.before = (name) => name.startsWith("segment") && new Response(new ReadableStream({
    pull(to) {
      given += 4096;
      to.enqueue(new Uint8Array(4096));
    },
  }));
  await assert.rejects(alone.search(queries[2], { probes: 1 }), refused("index-damaged", /segment-1-/));
  assert.ok(given < 200_000, `${given} bytes`);
  host.before = () => {};
  assert.deepEqual(await alone.search(queries[2]), expected);
});

test("hostile manifests and cells are refused", async () => {
  const first = (change) => ({ change: ({ segments: [segment] }) => change(segment) });
  const cells = (change) => ({ change: ({ cells }) => change(cells) });
  const cases = [
    first((one) => delete one.sha256), first((one) => (one.sha256 = "A".repeat(64))), first((one) => (one.bytes = 2 ** 23 + 1)), first((one) => (one.removed = "AA==")),
    first((one) => (one.documents = 0)), first((one) => (one.name = "../segment-1")), first((one) => (one.name = "segment-1/../../x")),
    { change: (manifest) => (manifest.next = { made: manifest.made, segments: [] }) }, { change: (manifest) => (manifest.segments = {}) },
    cells((one) => (one.name = "cells-1-../../x")), cells((one) => (one.name = "https://evil.example/")), cells((one) => (one.bytes = 2 ** 40)), cells((one) => (one.count = 2 ** 31)),
    cells((one) => (one.probes = 0)), cells((one) => (one.probes = 1e9)), cells((one) => (one.recall = [[1, 2]])), cells((one) => (one.recall = null)), cells((one) => one.count--),
    { change: (manifest) => (manifest.cells = null) }, { change: (manifest) => (manifest.cells = []) }, { change: ({ made }) => (made.dimensions = 2 ** 30) },
    { spoil: ({ segments }) => segments.reverse() }, { spoil: ({ segments }) => segments.fill(0) }, { spoil: ({ segments }) => (segments[CELLS - 1] = CELLS) },
    { spoil: ({ rows }) => (rows[3] = 0) }, { spoil: ({ centroids }) => (centroids[5] = NaN) },
  ];
  for (const [i, options] of cases.entries()) {
    serve(await staticFiles(documents.slice(0, 32), encoderOf(), { cells: CELLS, ...options }));
    await assert.rejects(open(), refused("index-damaged"), `case ${i}`);
    assert.ok(host.asked.every((name) => /^(manifest-1|cells-1-[0-9a-f]+)$/.test(name)), `${host.asked}`);
  }
  // These show when the segment comes.
  for (const options of [first((one) => one.documents++), first((one) => one.checksum++), { spoil: ({ rows }) => rows[0]++ }]) {
    serve(await staticFiles(documents.slice(0, 32), encoderOf(), { cells: CELLS, ...options }));
    await assert.rejects((await open()).search("word1", { probes: Infinity }), refused("index-damaged", /segment-1-0/));
  }
  serve(new Map([["manifest-1", new Uint8Array(2 ** 24 + 1)]]));
  await assert.rejects(open(), refused("index-damaged", /manifest-1/));
  serve(files);
  for (const options of [{ precision: "binary" }, { model: "x" }, { encoder: encoderOf({ seed: 4 }) }, { encoder: fakeEncoder() }]) await assert.rejects(open(options), refused("index-mismatch"));
  assert.ok(host.asked.every((name) => name === "manifest-1"), "before anything else is fetched");
});

test("progress, and an abort that gives up what nobody else waits for", async () => {
  const opening = [];
  const index = await open({ onProgress: (event) => opening.push(event) });
  const cells = [...files.keys()].find((name) => name.startsWith("cells"));
  assert.deepEqual(opening.at(-1), { loaded: files.get(cells).length, total: files.get(cells).length });
  const events = [];
  await index.search(queries[0], { onProgress: (event) => events.push(event) });
  const asked = segmentsOf(host.asked).reduce((sum, name) => sum + files.get(name).length, 0);
  assert.deepEqual(events.at(-1), { loaded: asked, total: asked });
  assert.ok(events.every(({ loaded, total }, i) => loaded <= total && loaded >= (events[i - 1]?.loaded ?? 0)));
  events.length = 0;
  await index.search(queries[0], { onProgress: (event) => events.push(event) });
  assert.deepEqual(events, [], "nothing is waited for");

  const given = [];
  host.before = (name, { signal }) => new Promise((resolve, reject) => {
    if (!name.startsWith("segment")) return resolve();
    given.push({ resolve, signal });
    signal.addEventListener("abort", () => reject(signal.reason));
  });
  const other = await open();
  const one = new AbortController();
  const two = new AbortController();
  const first = other.search(queries[0], { signal: one.signal });
  const second = other.search(queries[0], { signal: two.signal });
  while (given.length < 1) await settled();
  one.abort(new Error("first"));
  await assert.rejects(first, /first/);
  assert.ok(given.every(({ signal }) => !signal.aborted), "the other waits still");
  two.abort(new Error("second"));
  await assert.rejects(second, /second/);
  await settled();
  assert.ok(given.every(({ signal }) => signal.aborted));
  host.before = () => {};
  assert.equal((await other.search(queries[0])).length, 10);
  const third = open({ signal: AbortSignal.abort(new Error("never")) });
  await assert.rejects(third, /never/);
  host.before = (name) => (name.startsWith("segment") ? new Promise(() => {}) : undefined);
  const last = await open();
  const waiting = last.search(queries[0]);
  await settled();
  last.close();
  await assert.rejects(waiting, refused("disposed"));
});

test("an abort between two works is an abort", async () => {
  const abort = new AbortController();
  let done = 0;
  const work = async () => {
    if (++done === 8) abort.abort(new Error("enough"));
  };
  await assert.rejects(several(Array(20).fill(0), abort.signal, work), /enough/);
  assert.ok(done < 20);
  await several(Array(20).fill(0), undefined, work);
  assert.ok(done >= 28);
});

test("a scan that loses its rows gets them again", async () => {
  const encoder = encoderOf();
  const index = await open({ encoder });
  const expected = await index.search(queries[0]);
  for (const collection of encoder.collections) collection.lose();
  assert.deepEqual(await index.search(queries[0]), expected);
});

test("a folder on disk", async () => {
  const handle = {
    kind: "directory",
    name: "index",
    async getFileHandle(name) {
      if (!files.has(name)) throw new DOMException("none", "NotFoundError");
      return { getFile: async () => new File([files.get(name)], name) };
    },
  };
  const index = await open({ storage: handle });
  const fromHost = await (await open()).search(queries[0]);
  host.asked.length = 0;
  assert.deepEqual(await index.search(queries[0]), fromHost);
  assert.deepEqual([host.asked, index.stats().fetched], [[], 0]);
  await assert.rejects(open({ storage: { ...handle, getFileHandle: () => Promise.reject(new DOMException("none", "NotFoundError")) } }), refused("missing-file"));
});
