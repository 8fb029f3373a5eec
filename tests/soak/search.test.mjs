// A large index whose browser is killed again and again: 50,000 texts are added, all processes of Chromium end at random moments, and
// the same profile is opened anew. What was told to be committed is found, each document once, nothing is wrong with the index, and the
// same add goes on to its end. Kills are no power cuts: what the system has taken, it writes.
//
// EMBEDLET_SEED repeats the moments, as far as a browser does the same twice.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { kill, launchOn, site } from "../browser/harness.mjs";
import { mulberry32 } from "../browser/in-page.mjs";

const COUNT = 50_000;
const KILLS = 20;
/** Documents, of a passage each, in a commit. */
const COMMIT = 256;
const MODEL = "/golden/models/bert-mean";
const SEED = Number(process.env.EMBEDLET_SEED ?? Date.now() % 1e9);

let served;
let profile;
before(async () => {
  served = await site();
  profile = mkdtempSync(join(tmpdir(), "embedlet-soak-"));
});
after(async () => {
  await served?.close();
  rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
});

/** Runs in the page: opens the index as `index`, and defines `all`, the documents, `check` and `add`. */
async function prepare([model, count]) {
  const { Encoder } = await import("/pkg/index.js");
  const { SearchIndex } = await import("/pkg/search.js");
  globalThis.encoder = await Encoder.load(new URL(model, location.href), { device: "wasm" });
  globalThis.index = await SearchIndex.open({ name: "many", encoder });
  const words = ("the and to is of in it on with by she came line table at an when new two before water boats counted he not what "
    + "then so back until number every hello was as that me first has three").split(" ");
  // No text is there twice: its first words are its number.
  const text = (i) => [i, i / words.length, i / words.length ** 2, 7 * i].map((digit) => words[Math.floor(digit) % words.length]).join(" ");
  globalThis.all = Array.from({ length: count }, (_, i) => ({ id: `${i}`, text: text(i), metadata: { n: i } }));

  /** Looks at the documents from one on, a thousand at a time, and at vectors of some. Throws where one is missing, or not what was added. */
  globalThis.check = async (first, last, seen) => {
    for (let from = first; from < last; from += 1000) {
      const to = Math.min(from + 1000, last);
      const hits = await index.search(all[from].text, { topK: 10_000, filter: { n: { $gte: from, $lt: to } } });
      const found = new Map(hits.map((hit) => [hit.id, hit]));
      const wrong = all.slice(from, to).find(({ id, text, metadata: { n } }) => found.get(id)?.text !== text || found.get(id).metadata.n !== n);
      if (wrong) throw new Error(`document ${wrong.id} is not found as it was added`);
      if (hits.length !== to - from) throw new Error(`${hits.length} hits for ${to - from} documents`);
    }
    for (const i of first < last ? seen : []) {
      const { id, text, metadata } = all[Math.floor(first + i * (last - first))];
      const [hit] = await index.search((await encoder.embedDocuments(text)).row(0), { topK: 1, filter: { n: metadata.n } });
      if (!(hit.score > 0.999999)) throw new Error(`document ${id} has another vector`);
    }
  };
  /** What was committed is in the order of the documents. */
  globalThis.add = () => index.add(all, { onProgress: ({ done }) => committed(done) });
  return index.stats();
}

test(`${COUNT} documents, ${KILLS} deaths of the browser, seed ${SEED}`, { timeout: 3_600_000 }, async (t) => {
  const random = mulberry32(SEED);
  const some = (count) => Array.from({ length: count }, random);
  // A death is due when so many are committed, and comes at some moment after that: while texts are embedded, while a file is written, or,
  // where the next one is due at once, while the index is opened and looked at.
  const due = some(KILLS).map((part) => part * COUNT).sort((a, b) => a - b);
  let committed = 0;
  // Two live as long as they like: one adds the last, and one finds them.
  for (const at of [...due, Infinity, Infinity]) {
    const context = await launchOn(profile);
    const page = await context.newPage();
    page.setDefaultTimeout(0);
    const before = committed;
    let first;
    let death;
    let killed = false;
    const die = async (within) => {
      await setTimeout(random() * within);
      killed = true;
      await kill(context, profile);
    };
    await page.exposeFunction("committed", (done) => {
      committed = done;
      first ??= done;
      if (done >= at) death ??= die(300);
    });
    if (committed >= at) death = die(3000);
    try {
      await page.goto(served.url);
      const { documents, lost, problem } = await page.evaluate(prepare, [MODEL, COUNT]);
      t.diagnostic(`${before} were committed, ${documents} are there`);
      assert.ok(documents >= before, "what was committed is there");
      assert.deepEqual([lost, problem], [0, null]);
      const newest = Math.max(0, documents - 1000);
      const older = Math.floor(random() * newest);
      const parts = documents === COUNT ? [[0, COUNT]] : [[newest, documents], [older, Math.min(older + 500, newest)]];
      for (const [from, to] of parts) await page.evaluate(([from, to, seen]) => check(from, to, seen), [from, to, some(20)]);
      await page.evaluate(() => add());
      // Those that are there were skipped, so they are there as they were added; and the next is the first that was not.
      assert.equal(first, Math.min(documents + COMMIT, COUNT));
    } catch (error) {
      if (!killed) throw error;
    } finally {
      await (death ?? context.close());
    }
    assert.equal(killed, at < Infinity);
  }
  assert.equal(committed, COUNT);
});
