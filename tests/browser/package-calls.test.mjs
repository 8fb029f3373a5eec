// The life of an encoder in a browser: aborts, progress, queueing, disposal, the ways to run it; and what a page downloads.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { brotliCompressSync, constants } from "node:zlib";
import { DIST, browser, open, served, site, start } from "./harness.mjs";

start();

/** Runs a function in a fresh page, once with the worker and once without. */
function both(title, run, check) {
  for (const worker of [true, false]) {
    test(`${title}, ${worker ? "in the worker" : "on this thread"}`, { timeout: 120_000 }, async () => {
      const page = await open(browser, served);
      check(await page.evaluate(run, worker));
      await page.close();
    });
  }
}

both(
  "an abort stops an embed, and the encoder goes on",
  async (worker) => {
    const encoder = await embedlet.Encoder.load(await helpers.folder("bert-mean"), { device: "wasm", worker });
    const texts = Array.from({ length: 20_000 }, (_, i) => `the boats of number ${i} and the birds`);
    const before = helpers.plain(await encoder.embed(texts.slice(0, 5)));
    const abort = new AbortController();
    let seen = 0;
    const onProgress = ({ done, total }) => {
      seen = done;
      if (done < total) abort.abort();
    };
    const aborted = await helpers.outcome(encoder.embed(texts, { signal: abort.signal, onProgress }));
    const early = await helpers.outcome(encoder.embed(texts, { signal: AbortSignal.abort() }));
    const reason = await helpers.outcome(encoder.embed(texts, { signal: AbortSignal.timeout(1) }));
    const after = helpers.plain(await encoder.embed(texts.slice(0, 5)));
    encoder.dispose();
    return { seen, aborted, early, reason, before, after };
  },
  ({ seen, aborted, early, reason, before, after }) => {
    assert.ok(seen > 0 && seen < 20_000, `${seen} done when it was aborted`);
    assert.deepEqual([aborted.name, early.name, reason.name], ["AbortError", "AbortError", "TimeoutError"]);
    assert.deepEqual(after, before);
  },
);

both(
  "a head is trained, saved, and works with another encoder of the same model only",
  async (worker) => {
    const [first, other] = [await helpers.folder("bert-mean"), await helpers.folder("bert-odd")];
    const topics = { sea: ["boats", "harbour", "waves", "ships"], sky: ["birds", "clouds", "wings", "the sun"] };
    const examples = Object.entries(topics).flatMap(([label, words]) =>
      words.flatMap((word) => [`the ${word}`, `${word} and ${word}`]).map((text) => ({ label, text })));
    const trainer = await embedlet.Encoder.load(first, { device: "wasm", worker });
    const events = [];
    const trained = await trainer.trainHead(examples, { regularization: 1000, onProgress: (event) => events.push(event) });
    const texts = ["the boats", "clouds and clouds"];
    const before = await trained.classify(texts);
    const abort = new AbortController();
    const aborted = await helpers.outcome(trainer.trainHead(examples, { signal: abort.signal, onProgress: () => abort.abort() }));
    const tokens = await helpers.outcome(trainer.trainHead(examples, { tokens: true }));
    const file = trained.save();
    trainer.dispose();
    const encoder = await embedlet.Encoder.load(first, { device: "wasm", worker });
    const loaded = await encoder.loadHead(file);
    const after = await loaded.classify(texts);
    const cut = await helpers.outcome(encoder.loadHead(file.slice(0, -4)));
    const foreigner = await embedlet.Encoder.load(other, { device: "wasm", worker });
    const foreign = await helpers.outcome(foreigner.loadHead(file));
    encoder.dispose();
    foreigner.dispose();
    const { labels, accuracy } = loaded;
    return { labels, accuracy, before, after, last: events.at(-1), aborted, tokens, cut, foreign };
  },
  ({ labels, accuracy, before, after, last, aborted, tokens, cut, foreign }) => {
    assert.deepEqual(labels, ["sea", "sky"]);
    assert.ok(accuracy > 0 && accuracy <= 1 && last.done === last.total && last.total > 16);
    assert.deepEqual(after, before);
    assert.deepEqual(before.map(({ scores }) => scores[0].label), ["sea", "sky"]);
    assert.deepEqual([aborted.name, tokens.code, cut.code, foreign.code], ["AbortError", "invalid-argument", "truncated-file", "invalid-argument"]);
  },
);

