// What is asked of the package in browsers that are not Chromium: functions of a page, and tests that call them.

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { GOLDEN, compare, golden, mean, site, tensors } from "../browser/harness.mjs";

export const texts = golden("architectures/texts.json");

/** A server whose page `/page` has the functions below, with more `headers`. */
export async function pageSite(headers = {}) {
  const served = await site({ headers });
  served.routes.set("/page", (_, response) => {
    response.writeHead(200, { "content-type": "text/html", ...headers });
    response.end(`<!doctype html><html lang="en"><title>test</title><script>(${prepare})();</script>`);
  });
  return { ...served, page: (query = "") => new URL(`/page${query}`, served.url).href };
}

/** Runs in the page. What its functions give is JSON. */
function prepare() {
  if (location.search === "?hardware") Object.defineProperty(GPUAdapterInfo.prototype, "isFallbackAdapter", { get: () => false });

  /** The vectors of texts by a tiny model. */
  window.vectors = async (name, load, texts, options) => {
    const { Encoder } = await import("/pkg/index.js");
    const encoder = await Encoder.load(new URL(`/golden/${name}`, location.href), { worker: false, tune: false, ...JSON.parse(load) });
    try {
      const { data, dimensions } = await encoder.embed(JSON.parse(texts), JSON.parse(options));
      return JSON.stringify({ data: [...data], dimensions, held: encoder.info.precision, adapter: encoder.info.adapter });
    } finally {
      encoder.dispose();
    }
  };

  /** Whether so many threads share a memory, and have the bits of one. */
  window.team = async (threads, texts) => {
    const { Encoder } = await import("/pkg/index.js");
    let shared = 0;
    const { Memory } = WebAssembly;
    WebAssembly.Memory = function (shape) {
      if (shape.shared) shared += 1;
      return new Memory(shape);
    };
    const bits = [];
    for (const count of [1, threads]) {
      const encoder = await Encoder.load(new URL("/golden/models/bert-mean", location.href), { device: "wasm", threads: count });
      bits.push(String((await encoder.embed(JSON.parse(texts))).data));
      encoder.dispose();
    }
    return JSON.stringify({ shared, same: bits[0] === bits[1] });
  };

  /** What became of a model's files, how an aborted call ends, and how many hits there are in an index, opened again where it stays. */
  window.visit = async (device, storage) => {
    const [{ Encoder }, { SearchIndex }] = await Promise.all([import("/pkg/index.js"), import("/pkg/search.js")]);
    const encoder = await Encoder.load(new URL("/golden/models/bert-mean", location.href), { device });
    const open = () => SearchIndex.open({ name: device, encoder, storage });
    let index = await open();
    await index.add([{ id: "a", text: "a text" }, { id: "b", text: "another one" }]);
    if (storage === "opfs") {
      index.close();
      index = await open();
    }
    const hits = await index.search("another one");
    index.close();
    const controller = new AbortController();
    const texts = Array.from({ length: 5000 }, (_, i) => `text ${i}`);
    const onProgress = () => controller.abort();
    const ended = await encoder.embed(texts, { signal: controller.signal, onProgress }).then(() => "done", ({ name }) => name);
    const { used } = encoder.info.cache;
    encoder.dispose();
    return JSON.stringify({ device: encoder.info.device, used, ended, hits: hits.length });
  };
}

/** Calls `vectors` of the page. */
export const vectorsOf = async (browser, name, load, options = {}) =>
  JSON.parse(await browser.evaluate((...given) => window.vectors(...given), name, JSON.stringify(load), JSON.stringify(texts), JSON.stringify(options)));

/** Calls `visit` of the page. */
export const visit = async (browser, device, storage) => JSON.parse(await browser.evaluate((...given) => window.visit(...given), device, storage));

/** Calls `team` of the page. */
export const team = async (browser, threads) => JSON.parse(await browser.evaluate((...given) => window.team(...given), threads, JSON.stringify(texts)));

/** Every architecture against the reference; `check` is given the adapter of each. */
export function everyArchitecture(title, open, device, check = () => {}) {
  test(title, { timeout: 1_200_000 }, async (t) => {
    const browser = await open();
    for (const name of readdirSync(`${GOLDEN}/architectures`).filter((name) => name.endsWith("-1")).sort()) {
      await t.test(name, async () => {
        const states = tensors(`architectures/${name}.safetensors`);
        // A class that makes vectors itself.
        const own = "0/vector" in states;
        const options = own ? {} : { pooling: "mean", normalize: false };
        const { data, dimensions, adapter } = await vectorsOf(browser, `architectures/${name}`, { device, precision: "f32" }, options);
        check(adapter);
        const expected = texts.flatMap((_, i) => [...(own ? states[`${i}/vector`].data : mean(states[`${i}`]))]);
        const { maxAbs } = compare(data, expected, dimensions);
        const largest = Math.max(...expected.map(Math.abs));
        assert.ok(maxAbs <= 2e-5 * largest, `difference ${maxAbs} of ${largest}`);
      });
    }
  });
}
