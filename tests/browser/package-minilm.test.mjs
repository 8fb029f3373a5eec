// The built package with all-MiniLM-L6-v2 against sentence-transformers, on WebGPU (SwiftShader) and on wasm.

import assert from "node:assert/strict";
import { test } from "node:test";
import { DEVICES, SLOW, browser, compare, golden, open, served, start, tensors, whole } from "./harness.mjs";

start({ model: true });

const { texts: all } = golden("texts.json");
const { embeddings, tokens } = tensors("minilm.safetensors");

/** All texts on wasm; else every eighth, and those around the limit. */
function share(device) {
  const chosen = all.map((_, i) => i).filter((i) => whole(device) || i % 8 === 0 || i + 7 >= all.length);
  return {
    cases: chosen.map((i) => all[i]),
    texts: chosen.map((i) => all[i].text),
    expected: chosen.flatMap((i) => [...embeddings.data.slice(i * 384, (i + 1) * 384)]),
    expectedTokens: chosen.map((i) => Number(tokens.data[i])),
  };
}

for (const device of DEVICES) {
  test(`MiniLM on ${device}, in the worker`, SLOW, async (t) => {
    const { cases, texts, expected, expectedTokens } = share(device);
    const page = await open(browser, served);
    const info = await page.evaluate(async (device) => {
      globalThis.encoder = await embedlet.Encoder.load("./model", { device, precision: "f32" });
      return encoder.info;
    }, device);
    const embed = (list) => page.evaluate(async (list) => helpers.plain(await encoder.embed(list)), list);
    const [few, many, most] = device === "webgpu" ? [8, 20, 40] : [40, 100, texts.length];
    let all;

    await t.test("says what was loaded", () => {
      assert.equal(info.device, device);
      assert.deepEqual([info.architecture, info.dimensions, info.maxTokens, info.layers], ["bert", 384, 256, 6]);
      assert.deepEqual([info.pooling, info.normalized, info.similarity, info.precision], [["mean"], true, "cosine", "f32"]);
      assert.ok(info.weightBytes > 80e6 && info.weightBytes < 100e6, `${info.weightBytes}`);
      if (device === "webgpu") {
        assert.equal(info.adapter.software, true);
        assert.equal(info.selfCheck.passed, true);
        assert.ok(info.selfCheck.kernels > 0);
        assert.ok(info.dispatches > 0 && info.dispatches <= 44, `${info.dispatches} dispatches`);
      } else {
        assert.equal(info.adapter, null);
      }
    });

    await t.test("all texts equal sentence-transformers", async () => {
      all = await embed(texts);
      const { minCosine, maxAbs } = compare(all.data, expected, 384);
      assert.ok(minCosine >= 0.99999, `cosine ${minCosine}`);
      assert.ok(maxAbs <= 1e-4, `difference ${maxAbs}`);
      assert.deepEqual(all.tokens, expectedTokens);
      assert.deepEqual(all.truncated, cases.map(({ group }) => Number(/^tokens-(\d+)$/.exec(group)?.[1] ?? 0) > 256));
    });

    await t.test("the same batch twice is bit-equal", async () => {
      const some = texts.slice(0, few);
      assert.deepEqual(await embed(some), await embed(some));
    });

    await t.test("a text has the same vector alone as in a batch", async () => {
      for (const i of [0, 7, 21, texts.length >> 1, texts.length - 1]) {
        const alone = await embed([texts[i]]);
        const { maxAbs } = compare(alone.data, all.data.slice(i * 384, (i + 1) * 384), 384);
        assert.ok(maxAbs <= 1e-5, `text ${i}: ${maxAbs}`);
      }
    });

    await t.test("the order of the texts is that of the vectors", async () => {
      // 37 and the count have no common divisor, so this visits each text once.
      const order = texts.slice(0, many).map((_, i) => (i * 37) % many);
      const mixed = await embed(order.map((i) => texts[i]));
      const { maxAbs } = compare(mixed.data, order.flatMap((i) => all.data.slice(i * 384, (i + 1) * 384)), 384);
      assert.ok(maxAbs <= 1e-5, `${maxAbs}`);
    });

    await t.test("tokenize, similarity and classify", async () => {
      const { tokens, scores, labels } = await page.evaluate(async () => {
        const [query, documents] = await Promise.all([
          encoder.embedQuery("How do I get my money back?"),
          encoder.embedDocuments(["Refunds take five days.", "The museum opens at nine."]),
        ]);
        const labels = { sport: ["The striker scored twice.", "They won the final."], politics: ["Parliament passed the bill.", "The minister resigned."] };
        return {
          tokens: await encoder.tokenize("Hello, wörld 👋!"),
          scores: [...encoder.similarity(query, documents)],
          labels: await encoder.classify(["The goalkeeper was injured in the match.", "The senate votes on the budget."], { labels }),
        };
      });
      assert.deepEqual(tokens, {
        ids: [101, 7592, 1010, 2088, 100, 999, 102],
        tokens: ["[CLS]", "hello", ",", "world", "[UNK]", "!", "[SEP]"],
        offsets: [[0, 0], [0, 5], [5, 6], [7, 12], [13, 15], [15, 16], [0, 0]],
        truncated: false,
      });
      assert.ok(scores.length === 2 && scores[0] > scores[1] + 0.2, `${scores}`);
      assert.deepEqual(labels.map(([best]) => best.label), ["sport", "politics"]);
      for (const list of labels) assert.ok(Math.abs(list.reduce((sum, { score }) => sum + score, 0) - 1) < 1e-6);
    });

    await t.test("precision f16 stays close", async () => {
      const { data, precision } = await page.evaluate(async ([device, list]) => {
        const half = await embedlet.Encoder.load("./model", { device, precision: "f16" });
        const { data } = helpers.plain(await half.embed(list));
        half.dispose();
        return { data, precision: half.info.precision };
      }, [device, texts.slice(0, most)]);
      // The CPU computes with the rounded values too, but holds them as f32.
      assert.equal(precision, device === "webgpu" ? "f16" : "f32");
      const { minCosine, maxAbs } = compare(data, expected.slice(0, most * 384), 384);
      assert.ok(minCosine >= 0.9999, `cosine ${minCosine}`);
      assert.ok(maxAbs > 0 && maxAbs <= 1e-3, `difference ${maxAbs}`);
    });

    await t.test("precision int8 is close, and the processor's by itself", async () => {
      // Tiles that wait for one another take SwiftShader several times as long as other kernels.
      const count = device === "webgpu" ? few : most;
      const ask = (options) => page.evaluate(async ([options, list]) => {
        let encoder;
        try {
          encoder = await embedlet.Encoder.load("./model", { precision: "int8", ...options });
          const { data } = helpers.plain(await encoder.embed(list));
          return { data, device: encoder.info.device, precision: encoder.info.precision, bytes: encoder.info.weightBytes };
        } finally {
          encoder?.dispose();
        }
      }, [options, texts.slice(0, count)]);
      const [found, other] = [await ask({ device: "auto" }), await ask({ device, wasmUrl: "/pkg/embedlet_bg.wasm" })];
      assert.deepEqual([found.device, found.precision], ["wasm", "int8"]);
      assert.deepEqual([other.device, other.precision, other.bytes], [device, "int8", found.bytes]);
      // Builds and devices differ by how additions are rounded, hence here and there by an integer, and by those that follow from it.
      for (const { data } of [found, other]) {
        const { minCosine } = compare(data, expected.slice(0, count * 384), 384);
        assert.ok(minCosine >= 0.99 && minCosine < 0.99999, `cosine ${minCosine}`);
      }
      const { minCosine } = compare(other.data, found.data, 384);
      assert.ok(minCosine >= 0.995, `cosine ${minCosine} on the two`);
      if (device === "wasm") return;
      const refused = await page.evaluate(async () => {
        Object.defineProperty(navigator.gpu, "wgslLanguageFeatures", { value: new Set(), configurable: true });
        try {
          await embedlet.Encoder.load("./model", { device: "webgpu", precision: "int8", worker: false });
        } catch ({ code, message }) {
          return { code, message };
        } finally {
          delete navigator.gpu.wgslLanguageFeatures;
        }
      });
      assert.equal(refused.code, "unsupported-option");
      assert.match(refused.message, /packed_4x8_integer_dot_product/);
    });

    await page.close();
  });
}