both(
  "an abort stops a load, and the next one works",
  async (worker) => {
    const load = (signal, onProgress) => embedlet.Encoder.load("/golden/models/bert-mean", { device: "wasm", worker, signal, onProgress });
    const outcomes = [await helpers.outcome(load(AbortSignal.abort()))];
    for (const moment of ["initiate", "download", "progress", "done"]) {
      const abort = new AbortController();
      outcomes.push(await helpers.outcome(load(abort.signal, ({ status, file }) => {
        if (status === moment && file === (moment === "initiate" ? "config.json" : "model.safetensors")) abort.abort();
      })));
    }
    const encoder = await load();
    const { count } = await encoder.embed("works");
    encoder.dispose();
    return { names: outcomes.map(({ name }) => name), count };
  },
  ({ names, count }) => {
    assert.deepEqual(names.slice(0, 4), Array(4).fill("AbortError"));
    // After the last byte the load may win.
    assert.ok(["AbortError", undefined].includes(names[4]));
    assert.equal(count, 1);
  },
);

both(
  "a load is reported byte for byte",
  async (worker) => {
    const events = [];
    const encoder = await embedlet.Encoder.load("/golden/models/bert-dense", { device: "wasm", worker, onProgress: (event) => events.push(event) });
    encoder.dispose();
    return { events, sizes: Object.entries(await helpers.folder("bert-dense")).map(([path, file]) => [path, file.length]) };
  },
  ({ events, sizes }) => {
    const bytes = sizes.reduce((sum, [, size]) => sum + size, 0);
    const done = new Map(events.filter(({ status }) => status === "done").map(({ file, loaded }) => [file, loaded]));
    for (const [path, size] of sizes) assert.equal(done.get(path), size, path);
    assert.deepEqual(events.at(-1), { status: "ready", phase: "check", loaded: bytes, total: bytes, progress: 100 });
    const sums = events.filter(({ status }) => status === "progress_total");
    assert.deepEqual(sums.at(-1), { status: "progress_total", phase: "download", loaded: bytes, total: bytes, progress: 100 });
    for (const [i, { loaded }] of sums.entries()) assert.ok(i === 0 || loaded >= sums[i - 1].loaded);
  },
);

both(
  "calls that overlap each get their own answer",
  async (worker) => {
    const encoder = await embedlet.Encoder.load(await helpers.folder("bert-mean"), { device: "wasm", worker });
    const lists = Array.from({ length: 12 }, (_, i) => Array.from({ length: (i % 4) + 1 }, (_, j) => `the old man counted ${i} boats ${j}`));
    const expected = [];
    for (const list of lists) expected.push(helpers.plain(await encoder.embed(list)));
    const [found, tokens] = await Promise.all([Promise.all(lists.map((list) => encoder.embed(list))), encoder.tokenize("the boats")]);
    encoder.dispose();
    return { found: found.map(helpers.plain), expected, tokens: tokens.tokens };
  },
  ({ found, expected, tokens }) => {
    assert.deepEqual(found, expected);
    assert.deepEqual(tokens, ["[CLS]", "the", "boats", "[SEP]"]);
  },
);

both(
  "disposal ends what runs, and can be repeated",
  async (worker) => {
    const encoder = await embedlet.Encoder.load(await helpers.folder("bert-mean"), { device: "wasm", worker });
    const running = encoder.embed(Array(20_000).fill("the boats"), { onProgress: ({ done, total }) => done < total && encoder.dispose() });
    const outcomes = [running, encoder.embed("waits")].map(helpers.outcome);
    const codes = (await Promise.all(outcomes)).map(({ code }) => code);
    encoder.dispose();
    encoder[Symbol.dispose]();
    return [...codes, (await helpers.outcome(encoder.embed("late"))).code];
  },
  (codes) => assert.deepEqual(codes, ["disposed", "disposed", "disposed"]),
);

test("arguments the crate checks", { timeout: 60_000 }, async () => {
  const page = await open(browser, served);
  const outcomes = await page.evaluate(async () => {
    const encoder = await embedlet.Encoder.load(await helpers.folder("bert-mean"), { device: "wasm" });
    const wrong = [{ dimensions: 33 }, { pooling: "sum" }, { pooling: [] }, { promptName: "none" }];
    const outcomes = [];
    for (const options of wrong) outcomes.push(await helpers.outcome(encoder.embed("a", options)));
    return [...outcomes, (await encoder.embed([])).count, (await encoder.embed("a")).count];
  });
  for (const { code } of outcomes.slice(0, 4)) assert.ok(["invalid-argument", "unsupported-option"].includes(code), JSON.stringify(outcomes));
  assert.deepEqual(outcomes.slice(4), [0, 1]);
  await page.close();
});

