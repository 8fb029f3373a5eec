// Models that are kept between visits, in Chromium's own storage: no request the second time, one download for two tabs, and what
// happens without room, after a crash, and where a file was damaged.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, test } from "node:test";
import { GOLDEN, browser, served, start } from "./harness.mjs";

const MODEL = "/golden/models/bert-mean";
const WEIGHTS = `${MODEL}/model.safetensors`;

start({ webgpu: false, model: true });

let context;
beforeEach(async () => {
  await context?.close();
  context = await browser.newContext();
  served.routes.delete(WEIGHTS);
});

async function open() {
  const page = await context.newPage();
  page.setDefaultTimeout(0);
  await page.goto(served.url);
  await page.evaluate(async () => void (globalThis.embedlet = await import("/pkg/index.js")));
  return page;
}

/** Loads a model and embeds a text with it. Gives `info.cache`, what was asked of the server for the model, and the vector. */
async function load(page, options = {}, model = MODEL) {
  served.requests.length = 0;
  const [cache, vector] = await page.evaluate(async ([model, options]) => {
    const encoder = await embedlet.Encoder.load(new URL(model, location.href), options);
    const vector = [...(await encoder.embed("a text")).row(0)];
    encoder.dispose();
    return [encoder.info.cache, vector];
  }, [model, options]);
  return { cache, vector, asked: served.requests.filter((path) => path.startsWith(model)) };
}

/** What lies in the private file system, folders among it, and in the Cache API. */
const kept = (page) => page.evaluate(async () => {
  const names = async (folder) => {
    const found = [];
    for await (const [name, handle] of folder.entries()) found.push(name, ...(handle.kind === "file" ? [] : await names(handle)));
    return found;
  };
  const folder = await navigator.storage.getDirectory().then((root) => root.getDirectoryHandle("embedlet-models")).catch(() => undefined);
  const cached = await Promise.all((await caches.keys()).map(async (name) => (await (await caches.open(name)).keys()).map(({ url }) => url)));
  return { files: folder ? await names(folder) : [], cached: cached.flat() };
});

test("the second load, in another page, asks for nothing; nor does one without a network", async () => {
  const first = await load(await open());
  assert.deepEqual(first.cache, { used: "written", reason: null });
  assert.ok(first.asked.includes(WEIGHTS));
  const page = await open();
  const second = await load(page);
  assert.deepEqual(second.cache, { used: "read", reason: null });
  assert.deepEqual(second.asked, []);
  assert.deepEqual(second.vector, first.vector);

  // The wasm is compiled: without a network nothing else is wanted either.
  const module = await page.evaluateHandle(async () => WebAssembly.compileStreaming(fetch("/pkg/embedlet_relaxed_bg.wasm")));
  await context.setOffline(true);
  served.requests.length = 0;
  const vector = await page.evaluate(async ([model, wasmModule]) => {
    const options = { allowRemote: false, worker: false, wasmModule };
    const encoder = await embedlet.Encoder.load(new URL(model, location.href), options);
    return [...(await encoder.embed("a text")).row(0)];
  }, [MODEL, module]);
  assert.deepEqual(vector, first.vector);
  assert.deepEqual(served.requests, []);
});

test("what is kept can be listed and deleted", async () => {
  const page = await open();
  await load(page);
  const { files, cached } = await kept(page);
  assert.ok(files.includes("model.safetensors") && cached.length === 0, "a worker has a file system");
  const found = await page.evaluate(async (model) => {
    const { cache } = embedlet.Encoder;
    const source = new URL(model, location.href);
    const [kept] = await cache.list();
    const before = await cache.has(source);
    const deleted = [await cache.delete(source), await cache.delete(source)];
    return { kept, before, deleted, after: await cache.has(source), persisted: typeof (await cache.persist()) };
  }, MODEL);
  assert.deepEqual(await kept(page), { files: [], cached: [] });
  assert.equal(found.kept.source, served.url + MODEL);
  assert.ok(found.kept.bytes > readFileSync(join(GOLDEN, "models/bert-mean/model.safetensors")).length);
  assert.ok(found.kept.saved instanceof Date);
  assert.deepEqual([found.before, found.deleted, found.after, found.persisted], [true, [true, false], false, "boolean"]);
  const refused = await page.evaluate((model) =>
    embedlet.Encoder.load(new URL(model, location.href), { allowRemote: false }).then(() => "", (error) => error.code), MODEL);
  assert.equal(refused, "network");
});

test("two tabs download once", async () => {
  const bytes = readFileSync(join(GOLDEN, "models/bert-mean/model.safetensors"));
  served.routes.set(WEIGHTS, (_, response) => {
    response.writeHead(200, { "content-length": bytes.length });
    response.write(bytes.subarray(0, 1000));
    setTimeout(() => response.end(bytes.subarray(1000)), 500);
  });
  const pages = [await open(), await open()];
  served.requests.length = 0;
  const run = (page) => page.evaluate(async (model) => (await embedlet.Encoder.load(new URL(model, location.href))).info.cache.used, MODEL);
  const used = await Promise.all(pages.map(run));
  assert.deepEqual(used.sort(), ["read", "written"]);
  assert.equal(served.requests.filter((path) => path === WEIGHTS).length, 1);
});

