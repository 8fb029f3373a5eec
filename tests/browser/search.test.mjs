// A search index in Chromium's own private file system: kept over reloads, shared by tabs and a worker, and what happens after a crash in the
// middle of a write, without room, and when the files are deleted.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { beforeEach, test } from "node:test";
import { browser, served, start } from "./harness.mjs";

const MODEL = "/golden/models/bert-mean";
/** Short enough to be one passage each. */
const texts = [
  "the old man counted boats", "hello from the cold river", "birds walked along the water", "nobody wrote the first book", "spring came into the school",
  "the lamp is blue", "family names", "the train left before winter", "what is here in the morning", "the wire froze",
];

let context;
start({ webgpu: false }, async () => {
  const collection = readFileSync(new URL("../../pkg/test/collection.mjs", import.meta.url));
  served.routes.set("/collection.mjs", (_, response) => response.writeHead(200, { "content-type": "text/javascript" }).end(collection));
});
beforeEach(async () => {
  await context?.close();
  context = await browser.newContext();
});

/** Runs in a page or a worker: the package as `embedlet`, an `encoder`, and `open` for its index. */
async function prepare(model) {
  globalThis.embedlet = { ...(await import("/pkg/index.js")), ...(await import("/pkg/search.js")) };
  globalThis.Base = (await import("/pkg/index.js")).EmbedletError;
  globalThis.encoder = await embedlet.Encoder.load(new URL(model, location.href));
  globalThis.open = (options) => embedlet.SearchIndex.open({ name: "notes / ü", encoder, ...options });
  globalThis.documentsOf = (texts, first = 0) => texts.map((text, i) => ({ id: `${first + i}`, text, metadata: { n: first + i } }));
  globalThis.folder = async () => {
    const root = await navigator.storage.getDirectory();
    return (await root.getDirectoryHandle("embedlet-index")).getDirectoryHandle("notes%20%2F%20%C3%BC");
  };
  globalThis.filesOf = async () => {
    const names = [];
    for await (const name of (await folder()).keys()) names.push(name);
    return names.sort();
  };
}

async function newPage() {
  const page = await context.newPage();
  page.setDefaultTimeout(0);
  await page.goto(served.url);
  await page.evaluate(prepare, MODEL);
  return page;
}

test("what is added is found after a reload, and in a worker", async () => {
  const page = await newPage();
  const first = await page.evaluate(async (texts) => {
    globalThis.index = await open();
    await index.add(documentsOf(texts));
    const scores = encoder.similarity(await encoder.embedQuery(texts[3]), await encoder.embedDocuments(texts));
    const expected = [...scores].map((score, i) => [`${i}`, score]).sort((a, b) => b[1] - a[1]).slice(0, 5);
    return [await index.search(texts[3], { topK: 5 }), index.stats(), expected];
  }, texts);
  const expected = first.pop();
  assert.deepEqual(first[0].map(({ id, score }) => [id, score]), expected, "the model's own similarities, by its prompts");
  assert.equal(first[1].documents, texts.length);
  await page.reload();
  await page.evaluate(prepare, MODEL);
  const second = await page.evaluate(async (texts) => {
    const index = await open();
    return [await index.search(texts[3], { topK: 5 }), index.stats()];
  }, texts);
  assert.deepEqual(second, first);

  const inWorker = await page.evaluate(async ([prepare, model, text]) => {
    const script = `(${prepare})(${JSON.stringify(model)}).then(async () => {
      const index = await open();
      await index.add({ id: "worker", text: "three boats in the blue water" });
      postMessage((await index.search(${JSON.stringify(text)}, { topK: 1 }))[0].id);
    }).catch((error) => postMessage(String(error.stack)));`;
    // A worker of a blob has no address that others are relative to.
    const address = (text) => text.replaceAll('import("/', `import("${location.origin}/`).replaceAll("location.href", `"${location.origin}"`);
    const worker = new Worker(URL.createObjectURL(new Blob([address(script)], { type: "text/javascript" })), { type: "module" });
    return new Promise((resolve) => (worker.onmessage = ({ data }) => resolve(data)));
  }, [String(prepare), MODEL, texts[3]]);
  assert.equal(inWorker, expected[0][0]);
  const seen = await page.evaluate(async () => (await (await open()).search("three boats", { topK: 100 })).find(({ id }) => id === "worker").text);
  assert.equal(seen, "three boats in the blue water");
});

test("two tabs write at once, and each finds what both have written", async () => {
  const pages = [await newPage(), await newPage()];
  const results = await Promise.all(pages.map((page, at) => page.evaluate(async ([texts, at]) => {
    globalThis.index = await open();
    for (let i = 0; i < 6; i++) await index.add(documentsOf([texts[i]], 10 * at + i));
    await index.remove(`${10 * at}`);
  }, [texts, at])));
  assert.equal(results.length, 2);
  for (const page of pages) {
    const found = await page.evaluate(async (text) => (await index.search(text, { topK: 100 })).map(({ id }) => id).sort(), texts[0]);
    assert.deepEqual(found, ["1", "11", "12", "13", "14", "15", "2", "3", "4", "5"]);
  }
  const names = await pages[0].evaluate(() => filesOf());
  assert.equal(names.filter((name) => name.startsWith("manifest")).length, 1);
});

