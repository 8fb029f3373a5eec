// The built package against sentence-transformers: MiniLM and the tiny models, on WebGPU (SwiftShader) and on wasm.

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { after, before, test } from "node:test";
import { GOLDEN, compare, golden, launch, open, site, tensors } from "./harness.mjs";

const DEVICES = ["wasm", "webgpu"];
// SwiftShader computes on this machine's few cores: minutes, and some checks on fewer texts.
const SLOW = { timeout: 1_200_000 };

let browser;
let served;
before(async () => {
  served = await site({ model: true });
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await served?.close();
});

const { texts: all } = golden("texts.json");
const { embeddings, tokens } = tensors("minilm.safetensors");

/** SwiftShader takes a second for each model and text: there it is some of them, unless EMBEDLET_TEST_ALL asks for all. */
const whole = (device) => device === "wasm" || process.env.EMBEDLET_TEST_ALL !== undefined;

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

    await t.test("precision int8 is for the processor, and close", async () => {
      const ask = (options) => page.evaluate(async ([options, list]) => {
        let encoder;
        try {
          encoder = await embedlet.Encoder.load("./model", { precision: "int8", ...options });
          const { data } = helpers.plain(await encoder.embed(list));
          return { data, device: encoder.info.device, precision: encoder.info.precision };
        } catch ({ code }) {
          return { code };
        } finally {
          encoder?.dispose();
        }
      }, [options, texts.slice(0, most)]);
      if (device === "webgpu") return assert.deepEqual(await ask({ device }), { code: "unsupported-option" });
      const [found, other] = [await ask({ device: "auto" }), await ask({ device, wasmUrl: "/pkg/embedlet_bg.wasm" })];
      assert.deepEqual([found.device, found.precision], ["wasm", "int8"]);
      // The builds differ by fused additions, hence here and there by what is rounded up.
      for (const { data } of [found, other]) {
        const { minCosine } = compare(data, expected.slice(0, most * 384), 384);
        assert.ok(minCosine >= 0.99 && minCosine < 0.99999, `cosine ${minCosine}`);
      }
    });

    await page.close();
  });

  test(`the tiny models on ${device}`, SLOW, async (t) => {
    const page = await open(browser, served);
    for (const name of ["bert-mean", "bert-odd", "bert-dense", "bert-plain", "bert-pooling"]) {
      const { texts, cases } = golden(`models/${name}.json`);
      const tensor = tensors(`models/${name}.expected.safetensors`);
      const some = cases.filter((_, i) => whole(device) || i % 3 === 0);
      for (const { name: title, options, files, dimensions, tokens, texts: own = texts } of some) {
        await t.test(`${name}: ${title}`, async () => {
          const found = await page.evaluate(async ([name, device, files, options, texts]) => {
            const model = await helpers.folder(name);
            for (const [path, value] of Object.entries(files)) model[path] = helpers.bytes(value);
            const encoder = await embedlet.Encoder.load(model, { device, precision: "f32" });
            try {
              const { kind, ...rest } = options;
              const method = { query: "embedQuery", document: "embedDocuments" }[kind] ?? "embed";
              return helpers.plain(await encoder[method](texts, rest));
            } finally {
              encoder.dispose();
            }
          }, [name, device, files, options, own]);
          assert.equal(found.dimensions, dimensions);
          assert.deepEqual(found.tokens, tokens);
          // The fixtures react to a wrong constant by 1e-4; sums of vectors that are not of length 1 grow with them.
          const expected = tensor[title].data;
          const scale = Math.max(1, ...expected.map(Math.abs));
          const { maxAbs } = compare(found.data, expected, dimensions);
          assert.ok(maxAbs <= 1e-5 * scale, `difference ${maxAbs} at scale ${scale}`);
        });
      }
    }
    await page.close();
  });

  test(`every architecture on ${device}`, SLOW, async (t) => {
    const page = await open(browser, served);
    const texts = golden("architectures/texts.json");
    const names = readdirSync(`${GOLDEN}/architectures`).filter((name) => name.endsWith("-1")).sort();
    for (const name of names.filter((_, i) => whole(device) || i % 2 === 0)) {
      await t.test(name, async () => {
        const states = tensors(`architectures/${name}.safetensors`);
        // A class that makes vectors itself.
        const own = "0/vector" in states;
        const found = await page.evaluate(async ([name, device, texts, own]) => {
          const encoder = await embedlet.Encoder.load(new URL(`/golden/architectures/${name}`, location.href), { device, precision: "f32" });
          try {
            const options = own ? {} : { pooling: "mean", normalize: false };
            const found = helpers.plain(await encoder.embed(texts, options));
            const task = encoder.info.loraAdaptations.at(-1);
            if (task) found.adapted = { task, ...helpers.plain(await encoder.embed(texts, { ...options, task })) };
            return found;
          } finally {
            encoder.dispose();
          }
        }, [name, device, texts, own]);
        const check = ({ data, dimensions }, ending) => {
          const expected = texts.flatMap((_, i) => (own ? Array.from(states[`${i}/vector`].data) : mean(states[`${i}${ending}`])));
          const { maxAbs } = compare(data, expected, dimensions);
          const largest = Math.max(...expected.map(Math.abs));
          assert.ok(maxAbs <= 2e-5 * largest, `difference ${maxAbs} of ${largest}`);
        };
        check(found, "");
        if (found.adapted) check(found.adapted, `/${found.adapted.task}`);
      });
    }
    await page.close();
  });
}

