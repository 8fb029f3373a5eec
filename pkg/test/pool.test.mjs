// The public class over several engines, each of a fake crate of its own: what `threads` shares, and what it frees.

import assert from "node:assert/strict";
import { test } from "node:test";
import { encoderOver, sources } from "./bundle.mjs";
import { crateError, fakeCrate, files, WASM } from "./fake.mjs";

const { EmbedletError, Engine, restarts } = sources;
restarts.delays = [0, 0];
const turn = () => new Promise((resolve) => setTimeout(resolve, 5));

/** Waits until something is so, and what follows from it has happened. */
async function until(condition) {
  while (!condition()) await turn();
  await turn();
}

const finished = (crates) => crates.reduce((sum, crate) => sum + crate.finished, 0);

/** Loads an encoder whose engines are of these crates, in turn, and waits until so many have loaded. */
async function loaded(crates, options = {}, ready = crates.length) {
  const ended = [];
  let made = 0;
  const Encoder = encoderOver(async () => {
    const crate = crates[made++];
    const engine = new Engine(crate.createGlue);
    const end = (reason, model) => {
      ended.push(crate);
      if (model) engine.dispose(model);
    };
    return { host: engine, wasm: WASM, worker: true, end };
  });
  const encoder = await Encoder.load(files(), { threads: crates.length, ...options });
  await until(() => finished(crates) >= ready);
  return { encoder, ended, made: () => made };
}

const some = (count) => Array.from({ length: count }, fakeCrate);
const texts = ["a", "bcd", "", "a longer text", "ef", "ghi", "j"];

test("gives what one engine gives, in the order of the texts", async () => {
  const crates = some(3);
  const { encoder } = await loaded(crates);
  const { encoder: alone } = await loaded(some(1));
  for (const options of [{}, { prompt: "p: " }, { tokens: true }, { overflow: "chunk", chunkPooling: "none" }]) {
    crates.forEach((crate) => (crate.steps.length = 0));
    const [found, expected] = [await encoder.embed(texts, options), await alone.embed(texts, options)];
    assert.deepEqual(found, expected);
    assert.deepEqual([found.data, found.counts, found.texts, found.chunks], [expected.data, expected.counts, expected.texts, expected.chunks]);
    for (const i of texts.keys()) assert.equal(found.truncated(i), expected.truncated(i));
    assert.deepEqual(crates.flatMap(({ steps }) => steps).sort(), texts.toSorted());
    // The longest has an engine for itself.
    assert.deepEqual(crates.map(({ steps }) => steps.length).sort(), [1, 3, 3]);
  }
  assert.equal((await encoder.embed([])).count, 0);
  assert.deepEqual([...(await encoder.embed("abc")).data], [3, 97]);
});

test("engines run at once, and their progress is one", async () => {
  const crates = some(2);
  const { encoder } = await loaded(crates);
  const running = new Set();
  let most = 0;
  for (const crate of crates) {
    crate.onStep = async () => {
      running.add(crate);
      most = Math.max(most, running.size);
      await turn();
      running.delete(crate);
    };
  }
  const seen = [];
  await encoder.embed(texts, { onProgress: (event) => seen.push(event) });
  assert.equal(most, 2);
  assert.deepEqual(seen, texts.map((_, i) => ({ done: i + 1, total: texts.length })));
});

test("the first answers before the others are there, and where they do not come", async () => {
  const crates = some(3);
  let open;
  crates[1].onCreate = () => new Promise((resolve) => (open = resolve));
  crates[2].onFinish = () => {
    throw crateError("out-of-memory");
  };
  const { encoder, ended } = await loaded(crates, {}, 1);
  await until(() => open && ended.length === 1);
  assert.equal((await encoder.embed(texts)).count, texts.length);
  assert.deepEqual(crates.map(({ steps }) => steps.length), [texts.length, 0, 0]);
  assert.deepEqual(ended, [crates[2]]);
  open();
  await until(() => crates[1].finished === 1);
  await encoder.embed(texts);
  assert.ok(crates[1].steps.length > 0);
  encoder.dispose();
  await until(() => crates.every(({ live }) => live.size === 0));
});

