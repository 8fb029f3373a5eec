// The example of docs/extension.md as an unpacked extension in Chromium, with each way of messaging: a page as a side panel is one, the
// offscreen document and the service worker, with a tiny model in the package. Vectors are held against those of an ordinary page.

import assert from "node:assert/strict";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { compare, DIST, GOLDEN, launch, launchWith, open, proxy, site } from "./harness.mjs";

const DOCS = readFileSync(new URL("../../docs/extension.md", import.meta.url), "utf8");
const TEXTS = ["the boats", "a harbour \u{1f30a}", "the boats sail ".repeat(50)];
/** More than a frame of it goes each way. */
const MANY = [...Array(9).fill("the boats ".repeat(60_000)), ...Array.from({ length: 3000 }, (_, i) => `the ${i} boats sail `.repeat(10))];

let served;
let expected;
before(async () => {
  served = await site();
  const browser = await launch({ webgpu: false });
  try {
    const page = await open(browser, served);
    await page.evaluate(async () => (globalThis.encoder = await embedlet.Encoder.load("/golden/models/bert-mean/", { device: "wasm" })));
    const vectors = await page.evaluate(async (texts) => [...(await encoder.embed(texts)).data], TEXTS);
    const query = await page.evaluate(async (text) => [...(await encoder.embedQuery(text)).data], TEXTS[0]);
    expected = { vectors, query, many: await page.evaluate(digest, MANY) };
  } finally {
    await browser.close();
  }
});
after(() => served?.close());

/** Runs in a page: how many numbers `encoder` gives for the tokens of `texts`, and their hash. */
async function digest(texts) {
  const { data, count } = await encoder.embed(texts, { tokens: true });
  return [data.length, count, ...new Uint8Array(await crypto.subtle.digest("SHA-256", data))];
}

/** The files of the example, by the comment at their beginning; the manifest has none. */
function example() {
  const blocks = [...DOCS.matchAll(/^```(json|js|html)[^\n]*\n([^]*?)^```$/gm)];
  return Object.fromEntries(blocks.map(([, kind, text]) => [kind === "json" ? "manifest.json" : /^(?:\/\/|<!--) ([\w.]+)/.exec(text)[1], text]));
}

/** Chromium with the example in it. */
async function installed(change = (manifest) => manifest) {
  const folder = mkdtempSync(join(tmpdir(), "embedlet-extension-"));
  const extension = join(folder, "extension");
  mkdirSync(extension);
  cpSync(DIST, join(extension, "embedlet"), { recursive: true });
  cpSync(join(GOLDEN, "models/bert-mean"), join(extension, "model"), { recursive: true });
  const files = example();
  const manifest = change(JSON.parse(files["manifest.json"]));
  files["background.js"] = `import "./watched.js";\n${files["background.js"]}`;
  files["watched.js"] = `globalThis.compiled = 0;
    for (const name of ["compile", "compileStreaming", "instantiate", "instantiateStreaming", "Module"]) {
      WebAssembly[name] = new Proxy(WebAssembly[name], { apply: (...given) => (compiled++, Reflect.apply(...given)), construct: (...given) => (compiled++, Reflect.construct(...given)) });
    }`;
  for (const [name, text] of Object.entries(files)) writeFileSync(join(extension, name), text);
  writeFileSync(join(extension, "manifest.json"), JSON.stringify(manifest));
  writeFileSync(join(extension, "empty.html"), "<!doctype html><title>page</title>");
  // A connection as a page of the extension makes it, from a page that is not.
  writeFileSync(join(extension, "content.js"), `
    const port = chrome.runtime.connect({ name: "embedlet encoders" });
    const state = (text) => (document.documentElement.dataset.state = text);
    port.onMessage.addListener(() => state("answered"));
    port.onDisconnect.addListener(() => state("refused"));
    port.postMessage({ probe: [1] });`);
  const watched = await proxy(served);
  const context = await launchWith(join(folder, "profile"), extension, { flags: [...watched.flags, "--enable-unsafe-webgpu"] });
  const [background] = context.serviceWorkers().length ? context.serviceWorkers() : [await context.waitForEvent("serviceworker")];
  /** A page of the extension, with the package as `embedlet`, whose encoders are in the offscreen document. */
  const page = async (path = "/empty.html") => {
    const page = await context.newPage();
    await page.goto(new URL(path, background.url()).href);
    await page.evaluate(async () => {
      globalThis.embedlet = await import("/embedlet/extension.js");
      globalThis.connect = (options) => embedlet.connectEncoder("/model/", { device: "wasm", offscreen: { url: "offscreen.html" }, ...options });
    });
    return page;
  };
  const close = async () => {
    await context.close();
    watched.close();
    rmSync(folder, { recursive: true, force: true });
  };
  return { context, background, page, log: watched.log, close };
}

