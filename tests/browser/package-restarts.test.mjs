// Engines that crash, lose their device or go with the GPU process, in use: calls are answered all the same, or refused for a reason,
// and no worker stays behind.

import assert from "node:assert/strict";
import { test } from "node:test";
import { browser, launch, open, served, start } from "./harness.mjs";

start();

const WORKER = "/tests/faulty-worker.mjs";
const TEXTS = Array.from({ length: 300 }, (_, i) => `the old man counted ${i} boats and the birds`);

/** Loads an encoder in the page as `encoder`, and its vectors of `TEXTS` as `expected`. */
async function load(page, options) {
  await page.evaluate(async ([texts, options]) => {
    globalThis.texts = texts;
    globalThis.encoder = await embedlet.Encoder.load(await helpers.folder("bert-mean"), options);
    globalThis.device = encoder.info.device;
    globalThis.expected = (await encoder.embed(texts)).data;
  }, [TEXTS, options]);
}

/** Several calls at once while something happens: how each ended, and whether with the vectors that it should have. */
function calls(page) {
  return page.evaluate(async () => {
    const same = async (first, last) => {
      const { data } = await encoder.embed(texts.slice(first, last), { onProgress: () => (globalThis.begun = true) });
      const width = data.length / (last - first);
      // A GPU and the CPU do not have the same bits.
      const most = encoder.info.device === device ? 0 : 1e-5;
      return data.every((value, i) => Math.abs(value - expected[first * width + i]) <= most);
    };
    const ends = [same(0, texts.length), same(7, 9), encoder.tokenize("the boats").then(({ tokens }) => tokens.length)];
    return Promise.all(ends.map(helpers.outcome));
  });
}

const GOOD = [{ value: true }, { value: true }, { value: 4 }];

async function left(page, count) {
  while (page.workers().length !== count) await page.waitForTimeout(20);
}

for (const [device, faults] of [
  ["wasm", [["step", "trap", 0], ["step", "trap", 1], ["step", "task", 1], ["step", "foreign", 1]]],
  ["webgpu", [["submit", "destroy", 0], ["submit", "destroy", 1], ["map", "refused", 1], ["step", "trap", 1]]],
]) {
  test(`on ${device}, calls outlive a crash, a lost device, and a worker that fails`, { timeout: 300_000 }, async () => {
    const page = await open(browser, served);
    await load(page, { device, workerUrl: WORKER });
    const started = [];
    page.on("worker", (worker) => started.push(worker));
    for (const [i, fault] of faults.entries()) {
      await page.evaluate((fault) => helpers.fault(...fault), fault);
      assert.deepEqual(await calls(page), GOOD, `${fault}`);
      assert.equal(started.length, i + 1, `${fault} was met`);
    }
    await left(page, 1);
    await page.evaluate(() => encoder.dispose());
    await left(page, 0);
    await page.close();
  });
}

test("on this thread, a trap is met by a new instance, also one that no promise reports", { timeout: 60_000 }, async () => {
  const page = await open(browser, served);
  await page.evaluate(() => import("/tests/faults.mjs"));
  await load(page, { device: "wasm", worker: false });
  const uncaught = [];
  page.on("pageerror", (error) => uncaught.push(error));
  for (const name of ["trap", "task"]) {
    await page.evaluate((name) => {
      globalThis.before = encoder.info;
      return helpers.fault("step", name, 1);
    }, name);
    assert.deepEqual(await calls(page), GOOD, name);
    assert.ok(await page.evaluate(() => encoder.info !== before), `${name} was met`);
  }
  assert.deepEqual(uncaught, [], "what is the package's own does not reach the page");
  await page.close();
});

// Chromium gives a page no adapter any more when it has lost two GPU processes.
for (const device of ["webgpu", "auto"]) {
  test(`with ${device}, the GPU process crashes once, and once more`, { timeout: 300_000 }, async () => {
    const crashing = await launch();
    try {
      const page = await open(crashing, served);
      const session = await crashing.newBrowserCDPSession();
      await load(page, { device, workerUrl: `${WORKER}?hardware` });
      const info = () => page.evaluate(() => encoder.info);
      assert.equal((await info()).device, "webgpu");

      // In the middle of a call.
      await page.evaluate(() => (globalThis.begun = false));
      const running = calls(page);
      await page.waitForFunction(() => begun);
      session.send("Browser.crashGpuProcess").catch(() => {});
      assert.deepEqual(await running, GOOD);
      assert.equal((await info()).device, "webgpu");

      // While nothing runs.
      session.send("Browser.crashGpuProcess").catch(() => {});
      await page.waitForTimeout(1000);
      const ends = await calls(page);
      if (device === "auto") {
        assert.deepEqual(ends, GOOD);
        assert.deepEqual([(await info()).device, (await info()).adapter], ["wasm", null]);
        assert.match((await info()).reason, /adapter/);
        await page.evaluate(() => encoder.dispose());
      } else {
        for (const { code, message } of ends) assert.deepEqual([code, /reload the page/.test(message)], ["no-adapter", true], message);
      }
      await left(page, 0);
    } finally {
      await crashing.close();
    }
  });
}

