// Threads that share one memory, on a page that is cross-origin isolated: the same bits as one thread has, and nothing of them stays.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { browser, DIST, open, served, start } from "./harness.mjs";

const ISOLATED = { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" };
const TEXTS = [...Array.from({ length: 40 }, (_, i) => `the old man counted ${i} boats and the birds`), "", "a"];

// A page of the tests' server is isolated where that sends so with every answer.
start({ headers: ISOLATED });

/** Loads an encoder, and gives its vectors of `TEXTS` one call after the other, and of the last alone. */
function vectors(page, options) {
  return page.evaluate(async ([texts, options]) => {
    globalThis.encoder = await embedlet.Encoder.load(await helpers.folder("bert-mean"), { device: "wasm", ...options });
    const calls = [await encoder.embed(texts), await encoder.embed(texts), await encoder.embed(texts[0])];
    return calls.map((call) => Array.from(call.data));
  }, [TEXTS, options]);
}

async function left(page, count) {
  while (page.workers().length !== count) await page.waitForTimeout(20);
}

const scripts = (page) => page.workers().map((worker) => new URL(worker.url()).pathname);

for (const precision of ["f32", "int8"]) {
  test(`threads of a team give the bits of one in ${precision}, and go with the encoder`, { timeout: 60_000 }, async () => {
    const page = await open(browser, served);
    assert.ok(await page.evaluate(() => crossOriginIsolated));
    const alone = await vectors(page, { precision });
    assert.deepEqual(scripts(page), ["/pkg/worker.js"]);
    await page.evaluate(() => encoder.dispose());
    await left(page, 0);
    for (const threads of [2, 3]) {
      assert.deepEqual(await vectors(page, { precision, threads }), alone);
      await left(page, threads);
      assert.deepEqual(scripts(page), Array(threads).fill("/pkg/threads.js"));
      // All of them are there by now.
      const again = await page.evaluate(async (texts) => Array.from((await encoder.embed(texts)).data), TEXTS);
      assert.deepEqual(again, alone[0]);
      await page.evaluate(() => encoder.dispose());
      await left(page, 0);
    }
    await page.close();
  });
}

/** Lets the workers with these numbers, in the order of their start, have a script with `fault` in front. */
function withFault(numbers, fault) {
  let started = 0;
  served.routes.set("/pkg/threads.js", (_, response) => {
    const script = readFileSync(join(DIST, "threads.js"), "utf8");
    response.writeHead(200, { "content-type": "text/javascript", "cache-control": "no-store", ...ISOLATED });
    response.end(numbers.includes(started++) ? `${fault}\n${script}` : script);
  });
  return () => started;
}

/** What runs instead of a thread's own loop: once the server answers, the instance traps, as by a defect of the crate. */
const TRAPS = `const { instantiate } = WebAssembly;
WebAssembly.instantiate = async (...given) => {
  const real = await instantiate(...given);
  const follow = () => {
    const request = new XMLHttpRequest();
    request.open("GET", "/until", false);
    request.send();
    real.exports.__wbindgen_malloc(0xfffffff0, 16);
  };
  return Object.create(real, { exports: { value: { ...real.exports, follow } } });
};`;

test("a thread that crashes takes the team with it, and a new one answers", { timeout: 60_000 }, async (t) => {
  t.after(() => ["/pkg/threads.js", "/until"].forEach((path) => served.routes.delete(path)));
  const page = await open(browser, served);
  const alone = await vectors(page, {});
  await page.evaluate(() => encoder.dispose());
  const started = withFault([1], TRAPS);
  const asked = new Promise((resolve) => served.routes.set("/until", (_, response) => resolve(response)));
  assert.deepEqual(await vectors(page, { threads: 2 }), alone);
  (await asked).writeHead(200, ISOLATED).end();
  while (started() < 4) {
    const again = await page.evaluate(async (texts) => Array.from((await encoder.embed(texts)).data), TEXTS);
    assert.deepEqual(again, alone[0]);
  }
  await left(page, 2);
  await page.evaluate(() => encoder.dispose());
  await left(page, 0);
  await page.close();
});

test("a thread that does not start is done without", { timeout: 60_000 }, async (t) => {
  t.after(() => served.routes.delete("/pkg/threads.js"));
  const page = await open(browser, served);
  const alone = await vectors(page, {});
  await page.evaluate(() => encoder.dispose());
  const started = withFault([1], 'throw new Error("no");');
  assert.deepEqual(await vectors(page, { threads: 3 }), alone);
  await left(page, 2);
  assert.equal(started(), 3);
  await page.evaluate(() => encoder.dispose());
  await left(page, 0);
  await page.close();
});

test("where the files of a team are missing, or memory cannot be shared, every worker has the model", { timeout: 60_000 }, async (t) => {
  t.after(() => served.routes.delete("/pkg/embedlet_threads_bg.wasm"));
  served.routes.set("/pkg/embedlet_threads_bg.wasm", (_, response) => response.writeHead(404).end());
  const missing = await open(browser, served);
  const refused = await open(browser, served, { init: () => {
    const { Memory } = WebAssembly;
    WebAssembly.Memory = function (shape) {
      if (shape.shared) throw new RangeError("no room");
      return new Memory(shape);
    };
  } });
  for (const page of [missing, refused]) {
    await vectors(page, { threads: 2 });
    await left(page, 2);
    assert.deepEqual(scripts(page), Array(2).fill("/pkg/worker.js"));
    await page.close();
  }
});

test("a team is given up in the middle of a call", { timeout: 60_000 }, async () => {
  const page = await open(browser, served);
  const alone = await vectors(page, { threads: 2 });
  const outcome = await page.evaluate(async (texts) => {
    const abort = new AbortController();
    const many = Array.from({ length: 100 }, () => texts).flat();
    const call = encoder.embed(many, { signal: abort.signal, onProgress: () => abort.abort() });
    return helpers.outcome(call.then(() => "answered"));
  }, TEXTS);
  assert.equal(outcome.name ?? outcome.code, "AbortError");
  const again = await page.evaluate(async (texts) => Array.from((await encoder.embed(texts)).data), TEXTS);
  assert.deepEqual(again, alone[0]);
  await page.evaluate(() => encoder.dispose());
  await left(page, 0);
  await page.close();
});