test("without room the model runs from memory, and says so; what was kept before stays", async () => {
  const page = await open();
  const other = (options) => page.evaluate(async (options) => {
    const encoder = await embedlet.Encoder.load(new URL("/golden/models/bert-odd", location.href), options);
    encoder.dispose();
    return encoder.info.cache.used;
  }, options);
  assert.equal(await other({}), "written");
  const session = await context.newCDPSession(page);
  await session.send("Storage.overrideQuotaForOrigin", { origin: served.url, quotaSize: 60_000 });
  const { cache } = await load(page);
  assert.equal(cache.used, "none");
  assert.match(cache.reason, /quota/i);
  assert.equal(await other({ allowRemote: false }), "read");
  await session.send("Storage.overrideQuotaForOrigin", { origin: served.url });
  assert.equal((await load(page)).cache.used, "written");
});

test("a download that breaks off for good leaves nothing", async () => {
  const bytes = readFileSync(join(GOLDEN, "models/bert-mean/model.safetensors"));
  served.routes.set(WEIGHTS, (_, response) => {
    response.writeHead(200, { "content-length": bytes.length });
    response.write(bytes.subarray(0, 50_000), () => response.destroy());
  });
  const page = await open();
  const code = await page.evaluate((model) => embedlet.Encoder.load(new URL(model, location.href)).catch(({ code }) => code), MODEL);
  assert.equal(code, "network");
  assert.deepEqual(await kept(page), { files: [], cached: [] });
});

/** Lets the weights come as far as their first half, and gives what lets them come to their end. */
function halfway() {
  const bytes = readFileSync(join(GOLDEN, "models/bert-mean/model.safetensors"));
  let goOn;
  const going = new Promise((resolve) => (goOn = resolve));
  served.routes.set(WEIGHTS, async (_, response) => {
    response.writeHead(200, { "content-length": bytes.length });
    response.write(bytes.subarray(0, bytes.length >> 1));
    await going;
    response.end(bytes.subarray(bytes.length >> 1));
  });
  return goOn;
}

test("a load that is given up leaves nothing", async () => {
  halfway();
  const page = await open();
  const name = await page.evaluate((model) => {
    const abort = new AbortController();
    const onProgress = ({ status, file }) => status === "progress" && file === "model.safetensors" && abort.abort();
    return embedlet.Encoder.load(new URL(model, location.href), { signal: abort.signal, onProgress }).catch(({ name }) => name);
  }, MODEL);
  assert.equal(name, "AbortError");
  while (page.workers().length > 0) await page.waitForTimeout(20);
  assert.deepEqual(await kept(page), { files: [], cached: [] });
});

test("a model is not deleted while it is downloaded", async () => {
  const goOn = halfway();
  const page = await open();
  const remove = () => page.evaluate((model) => embedlet.Encoder.cache.delete(new URL(model, location.href)).catch(({ code, message }) => `${code}: ${message}`), MODEL);
  await page.evaluate((model) => new Promise((resolve) => {
    const onProgress = ({ status, file }) => status === "progress" && file === "model.safetensors" && resolve();
    globalThis.loading = embedlet.Encoder.load(new URL(model, location.href), { onProgress });
  }), MODEL);
  assert.match(await remove(), /^storage-failed: .* downloaded, here or in another tab/);
  goOn();
  assert.deepEqual(await page.evaluate(async () => (await loading).info.cache), { used: "written", reason: null });
  assert.equal(await remove(), true);
  assert.deepEqual(await kept(page), { files: [], cached: [] });
});

test("what cannot be deleted, for somebody has it open, goes at the next load of any model", async () => {
  const page = await open();
  await load(page);
  const deleted = await page.evaluate(async (model) => {
    const inside = async () => {
      const find = async (folder) => {
        for await (const [name, handle] of folder.entries()) {
          const found = handle.kind === "directory" ? await find(handle) : name === "model.safetensors" && handle;
          if (found) return found;
        }
      };
      const access = await (await find(await navigator.storage.getDirectory())).createSyncAccessHandle({ mode: "read-only" });
      onmessage = () => (access.close(), postMessage("closed"));
      postMessage("open");
    };
    const reader = new Worker(URL.createObjectURL(new Blob([`(${inside})()`])));
    const told = () => new Promise((resolve) => (reader.onmessage = resolve));
    await told();
    const { cache } = embedlet.Encoder;
    const code = await cache.delete(new URL(model, location.href)).catch(({ code }) => code);
    reader.postMessage("close");
    await told();
    return [code, await cache.list()];
  }, MODEL);
  assert.deepEqual(deleted, ["storage-failed", []]);
  assert.ok((await kept(page)).files.includes("model.safetensors"));
  await page.evaluate(async () => void (globalThis.other = await embedlet.Encoder.load(new URL("/golden/models/bert-odd", location.href))));
  while ((await kept(page)).files.some((name) => name.includes("bert-mean"))) await page.waitForTimeout(20);
});

