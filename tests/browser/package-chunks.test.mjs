// Long texts in chunks, in a browser, which brings the ends of sentences along: where they are cut, and the vectors of chunks
// against a plain computation from single texts.

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { browser, compare, golden, open, served, start } from "./harness.mjs";

start();

const sentences = golden("sentences.json");
const MIXED = `${"The boats 👩‍👩‍👧🙂 sail. ".repeat(9)}${"السفينة هادئة في البحر. ".repeat(5)}end\ud83d.`;

/** A page with a tiny model as `encoder`. */
async function load(device, folder) {
  const page = await open(browser, served);
  await page.evaluate(async ([device, folder]) => {
    globalThis.encoder = await embedlet.Encoder.load(new URL(`/golden/${folder}`, location.href), { device, precision: "f32" });
  }, [device, folder]);
  return page;
}

test("sentences end where they end natively, and are packed whole", { timeout: 120_000 }, async () => {
  const page = await load("wasm", "architectures/bert-1");
  const cut = await page.evaluate(async (texts) => {
    const count = async (text) => (await encoder.tokenize(text.trim())).tokens.length;
    const cut = [];
    for (const sentences of texts) {
      const counts = await Promise.all(sentences.map(count));
      for (let size = Math.max(...counts); size <= encoder.info.maxTokens; size++) {
        const expected = [];
        for (const sentence of sentences) {
          const joined = (expected.at(-1) ?? "") + sentence;
          if (expected.length && (await count(joined)) <= size) expected[expected.length - 1] = joined;
          else expected.push(sentence);
        }
        const found = await encoder.chunk(sentences.join(""), { size, by: "sentences" });
        cut.push({ found: found.map(({ text }) => text.trim()), expected: expected.map((text) => text.trim()).filter(Boolean) });
      }
    }
    return cut;
  }, sentences);
  assert.ok(cut.length > 30 && cut.some(({ expected }) => expected.length > 2));
  for (const { found, expected } of cut) assert.deepEqual(found, expected);
  await page.close();
});

test("chunks are slices of their text and fit", { timeout: 120_000 }, async () => {
  for (const folder of ["architectures/roberta-1", "architectures/xlm-roberta-1", "models/bert-mean"]) {
    const page = await load("wasm", folder);
    for (const by of ["tokens", "sentences"]) {
      const { chunks, read } = await page.evaluate(async ([text, by]) => {
        const chunks = await encoder.chunk(text, { size: 22, overlap: 4, by });
        const read = helpers.plain(await encoder.embed(chunks.map(({ text }) => text)));
        // Whether chunks are slices is asked here: half a pair does not survive the way to Node.
        return { chunks: chunks.map((chunk) => ({ ...chunk, slice: text.slice(chunk.start, chunk.end) === chunk.text })), read };
      }, [MIXED, by]);
      assert.ok(chunks.length > 4);
      for (const [i, { start, end, tokens, slice }] of chunks.entries()) {
        assert.ok(slice && tokens <= 22, `${folder}, chunk ${i}`);
        const before = chunks[i - 1] ?? { start: -1, end: 0 };
        assert.ok(start > before.start && end > before.end && MIXED.slice(before.end, Math.max(before.end, start)).trim() === "");
      }
      assert.equal(chunks.at(-1).end, MIXED.length);
      assert.deepEqual([read.tokens, read.truncated], [chunks.map(({ tokens }) => tokens), chunks.map(() => false)]);
    }
    const whole = await page.evaluate(async () => {
      const text = Array.from({ length: 100_000 }, (_, i) => String.fromCharCode(97 + ((i * i) % 26))).join("");
      const chunks = await encoder.chunk(text);
      return chunks.map((chunk) => chunk.text).join("") === text && chunks.every(({ tokens }) => tokens <= encoder.info.maxTokens);
    });
    assert.ok(whole, folder);
    await page.close();
  }
});

for (const device of ["wasm", "webgpu"]) {
  test(`vectors of chunks on ${device}`, { timeout: 300_000 }, async () => {
    const page = await load(device, "models/bert-mean");
    const text = "the boats went out to sea and came back to the harbour. ".repeat(30);
    const { chunks, single, apart, pooled, progress } = await page.evaluate(async (text) => {
      const chunks = await encoder.chunk(text, { by: "sentences", prompt: "query: " });
      const single = helpers.plain(await encoder.embed(chunks.map(({ text }) => text), { prompt: "query: " }));
      const options = { overflow: "chunk", chunk: { by: "sentences" }, prompt: "query: " };
      const vectors = await encoder.embed(["x", text], { ...options, chunkPooling: "none" });
      const apart = { chunks: vectors.chunks[1], data: Array.from(vectors.vectors(1)), counts: Array.from(vectors.counts) };
      const pooled = {};
      const progress = [];
      for (const chunkPooling of ["mean", "max"]) {
        const onProgress = (event) => progress.push(event);
        pooled[chunkPooling] = helpers.plain(await encoder.embed([text], { ...options, chunkPooling, onProgress }));
      }
      return { chunks, single, apart, pooled, progress };
    }, text);
    const { dimensions } = single;
    assert.ok(chunks.length > 10);
    assert.deepEqual(apart, { chunks, data: single.data, counts: [1, chunks.length] });
    assert.ok(progress.every(({ total }) => total === chunks.length) && progress.at(-1).done === chunks.length);
    const rows = chunks.map((_, i) => single.data.slice(i * dimensions, (i + 1) * dimensions));
    const total = chunks.reduce((sum, { tokens }) => sum + tokens, 0);
    const plain = {
      mean: rows[0].map((_, k) => rows.reduce((sum, row, i) => sum + row[k] * chunks[i].tokens, 0) / total),
      max: rows[0].map((_, k) => Math.max(...rows.map((row) => row[k]))),
    };
    for (const [how, sum] of Object.entries(plain)) {
      const { maxAbs } = compare(pooled[how].data, sum.map((x) => x / Math.hypot(...sum)), dimensions);
      assert.ok(maxAbs < 1e-6, `${how}: ${maxAbs}`);
      assert.deepEqual([pooled[how].tokens, pooled[how].truncated], [[total], [false]]);
    }

    const { error, aborted, seen, after } = await page.evaluate(async (text) => {
      const error = await helpers.outcome(encoder.embed(["x", text], { overflow: "error" }));
      const abort = new AbortController();
      let seen;
      const onProgress = (event) => ((seen = event), abort.abort());
      const aborted = await helpers.outcome(encoder.embed(text.repeat(100), { overflow: "chunk", signal: abort.signal, onProgress }));
      return { error, aborted, seen, after: (await encoder.embed("x", { overflow: "error" })).count };
    }, text);
    assert.equal(error.code, "text-too-long");
    assert.match(error.message, /text 1 has \d{3} tokens/);
    assert.deepEqual([aborted.name, after], ["AbortError", 1]);
    assert.ok(seen.done < seen.total && seen.total > 1000, JSON.stringify(seen));
    await page.close();
  });
}
