// The choice of the device, and what the GPU path asks of WebGPU: counted by wrapping WebGPU's own objects.

import assert from "node:assert/strict";
import { test } from "node:test";
import { browser, launch, open, served, start } from "./harness.mjs";

start({ model: true });

/** Counts calls by name into `calls`, and keeps the buffers that live in `buffers`. */
function count() {
  globalThis.calls = {};
  globalThis.buffers = new Set();
  const wrap = (prototype, name, also = () => {}) => {
    const original = prototype[name];
    prototype[name] = function (...given) {
      calls[name] = (calls[name] ?? 0) + 1;
      const result = original.apply(this, given);
      also(this, result);
      return result;
    };
  };
  wrap(GPUDevice.prototype, "createBindGroup");
  wrap(GPUDevice.prototype, "createBuffer", (_, buffer) => buffers.add(buffer));
  wrap(GPUDevice.prototype, "createComputePipeline");
  wrap(GPUDevice.prototype, "createComputePipelineAsync");
  wrap(GPUQueue.prototype, "writeBuffer");
  wrap(GPUQueue.prototype, "submit");
  wrap(GPUComputePassEncoder.prototype, "dispatchWorkgroups");
  wrap(GPUComputePassEncoder.prototype, "dispatchWorkgroupsIndirect");
  wrap(GPUBuffer.prototype, "mapAsync");
  wrap(GPUBuffer.prototype, "destroy", (buffer) => buffers.delete(buffer));
}

test("one packed batch costs few dispatches, one write, one submit, one map and no bind group", { timeout: 300_000 }, async () => {
  const page = await open(browser, served, { init: count });
  const { made, perBatch, info } = await page.evaluate(async () => {
    const encoder = await embedlet.Encoder.load("./model", { device: "webgpu", worker: false });
    const made = { ...calls };
    const texts = ["A first text.", "A second one, somewhat longer than the first.", "", "third"];
    const perBatch = [];
    // Of different shapes, so that nothing prepared for one batch only would do.
    for (const list of [texts, texts.slice(0, 1), [...texts, ...texts, "and one more"]]) {
      for (const name in calls) calls[name] = 0;
      let batches = 0;
      await encoder.embed(list, { onProgress: () => batches++ });
      perBatch.push({ ...calls, batches });
    }
    return { made, perBatch, info: encoder.info };
  });
  await page.close();
  // wgpu has only the synchronous form, which finds in the cache what the other made before it.
  assert.ok(made.createComputePipelineAsync > 0, "pipelines are created asynchronously");
  assert.ok((made.createComputePipeline ?? 0) <= made.createComputePipelineAsync, "and none only synchronously");
  assert.ok(made.createBindGroup > 0 && made.createBuffer > 0, "the hooks see the load");
  for (const { batches, dispatchWorkgroups, dispatchWorkgroupsIndirect = 0, createBindGroup, createBuffer, writeBuffer, submit, mapAsync } of perBatch) {
    assert.equal(batches, 1);
    const dispatches = dispatchWorkgroups + dispatchWorkgroupsIndirect;
    assert.ok(dispatches > 6 && dispatches <= 44, `${dispatches} dispatches`);
    assert.equal(dispatches, info.dispatches);
    assert.deepEqual([createBindGroup, createBuffer], [0, 0]);
    assert.ok(writeBuffer <= 1 && submit <= 1 && mapAsync === 1, `${writeBuffer} writes, ${submit} submits, ${mapAsync} maps`);
  }
});

test("the GPU has the next batch while the result of one is waited for; what is aborted leaves nothing", { timeout: 300_000 }, async () => {
  const page = await open(browser, served, { init: count });
  const { most, batches, made, code, same, before, after, left } = await page.evaluate(async () => {
    const encoder = await embedlet.Encoder.load("./model", { device: "webgpu", worker: false });
    const texts = Array.from({ length: 24 }, (_, i) => `the old man counted ${i} boats, and the birds on each of them`);
    // The first call shows how slow this device is.
    await encoder.embed(texts);
    const { mapAsync } = GPUBuffer.prototype;
    let [waiting, most, batches] = [0, 0, 0];
    GPUBuffer.prototype.mapAsync = function (...given) {
      most = Math.max(most, ++waiting);
      return mapAsync.apply(this, given).finally(() => waiting--);
    };
    for (const name in calls) calls[name] = 0;
    const whole = helpers.plain(await encoder.embed(texts, { onProgress: () => batches++ }));
    const [made, before] = [{ ...calls }, buffers.size];
    const controller = new AbortController();
    let seen = 0;
    const call = encoder.embed(texts, { signal: controller.signal, onProgress: () => ++seen === 2 && controller.abort() });
    const code = await call.then(() => "none", ({ name }) => name);
    const again = helpers.plain(await encoder.embed(texts));
    const same = again.data.every((value, i) => value === whole.data[i]);
    const after = buffers.size;
    encoder.dispose();
    return { most, batches, made, code, same, before, after, left: buffers.size };
  });
  await page.close();
  assert.ok(batches >= 3, `${batches} batches`);
  assert.equal(most, 2);
  assert.deepEqual([made.createBuffer, made.createBindGroup, made.submit], [0, 0, batches]);
  assert.deepEqual([code, same, after - before, left], ["AbortError", true, 0, 0]);
});

