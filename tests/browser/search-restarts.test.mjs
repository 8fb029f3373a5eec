// A search index whose engine crashes, or loses its device: the scan is filled again from storage, and finds what it found before.

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { browser, open, served, start } from "./harness.mjs";

start();

for (const [device, faults] of [
  ["wasm", [["step", "trap", 0], ["step", "task", 0]]],
  ["webgpu", [["submit", "destroy", 0], ["step", "trap", 0]]],
]) {
  test(`on ${device}, an index outlives its engine`, { timeout: 300_000 }, async () => {
    const page = await open(browser, served);
    const found = await page.evaluate(async ([device, faults]) => {
      const { SearchIndex } = await import("/pkg/search.js");
      const encoder = await embedlet.Encoder.load(await helpers.folder("bert-mean"), { device, workerUrl: "/tests/faulty-worker.mjs" });
      const index = await SearchIndex.open({ name: device, encoder });
      await index.add(Array.from({ length: 300 }, (_, i) => ({ id: `${i}`, text: `the old man counted ${i} boats and the birds` })));
      await index.remove(["5", "6", "299"]);
      const look = async () => (await index.search("the old man counted 77 boats", { topK: 400 })).map(({ id }) => id).join();
      const first = await look();
      const same = [];
      for (const fault of faults) {
        await helpers.fault(...fault);
        same.push((await look()) === first);
        await index.add({ id: "new", text: "birds" });
        await index.remove("new");
        same.push((await look()) === first);
      }
      encoder.dispose();
      const code = await index.search("birds").catch((error) => error.code);
      return { documents: index.stats().documents, same, code };
    }, [device, faults]);
    assert.deepEqual(found, { documents: 297, same: [true, true, true, true], code: "disposed" });
    await page.close();
  });
}
