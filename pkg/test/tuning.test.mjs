// Tuning while nothing is asked, over the fake crate: when a slice comes, who goes first, and what is kept. No clock decides a test: what must
// not happen is given turns of the event loop to happen in.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { crateError, fakeCrate, files, TUNED, WASM } from "./fake.mjs";
import { sources } from "./bundle.mjs";

const { Engine, idle, readSource, readTuning } = sources;
const { ms } = idle;
idle.ms = 0;
after(() => (idle.ms = ms));

/** A store in memory, which calls `before` first. */
function memory(before = () => {}) {
  const held = new Map();
  return {
    held,
    async read(name) {
      before("read", name);
      return held.has(name) ? { size: undefined, chunks: new Blob([held.get(name)]).stream() } : undefined;
    },
    async write(name, body) {
      before("write", name);
      held.set(name, await new Response(body).text());
    },
    async delete() {},
    names: async () => [...held.keys()],
  };
}

async function loaded(crate, store, options = {}) {
  const engine = new Engine(crate.createGlue, store);
  const request = { wasm: WASM, source: readSource(files(), {}), device: "webgpu", precision: "auto", integrity: new Map(), cache: true, allowRemote: true, tune: true };
  const load = async () => (await engine.load({ ...request, ...options }, {})).model;
  const model = await load();
  return { engine, model, load, embed: (text, name = model) => engine.embed({ model: name, texts: [text], options: "{}" }, {}) };
}

/** A crate that tunes in so many slices, and the order of what it does. */
function logging(slices) {
  const crate = fakeCrate();
  const log = [];
  Object.assign(crate, { slices, onStep: (text) => log.push(text), onSlice: () => log.push("slice") });
  return { crate, log };
}

const turns = async (count = 10) => {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setTimeout(resolve, 1));
};
async function until(isSo) {
  while (!isSo()) await turns(1);
}

test("no slice comes before the first answer, and all come behind it", async () => {
  const { crate, log } = logging(3);
  const store = memory();
  const { embed, engine, model } = await loaded(crate, store);
  await engine.tokenize({ model, text: "a" }, {});
  await turns();
  assert.deepEqual(log, []);
  await embed("a");
  await until(() => store.held.size > 0);
  await turns();
  assert.deepEqual(log, ["a", "slice", "slice", "slice"]);
  assert.deepEqual([...store.held], [["tuning", TUNED]]);
});

test("a call waits for the slice that runs and for no other", async () => {
  const { crate, log } = logging(2);
  let end;
  crate.onSlice = () => (log.push("slice"), new Promise((resolve) => (end = resolve)));
  const { embed } = await loaded(crate, memory());
  await embed("a");
  await until(() => end);
  const calls = ["b", "c"].map((text) => embed(text));
  await turns();
  assert.deepEqual(log, ["a", "slice"]);
  end = void end();
  await Promise.all(calls);
  await until(() => end);
  end();
  await turns();
  assert.deepEqual(log, ["a", "slice", "b", "c", "slice"]);
  assert.equal(crate.mostRunning, 1);
});

test("nothing is tuned while another model, or a collection, is at work", async () => {
  const { crate, log } = logging(1);
  const { engine, model, load, embed } = await loaded(crate, memory());
  const other = await load();
  const { collection } = await engine.collect({ kind: "open", name: other, argument: { dimensions: 1, precision: "float32", similarity: "dot" } }, {});
  let end;
  const held = () => new Promise((resolve) => (end = resolve));
  crate.onCollect = held;
  const search = engine.collect({ kind: "search", name: collection, argument: { query: new Float32Array(1), topK: 1 } }, {});
  await embed("a", model);
  await turns();
  assert.deepEqual(log, ["a"]);
  end();
  await search;
  await until(() => log.length === 2);
  // The other has not answered.
  await turns();
  assert.deepEqual(log, ["a", "slice"]);
  await embed("b", other);
  await until(() => log.length === 4);
  assert.deepEqual(log, ["a", "slice", "b", "slice"]);
});

test("what was kept is taken at the next load, and nothing is measured again", async () => {
  const store = memory();
  const { crate } = logging(1);
  await (await loaded(crate, store)).embed("a");
  await until(() => store.held.size > 0);
  const { crate: next, log } = logging(1);
  await (await loaded(next, store)).embed("a");
  await turns();
  assert.deepEqual([crate.taken, next.taken, log], [[undefined], [TUNED], ["a"]]);
});

test("what is kept may be anything", async () => {
  for (const text of ["", "\0garbage", "x".repeat(1 << 17)]) {
    const store = memory();
    store.held.set("tuning", text);
    const { crate } = logging(1);
    await (await loaded(crate, store)).embed("a");
    await until(() => store.held.get("tuning") === TUNED);
    assert.deepEqual(crate.taken, [text.length > 1000 ? undefined : text]);
  }
  const failing = memory(() => {
    throw new DOMException("denied", "SecurityError");
  });
  assert.equal(await readTuning(failing), undefined);
  const { crate, log } = logging(1);
  const { embed } = await loaded(crate, failing);
  await embed("a");
  await until(() => log.length === 2);
  await turns();
  await embed("b");
  assert.deepEqual(log, ["a", "slice", "b"]);
});

test("nothing is kept where nothing may be, nothing measured where nothing should be", async () => {
  const asked = [];
  const store = memory((...what) => asked.push(what));
  for (const [options, slices] of [[{ cache: false }, 1], [{ tune: false }, 0]]) {
    const { crate, log } = logging(1);
    await (await loaded(crate, store, options)).embed("a");
    await turns();
    assert.equal(log.length - 1, slices);
  }
  // A load of a model for the CPU looks for nothing.
  const { crate } = logging(0);
  await (await loaded(crate, store, { device: "wasm" })).embed("a");
  await turns();
  assert.deepEqual(asked, []);
});

test("an error ends it, and no call hears of it", async () => {
  for (const code of ["device-lost", "shader"]) {
    const { crate, log } = logging(5);
    crate.onSlice = () => {
      log.push("slice");
      throw crateError(code);
    };
    const store = memory();
    const { embed } = await loaded(crate, store);
    await embed("a");
    await until(() => log.length === 2);
    await turns();
    await embed("b");
    await turns();
    assert.deepEqual(log, ["a", "slice", "b"]);
    assert.equal(store.held.size, 0);
  }
});

test("a model that is disposed of is tuned no more, and freed once", async () => {
  const { crate, log } = logging(3);
  let end;
  crate.onSlice = () => (log.push("slice"), new Promise((resolve) => (end = resolve)));
  const store = memory();
  const { engine, model, embed } = await loaded(crate, store);
  await embed("a");
  await until(() => end);
  await engine.dispose(model);
  end();
  await turns();
  assert.deepEqual([log, crate.live.size, store.held.size], [["a", "slice"], 0, 0]);

  // Also while what is kept is being read. What is freed twice crashes the instance, and the next load would start another.
  const { crate: other } = logging(1);
  let reads = 0;
  let gone;
  const read = async () => {
    if (++reads === 2) gone = slow.engine.dispose(slow.model);
  };
  const slow = await loaded(other, { ...memory(), read });
  await slow.embed("a");
  await until(() => gone);
  await turns();
  assert.equal(other.live.size, 0);
  await slow.load();
  assert.equal(other.instances, 1);
});