test("a model that was kept comes out of the cache again, also where nothing else is allowed", { timeout: 60_000 }, async () => {
  const page = await open(browser, served);
  for (const allowRemote of [true, false]) {
    await page.evaluate(async ([url, allowRemote]) => {
      globalThis.encoder = await embedlet.Encoder.load("/golden/models/bert-mean", { device: "wasm", workerUrl: url, allowRemote });
    }, [WORKER, allowRemote]);
    served.requests.length = 0;
    const [before, count, after] = await page.evaluate(async () => {
      const before = encoder.info.cache.used;
      await helpers.fault("step", "trap");
      const { count } = await encoder.embed("a");
      encoder.dispose();
      return [before, count, encoder.info.cache.used];
    });
    assert.deepEqual([before, count, after], [allowRemote ? "written" : "read", 1, "read"]);
    // The wasm comes while the worker starts.
    assert.deepEqual(served.requests.toSorted(), [WORKER, "/tests/faults.mjs", "/pkg/worker.js", "/pkg/embedlet_relaxed_bg.wasm"].sort());
  }
  await page.close();
});

test("a worker of the caller's starts a new instance, and goes on behind an error of another script", { timeout: 60_000 }, async () => {
  const page = await open(browser, served);
  await page.evaluate((url) => (globalThis.own = new Worker(url, { type: "module" })), WORKER);
  await page.evaluate(async (texts) => {
    globalThis.other = await embedlet.Encoder.load(await helpers.folder("bert-mean"), { device: "wasm", worker: own });
    globalThis.texts = texts;
  }, TEXTS);
  const { expected, found, both } = await page.evaluate(async () => {
    const encoder = await embedlet.Encoder.load(await helpers.folder("bert-mean"), { device: "wasm", worker: own });
    globalThis.encoder = encoder;
    const expected = helpers.plain(await encoder.embed(texts));
    await helpers.fault("step", "trap", 1);
    const [found, both] = await Promise.all([encoder.embed(texts), other.embed(texts)]);
    return { expected, found: helpers.plain(found), both: helpers.plain(both) };
  });
  assert.deepEqual(found, expected);
  assert.deepEqual(both, expected);
  const behind = await page.evaluate(async () => {
    const heard = new Promise((resolve) => own.addEventListener("error", ({ message }) => resolve(message), { once: true }));
    await helpers.fault("step", "beside");
    const found = helpers.plain(await encoder.embed(texts));
    return { heard: await heard, found, both: helpers.plain(await other.embed(texts)) };
  });
  assert.match(behind.heard, /of another script/);
  assert.deepEqual([behind.found, behind.both], [expected, expected]);
  await page.close();
});

test("with threads, whichever is lost, the vectors are those of one, and all go with the encoder", { timeout: 60_000 }, async () => {
  const page = await open(browser, served);
  await load(page, { device: "wasm", threads: 3, workerUrl: WORKER });
  await left(page, 3);
  // Every worker meets its fault at its own step.
  for (const after of [0, 1]) {
    await page.evaluate((after) => helpers.fault("step", "trap", after), after);
    assert.deepEqual(await calls(page), GOOD);
  }
  await left(page, 3);
  await page.evaluate(() => encoder.dispose());
  await left(page, 0);
  await page.close();
});

test("disposed of at any moment of a restart, an encoder leaves no worker", { timeout: 120_000 }, async () => {
  const page = await open(browser, served);
  await page.evaluate(async () => void (globalThis.files = await helpers.folder("bert-mean")));
  for (let round = 0; round < 20; round++) {
    const codes = await page.evaluate(async ([url, wait]) => {
      const encoder = await embedlet.Encoder.load(files, { device: "wasm", workerUrl: url });
      await helpers.fault("step", "trap");
      const ends = [encoder.embed("a"), encoder.embed("b")].map(helpers.outcome);
      await new Promise((resolve) => setTimeout(resolve, wait));
      encoder.dispose();
      return (await Promise.all(ends)).map(({ code }) => code ?? "answered");
    }, [WORKER, round * 30]);
    assert.ok(codes.every((code) => code === "disposed" || code === "answered"), `${codes}`);
    await left(page, 0);
  }
  await page.close();
});
