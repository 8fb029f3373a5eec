// Collections in a browser: on the CPU and on the GPU what is found is what f64 finds, and both find the same; rows outlive a crash and
// the loss of the device where they can be restored; nothing stays behind.

import assert from "node:assert/strict";
import { test } from "node:test";
import { browser, open, served, start, watchBuffers } from "./harness.mjs";

start();

// 10,000 rows in int8 take less memory than is worth a GPU: of so many dimensions they take more.
for (const [precision, dimensions] of [["float32", 384], ["int8", 384], ["int8", 1024], ["binary", 384]]) {
  test(`10,000 × ${dimensions} in ${precision}: what f64 finds, on the CPU and on the GPU`, { timeout: 300_000 }, async () => {
    const page = await open(browser, served, { init: watchBuffers });
    const { found, expected, onGpu, left } = await page.evaluate(async ([precision, dimensions]) => {
      const count = 10_000;
      const vectors = helpers.vectors(count, dimensions, 1);
      const queries = [2, 3].map((seed) => helpers.vectors(1, dimensions, seed));
      const allowed = Uint32Array.from({ length: Math.ceil(count / 32) }, (_, word) => (word * 0x9e3779b9) >>> 0);
      const removed = Uint32Array.from({ length: 1000 }, (_, i) => 10 * i);
      const may = (row) => row % 10 !== 0 && (allowed[row >> 5] >> row % 32) & 1;
      const files = await helpers.folder("bert-mean");
      const found = {};
      let onGpu, rows;
      for (const device of ["wasm", "webgpu"]) {
        const encoder = await embedlet.Encoder.load(files, { device, worker: false });
        const collection = await encoder.collection({ dimensions, precision });
        rows = await collection.encode(vectors);
        const half = 5000 * collection.rowBytes;
        const firsts = [await collection.append(rows.subarray(0, half)), await collection.append(rows.subarray(half))];
        onGpu = [...buffers].some(({ label }) => label === "rows");
        found[device] = [firsts];
        for (const query of queries) {
          const { rows, scores } = await collection.search(query, { topK: 10 });
          found[device].push([...rows], [...scores]);
        }
        await collection.remove(removed);
        for (const [query, topK] of [[queries[0], 10], [queries[1], 600]]) {
          const { rows, scores } = await collection.search(query, { topK, allowed });
          found[device].push([...rows], [...scores]);
        }
        collection.dispose();
        encoder.dispose();
      }
      // What the rows stand for: values, codes times a scale, or signs.
      const view = new DataView(rows.buffer);
      const width = rows.length / count;
      const value = {
        float32: (row, i) => view.getFloat32(row * width + 4 * i, true),
        int8: (row, i) => view.getInt8(row * width + i) * view.getFloat32(row * width + dimensions, true),
        binary: (row, i) => ((rows[row * width + (i >> 3)] >> (7 - (i & 7))) & 1 ? 1 : -1),
      }[precision];
      const kept = Float64Array.from(vectors, (_, i) => value(Math.floor(i / dimensions), i % dimensions));
      const own = (query) => (precision === "binary" ? query.map((x) => (x > 0 ? 1 : -1)) : query);
      const expected = [
        helpers.nearest(kept, own(queries[0]), 10), helpers.nearest(kept, own(queries[1]), 10),
        helpers.nearest(kept, own(queries[0]), 10, may), helpers.nearest(kept, own(queries[1]), 600, may),
      ];
      return { found, expected, onGpu, left: buffers.size };
    }, [precision, dimensions]);
    await page.close();
    assert.equal(onGpu, precision === "float32" || dimensions === 1024, "where the rows were");
    assert.deepEqual(found.wasm[0], [0, 5000]);
    for (const device of ["wasm", "webgpu"]) {
      const ids = [1, 3, 5, 7].map((at) => found[device][at]);
      for (const [i, rows] of ids.entries()) assert.deepEqual(rows.slice(0, 10), expected[i].slice(0, 10), device);
      assert.deepEqual([...ids[3]].sort(), [...expected[3]].sort(), device);
    }
    if (precision !== "float32") assert.deepEqual(found.webgpu, found.wasm, "the same bits");
    assert.equal(left, 0, "buffers");
  });
}

for (const [device, faults] of [
  ["wasm", [["search", "trap"], ["search", "task"]]],
  ["webgpu", [["submit", "destroy"], ["map", "refused"]]],
]) {
  test(`on ${device}, rows are restored after a crash and after a lost device`, { timeout: 300_000 }, async () => {
    const page = await open(browser, served);
    await page.evaluate(async (device) => {
      globalThis.encoder = await embedlet.Encoder.load(await helpers.folder("bert-mean"), { device, workerUrl: "/tests/faulty-worker.mjs" });
      globalThis.restored = 0;
      const dimensions = 1024;
      const vectors = helpers.vectors(9000, dimensions, 1);
      globalThis.query = helpers.vectors(1, dimensions, 2);
      const options = { dimensions, precision: "int8" };
      const fill = async (collection) => {
        await collection.append(await collection.encode(vectors));
        await collection.remove(Uint32Array.of(4));
      };
      const restore = async (collection) => {
        restored++;
        await fill(collection);
      };
      [globalThis.kept, globalThis.lost] = [await encoder.collection({ ...options, restore }), await encoder.collection(options)];
      await fill(kept);
      await fill(lost);
      globalThis.expected = [...(await kept.search(query, { topK: 20 })).rows];
    }, device);
    for (const [i, fault] of faults.entries()) {
      await page.evaluate((fault) => helpers.fault(...fault), fault);
      const [rows, more, restored, gone, count] = await page.evaluate(async () => {
        const search = async () => [...(await kept.search(query, { topK: 20 })).rows];
        const [rows, more] = await Promise.all([search(), search()]);
        return [rows, more, restored, await helpers.outcome(lost.search(query, { topK: 1 })), (await encoder.embed("the boats")).count];
      });
      const expected = await page.evaluate(() => expected);
      assert.deepEqual([rows, more, restored, count], [expected, expected, i + 1, 1], `${fault}`);
      assert.deepEqual([gone.code, gone.ours], ["collection-lost", true], `${fault}`);
    }
    await page.evaluate(() => encoder.dispose());
    const { code } = await page.evaluate(() => helpers.outcome(kept.search(query, { topK: 1 })));
    assert.equal(code, "disposed");
    await page.close();
  });
}