test("in Firefox, which looks what the GPU has done when something is submitted, something is", { timeout: 300_000 }, async () => {
  /** A browser that says it is Firefox, where a map is not known to be there before something is submitted. */
  const looksLate = () => {
    const { userAgent } = navigator;
    Object.defineProperty(Navigator.prototype, "userAgent", { get: () => `${userAgent} Firefox/153.0` });
    const { mapAsync } = GPUBuffer.prototype;
    const { submit } = GPUQueue.prototype;
    const there = [];
    GPUBuffer.prototype.mapAsync = async function (...given) {
      await mapAsync.apply(this, given);
      await new Promise((resolve) => there.push(resolve));
    };
    GPUQueue.prototype.submit = function (commands) {
      submit.call(this, commands);
      there.splice(0).forEach((tell) => tell());
    };
  };
  const page = await open(browser, served, { init: looksLate });
  const norm = await page.evaluate(async () => {
    const encoder = await embedlet.Encoder.load("./golden/models/bert-mean", { device: "webgpu", worker: false });
    const { data } = await encoder.embed("A text.");
    encoder.dispose();
    return Math.hypot(...data);
  });
  await page.close();
  assert.ok(Math.abs(norm - 1) < 1e-5, `${norm}`);
});

test("with the weights on the GPU the wasm heap stays small", { timeout: 300_000 }, async () => {
  const page = await open(browser, served);
  const heaps = await page.evaluate(async () => {
    let memory;
    const { instantiate } = WebAssembly;
    WebAssembly.instantiate = async (...given) => {
      const made = await instantiate(...given);
      memory = (made.instance ?? made).exports.memory;
      return made;
    };
    const heaps = [];
    for (let load = 0; load < 3; load++) {
      const encoder = await embedlet.Encoder.load("./model", { device: "webgpu", worker: false, precision: "f32" });
      heaps.push(memory.buffer.byteLength);
      encoder.dispose();
    }
    return heaps;
  });
  await page.close();
  // The weights are 91 MB. What an earlier load has freed has holes, which cost the next ones a little.
  assert.ok(heaps.every((heap) => heap <= 24 << 20), `${heaps}`);
});

test("auto prefers the CPU to a software adapter, and says so", async () => {
  const page = await open(browser, served);
  const info = await page.evaluate(async () => {
    const encoder = await embedlet.Encoder.load(await helpers.folder("bert-mean"));
    encoder.dispose();
    return encoder.info;
  });
  await page.close();
  assert.deepEqual([info.device, info.adapter], ["wasm", null]);
  assert.match(info.reason, /^the only adapter is software( \(\S.*\))?$/);
});

test("without WebGPU auto takes the CPU and says why, and webgpu is refused", async () => {
  const plain = await launch({ webgpu: false });
  try {
    const page = await open(plain, served);
    const { info, refused, next } = await page.evaluate(async () => {
      const files = await helpers.folder("bert-mean");
      const refused = await helpers.outcome(embedlet.Encoder.load(files, { device: "webgpu" }));
      const encoder = await embedlet.Encoder.load(files);
      const next = (await encoder.embed("works")).count;
      return { info: encoder.info, refused, next };
    });
    assert.ok(["no-webgpu", "no-adapter"].includes(refused.code), JSON.stringify(refused));
    assert.equal(info.device, "wasm");
    assert.match(info.reason, /WebGPU|adapter/i);
    assert.equal(next, 1);
  } finally {
    await plain.close();
  }
});

const LOADS = process.env.EMBEDLET_TEST_ALL ? 1000 : 250;
for (const device of ["wasm", "webgpu"]) {
  test(`${LOADS} loads on ${device} leave no buffer and no memory behind`, { timeout: 900_000 }, async () => {
    const page = await open(browser, served, {
      init: `(${count})();
        const instantiate = WebAssembly.instantiate;
        globalThis.memories = [];
        WebAssembly.instantiate = async (...given) => {
          const result = await instantiate(...given);
          memories.push((result.instance ?? result).exports.memory);
          return result;
        };`,
    });
    const { sizes, live, instances, errors } = await page.evaluate(async ([device, loads]) => {
      const files = await helpers.folder("bert-mean");
      const [sizes, live] = [[], []];
      let first;
      let errors = 0;
      for (let i = 0; i < loads; i++) {
        const encoder = await embedlet.Encoder.load(files, { device, worker: false });
        const { data } = await encoder.embed(["a text", "and another that is longer"]);
        first ??= data;
        if (!data.every((value, k) => value === first[k])) errors++;
        encoder.dispose();
        live.push(buffers.size);
        sizes.push(memories[0].buffer.byteLength);
      }
      return { sizes, live, instances: memories.length, errors };
    }, [device, LOADS]);
    await page.close();
    assert.equal(errors, 0, "every cycle gives the same vectors");
    assert.equal(instances, 1);
    assert.equal(sizes.at(-1), sizes[99], `wasm memory grew from ${sizes[99]} to ${sizes.at(-1)} bytes`);
    // What stays after the first belongs to the device, which is kept.
    assert.ok(live[0] < 8, `${live[0]} buffers`);
    assert.equal(live.find((count) => count !== live[0]), undefined, "every buffer is destroyed with its model");
  });
}
