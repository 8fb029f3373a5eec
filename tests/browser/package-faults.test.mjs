// Everything that can be wrong with a model or a server: a typed error at once, nothing half-loaded, and the next load works.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { GOLDEN, browser, open, served, start, watchBuffers } from "./harness.mjs";

start();

const ZEROS = "0".repeat(64);

/** The code expected, the damage (runs in the page, is given the files and the helpers), options of the load. */
const FAULTS = {
  "wrong hash of the weights": ["wrong-hash", (files) => files, { integrity: { "model.safetensors": ZEROS } }],
  "wrong hash of a small file": ["wrong-hash", (files) => files, { integrity: { "tokenizer.json": ZEROS } }],
  "no weights": ["missing-file", ({ "model.safetensors": _, ...files }) => files],
  "no config": ["missing-file", ({ "config.json": _, ...files }) => files],
  "no tokenizer": ["missing-file", ({ "tokenizer.json": _, ...files }) => files],
  "HTML for the config": ["html-instead-of-file", (files, h) => ({ ...files, "config.json": h.bytes("<!DOCTYPE html><title>Sign in</title>") })],
  "HTML for the weights": ["html-instead-of-file", (files, h) => ({ ...files, "model.safetensors": h.bytes("<!DOCTYPE html><title>Sign in</title>") })],
  "config is not JSON": ["invalid-file", (files, h) => ({ ...files, "config.json": h.bytes("{") })],
  "weights are not safetensors": ["invalid-file", (files) => ({ ...files, "model.safetensors": new Uint8Array(5000).fill(0x80) })],
  "weights cut in half": ["truncated-file", (files) => ({ ...files, "model.safetensors": files["model.safetensors"].slice(0, 60_000) })],
  "weights cut in the header": ["truncated-file", (files) => ({ ...files, "model.safetensors": files["model.safetensors"].slice(0, 100) })],
  "weights cut by one byte": ["truncated-file", (files) => ({ ...files, "model.safetensors": files["model.safetensors"].slice(0, -1) })],
  "a tensor is missing": ["missing-tensor", (files, h) => h.editHeader(files, (header) => {
    header["encoder.layer.1.output.dense.wrong"] = header["encoder.layer.1.output.dense.weight"];
    delete header["encoder.layer.1.output.dense.weight"];
  })],
  "a tensor has another shape": ["wrong-shape", (files, h) => h.editHeader(files, (header) => header["embeddings.word_embeddings.weight"].shape.reverse())],
  "the config is of another size": ["wrong-shape", (files, h) => h.edit(files, "config.json", { intermediate_size: 128 })],
  "a tensor of whole numbers": ["unsupported-dtype", (files, h) => h.editHeader(files, (header) => (header["embeddings.LayerNorm.weight"].dtype = "I32"))],
  "unknown architecture": ["unsupported-architecture", (files, h) => h.edit(files, "config.json", { model_type: "perceiver", architectures: ["PerceiverModel"] })],
  "unknown activation": ["unsupported-option", (files, h) => h.edit(files, "config.json", { hidden_act: "snake" })],
  "unknown module": ["unsupported-option", (files, h) => ({ ...files, "modules.json": h.bytes([
    { idx: 0, name: "0", path: "", type: "sentence_transformers.models.Transformer" },
    { idx: 1, name: "1", path: "1_Pooling", type: "sentence_transformers.models.CNN" },
  ]) })],
  "a billion columns": ["limit-exceeded", (files, h) => h.edit(files, "config.json", { hidden_size: 1_000_000_000 })],
  "a tokenizer that is none": ["invalid-tokenizer", (files, h) => ({ ...files, "tokenizer.json": h.bytes({ version: "1.0", model: { type: "None" } }) })],
};

test("in the worker, on wasm: a typed error in under a second, and the next load works", { timeout: 120_000 }, async (t) => {
  const page = await open(browser, served);
  for (const [title, [code, damage, options]] of Object.entries(FAULTS)) {
    await t.test(title, async () => {
      const { failed, next } = await page.evaluate(`(async () => {
        const damaged = (${damage})(await helpers.folder("bert-mean"), helpers);
        const failed = await helpers.outcome(embedlet.Encoder.load(damaged, { device: "wasm", ...${JSON.stringify(options ?? {})} }));
        const encoder = await embedlet.Encoder.load(await helpers.folder("bert-mean"), { device: "wasm" });
        const next = (await encoder.embed("works")).count;
        encoder.dispose();
        return { failed, next };
      })()`);
      assert.equal(failed.code, code, JSON.stringify(failed));
      assert.ok(failed.ours && failed.message.length > 10, JSON.stringify(failed));
      assert.ok(failed.ms < 1000, `${failed.ms} ms`);
      assert.equal(next, 1);
    });
  }
  await page.close();
});

