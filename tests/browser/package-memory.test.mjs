// Too little memory: on a GPU that has no room, and in a WebAssembly memory that may not grow. What is too much is tried with half of it
// before it is an error, and the encoder is usable afterwards.

import assert from "node:assert/strict";
import { test } from "node:test";
import { browser, open, served, start, watchBuffers } from "./harness.mjs";

start();

/** A GPU that has no room for a buffer of more than `room` bytes, set by the page. */
const SMALL_GPU = () => {
  globalThis.room = Infinity;
  let full = false;
  const { createBuffer, popErrorScope } = GPUDevice.prototype;
  GPUDevice.prototype.createBuffer = function (given) {
    full ||= given.label === "activation" && given.size > room;
    return createBuffer.call(this, given);
  };
  GPUDevice.prototype.popErrorScope = async function () {
    const found = full ? new GPUOutOfMemoryError("no room") : null;
    full = false;
    return (await popErrorScope.call(this)) ?? found;
  };
};

test("a GPU without room for large batches has smaller ones; one without room for any is refused", { timeout: 120_000 }, async () => {
  const page = await open(browser, served, { init: [watchBuffers, SMALL_GPU] });
  const { same, largest, refused, left, again } = await page.evaluate(async () => {
    const files = await helpers.folder("bert-mean");
    const texts = Array.from({ length: 400 }, (_, i) => `the old man counted ${i} boats `.repeat(1 + (i % 5)));
    const load = () => embedlet.Encoder.load(files, { device: "webgpu", worker: false });
    const embed = async () => {
      const encoder = await load();
      const sizes = [...buffers].filter(({ label }) => label === "activation").map(({ size }) => size);
      const { data } = await encoder.embed(texts);
      encoder.dispose();
      return { data, largest: Math.max(...sizes) };
    };
    const whole = await embed();
    room = whole.largest / 8;
    const small = await embed();
    room = 1000;
    const refused = await helpers.outcome(load());
    const left = buffers.size;
    room = Infinity;
    return {
      same: small.data.every((value, i) => value === whole.data[i]), largest: [whole.largest, small.largest], refused, left, again: (await embed()).data.length,
    };
  });
  await page.close();
  assert.ok(same, "the same bits");
  assert.ok(largest[1] <= largest[0] / 8 && largest[1] > largest[0] / 32, `${largest}`);
  assert.equal(refused.code, "out-of-memory", JSON.stringify(refused));
  assert.equal(left, 0, "buffers");
  assert.ok(again > 0);
});

/** A copy of a module whose memory may have so many pages at most. */
const LIMITED = (bytes, pages) => {
  const leb = (at) => {
    let [value, shift] = [0, 0];
    for (;;) {
      const byte = bytes[at++];
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return [value, at];
      shift += 7;
    }
  };
  const number = (value) => (value < 128 ? [value] : [(value % 128) | 128, ...number(Math.floor(value / 128))]);
  for (let at = 8; at < bytes.length;) {
    const [size, start] = leb(at + 1);
    if (bytes[at] === 5) {
      const [least] = leb(start + 2);
      const memory = [1, 1, ...number(least), ...number(Math.max(least, pages))];
      return new Uint8Array([...bytes.subarray(0, at), 5, ...number(memory.length), ...memory, ...bytes.subarray(start + size)]);
    }
    at = start + size;
  }
  throw new Error("no memory");
};

test("a WebAssembly memory without room for large batches has smaller ones", { timeout: 120_000 }, async () => {
  const page = await open(browser, served);
  const { same, pages, limit } = await page.evaluate(async (limited) => {
    const limitedTo = eval(limited);
    const files = await helpers.folder("bert-mean");
    const texts = Array.from({ length: 400 }, (_, i) => `the old man counted ${i} boats `.repeat(1 + (i % 5)));
    const bytes = new Uint8Array(await (await fetch("/pkg/embedlet_bg.wasm")).arrayBuffer());
    let memory;
    const { instantiate } = WebAssembly;
    WebAssembly.instantiate = async (...given) => {
      const instance = await instantiate(...given);
      ({ memory } = (instance.instance ?? instance).exports);
      return instance;
    };
    const embed = async (wasmModule) => {
      const encoder = await embedlet.Encoder.load(files, { device: "wasm", worker: false, wasmModule });
      const before = memory.buffer.byteLength >> 16;
      const { data } = await encoder.embed(texts);
      encoder.dispose();
      return { data, before, after: memory.buffer.byteLength >> 16 };
    };
    const whole = await embed(await WebAssembly.compile(bytes));
    // Room for a third of what the batches took.
    const limit = whole.before + Math.floor((whole.after - whole.before) / 3);
    const small = await embed(await WebAssembly.compile(limitedTo(bytes, limit)));
    return { same: small.data.every((value, i) => value === whole.data[i]), pages: [whole.before, whole.after, small.after], limit };
  }, `(${LIMITED})`);
  await page.close();
  assert.ok(same, "the same bits");
  assert.ok(pages[2] <= limit && limit < pages[1], `${pages} pages, at most ${limit}`);
});

test("a WebAssembly memory without room for more rows keeps those that it has", { timeout: 120_000 }, async () => {
  const page = await open(browser, served);
  const { refused, again, before, after } = await page.evaluate(async (limited) => {
    const bytes = new Uint8Array(await (await fetch("/pkg/embedlet_bg.wasm")).arrayBuffer());
    // 32 MB.
    const wasmModule = await WebAssembly.compile(eval(limited)(bytes, 512));
    const encoder = await embedlet.Encoder.load(await helpers.folder("bert-mean"), { device: "wasm", worker: false, wasmModule });
    const collection = await encoder.collection({ dimensions: 256 });
    const search = async () => [...(await collection.search(query, { topK: 2000 })).rows];
    const query = helpers.vectors(1, 256, 2);
    const rows = await collection.encode(helpers.vectors(1000, 256, 1));
    await collection.append(rows);
    const before = await search();
    const many = new Uint8Array(40 * rows.length);
    for (let at = 0; at < many.length; at += rows.length) many.set(rows, at);
    const refused = await helpers.outcome(collection.append(many));
    const kept = await search();
    const again = await collection.append(rows);
    const after = [kept, (await search()).length];
    encoder.dispose();
    return { refused, again, before, after };
  }, `(${LIMITED})`);
  await page.close();
  assert.equal(refused.code, "out-of-memory", JSON.stringify(refused));
  assert.deepEqual([again, after], [1000, [before, 2000]]);
});