test("every way to run it gives the same vectors", { timeout: 120_000 }, async () => {
  const page = await open(browser, served);
  const ways = await page.evaluate(async () => {
    const files = await helpers.folder("bert-mean");
    const wasmModule = await WebAssembly.compileStreaming(fetch("/pkg/embedlet_relaxed_bg.wasm"));
    const inline = await import("/pkg/inline.js");
    const own = new Worker("/pkg/worker.js", { type: "module" });
    const ways = {};
    for (const [name, Encoder, options] of [
      ["worker", embedlet.Encoder, {}],
      ["this thread", embedlet.Encoder, { worker: false }],
      ["compiled wasm", embedlet.Encoder, { wasmModule }],
      ["own worker", embedlet.Encoder, { worker: own }],
      ["own worker again", embedlet.Encoder, { worker: own }],
      // With the other build, which rounds a product before it is added.
      ["inline", inline.Encoder, {}],
      ["inline on this thread", inline.Encoder, { worker: false }],
    ]) {
      const encoder = await Encoder.load(files, { device: "wasm", ...options });
      ways[name] = Array.from((await encoder.embed(["the boats"])).data);
      encoder.dispose();
    }
    return ways;
  });
  for (const [name, vector] of Object.entries(ways)) {
    if (!name.startsWith("inline")) assert.deepEqual(vector, ways.worker, name);
    assert.ok(vector.every((x, i) => Math.abs(x - ways.worker[i]) < 1e-6), name);
  }
  assert.deepEqual(ways["inline on this thread"], ways.inline);
  await page.close();
});

test("threads are workers that give the same bits, and go with the encoder", { timeout: 60_000 }, async () => {
  const page = await open(browser, served);
  const embed = () => page.evaluate(async () => {
    const { data } = await encoder.embed(["the boats", "a", "the cat sat on the mat", "", "it rains"]);
    return Array.from(data);
  });
  const load = (threads) => page.evaluate(async (threads) => {
    globalThis.encoder = await embedlet.Encoder.load(await helpers.folder("bert-mean"), { device: "wasm", threads });
  }, threads);
  const until = async (count) => {
    while (page.workers().length !== count) await page.waitForTimeout(20);
  };
  await load(1);
  const alone = await embed();
  await page.evaluate(() => encoder.dispose());
  await until(0);
  await load(3);
  await until(3);
  // Before and after the others have the model.
  for (let call = 0; call < 20; call++) {
    assert.deepEqual(await embed(), alone);
    await page.waitForTimeout(50);
  }
  await page.evaluate(() => encoder.dispose());
  await until(0);
  await page.close();
});

test("from another origin the worker starts through a blob", { timeout: 60_000 }, async (t) => {
  const other = await site();
  t.after(() => other.close());
  for (const file of ["index.js", "worker.js", "embedlet_relaxed_bg.wasm"]) {
    const type = file.endsWith(".js") ? "text/javascript" : "application/wasm";
    other.routes.set(`/pkg/${file}`, (_, response) => {
      response.writeHead(200, { "content-type": type, "access-control-allow-origin": "*" }).end(readFileSync(join(DIST, file)));
    });
  }
  const page = await open(browser, served);
  const workers = [];
  page.on("worker", (worker) => workers.push(worker.url()));
  const count = await page.evaluate(async (origin) => {
    const { Encoder } = await import(`${origin}/pkg/index.js`);
    const encoder = await Encoder.load(await helpers.folder("bert-mean"), { device: "wasm" });
    return (await encoder.embed("works")).count;
  }, other.url);
  assert.equal(count, 1);
  assert.ok(workers.some((url) => url.startsWith("blob:")), `${workers}`);
  await page.close();
});

test("embedlet/inline runs on this thread where the policy refuses workers from blobs", { timeout: 60_000 }, async () => {
  served.routes.set("/strict", (_, response) => {
    const policy = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'";
    response.writeHead(200, { "content-type": "text/html", "content-security-policy": policy }).end("<!doctype html><title>strict</title>");
  });
  const page = await browser.newPage();
  await page.goto(`${served.url}/strict`);
  const { count, refused } = await page.evaluate(async () => {
    const { Encoder } = await import("/pkg/inline.js");
    const refused = [];
    addEventListener("securitypolicyviolation", ({ effectiveDirective }) => refused.push(effectiveDirective));
    const { folder } = await import("/tests/in-page.mjs");
    const encoder = await Encoder.load(await folder("bert-mean"), { device: "wasm" });
    return { count: (await encoder.embed("works")).count, refused };
  });
  assert.equal(count, 1);
  assert.deepEqual(refused, ["worker-src"]);
  await page.close();
});

test("what a page downloads before the model stays within 600 kB", (t) => {
  const sizes = ["index.js", "worker.js", "embedlet_relaxed_bg.wasm"].map((name) => {
    const file = readFileSync(join(DIST, name));
    return [name, brotliCompressSync(file, { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: file.length } }).length];
  });
  for (const [name, size] of sizes) t.diagnostic(`${name}: ${size} bytes`);
  assert.ok(sizes.reduce((sum, [, size]) => sum + size, 0) <= 600_000);
});