test("on this thread, on WebGPU: no buffer stays behind", { timeout: 300_000 }, async (t) => {
  const page = await open(browser, served, { init: watchBuffers });
  const works = () => page.evaluate(async () => {
    const encoder = await embedlet.Encoder.load(await helpers.folder("bert-mean"), { device: "webgpu", worker: false });
    const { count } = await encoder.embed("works");
    encoder.dispose();
    return [count, buffers.size];
  });
  // What stays belongs to the device, which is kept.
  const [, kept] = await works();
  for (const [title, [code, damage, options]] of Object.entries(FAULTS)) {
    await t.test(title, async () => {
      const { failed, live } = await page.evaluate(`(async () => {
        const damaged = (${damage})(await helpers.folder("bert-mean"), helpers);
        const load = embedlet.Encoder.load(damaged, { device: "webgpu", worker: false, ...${JSON.stringify(options ?? {})} });
        return { failed: await helpers.outcome(load), live: buffers.size };
      })()`);
      assert.equal(failed.code, code, JSON.stringify(failed));
      assert.equal(live, kept);
    });
  }
  assert.deepEqual(await works(), [1, kept]);
  await page.close();
});

for (const device of ["wasm", "webgpu"]) {
  test(`a token past the vocabulary is refused where a text has it, on ${device}`, { timeout: 60_000 }, async () => {
    const page = await open(browser, served);
    const { refused, next } = await page.evaluate(async (device) => {
      const files = helpers.withToken(await helpers.folder("bert-mean"), "zebra", 900_000);
      const encoder = await embedlet.Encoder.load(files, { device });
      const refused = await helpers.outcome(encoder.embed(["the boats", "a zebra"]));
      return { refused, next: (await encoder.embed(["the boats"])).count };
    }, device);
    assert.equal(refused.code, "token-out-of-range", JSON.stringify(refused));
    assert.ok(refused.ms < 1000, `${refused.ms} ms`);
    assert.equal(next, 1);
    await page.close();
  });
}

test("a server that has no such model, answers with its page, or breaks off", { timeout: 60_000 }, async () => {
  const html = (_, response) => response.writeHead(200, { "content-type": "text/html" }).end("<!doctype html><title>App</title>");
  const weights = "/golden/models/bert-mean/model.safetensors";
  const cut = (_, response) => {
    response.writeHead(200, { "content-length": 134_344 });
    response.write(readFileSync(join(GOLDEN, "models/bert-mean/model.safetensors")).subarray(0, 9000), () => response.destroy());
  };
  const page = await open(browser, served);
  const load = (url) => page.evaluate(async (url) => helpers.outcome(embedlet.Encoder.load(url, { device: "wasm" }).then((e) => e.dispose())), url);
  assert.equal((await load("/golden/models/none")).code, "missing-file");
  served.routes.set(weights, html);
  assert.equal((await load("/golden/models/bert-mean")).code, "html-instead-of-file");
  served.routes.set(weights, cut);
  assert.equal((await load("/golden/models/bert-mean")).code, "network");
  served.routes.delete(weights);
  assert.equal((await load("http://127.0.0.1:1/model")).code, "network");
  assert.deepEqual(await load("/golden/models/bert-mean"), { value: null });
  await page.close();
});

test("the library's own files: HTML for the wasm, no worker script", { timeout: 60_000 }, async () => {
  served.routes.set("/moved.wasm", (_, response) => response.writeHead(200, { "content-type": "text/html" }).end("<!doctype html>"));
  const page = await open(browser, served);
  const load = (options) => page.evaluate(async (options) => {
    const encoder = embedlet.Encoder.load(await helpers.folder("bert-mean"), { device: "wasm", ...options });
    return helpers.outcome(encoder.then((e) => e.dispose()));
  }, options);
  for (const worker of [true, false]) {
    const html = await load({ wasmUrl: "/moved.wasm", worker });
    assert.deepEqual([html.code, /optimizeDeps/.test(html.message)], ["wasm-load", true], html.message);
    assert.equal((await load({ wasmUrl: "/absent.wasm", worker })).code, "wasm-load");
  }
  const absent = await load({ workerUrl: "/absent.js" });
  assert.deepEqual([absent.code, /workerUrl/.test(absent.message)], ["wasm-load", true], absent.message);
  assert.deepEqual(await load({ workerUrl: "/pkg/worker.js", wasmUrl: "/pkg/embedlet_bg.wasm" }), { value: null });
  await page.close();
});