test("a page that dies while it writes leaves what was committed, and no lock", async () => {
  // A segment is in the middle, or the manifest is.
  for (const [at, expected] of [[3, 2], [4, 2], [5, 4]]) {
    await context.close();
    context = await browser.newContext();
    const page = await newPage();
    const reached = page.evaluate(async ([texts, at]) => {
      const { close } = FileSystemWritableFileStream.prototype;
      let count = 0;
      const there = new Promise((resolve) => {
        FileSystemWritableFileStream.prototype.close = function () {
          if (++count < at) return close.call(this);
          resolve();
          return new Promise(() => {});
        };
      });
      const index = await open();
      (async () => {
        await index.add(documentsOf(texts.slice(0, 2)));
        await index.add(documentsOf(texts.slice(2, 4), 2));
        await index.add(documentsOf(texts.slice(4, 6), 4));
      })();
      await there;
    }, [texts, at]);
    await reached;
    const next = await newPage();
    let isWaiting = true;
    const adding = next.evaluate(async (text) => {
      globalThis.index = await open();
      globalThis.before = index.stats();
      await index.add({ id: "after", text });
    }, texts[9]).finally(() => (isWaiting = false));
    await next.waitForTimeout(300);
    assert.ok(isWaiting, "one writes at a time");
    const session = await context.newCDPSession(page);
    session.send("Page.crash").catch(() => {});
    await page.waitForEvent("crash");
    await adding;
    const [stats, found, files] = await next.evaluate(async (text) => {
      const hits = await index.search(text, { topK: 100 });
      return [before, hits.map(({ id }) => id).sort(), await filesOf()];
    }, texts[9]);
    assert.deepEqual([stats.documents, stats.lost, stats.problem], [expected, 0, null], `at ${at}`);
    assert.deepEqual(found, [...Array.from({ length: expected }, (_, i) => `${i}`), "after"]);
    assert.equal(files.filter((name) => name.startsWith("manifest")).length, 1);
  }
});

test("without room an add rejects, and the index goes on; with room again it takes the same documents", async () => {
  const page = await newPage();
  await page.evaluate(async (texts) => {
    globalThis.index = await open();
    await index.add(documentsOf(texts.slice(0, 4)));
  }, texts);
  const session = await context.newCDPSession(page);
  await session.send("Storage.overrideQuotaForOrigin", { origin: served.url, quotaSize: 60_000 });
  const refused = await page.evaluate(async (texts) => {
    const vector = new Float32Array(index.stats().dimensions).fill(1);
    const large = documentsOf(texts.slice(4, 8), 4).map((one) => ({ ...one, text: one.text.repeat(4000), vector }));
    const error = await index.add(large).catch((error) => error);
    const isOurs = error instanceof embedlet.EmbedletError && error instanceof Base;
    return { code: error.code, isOurs, found: (await index.search(texts[0], { topK: 100 })).length };
  }, texts);
  assert.deepEqual(refused, { code: "storage-full", isOurs: true, found: 4 });
  await session.send("Storage.overrideQuotaForOrigin", { origin: served.url });
  const found = await page.evaluate(async (texts) => {
    await index.add(documentsOf(texts.slice(4, 8), 4));
    const again = await open();
    return (await again.search(texts[0], { topK: 100 })).length;
  }, texts);
  assert.equal(found, 8);
});

test("another tab compacts while one searches", async () => {
  const pages = [await newPage(), await newPage()];
  await pages[0].evaluate(async (texts) => {
    globalThis.index = await open();
    for (let i = 0; i < 5; i++) await index.add(documentsOf([texts[i]], i));
  }, texts);
  const searching = pages[1].evaluate(async (texts) => {
    globalThis.index = await open();
    const counts = new Set();
    for (let i = 0; i < 60; i++) counts.add((await index.search(texts[i % 5], { topK: 5 })).length);
    return [[...counts], index.stats().lost];
  }, texts);
  await pages[0].evaluate(async () => {
    for (let i = 0; i < 5; i++) await index.compact();
  });
  assert.deepEqual(await searching, [[5], 0]);
});

test("files that are deleted: the index says so, and begins anew; a name is deleted as a whole", async () => {
  const page = await newPage();
  const found = await page.evaluate(async (texts) => {
    const index = await open();
    await index.add(documentsOf(texts.slice(0, 4)));
    for (const name of await filesOf()) await (await folder()).removeEntry(name);
    const code = await index.search(texts[0]).then(() => "none", (error) => error.code);
    await index.add(documentsOf(texts.slice(0, 2)));
    const again = await open();
    const { documents } = again.stats();
    const { SearchIndex } = embedlet;
    const deleted = [await SearchIndex.delete("notes / ü"), await SearchIndex.delete("notes / ü"), await SearchIndex.delete("other")];
    return { code, documents, deleted, problem: index.stats().problem, anew: (await open()).stats().documents };
  }, texts);
  assert.match(found.problem, /gone/);
  assert.deepEqual({ ...found, problem: null }, { code: "index-damaged", documents: 2, deleted: [true, false, false], problem: null, anew: 0 });
});