test("what an older release kept is deleted", async () => {
  const page = await open();
  await page.evaluate(async () => (await caches.open("embedlet models 1")).put("/old", new Response("old")));
  await load(page);
  assert.deepEqual(await page.evaluate(() => caches.keys()), ["embedlet models 2"]);
});

test("a tab that dies in the middle leaves nothing that is used, and no lock", async () => {
  const bytes = readFileSync(join(GOLDEN, "models/bert-mean/model.safetensors"));
  served.routes.set(WEIGHTS, (_, response) => {
    response.writeHead(200, { "content-length": bytes.length });
    response.write(bytes.subarray(0, 50_000));
  });
  const page = await open();
  served.requests.length = 0;
  page.evaluate((model) => void embedlet.Encoder.load(new URL(model, location.href)).catch(() => {}), MODEL).catch(() => {});
  while (!served.requests.includes(WEIGHTS)) await new Promise((resolve) => setTimeout(resolve, 20));
  served.routes.delete(WEIGHTS);
  const next = await open();
  let waiting = true;
  const loading = load(next).finally(() => (waiting = false));
  await next.waitForTimeout(500);
  assert.ok(waiting, "one downloads");
  const session = await context.newCDPSession(page);
  session.send("Page.crash").catch(() => {});
  await page.waitForEvent("crash");
  assert.equal((await loading).cache.used, "written");
  assert.equal((await load(next)).cache.used, "read");
});

test("a file that was damaged on disk is fetched again", async () => {
  const page = await open();
  const { vector } = await load(page);
  for (const change of ["flip", "cut", "drop"]) {
    await page.evaluate(async (change) => {
      let folder = await navigator.storage.getDirectory();
      for (const name of ["embedlet-models", encodeURIComponent(location.origin + "/golden/models/bert-mean")]) folder = await folder.getDirectoryHandle(name);
      if (change === "drop") return folder.removeEntry("model.safetensors");
      const handle = await folder.getFileHandle("model.safetensors");
      const bytes = new Uint8Array(await (await handle.getFile()).arrayBuffer());
      bytes[bytes.length - 100] ^= 1;
      const writable = await handle.createWritable();
      await writable.write(change === "flip" ? bytes : bytes.subarray(0, -1));
      await writable.close();
    }, change);
    const found = await load(page);
    assert.equal(found.cache.used, "written", change);
    assert.match(found.cache.reason, /damaged/, change);
    assert.deepEqual(found.vector, vector, change);
  }
});

test("what a page keeps on its own thread, also of large files, a worker finds, and both delete it", async () => {
  const page = await open();
  for (const model of [MODEL, "/model"]) {
    const first = await load(page, { worker: false }, model);
    assert.deepEqual(first.cache, { used: "written", reason: null });
    const { files, cached } = await kept(page);
    assert.ok(files.length === 0 && cached.some((url) => url.endsWith("model.safetensors")), "a page has no handles");
    const second = await load(page, {}, model);
    assert.deepEqual([second.cache.used, second.vector], ["read", first.vector]);
    assert.equal(await page.evaluate((model) => embedlet.Encoder.cache.delete(new URL(model, location.href)), model), true);
    assert.deepEqual(await kept(page), { files: [], cached: [] });
  }
});

test("an address may be longer than the names of files are", async () => {
  const page = await open();
  const model = MODEL.replace("/models/", "/".repeat(300) + "models/");
  assert.equal((await load(page, {}, model)).cache.used, "written");
  assert.equal((await load(page, {}, model)).cache.used, "read");
  const { files } = await kept(page);
  assert.ok(files.length > 6 && files.every((name) => name.length < 210));
  const source = await page.evaluate(async () => (await embedlet.Encoder.cache.list())[0].source);
  assert.equal(source, served.url + model);
});

test("several read a large file at once; it is deleted when they have", async () => {
  const pages = [await open(), await open()];
  const first = await load(pages[0], {}, "/model");
  assert.equal(first.cache.used, "written");
  const seconds = await Promise.all(pages.map((page) => load(page, {}, "/model")));
  for (const { cache, vector } of seconds) assert.deepEqual([cache.used, vector], ["read", first.vector]);
  // Whether it comes before or after, nobody can say.
  const reading = load(pages[0], { allowRemote: false }, "/model").catch(() => ({ cache: { used: "read" } }));
  const deleted = await pages[1].evaluate(() => embedlet.Encoder.cache.delete(new URL("/model", location.href)));
  assert.equal(deleted, true);
  const { cache } = await reading;
  assert.equal(cache.used, "read");
  assert.deepEqual(await kept(pages[0]), { files: [], cached: [] });
});
