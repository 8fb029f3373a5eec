// What `documents` and `get` give back of an index.

import assert from "node:assert/strict";
import { test } from "node:test";
import { sources } from "./bundle.mjs";
import { fakeEncoder, faultyStorage } from "./search-fakes.mjs";

const { EmbedletError, SearchIndex } = sources;
const open = (options = {}) => SearchIndex.open({ name: "notes", encoder: fakeEncoder(), storage: "memory", ...options });
const refused = (code) => (error) => error instanceof EmbedletError && error.code === code;
const byId = (a, b) => (a.id < b.id ? -1 : 1);

/** Documents of one to eleven words, hence of one or two passages. */
const corpus = (count) =>
  Array.from({ length: count }, (_, i) => ({
    id: `d${i}`,
    text: Array.from({ length: 1 + (i % 11) }, (_, k) => `word${(i * 7 + k) % 23}`).join(" "),
    metadata: i % 3 === 0 ? null : { n: i },
  }));

async function all(index, options) {
  const found = [];
  for await (const document of index.documents(options)) found.push(document);
  return found.sort(byId);
}

/** What should come back of documents that were added. */
async function expected(documents, encoder) {
  const list = documents.map(async ({ id, text, metadata }) => {
    const chunks = await encoder.chunk(text, { kind: "document" });
    const passages = chunks.map(async ({ start, end, text }) => ({ start, end, vector: (await encoder.embedDocuments(text)).row(0) }));
    return { id, text, metadata, passages: await Promise.all(passages) };
  });
  return (await Promise.all(list)).sort(byId);
}

const without = (documents) => documents.map(({ passages, ...rest }) => ({ ...rest, passages: passages.map(({ start, end }) => ({ start, end })) }));

test("documents come back as they were added, their vectors bit by bit, also when the index is opened again", async () => {
  const storage = faultyStorage();
  const documents = corpus(700);
  let index = await open({ storage });
  await index.add(documents.slice(0, 300));
  await index.add(documents.slice(300));
  await index.remove(["d0", "d1"]);
  const right = await expected(documents.slice(2), fakeEncoder());
  for (let i = 0; i < 2; i++) {
    assert.deepEqual(await all(index, { vectors: true }), right);
    assert.deepEqual(await all(index), without(right));
    assert.deepEqual(await all(index, { filter: { n: { $lt: 20 } } }), without(right.filter(({ metadata }) => metadata?.n < 20)));
    const [d5, none, again, d2] = await index.get(["d5", "d0", "d5", "d2"], { vectors: true });
    assert.deepEqual([d5, none, again, d2].map((one) => one?.id), ["d5", undefined, "d5", "d2"]);
    assert.deepEqual(d2, right.find(({ id }) => id === "d2"));
    assert.deepEqual(await index.get("d3"), [without(right).find(({ id }) => id === "d3")]);
    index.close();
    await assert.rejects(all(index), refused("disposed"));
    index = await open({ storage });
  }
  assert.deepEqual(await all(await open()), []);
});

test("without stored vectors they are what the rows stand for", async () => {
  const documents = corpus(40);
  for (const [precision, most] of [["float32", 1e-6], ["int8", 0.005], ["binary", undefined]]) {
    const index = await open({ precision, rescore: false });
    await index.add(documents);
    const right = await expected(documents, fakeEncoder());
    for (const [i, { passages }] of (await all(index, { vectors: true })).entries()) {
      for (const [p, { vector }] of passages.entries()) {
        const exact = right[i].passages[p].vector;
        const length = Math.hypot(...exact);
        const near = vector.every((value, k) => (most === undefined ? value === (exact[k] > 0 ? 1 : -1) : Math.abs(value - exact[k] / length) < most));
        assert.ok(near && vector.length === exact.length, `${precision}: ${vector} for ${exact}`);
      }
    }
  }
});

test("while others write: what stays comes once, what changes as it is, what goes not at all", async () => {
  const storage = faultyStorage();
  const [index, other] = [await open({ storage }), await open({ storage: storage.tab() })];
  const documents = corpus(900);
  await index.add(documents);
  const found = new Map();
  for await (const { id, text } of index.documents({ vectors: true })) {
    assert.ok(!found.has(id), id);
    found.set(id, text);
    if (found.size !== 100) continue;
    // The files that the loop has begun with go.
    await other.remove(documents.slice(400, 800).map(({ id }) => id));
    await other.add([{ id: "late", text: "late" }, ...documents.slice(800).map(({ id }) => ({ id, text: `other ${id}` }))]);
    await other.compact();
  }
  const texts = new Map(documents.map(({ id, text }) => [id, text]));
  for (const { id } of documents.slice(0, 400)) assert.equal(found.get(id), texts.get(id));
  for (const { id } of documents.slice(800)) assert.ok([texts.get(id), `other ${id}`].includes(found.get(id)), id);
  assert.ok(!found.has("late"));
  assert.ok(found.size < 900, `${found.size} documents`);
  const changed = [...found.values()].filter((text) => text.startsWith("other"));
  assert.ok(changed.length > 0, "some as they are now");
});

test("damaged documents are left out and counted; the loop goes on", async () => {
  for (const [what, rescore, lost] of [["a text", true, 1], ["a vector", true, 1], ["the rows", false, 60]]) {
    const storage = faultyStorage();
    const index = await open({ storage, rescore });
    await index.add(corpus(60));
    const [name, file] = [...storage.files].find(([name]) => name.startsWith("segment"));
    const bytes = new Uint8Array(await file.arrayBuffer());
    const header = JSON.parse(new TextDecoder().decode(bytes.subarray(20, 20 + new DataView(bytes.buffer).getUint32(8, true))));
    const parts = Object.entries(header.parts);
    const size = (names) => parts.filter(([part]) => names.includes(part)).reduce((sum, [, [bytes]]) => sum + bytes, 0);
    const end = bytes.length - size(["texts", "vectors"]);
    bytes[{ "a text": end, "a vector": bytes.length - 1, "the rows": end - 1 }[what]] ^= 1;
    storage.files.set(name, new Blob([bytes]));
    const found = await all(index, { vectors: true });
    assert.deepEqual([found.length, index.stats().lost], [60 - lost, lost], what);
    await index.add(corpus(60));
    assert.equal((await all(index, { vectors: true })).length, 60, what);
  }
});

test("an abort, a break, a migration and wrong arguments", async () => {
  const index = await open();
  await index.add(corpus(600));
  const abort = new AbortController();
  let count = 0;
  await assert.rejects(async () => {
    for await (const _ of index.documents({ signal: abort.signal })) if (++count === 10) abort.abort(new Error("enough"));
  }, /enough/);
  assert.equal(count, 10);
  for await (const _ of index.documents()) break;

  const move = async (options) => {
    let moved = false;
    const ids = new Set();
    for await (const { id } of index.documents(options)) {
      ids.add(id);
      if (!moved) await index.migrate(fakeEncoder({ seed: 3 }));
      moved = true;
    }
    return ids.size;
  };
  await assert.rejects(move({ vectors: true }), refused("index-mismatch"));
  assert.equal(await move(), 600, "texts are the same with any model");

  assert.throws(() => index.documents({ filter: { $where: 1 } }), refused("invalid-argument"));
  assert.throws(() => index.documents({ vectors: 1 }), refused("invalid-argument"));
  assert.throws(() => index.documents({ topK: 1 }), refused("invalid-argument"));
  await assert.rejects(index.get(7), refused("invalid-argument"));
  await assert.rejects(index.get("d1", { filter: {} }), refused("invalid-argument"));
  assert.equal((await all(index)).length, 600);
});
