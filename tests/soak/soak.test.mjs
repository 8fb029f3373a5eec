// Thousands of embeds of texts of random lengths, with aborts and reloads at random moments: every answer is the one expected of its
// texts, to the bit, what was given up is an AbortError and nothing else, and after the first thousand nothing grows.
//
// EMBEDLET_SEED repeats a run.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, open, site, watchBuffers } from "../browser/harness.mjs";

/** How many on each device: a GPU that is a CPU takes twenty times as long. */
const EMBEDS = { wasm: 10_000, webgpu: 3000 };
const ROUND = 1000;
const MODEL = "/golden/models/bert-mean";
const SEED = Number(process.env.EMBEDLET_SEED ?? Date.now() % 1e9);

/** What the heap of JavaScript may hold more after a round than after the first: a few compiled functions. */
const HEAP_SLACK = 400_000;
/**
 * The memory of wasm never shrinks: it is as large as the worst moment so far needed, and a worse one takes the room of a few models,
 * once. Models or jobs that nobody frees take several megabytes within two rounds.
 */
const WASM_SLACK = 16 << 16;

let browser;
let served;
before(async () => {
  served = await site();
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await served?.close();
});

/** Keeps the memories of all instances within reach. What nobody frees stays. */
function watch() {
  delete globalThis.FinalizationRegistry;
  globalThis.memories = [];
  const { instantiate } = WebAssembly;
  WebAssembly.instantiate = async (...given) => {
    const made = await instantiate(...given);
    memories.push((made.instance ?? made).exports.memory);
    return made;
  };
}

/** Runs in the page: the texts, what is expected of each, and `soak.round(embeds)`. On this thread, where one instance has it all. */
async function prepare([model, device, seed]) {
  const next = helpers.mulberry32(seed);
  const random = (below) => Math.floor(next() * below);
  const options = { device, worker: false };
  const load = (more) => embedlet.Encoder.load(new URL(model, location.href), { ...options, ...more });
  const words = ["the", "boats", "birds", "harbour", "and", "of", "7", "æøå", "漢字", "🚢", "x".repeat(40), "\u0000", "."];
  const text = (length) => Array.from({ length }, () => words[random(words.length)]).join(" ");
  const texts = Array.from({ length: 300 }, () => text(random(2) * random(400) + random(8)));

  let encoder = await load();
  const expected = [];
  for (const each of texts) expected.push((await encoder.embed(each)).data);
  const counts = { embeds: 0, aborted: 0, reloads: 0, disposed: 0 };

  /** The answer must be right, or the failure one of those that were asked for. */
  async function settles(asked, call, names) {
    let answer;
    try {
      answer = await call;
    } catch (error) {
      const name = error.name === "AbortError" ? "AbortError" : error.code;
      if (!names.includes(name)) throw new Error(`${asked.length} texts: ${error.stack ?? error}`);
      counts[name === "AbortError" ? "aborted" : "disposed"]++;
      return;
    }
    if (answer.count !== asked.length) throw new Error(`${answer.count} answers to ${asked.length} texts`);
    for (const [row, text] of asked.entries()) {
      const found = answer.row(row);
      if (found.some((value, column) => !Object.is(value, expected[text][column]))) throw new Error(`a wrong vector for text ${text}`);
    }
  }

  const turns = async (count) => {
    for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setTimeout(resolve));
  };
  const embed = (names = []) => {
    counts.embeds++;
    const asked = Array.from({ length: 1 + random(random(10) === 0 ? 40 : 4) }, () => random(texts.length));
    const given = random(8) === 0;
    const abort = new AbortController();
    const call = encoder.embed(asked.map((text) => texts[text]), { signal: abort.signal });
    if (given) void turns(random(3)).then(() => abort.abort());
    return settles(asked, call, given ? ["AbortError", ...names] : names);
  };
  /** Lets go of the model, with calls still running now and then, and loads it again from the cache, at times at the second attempt. */
  const reload = async () => {
    counts.reloads++;
    const running = random(2) === 0 ? [embed(["disposed"]), embed(["disposed"])] : [];
    encoder.dispose();
    if (random(3) === 0) {
      const abort = new AbortController();
      const after = random(30);
      let events = 0;
      const given = load({ signal: abort.signal, onProgress: () => events++ === after && abort.abort() });
      await given.then((loaded) => loaded.dispose(), (error) => {
        if (error.name !== "AbortError") throw error;
        counts.aborted++;
      });
    }
    encoder = await load({ allowRemote: false });
    if (encoder.info.cache.used !== "read") throw new Error(`the cache: ${encoder.info.cache.reason}`);
    await Promise.all(running);
  };

  globalThis.soak = {
    async round(embeds) {
      for (const end = counts.embeds + embeds; counts.embeds < end; ) {
        if (random(20) === 0) await reload();
        await Promise.all(Array.from({ length: 1 + random(3) }, () => embed()));
      }
      return { ...counts, buffers: buffers.size, wasm: memories.reduce((sum, { buffer }) => sum + buffer.byteLength, 0), instances: memories.length };
    },
  };
}

for (const [device, embeds] of Object.entries(EMBEDS)) {
  test(`${embeds} embeds on ${device}, seed ${SEED}`, { timeout: 3_600_000 }, async (t) => {
    const page = await open(browser, served, { init: [watch, watchBuffers] });
    const session = await page.context().newCDPSession(page);
    await session.send("HeapProfiler.enable");
    const heap = async () => {
      // What a finaliser lets go of goes with the next collection.
      for (let time = 0; time < 3; time++) await session.send("HeapProfiler.collectGarbage");
      return (await session.send("Runtime.getHeapUsage")).usedSize;
    };
    await page.evaluate(prepare, [MODEL, device, SEED]);
    served.requests.length = 0;
    let first;
    let last;
    for (let done = 0; done < embeds; done += ROUND) {
      last = { ...(await page.evaluate((embeds) => soak.round(embeds), ROUND)), heap: await heap() };
      first ??= last;
      t.diagnostic(JSON.stringify(last));
      assert.ok(last.wasm <= first.wasm + WASM_SLACK, `wasm had ${first.wasm} bytes, has ${last.wasm}`);
      assert.equal(last.buffers, first.buffers, "buffers of the GPU");
      assert.equal(last.instances, first.instances, "instances");
      assert.ok(last.heap < first.heap + HEAP_SLACK, `the heap had ${first.heap} bytes, has ${last.heap}`);
    }
    assert.ok(last.aborted > embeds / 50 && last.reloads > embeds / 100 && last.disposed > embeds / 200, JSON.stringify(last));
    assert.deepEqual(served.requests, [], "every reload came from the cache");
    await page.close();
  });
}
