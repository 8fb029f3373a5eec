// Collections over the fake crate, on this thread and across a message port: what a caller sees of arguments, of the order of calls, of
// restarts and of disposal.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { encoderOver, sources } from "./bundle.mjs";
import { crateError, fakeCrate, files, WASM } from "./fake.mjs";

const { EmbedletError, Engine, Remote, restarts, serve } = sources;
beforeEach(() => (restarts.delays = [0, 0]));

/** Runs a test over both ways to reach an engine; each connection is to a new one, of whose crates the last is `place.crate`. */
function both(name, run) {
  for (const across of [false, true]) {
    test(`${name}, ${across ? "across a port" : "on this thread"}`, { timeout: 60_000 }, async () => {
      const place = { ports: [], onCollect: () => {} };
      const connect = async () => {
        place.crate = fakeCrate();
        place.crate.onCollect = (kind) => place.onCollect(kind);
        const engine = new Engine(place.crate.createGlue);
        if (!across) return { host: engine, wasm: WASM, end: (_, model) => model && engine.dispose(model) };
        const { port1, port2 } = new MessageChannel();
        serve(port2, engine);
        const host = new Remote(port1);
        for (const port of [port1, port2]) port.start();
        place.ports.push(port1);
        return { host, wasm: WASM, worker: true, end: (reason, model) => (model && engine.dispose(model), host.fail(reason)) };
      };
      try {
        const encoder = await encoderOver(connect).load(files());
        await run(encoder, place);
        encoder.dispose();
      } finally {
        place.ports.forEach((port) => port.close());
      }
    });
  }
}

const rejects = (promise, code) => assert.rejects(promise, (error) => error instanceof EmbedletError && error.code === code);
const VECTORS = Float32Array.of(1, 0, 0, 1, 3, 3);
const QUERY = Float32Array.of(2, 1);

both("rows are encoded, appended, found, filtered and removed", async (encoder, { crate }) => {
  const collection = await encoder.collection({ precision: "int8" });
  assert.deepEqual([collection.dimensions, collection.precision, collection.rowBytes], [2, "int8", 8]);
  const rows = await collection.encode(VECTORS);
  assert.ok(rows instanceof Uint8Array && rows.length === 24);
  assert.deepEqual([await collection.append(rows), await collection.append(rows.subarray(8, 16)), await collection.append(new Uint8Array())], [0, 3, 4]);
  const found = async (options) => [...(await collection.search(QUERY, options)).rows];
  assert.deepEqual((await collection.search(QUERY, { topK: 3 })).scores, Float32Array.of(9, 2, 1));
  assert.deepEqual(await found({ topK: 9 }), [2, 0, 1, 3]);
  assert.deepEqual(await found({ topK: 9, allowed: Uint32Array.of(0b1010) }), [1, 3]);
  await collection.remove(Uint32Array.of(2, 2));
  assert.deepEqual(await found({ topK: 2 }), [0, 1]);
  const others = await encoder.collection({ dimensions: 3 });
  assert.deepEqual(await others.search(Float32Array.of(1, 2, 3), { topK: 1 }), { rows: new Uint32Array(), scores: new Float32Array() });
  assert.equal(crate.live.size, 3);
});

both("arguments that cannot be meant are refused, and the rest goes on", async (encoder) => {
  for (const options of [{ dimensions: 0 }, { dimensions: 1.5 }, { precision: "float16" }, { similarity: "euclidean" }, { restore: 1 }, { metric: "dot" }]) {
    await rejects(encoder.collection(options), "invalid-argument");
  }
  await rejects(encoder.collection({ dimensions: 10 }), "limit-exceeded");
  const collection = await encoder.collection();
  await rejects(collection.encode([1, 2]), "invalid-argument");
  await rejects(collection.encode(new Float32Array(3)), "invalid-argument");
  await rejects(collection.encode(Float32Array.of(1, NaN)), "non-finite");
  await rejects(collection.append(new Float32Array(2)), "invalid-argument");
  await rejects(collection.append(new Uint8Array(9)), "invalid-argument");
  await rejects(collection.remove([0]), "invalid-argument");
  await rejects(collection.remove(Uint32Array.of(0)), "invalid-argument");
  for (const options of [undefined, {}, { topK: 0 }, { topK: 1.5 }, { topK: 1, allowed: [1] }, { topK: 1, k: 2 }]) {
    await rejects(collection.search(QUERY, options), "invalid-argument");
  }
  await rejects(collection.search(new Float32Array(1), { topK: 1 }), "invalid-argument");
  await rejects(collection.search(new Float32Array(), { topK: 1 }), "invalid-argument");
  await assert.rejects(collection.search(QUERY, { topK: 1, signal: AbortSignal.abort() }), { name: "AbortError" });
  assert.equal(await collection.append(await collection.encode(QUERY)), 0);
});

