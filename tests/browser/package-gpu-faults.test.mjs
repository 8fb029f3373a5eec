// A GPU that is not there, is too small, does not compile, computes something else, or says no, by wrapping WebGPU's own objects:
// refused by name where it was asked for, exchanged for the CPU with "auto", and never believed.

import assert from "node:assert/strict";
import { test } from "node:test";
import { browser, open, served, start } from "./harness.mjs";

start({ model: true });

/** SwiftShader passes for hardware, so that "auto" takes it. */
const HARDWARE = `
  for (const name of ["vendor", "architecture", "description"]) Object.defineProperty(GPUAdapterInfo.prototype, name, { get: () => "hardware" });
  Object.defineProperty(GPUAdapterInfo.prototype, "isFallbackAdapter", { get: () => false });
`;

/** Changes the text of one kernel. */
const shader = (kernel, change) => `
  const { createShaderModule } = GPUDevice.prototype;
  GPUDevice.prototype.createShaderModule = function ({ label, code }) {
    if (label !== ${JSON.stringify(kernel)}) return createShaderModule.call(this, { label, code });
    const changed = (${change})(code);
    if (changed === code) throw new Error("nothing was changed");
    return createShaderModule.call(this, { label, code: changed });
  };
`;

const limit = (bytes) => ["maxStorageBufferBindingSize", "maxBufferSize"].map((name) =>
  `Object.defineProperty(GPUSupportedLimits.prototype, "${name}", { get: () => ${bytes} });`).join("\n");

/** What is done to WebGPU; the code where a GPU was asked for, and what its message and \`info.reason\` of "auto" say. */
const FAULTS = {
  "no navigator.gpu": ["Object.defineProperty(Navigator.prototype, 'gpu', { get: () => undefined });", "no-webgpu", /no WebGPU/],
  "no adapter": ["GPU.prototype.requestAdapter = async () => null;", "no-adapter", /adapter/],
  "no device": ["GPUAdapter.prototype.requestDevice = async () => { throw new DOMException('used up', 'OperationError'); };", "no-adapter", /adapter/],
  "buffers that are too small": [limit(32_768), "limit-exceeded", /buffer/],
  "a kernel that does not compile": [shader("attention_streams", (code) => `${code}\nfn broken( {`), "shader", /attention_streams/],
  "a kernel that is off": [shader("attention_streams", (code) => code.replace("exp(", "exp2(")), "self-check-failed", /attention_streams/],
  ...Object.fromEntries(["linear_split", "linear_tiled"].map((name) => {
    const off = shader(name, (code) => code.replaceAll(/(out\[[^\]]+\] =) (.*);/g, "$1 1.001 * ($2);"));
    return [`a kernel that is a little off: ${name}`, [off, "self-check-failed", new RegExp(name)]];
  })),
};

for (const [title, [init, code, words]] of Object.entries(FAULTS)) {
  test(title, { timeout: 60_000 }, async () => {
    const page = await open(browser, served, { init: HARDWARE + init });
    const { refused, info, count } = await page.evaluate(async () => {
      const files = await helpers.folder("bert-mean");
      const refused = await helpers.outcome(embedlet.Encoder.load(files, { device: "webgpu", worker: false }));
      const encoder = await embedlet.Encoder.load(files, { worker: false });
      return { refused, info: encoder.info, count: (await encoder.embed("works")).count };
    });
    await page.close();
    assert.equal(refused.code, code, JSON.stringify(refused));
    assert.match(refused.message, words);
    assert.equal(info.device, "wasm");
    assert.match(info.reason, words);
    assert.equal(count, 1);
  });
}

test("what does not fit is known before the weights come", { timeout: 60_000 }, async () => {
  const page = await open(browser, served, { init: limit(16 << 20) });
  const { code, loaded } = await page.evaluate(async () => {
    let loaded = 0;
    const onProgress = (event) => (loaded = Math.max(loaded, event.loaded));
    return { ...(await helpers.outcome(embedlet.Encoder.load("./model", { device: "webgpu", worker: false, cache: false, onProgress }))), loaded };
  });
  await page.close();
  assert.equal(code, "limit-exceeded");
  assert.ok(loaded < 8 << 20, `${loaded} bytes`);
});

test("a model that turns out not to fit a GPU is kept all the same", { timeout: 60_000 }, async () => {
  const page = await open(browser, served, { init: HARDWARE + limit(32_768) });
  const used = await page.evaluate(async () => {
    const load = async () => {
      const { device, cache } = (await embedlet.Encoder.load("/golden/models/bert-mean", { worker: false })).info;
      return [device, cache.used];
    };
    return [await load(), await load()];
  });
  await page.close();
  assert.deepEqual(used, [["wasm", "written"], ["wasm", "read"]]);
});

/** Changes what the `at`-th call of a method from now on is given or gives, until `restore` is called; `calls` counts them. */
const CHANGING = () => {
  globalThis.change = (prototype, name, at, changed) => {
    const original = prototype[name];
    const made = { calls: 0, restore: () => (prototype[name] = original) };
    prototype[name] = function (...given) {
      return ++made.calls === at || at === "all" ? changed(this, original, given) : original.apply(this, given);
    };
    return made;
  };
  globalThis.rejected = async (self, original, given) => {
    await original.apply(self, given);
    throw new DOMException("Instance dropped", "OperationError");
  };
};

