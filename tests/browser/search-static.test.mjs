// A static index that the command line built, in Chromium: the same as an index of the same documents, by few files, kept, and not believed.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { GOLDEN, browser, served, start } from "./harness.mjs";

const MODEL = "/golden/models/static-bag";
const AT = "/golden/index/notes/";
const FOLDER = `${GOLDEN}/index/notes`;
const documents = readFileSync(`${GOLDEN}/index/documents.jsonl`, "utf8").trim().split("\n").map((line) => JSON.parse(line));
const queries = ["a train that was late", "flowers in the garden", "money that a bank lends"];

let context;
let page;
start({ webgpu: false }, async () => {
  context = await browser.newContext();
  page = await context.newPage();
  await page.goto(served.url);
  await page.evaluate(async ([model, at]) => {
    const { Encoder } = await import("/pkg/index.js");
    const { SearchIndex } = await import("/pkg/search.js");
    const encoder = await Encoder.load(new URL(model, location.href), { device: "wasm" });
    globalThis.make = () => SearchIndex.open({ name: "own", encoder, storage: "memory", rescore: false });
    globalThis.open = () => SearchIndex.open({ encoder, storage: new URL(at, location.href) });
    globalThis.codeOf = (promise) => promise.then(() => "", ({ code, message }) => `${code}: ${message}`);
  }, [MODEL, AT]);
});

const asked = () => served.requests.filter((path) => path.startsWith(AT)).map((path) => path.slice(AT.length));

test("a damaged file is refused by name; the right one is fetched when it is there, and answers without the network", async () => {
  const before = await page.evaluate(async (query) => {
    globalThis.index = await open();
    return (await index.search(query, { probes: 1, topK: 1 })).length;
  }, queries[0]);
  assert.equal(before, 1);
  const [manifest, cells, used, ...none] = asked();
  assert.match(manifest, /^manifest-1$/);
  assert.match(cells, /^cells-1-/);
  assert.match(used, /^segment-1-/);
  assert.deepEqual(none, []);

  const other = readdirSync(FOLDER).find((name) => name.startsWith("segment") && name !== used);
  const bytes = readFileSync(`${FOLDER}/${other}`);
  bytes[bytes.length >> 1] ^= 1;
  served.routes.set(AT + other, (_, response) => response.writeHead(200, { "content-length": bytes.length }).end(bytes));
  const error = await page.evaluate((query) => codeOf(index.search(query, { probes: Infinity })), queries[0]);
  assert.match(error, new RegExp(`^index-damaged: ${other} `));
  served.routes.delete(AT + other);

  const first = await page.evaluate(async (queries) => {
    const hits = [];
    for (const query of queries) hits.push(await index.search(query));
    index.close();
    return hits;
  }, queries);
  // Keeping is not waited for.
  await page.waitForFunction(async (count) => (await (await caches.open("embedlet indexes 1")).keys()).length >= count, new Set(asked()).size);
  await context.setOffline(true);
  try {
    const again = await page.evaluate(async (queries) => {
      const index = await open();
      const hits = [];
      for (const query of queries) hits.push(await index.search(query));
      return { hits, fetched: index.stats().fetched };
    }, queries);
    assert.deepEqual(again, { hits: first, fetched: 0 });
  } finally {
    await context.setOffline(false);
  }
});

test("all cells give what an index of the same documents gives", async () => {
  const [found, expected, changed] = await page.evaluate(async ([queries, documents]) => {
    const own = await make();
    await own.add(documents.map(({ id, text, ...metadata }) => ({ id, text, metadata })));
    const index = await open();
    const all = (index) => Promise.all(queries.map((query) => index.search(query, { topK: 240, probes: Infinity })));
    const list = (hits) => hits.map((some) => some.map(({ id, score, text, metadata }) => [id, score, text, metadata.topic, metadata.number]));
    return [list(await all(index)), list(await all(own)), await codeOf(index.add({ id: "x", text: "x" }))];
  }, [queries, documents]);
  assert.equal(found[0].length, 240);
  assert.deepEqual(found, expected);
  assert.match(changed, /^read-only/);
});
