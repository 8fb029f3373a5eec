// The same thousand texts on every device that there is: in a browser on WebGPU and on WebAssembly, natively on a GPU and on the CPU. No
// two of them make vectors that differ. In f32, by all-MiniLM-L6-v2; the GPUs may be software.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { compare, launch, modelFolder, open, site } from "../browser/harness.mjs";

const COUNT = 1000;
const SAME = 0.99999;
/** The command line, as it is built for the tests of the crate, and its Vulkan driver where that is not the machine's. */
const { EMBEDLET_CLI: CLI = "", EMBEDLET_VULKAN: driver } = process.env;

/** Texts of 4 to 12 words of the demo page's sample, each beginning three words behind the one before. */
const words = JSON.parse(readFileSync(new URL("../../web/sample.json", import.meta.url), "utf8")).flatMap(({ text }) => text.split(/\s+/));
const texts = Array.from({ length: COUNT }, (_, i) => words.slice(3 * i, 3 * i + 4 + (i % 9)).join(" "));

function native(device) {
  if (!existsSync(CLI)) throw new Error("EMBEDLET_CLI must name the command line: `cargo build --release` makes target/release/embedlet.");
  const lines = texts.map((text) => JSON.stringify({ text })).join("\n");
  const options = ["--model", modelFolder(), "--device", device, "--precision", "f32", "--quiet"];
  const env = driver ? { ...process.env, VK_DRIVER_FILES: driver, VK_ICD_FILENAMES: driver } : process.env;
  const output = execFileSync(CLI, ["embed", ...options], { input: lines, env, encoding: "utf8", maxBuffer: 1 << 28 });
  const answers = output.trim().split("\n").map((line) => JSON.parse(line));
  return { data: Float32Array.from(answers.flatMap(({ embedding }) => embedding)), tokens: answers.map(({ tokens }) => tokens) };
}

/** Float32 survives the way through decimal. */
async function inBrowser(device) {
  const served = await site({ model: true });
  const browser = await launch();
  try {
    const page = await open(browser, served);
    const { data, tokens } = await page.evaluate(async ([device, texts]) => {
      const encoder = await embedlet.Encoder.load(new URL("/model/", location.href), { device, precision: "f32" });
      return helpers.plain(await encoder.embed(texts));
    }, [device, texts]);
    return { data: Float32Array.from(data), tokens };
  } finally {
    await browser.close();
    await served.close();
  }
}

test(`${COUNT} texts over four devices`, { timeout: 3_600_000 }, async (t) => {
  assert.equal(new Set(texts).size, COUNT);
  const made = [];
  const devices = {
    "CPU, native": async () => native("cpu"),
    "GPU, native": async () => native("gpu"),
    WebAssembly: () => inBrowser("wasm"),
    WebGPU: () => inBrowser("webgpu"),
  };
  for (const [name, embed] of Object.entries(devices)) {
    const start = performance.now();
    const found = await embed();
    t.diagnostic(`${name}: ${Math.round(performance.now() - start)} ms`);
    assert.equal(found.data.length, COUNT * 384, name);
    for (const other of made) {
      assert.deepEqual(found.tokens, other.tokens, `tokens, ${name} and ${other.name}`);
      const { minCosine, maxAbs } = compare(found.data, other.data, 384);
      t.diagnostic(`${name} and ${other.name}: cosine ${minCosine} or more, ${maxAbs} apart at most`);
      assert.ok(minCosine >= SAME, `${name} and ${other.name}: cosine ${minCosine}`);
    }
    made.push({ name, ...found });
  }
});