test("a packed folder has the same vectors from its integers as from floats", SLOW, async () => {
  const page = await open(browser, served);
  const texts = golden("architectures/texts.json");
  const vectors = (device, precision) => page.evaluate(async ([device, precision, texts]) => {
    const encoder = await embedlet.Encoder.load(new URL("/golden/packed/modernbert-q4", location.href), { device, precision });
    try {
      return { ...helpers.plain(await encoder.embed(texts)), held: encoder.info.precision, bytes: encoder.info.weightBytes };
    } finally {
      encoder.dispose();
    }
  }, [device, precision, texts]);
  const floats = await vectors("wasm", "auto");
  const integers = await vectors("webgpu", "auto");
  assert.deepEqual([floats.held, integers.held, (await vectors("webgpu", "f16")).held], ["f32", "packed", "f16"]);
  // Tiles pad what is as small as this.
  assert.ok(integers.bytes < 0.6 * floats.bytes, `${integers.bytes} of ${floats.bytes} bytes`);
  assert.ok(compare(integers.data, floats.data, floats.dimensions).minCosine > 0.99999);
  await page.close();
});

for (const device of DEVICES) {
  test(`the states of every token on ${device}`, SLOW, async () => {
    const page = await open(browser, served);
    const texts = golden("architectures/texts.json");
    const prompt = "🙂 the ";
    for (const name of ["bert-1", "roberta-1"]) {
      const states = tensors(`architectures/${name}.safetensors`);
      const { found, behind, alone } = await page.evaluate(async ([name, device, texts, prompt]) => {
        const encoder = await embedlet.Encoder.load(new URL(`/golden/architectures/${name}`, location.href), { device, precision: "f32" });
        const plain = (e) => ({ ...e, texts: e.texts.map((one, i) => ({ ...one, cut: e.truncated(i), states: Array.from(e.vectors(i)) })) });
        const found = plain(await encoder.embed(texts, { tokens: true }));
        const behind = plain(await encoder.embed("boats 🙂", { tokens: true, prompt }));
        const alone = await encoder.tokenize(texts[5]);
        encoder.dispose();
        return { found, behind, alone };
      }, [name, device, texts, prompt]);
      for (const [i, text] of texts.entries()) {
        const { ids, tokens, offsets, truncated, cut, states: own } = found.texts[i];
        const expected = Array.from(states[i].data);
        const largest = Math.max(...expected.map(Math.abs));
        const { maxAbs } = compare(own, expected, found.dimensions);
        assert.ok(maxAbs <= 2e-5 * largest, `${name}, text ${i}: difference ${maxAbs} of ${largest}`);
        assert.deepEqual([ids.length, tokens.length, offsets.length], Array(3).fill(states[i].shape[0]));
        assert.ok(truncated === cut && (cut || i < 6));
        for (const [start, end] of offsets) assert.ok(start <= end && end <= text.length);
      }
      const { ids, tokens, offsets, truncated } = found.texts[5];
      assert.deepEqual({ ids, tokens, offsets, truncated }, alone);
      // An emoji is two units, and the last there is; in front of it there is one of the prompt, whose place is nowhere.
      const last = (one, text) => text.slice(...one.offsets.findLast(([, end]) => end > 0));
      assert.deepEqual([last(found.texts[5], texts[5]), last(behind.texts[0], "boats 🙂")], ["🙂", "🙂"]);
      assert.deepEqual(behind.texts[0].offsets[1], [0, 0]);
    }
    await page.close();
  });

  test(`tasks on ${device}`, SLOW, async (t) => {
    const page = await open(browser, served);
    /** What a method of the package makes with a folder of tasks/, which says itself what it is for. */
    const ask = (name, method, ...given) =>
      page.evaluate(async ([name, device, method, given]) => {
        const task = method === "fill" ? { task: method } : {};
        const encoder = await embedlet.Encoder.load(new URL(`/golden/tasks/${name}`, location.href), { device, precision: "f32", ...task });
        try {
          return await encoder[method](...given);
        } finally {
          encoder.dispose();
        }
      }, [name, device, method, given]);
    const close = (found, wanted) => assert.ok(Math.abs(found - wanted) <= 1e-4, `${found} for ${wanted}`);

    await t.test("classify", async () => {
      const { texts, pairs, scores, pair_scores } = golden("tasks/bert-labels.json");
      const inputs = [...texts, ...pairs.map(([text, pair]) => ({ text, pair }))];
      for (const [i, found] of (await ask("bert-labels", "classify", inputs, { topK: 3 })).entries()) {
        const wanted = [...scores, ...pair_scores][i].slice(0, 3);
        assert.deepEqual(found.scores.map(({ label }) => label), wanted.map(({ label }) => label));
        found.scores.forEach(({ score }, k) => close(score, wanted[k].score));
      }
    });

    await t.test("tag", async () => {
      const { texts, entities } = golden("tasks/bert-entities.json");
      const [found] = await ask("bert-entities", "tag", texts[1], { aggregation: "max" });
      const wanted = entities.max[1];
      assert.deepEqual(found.map(({ label, start, end }) => [label, start, end]), wanted.map((entity) => [entity.entity_group, entity.start, entity.end]));
      // Python counts code points; an emoji is two units here.
      const [moved] = await ask("bert-entities", "tag", `🙂${texts[1]}`, { aggregation: "none", ignoreLabels: [] });
      assert.equal(moved.at(-1).end, texts[1].length + 2);
    });

    await t.test("fill", async () => {
      const { texts, masks } = golden("tasks/roberta-masks.json");
      const [[found]] = await ask("roberta-masks", "fill", texts[0]);
      assert.deepEqual(found.top.map(({ id, token, sequence }) => [id, token, sequence]), masks[0].map((row) => [row.token, row.token_str, row.sequence]));
      found.top.forEach(({ score }, k) => close(score, masks[0][k].score));
    });

    await t.test("rerank and zeroShot", async () => {
      const { query, documents, ranked } = golden("tasks/bert-cross.json");
      const found = await ask("bert-cross", "rerank", query, documents);
      assert.deepEqual(found.map(({ index }) => index), ranked.map(({ corpus_id }) => corpus_id));
      found.forEach(({ score }, k) => close(score, ranked[k].score));
      const [beside] = golden("tasks/uni-encoder.json").cases;
      const together = await ask("uni-encoder", "rerank", beside.query, beside.documents, { function: "none" });
      assert.equal(together.length, beside.documents.length);
      together.forEach(({ index, score }) => close(score, beside.logits[index]));
      const nli = golden("tasks/bert-nli.json");
      const options = { labels: nli.labels, hypothesisTemplate: "It is about {}." };
      const [one] = await ask("bert-nli", "zeroShot", nli.texts, options);
      assert.deepEqual(one.map(({ label }) => label), nli.one[0].labels);
    });

    await t.test("embedSparse", async () => {
      const { texts, vectors } = golden("tasks/splade-max.json");
      const [found] = await ask("splade-max", "embedSparse", texts);
      found.indices.forEach((id, k) => close(found.weights[k], vectors[0][id]));
      assert.ok(vectors[0].filter((weight) => weight > 1e-4).length <= found.indices.length);
    });

    await t.test("embedMulti and maxSim", async () => {
      const { texts, scores } = golden("tasks/colbert.json");
      const found = await page.evaluate(async ([device, texts]) => {
        const encoder = await embedlet.Encoder.load(new URL("/golden/tasks/colbert", location.href), { device, precision: "f32" });
        const queries = await encoder.embedMulti(texts, { kind: "query" });
        const documents = await encoder.embedMulti(texts, { kind: "document" });
        const scores = [...(await encoder.maxSim(queries, documents))];
        const ranked = await encoder.rerank(texts[1], texts);
        // As many as are compared on the device: these queries and documents over and over.
        const repeat = ({ data, dimensions, counts, constructor }, times) =>
          new constructor({
            data: Float32Array.from({ length: times * data.length }, (_, i) => data[i % data.length]),
            dimensions,
            counts: Uint32Array.from({ length: times * counts.length }, (_, i) => counts[i % counts.length]),
            tokens: new Uint32Array(),
            truncated: new Uint8Array(),
          });
        const [some, many] = [repeat(queries, 20), repeat(documents, 300)];
        const all = await encoder.maxSim(some, many);
        let worst = 0;
        for (let i = 0; i < some.count; i++) {
          for (let j = 0; j < many.count; j++) {
            const wanted = scores[(i % queries.count) * documents.count + (j % documents.count)];
            worst = Math.max(worst, Math.abs(all[i * many.count + j] / wanted - 1));
          }
        }
        const products = some.data.length * many.data.length / some.dimensions;
        encoder.dispose();
        return { scores, ranked, worst, products };
      }, [device, texts]);
      scores.flat().forEach((wanted, k) => assert.ok(Math.abs(found.scores[k] - wanted) <= 1e-3, `${found.scores[k]} for ${wanted}`));
      assert.deepEqual(found.ranked.map(({ index }) => index), texts.map((_, k) => k).sort((a, b) => scores[1][b] - scores[1][a]));
      found.ranked.forEach(({ index, score }) => assert.ok(Math.abs(score - scores[1][index]) <= 1e-3));
      assert.ok(found.products > 1 << 24, `${found.products} products are left to the caller's thread`);
      assert.ok(found.worst <= 1e-5, `relative difference ${found.worst}`);
    });

    await t.test("explain", async () => {
      const { cases } = golden("tasks/explain.json");
      for (const { folder, text, against, label, method, unit, score, parts, explained } of cases) {
        const found = await ask(`../${folder}`, "explain", text, { against, label, method, unit });
        close(found.score, score);
        assert.equal(found.label, explained);
        assert.deepEqual(found.parts.map(({ start, end }) => [start, end]), parts.map(([start, end]) => [start, end]));
        found.parts.forEach((part, k) => close(part.score, parts[k][2]));
      }
    });

    await page.close();
  });
}

/** The mean of the rows of a matrix. */
function mean({ shape: [rows, columns], data }) {
  return Array.from({ length: columns }, (_, column) => {
    let sum = 0;
    for (let row = 0; row < rows; row++) sum += data[row * columns + column];
    return sum / rows;
  });
}
