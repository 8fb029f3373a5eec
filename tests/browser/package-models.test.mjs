// The built package against the reference: tiny models with every option, every architecture, packed weights.

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { DEVICES, GOLDEN, SLOW, browser, compare, golden, mean, open, served, start, tensors, whole } from "./harness.mjs";

start();

for (const device of DEVICES) {
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