test("what fails or is aborted in one place is given up in all", async () => {
  const crates = some(2);
  const { encoder } = await loaded(crates);
  crates[0].onStep = turn;
  crates[1].onStep = () => {
    throw crateError("out-of-memory", "no room");
  };
  const many = Array(40).fill("text");
  await assert.rejects(encoder.embed(many), (error) => error instanceof EmbedletError && error.code === "out-of-memory");
  assert.ok(crates[0].steps.length < 20);
  crates[1].onStep = turn;
  const abort = new AbortController();
  const call = encoder.embed(many, { signal: abort.signal });
  await turn();
  abort.abort();
  await assert.rejects(call, { name: "AbortError" });
  // Each goes on to the end of its step at most.
  await until(() => crates.every(({ running }) => running === 0));
  const steps = crates.map(({ steps }) => steps.length);
  await turn();
  assert.deepEqual(crates.map(({ steps }) => steps.length), steps);
  // Usable afterwards, and nothing is left.
  assert.equal((await encoder.embed(many)).count, 40);
  encoder.dispose();
  await until(() => crates.every(({ live }) => live.size === 0));
});

test("an error about a text names it as the call does, wherever it was", async () => {
  const crates = some(3);
  const { encoder } = await loaded(crates);
  const texts = ["a", "bad", "ccccccccc", "dd", "eeeee", "f", "gggggg"];
  for (const crate of crates) {
    crate.onStep = (text) => {
      if (text !== "bad") return;
      const at = crate.given.indexOf("bad");
      throw Object.assign(crateError("text-too-long", `text ${at} has ${at} tokens`), { text: at });
    };
  }
  for (const place of [0, 3, 6]) {
    const call = texts.filter((text) => text !== "bad").toSpliced(place, 0, "bad");
    await assert.rejects(encoder.embed(call), ({ code, text, message }) => {
      assert.deepEqual([code, text], ["text-too-long", place]);
      assert.match(message, new RegExp(`^text ${place} has`));
      return true;
    });
  }
  encoder.dispose();
});

test("a dispose while others load ends them too", async () => {
  const crates = some(2);
  let open;
  crates[1].onCreate = () => new Promise((resolve) => (open = resolve));
  const { encoder, ended } = await loaded(crates, {}, 1);
  await until(() => open);
  encoder.dispose();
  open();
  await until(() => ended.length === 2);
  assert.deepEqual(new Set(ended), new Set(crates));
  await until(() => crates.every(({ live }) => live.size === 0));
});

test("one that is lost is done without, and its texts with the first", async () => {
  const crates = some(3);
  const { encoder, ended, made } = await loaded(crates);
  const expected = await encoder.embed(texts);
  crates[1].onStep = () => {
    throw new WebAssembly.RuntimeError("unreachable");
  };
  const seen = [];
  assert.deepEqual(await encoder.embed(texts, { onProgress: ({ done }) => seen.push(done) }), expected);
  assert.equal(seen.at(-1), texts.length);
  assert.deepEqual([ended, made()], [[crates[1]], 3]);
  crates.forEach((crate) => (crate.steps.length = 0));
  assert.deepEqual(await encoder.embed(texts), expected);
  assert.deepEqual(crates.map(({ steps }) => steps.length > 0), [true, false, true]);
  encoder.dispose();
  await until(() => ended.length === 3);
});

test("where the first is lost all are replaced", async () => {
  const crates = some(4);
  const { encoder, ended, made } = await loaded(crates, { threads: 2 }, 2);
  const expected = await encoder.embed(texts);
  crates[0].onStep = () => {
    throw new WebAssembly.RuntimeError("unreachable");
  };
  assert.deepEqual(await encoder.embed(texts), expected);
  assert.deepEqual(new Set(ended), new Set(crates.slice(0, 2)));
  await until(() => finished(crates) === 4);
  crates.forEach((crate) => (crate.steps.length = 0));
  assert.deepEqual(await encoder.embed(texts), expected);
  assert.deepEqual([made(), ...crates.map(({ steps }) => steps.length > 0)], [4, false, false, true, true]);
  encoder.dispose();
  await until(() => ended.length === 4);
});

test("a GPU has no use for threads, nor a thread that is not the encoder's", async () => {
  const crates = some(2);
  crates[0].device = "webgpu";
  const { made } = await loaded(crates, {}, 1);
  assert.equal(made(), 1);
  for (const options of [{ threads: 0 }, { threads: 1.5 }, { threads: 17 }, { threads: "2" }, { threads: 2, worker: false }]) {
    await assert.rejects(loaded(some(2), options), { code: "invalid-argument" });
  }
});