const ways = [
  ["clones", (manifest) => manifest],
  ["JSON", ({ message_serialization, ...manifest }) => manifest],
];
// The way that needs a codec; the other needs none of it.
for (const [way, change] of process.env.EMBEDLET_TEST_ALL ? ways : ways.slice(1)) {
  test(`an extension whose messages are ${way}`, { timeout: 300_000 }, async (t) => {
    const { context, background, page: newPage, log, close } = await installed((manifest) => ({
      ...change(manifest), content_scripts: [{ matches: ["http://127.0.0.1/*"], js: ["content.js"] }],
    }));
    t.after(close);

    await t.test("the example answers", async () => {
      const panel = await newPage("/panel.html");
      await panel.locator("body[data-ready=yes]").waitFor();
      assert.equal(await panel.evaluate(() => document.querySelector("progress").value), 100);
      await panel.locator("input").fill("When is the museum open?");
      await panel.locator("input").press("Enter");
      await panel.waitForFunction(() => document.querySelector("output").value !== "");
      assert.match(await panel.locator("output").textContent(), /^(Refunds take|The museum opens)/);
      await panel.close();
    });

    const page = await newPage();

    await t.test("bytes travel as they can", async () => {
      const frames = await page.evaluate(() => new Promise((resolve) => {
        const port = chrome.runtime.connect({ name: "embedlet encoders" });
        port.onMessage.addListener(({ probe }) => resolve(probe instanceof Uint8Array));
        port.postMessage({ probe: Uint8Array.of(1) });
      }));
      assert.equal(frames, way === "clones");
    });

    await t.test("vectors are those of a page, with progress, from the page and the service worker", async () => {
      const found = await page.evaluate(async (texts) => {
        const [loaded, done] = [[], []];
        globalThis.encoder = await connect({ onProgress: ({ status }) => loaded.push(status) });
        const e = await encoder.embed(texts, { onProgress: (event) => done.push(event.done) });
        return { vectors: [...e.data], truncated: e.truncated(2), loaded, done, device: encoder.info.device, tokens: (await encoder.tokenize("the boats")).offsets };
      }, TEXTS);
      assert.deepEqual(found.vectors, expected.vectors);
      assert.deepEqual([found.truncated, found.loaded.at(-1), found.done.at(-1), found.device], [true, "ready", TEXTS.length, "wasm"]);
      assert.deepEqual(found.tokens[1], [0, 3]);
      assert.deepEqual(await page.evaluate((query) => chrome.runtime.sendMessage({ query }), TEXTS[0]), expected.query);
      const count = (script) => background.evaluate(script);
      assert.equal(await count("compiled"), 0, "the service worker has no WebAssembly");
      assert.equal(await count("WebAssembly.compile(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0)).then(() => compiled)"), 1);
    });

    await t.test("on a GPU", async () => {
      const found = await page.evaluate(async (texts) => {
        const encoder = await connect({ device: "webgpu" });
        const { data, dimensions } = await encoder.embed(texts);
        encoder.dispose();
        return { data: [...data], dimensions, device: encoder.info.device, passed: encoder.info.selfCheck.passed };
      }, TEXTS);
      assert.deepEqual([found.device, found.passed], ["webgpu", true]);
      const { maxAbs } = compare(found.data, expected.vectors, found.dimensions);
      assert.ok(maxAbs < 1e-4, `${maxAbs}`);
    });

    await t.test("what is larger than a message of the runtime", async () => {
      assert.ok(expected.many[0] * 4 > 8 << 20);
      assert.deepEqual(await page.evaluate(digest, MANY), expected.many);
    });

    await t.test("a search index in the page, whose scan is in the document, also after that was closed", async () => {
      const found = await page.evaluate(async () => {
        const { SearchIndex } = await import("/embedlet/search.js");
        const texts = ["the old man counted boats", "hello from the cold river", "birds walked along the water", "nobody wrote the first book"];
        const query = "the birds";
        const scores = encoder.similarity(await encoder.embedQuery(query), await encoder.embedDocuments(texts));
        const expected = [...scores].map((score, i) => [`${i}`, score]).sort((a, b) => b[1] - a[1]);
        const index = await SearchIndex.open({ name: "panel", encoder });
        await index.add(texts.map((text, i) => ({ id: `${i}`, text })));
        const look = async () => (await index.search(query)).map(({ id, score }) => [id, score]);
        const first = await look();
        await chrome.offscreen.closeDocument();
        return { expected, first, second: await look() };
      });
      assert.deepEqual(found.first, found.expected);
      assert.deepEqual(found.second, found.expected);
    });

    await t.test("an abort ends the call, and nothing else", async () => {
      const found = await page.evaluate(async (text) => {
        const abort = new AbortController();
        const call = encoder.embed(Array(20_000).fill("the boats sail"), { signal: abort.signal, onProgress: () => abort.abort() });
        const name = await call.then(() => "answered", (error) => error.name);
        return { name, query: [...(await encoder.embedQuery(text)).data] };
      }, TEXTS[0]);
      assert.deepEqual(found, { name: "AbortError", query: expected.query });
    });

    for (const listens of [false, true]) {
      await t.test(`the document is closed in the middle of a call${listens ? ", while the service worker listens" : ""}`, async () => {
        if (listens) await background.evaluate(() => chrome.runtime.onConnect.addListener(() => {}));
        const found = await page.evaluate(async (texts) => {
          let closed = 0;
          const close = () => {
            if (!closed++) chrome.offscreen.closeDocument();
          };
          const call = encoder.embed([...texts, ...Array(20_000).fill("the boats sail")], { onProgress: close });
          const [e, query] = await Promise.all([call, encoder.embedQuery(texts[0])]);
          return { vectors: [...e.data.subarray(0, texts.length * e.dimensions)], query: [...query.data], closed: closed > 1 };
        }, TEXTS);
        assert.deepEqual(found, { vectors: expected.vectors, query: expected.query, closed: true });
      });
    }

    await t.test("one document for all who ask at once", async () => {
      await background.evaluate(() => chrome.offscreen.closeDocument());
      const other = await newPage();
      const ask = (page) => page.evaluate(() => Promise.all([1, 2, 3].map(() => embedlet.ensureOffscreen({ url: "offscreen.html" }))));
      assert.deepEqual(await Promise.all([ask(page), ask(other)]), Array(2).fill(Array(3).fill("offscreen")));
      const code = await other.evaluate(() => embedlet.ensureOffscreen({ url: "empty.html" }).catch(({ code }) => code));
      assert.equal(code, "invalid-argument");
      await other.close();
    });

    await t.test("a content script is refused", async () => {
      await page.evaluate(() => embedlet.ensureOffscreen({ url: "offscreen.html" }));
      const site = await context.newPage();
      await site.goto(served.url);
      await site.waitForFunction(() => document.documentElement.dataset.state);
      assert.equal(await site.evaluate(() => document.documentElement.dataset.state), "refused");
      await site.close();
    });

    await t.test("without a network, and without a request", async () => {
      const own = log.filter((url) => !url.startsWith(served.url));
      assert.deepEqual(own, []);
      assert.ok(log.length > 0, "requests are seen");
      await context.setOffline(true);
      const found = await page.evaluate(async (texts) => {
        const fresh = await connect({ precision: "f32", cache: false });
        const vectors = [...(await fresh.embed(texts)).data];
        fresh.dispose();
        return vectors;
      }, TEXTS);
      assert.deepEqual(found, expected.vectors);
      assert.deepEqual(log.filter((url) => !url.startsWith(served.url)), []);
      await context.setOffline(false);
    });
  });
}