both("calls of a collection run one after another, and not behind those of the model", async (encoder, place) => {
  const collection = await encoder.collection();
  let open;
  place.crate.onStep = () => new Promise((resolve) => (open = resolve));
  const embedding = encoder.embed("a");
  const rows = await collection.encode(VECTORS);
  const calls = [collection.append(rows), collection.search(QUERY, { topK: 1 }), collection.remove(Uint32Array.of(2)), collection.search(QUERY, { topK: 1 })];
  const [first, before, , after] = await Promise.all(calls);
  assert.deepEqual([first, ...before.rows, ...after.rows], [0, 2, 0]);
  open();
  assert.equal((await embedding).count, 1);
});

/** A collection with rows whose engine will trap at the next call of this kind. */
async function trapping(encoder, place, kind, restore) {
  const collection = await encoder.collection({ restore });
  await collection.append(await collection.encode(VECTORS));
  await collection.remove(Uint32Array.of(2));
  place.onCollect = (now) => {
    if (now !== kind) return;
    place.onCollect = () => {};
    throw new WebAssembly.RuntimeError("unreachable");
  };
  return collection;
}

for (const kind of ["search", "append"]) {
  both(`after a trap in ${kind} rows are restored before calls go on, in their order`, async (encoder, place) => {
    const restored = [];
    const collection = await trapping(encoder, place, kind, async (empty) => {
      restored.push(await empty.append(await empty.encode(VECTORS)));
      await empty.remove(Uint32Array.of(2));
      assert.deepEqual([...(await empty.search(QUERY, { topK: 9 })).rows], [0, 1]);
    });
    const rows = await collection.encode(Float32Array.of(9, 9));
    const calls = [collection.search(QUERY, { topK: 9 }), collection.append(rows), collection.search(QUERY, { topK: 9 }), encoder.embed("abc")];
    const [before, first, after, { count }] = await Promise.all(calls);
    assert.deepEqual([[...before.rows], first, [...after.rows], count], [[0, 1], 3, [3, 0, 1], 1]);
    assert.deepEqual(restored, [0]);
  });
}

both("without `restore` calls after a trap say that the rows are gone, and the encoder goes on", async (encoder, place) => {
  const collection = await trapping(encoder, place, "search");
  const empty = await encoder.collection();
  for (let call = 0; call < 2; call++) await rejects(collection.search(QUERY, { topK: 1 }), "collection-lost");
  await rejects(collection.append(new Uint8Array(8)), "collection-lost");
  assert.deepEqual((await empty.search(QUERY, { topK: 1 })).rows, new Uint32Array(), "nothing was lost of what had no rows");
  assert.equal((await encoder.embed("abc")).count, 1);
  const again = await encoder.collection();
  assert.equal(await again.append(await again.encode(VECTORS)), 0);
});

both("a restore that fails is tried again by the next call", async (encoder, place) => {
  let tries = 0;
  const collection = await trapping(encoder, place, "search", async (empty) => {
    if (++tries === 1) throw new Error("the disk is away");
    await empty.append(await empty.encode(VECTORS));
  });
  await assert.rejects(collection.search(QUERY, { topK: 1 }), /the disk is away/);
  assert.deepEqual([...(await collection.search(QUERY, { topK: 1 })).rows], [2]);
  assert.equal(tries, 2);
});

both("a restore during which the engine goes again is begun again", async (encoder, place) => {
  let tries = 0;
  const collection = await trapping(encoder, place, "search", async (empty) => {
    if (++tries === 1) {
      place.onCollect = () => {
        place.onCollect = () => {};
        throw new WebAssembly.RuntimeError("unreachable");
      };
    }
    await empty.append(await empty.encode(VECTORS));
  });
  const other = encoder.tokenize("ab");
  // It was asked when the engine went, and again while another did.
  await rejects(collection.search(QUERY, { topK: 1 }), "runtime-crashed");
  assert.equal((await other).ids[0], 2);
  assert.deepEqual([...(await collection.search(QUERY, { topK: 1 })).rows], [2]);
});

both("disposal frees the rows, at once or behind the call that runs; the encoder's frees those of all", async (encoder, place) => {
  const [one, two] = [await encoder.collection(), await encoder.collection()];
  assert.equal(place.crate.live.size, 3);
  one.dispose();
  one.dispose();
  await rejects(one.append(new Uint8Array(8)), "disposed");
  await rejects(one.search(QUERY, { topK: 1 }), "disposed");
  await encoder.tokenize("a turn for the message");
  assert.equal(place.crate.live.size, 2);
  await two.append(await two.encode(VECTORS));
  let open;
  place.onCollect = () => new Promise((resolve) => (open = resolve));
  const running = two.search(QUERY, { topK: 1 });
  while (!open) await encoder.tokenize("another turn");
  two.dispose();
  await rejects(running, "disposed");
  open();
  place.onCollect = () => {};
  while (place.crate.live.size > 1) await encoder.tokenize("another turn");
  const three = await encoder.collection();
  encoder.dispose();
  await rejects(three.encode(VECTORS), "disposed");
  while (place.crate.live.size > 0) await new Promise((resolve) => setTimeout(resolve));
});
