// The package in Firefox: every architecture on WebGPU against the reference, with the kernels of software and those of hardware, since
// Firefox has a compiler of WGSL and limits of its own; and what keeps files. On Linux WebGPU is behind a preference, and without a GPU the
// system's Vulkan in software plays one.

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { after, before, test } from "node:test";
import { GOLDEN, compare, golden, mean, site, tensors } from "../browser/harness.mjs";
import { firefox } from "./firefox.mjs";

let browser;
let served;

before(async () => {
  served = await site();
  served.routes.set("/page", (_, response) => {
    response.writeHead(200, { "content-type": "text/html" });
    response.end(`<!doctype html><html lang="en"><title>test</title><script>(${prepare})();</script>`);
  });
  browser = await firefox({ "dom.webgpu.enabled": true, "dom.webgpu.workers.enabled": true, "gfx.webgpu.ignore-blocklist": true });
});
after(async () => {
  await browser?.close();
  await served?.close();
});

/** Runs in the page. */
function prepare() {
  const { searchParams } = new URL(location.href);
  if (searchParams.has("hardware")) Object.defineProperty(GPUAdapterInfo.prototype, "isFallbackAdapter", { get: () => false });
  /** Of each device: its name, what became of the model's files, how an aborted call ends, and how many hits there are in an index that was opened again. */
  window.visit = async () => {
    const [{ Encoder }, { SearchIndex }] = await Promise.all([import("/pkg/index.js"), import("/pkg/search.js")]);
    const found = [];
    for (const device of ["wasm", "webgpu"]) {
      const encoder = await Encoder.load(new URL("/golden/models/bert-mean", location.href), { device });
      const open = () => SearchIndex.open({ name: device, encoder });
      let index = await open();
      await index.add([{ id: "a", text: "a text" }, { id: "b", text: "another one" }]);
      index.close();
      index = await open();
      const hits = await index.search("another one");
      index.close();
      const controller = new AbortController();
      const texts = Array.from({ length: 5000 }, (_, i) => `text ${i}`);
      const onProgress = () => controller.abort();
      const ended = await encoder.embed(texts, { signal: controller.signal, onProgress }).then(() => "done", ({ name }) => name);
      found.push([encoder.info.device, encoder.info.cache.used, ended, hits.length]);
      encoder.dispose();
    }
    return JSON.stringify(found);
  };
  window.vectors = async (name, precision, texts, options) => {
    const { Encoder } = await import("/pkg/index.js");
    const encoder = await Encoder.load(new URL(`/golden/${name}`, location.href), { device: "webgpu", precision, worker: false, tune: false });
    try {
      const { data, dimensions } = await encoder.embed(JSON.parse(texts), JSON.parse(options));
      return JSON.stringify({ data: [...data], dimensions, held: encoder.info.precision, software: encoder.info.adapter.software });
    } finally {
      encoder.dispose();
    }
  };
}

/** The vectors of texts by a tiny model. */
const vectors = async (name, texts, { precision = "f32", ...options } = {}) =>
  JSON.parse(await browser.evaluate((...given) => window.vectors(...given), name, precision, JSON.stringify(texts), JSON.stringify(options)));

for (const hardware of [false, true]) {
  test(`every architecture with the kernels of ${hardware ? "hardware" : "software"}`, { timeout: 1_200_000 }, async (t) => {
    await browser.goto(new URL(hardware ? "/page?hardware" : "/page", served.url).href);
    const texts = golden("architectures/texts.json");
    for (const name of readdirSync(`${GOLDEN}/architectures`).filter((name) => name.endsWith("-1")).sort()) {
      await t.test(name, async () => {
        const states = tensors(`architectures/${name}.safetensors`);
        // A class that makes vectors itself.
        const own = "0/vector" in states;
        const options = own ? {} : { pooling: "mean", normalize: false };
        const { data, dimensions, software } = await vectors(`architectures/${name}`, texts, options);
        assert.equal(software, !hardware);
        const expected = texts.flatMap((_, i) => [...(own ? states[`${i}/vector`].data : mean(states[`${i}`]))]);
        const { maxAbs } = compare(data, expected, dimensions);
        const largest = Math.max(...expected.map(Math.abs));
        assert.ok(maxAbs <= 2e-5 * largest, `difference ${maxAbs} of ${largest}`);
      });
    }
  });
}

test("matrices in halves and in integers", { timeout: 300_000 }, async () => {
  await browser.goto(new URL("/page?hardware", served.url).href);
  const texts = golden("architectures/texts.json");
  for (const [name, precision, held, least] of [
    ["packed/modernbert-q4", "auto", "packed", 0.99999],
    ["architectures/modernbert-1", "f16", "f16", 0.9999],
    ["architectures/modernbert-1", "int8", "int8", 0.99],
  ]) {
    const floats = await vectors(name, texts);
    const found = await vectors(name, texts, { precision });
    assert.equal(found.held, held);
    const { minCosine } = compare(found.data, floats.data, floats.dimensions);
    assert.ok(minCosine > least, `${precision}: cosine ${minCosine}`);
  }
});

test("a model and an index that stay, on both devices", { timeout: 300_000 }, async () => {
  const visit = () => browser.evaluate(() => window.visit());
  await browser.goto(new URL("/page", served.url).href);
  assert.deepEqual(JSON.parse(await visit()), [
    ["wasm", "written", "AbortError", 2],
    ["webgpu", "read", "AbortError", 2],
  ]);
  await browser.goto(new URL("/page?again", served.url).href);
  assert.deepEqual(JSON.parse(await visit()).map(([, used]) => used), ["read", "read"]);
});
