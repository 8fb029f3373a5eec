// The built package against the reference: token states and every task, on WebGPU (SwiftShader) and on wasm.

import assert from "node:assert/strict";
import { test } from "node:test";
import { DEVICES, SLOW, browser, compare, golden, open, served, start, tensors } from "./harness.mjs";

start();

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