test("a map that is rejected is a failure: the load is refused, the call is asked again", { timeout: 120_000 }, async () => {
  const page = await open(browser, served, { init: CHANGING });
  const { refused, ends, met, left } = await page.evaluate(async () => {
    const files = await helpers.folder("bert-mean");
    const load = () => embedlet.Encoder.load(files, { device: "webgpu", worker: false });
    const buffers = new Set();
    change(GPUDevice.prototype, "createBuffer", "all", (device, original, given) => {
      const buffer = original.apply(device, given);
      buffers.add(buffer);
      return buffer;
    });
    change(GPUBuffer.prototype, "destroy", "all", (buffer, original) => (buffers.delete(buffer), original.call(buffer)));
    let maps = change(GPUBuffer.prototype, "mapAsync", 1, rejected);
    const refused = await helpers.outcome(load());
    maps.restore();
    const encoder = await load();
    const texts = Array.from({ length: 300 }, (_, i) => `the old man counted ${i} boats`);
    const expected = (await encoder.embed(texts)).data;
    const [ends, met] = [[], []];
    for (const at of [1, 2]) {
      maps = change(GPUBuffer.prototype, "mapAsync", at, rejected);
      const { data } = await encoder.embed(texts);
      ends.push(data.every((value, i) => value === expected[i]));
      met.push(maps.calls > at);
      maps.restore();
    }
    encoder.dispose();
    return { refused, ends, met, left: buffers.size };
  });
  await page.close();
  assert.equal(refused.code, "device-lost", JSON.stringify(refused));
  assert.equal(left, 0, "buffers");
  assert.deepEqual([ends, met], [[true, true], [true, true]]);
});

test("a device that is lost at any error scope of a load, which rejects, gives no model", { timeout: 120_000 }, async () => {
  const page = await open(browser, served, { init: CHANGING });
  const ends = await page.evaluate(async () => {
    const files = await helpers.folder("bert-mean");
    const ends = [];
    for (let at = 1; ; at++) {
      const scopes = change(GPUDevice.prototype, "popErrorScope", at, (device, ...rest) => (device.destroy(), rejected(device, ...rest)));
      ends.push(await helpers.outcome(embedlet.Encoder.load(files, { device: "webgpu", worker: false })));
      scopes.restore();
      if (scopes.calls < at) return ends;
    }
  });
  await page.close();
  assert.ok(ends.length > 5, `${ends.length} scopes`);
  // The last load had no scope left to lose its device at.
  assert.ok("value" in ends.pop());
  for (const { code } of ends) assert.equal(code, "device-lost");
});

test("an error that a rejected scope would have told shows all the same, if only when the buffer is used", { timeout: 300_000 }, async () => {
  const page = await open(browser, served, { init: CHANGING });
  const ends = await page.evaluate(async () => {
    const files = await helpers.folder("bert-mean");
    const embed = async () => {
      const encoder = await embedlet.Encoder.load(files, { device: "webgpu", worker: false });
      const { data } = await encoder.embed("the boats");
      encoder.dispose();
      return `${data}`;
    };
    const expected = await embed();
    const ends = [];
    change(GPUDevice.prototype, "popErrorScope", "all", rejected);
    for (let at = 1; ; at += 3) {
      const buffers = change(GPUDevice.prototype, "createBuffer", at, (device, original, [given]) => original.call(device, { ...given, size: 1e12 }));
      const { code, value } = await helpers.outcome(embed());
      buffers.restore();
      if (buffers.calls < at) return ends;
      ends.push(value === expected ? "right" : code);
      // What the device says late, it says to the next.
      await helpers.outcome(embed());
    }
  });
  await page.close();
  assert.ok(ends.length > 5 && ends.filter((end) => end === "shader").length > ends.length / 2, `${ends}`);
  for (const end of ends) assert.ok(end === "right" || end === "shader", `${ends}`);
});

test("vectors that are not finite, or not of their length, are refused, and the encoder goes on", { timeout: 60_000 }, async () => {
  const page = await open(browser, served);
  const ends = await page.evaluate(async () => {
    const encoder = await embedlet.Encoder.load(await helpers.folder("bert-mean"), { device: "webgpu", worker: false });
    const { getMappedRange } = GPUBuffer.prototype;
    const ends = [];
    for (const change of [
      (values) => (values[3] = NaN),
      (values) => (values[5] = Infinity),
      (values) => values.forEach((value, i) => (values[i] = 1.1 * value)),
    ]) {
      GPUBuffer.prototype.getMappedRange = function (...given) {
        const range = getMappedRange.apply(this, given);
        change(new Float32Array(range));
        return range;
      };
      ends.push(await helpers.outcome(encoder.embed("the boats")));
      GPUBuffer.prototype.getMappedRange = getMappedRange;
    }
    return [...ends.map(({ code }) => code), (await encoder.embed("the boats")).count];
  });
  await page.close();
  assert.deepEqual(ends, ["non-finite", "non-finite", "non-finite", 1]);
});
