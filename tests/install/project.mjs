// What the install tests share: projects with the package as `npm pack` makes it, an application for them, and what it must compute.
// The projects lie in this folder, so that tools that are looked for in a project (Next, Parcel's plug-ins) are found.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { after, before } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { compare, GOLDEN, golden, launch, tensors } from "../browser/harness.mjs";
import { serve } from "../browser/server.mjs";

export const INSTALL = fileURLToPath(new URL(".", import.meta.url));
export const PKG = fileURLToPath(new URL("../../pkg", import.meta.url));
export const MODELS = ["bert-mean", "bert-plain"];
export const SLOW = { timeout: 300_000 };
/** What a server sends with pages whose threads may share a memory. */
const ISOLATED = { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" };

const TEXT = golden(`models/${MODELS[0]}.json`).texts[0];

export const run = promisify(execFile);

/** Where projects are made, and the tarball that they install, for as long as the tests of a file run. */
export const at = {};
before(async () => {
  at.root = await mkdtemp(join(INSTALL, "projects-"));
  const { stdout } = await run("npm", ["pack", "--json", "--pack-destination", at.root], { cwd: PKG });
  const [pack] = Object.values(JSON.parse(stdout));
  at.tarball = join(at.root, pack.filename);
});
after(async () => {
  await at.browser?.close();
  if (at.root) await rm(at.root, { recursive: true, force: true });
});

/** A project with the package installed, the tiny models under public/model/, and these files. */
export async function project(name, files, about = {}) {
  const folder = join(at.root, name);
  const models = MODELS.map((model) => cp(join(GOLDEN, "models", model), join(folder, "public/model", model), { recursive: true }));
  await Promise.all(models);
  await writeFile(join(folder, "package.json"), JSON.stringify({ name, private: true, type: "module", ...about }));
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), text);
  }
  await run("npm", ["install", "--offline", "--no-audit", "--no-fund", at.tarball], { cwd: folder });
  return folder;
}

const LOADS = {
  embedlet: "Encoder.load(source, options)",
  "embedlet/inline": "Inline.load(source, options)",
  "worker: false": "Encoder.load(source, { ...options, worker: false })",
  "threads: 2": "Encoder.load(source, { ...options, threads: 2 })",
  "embedlet/worker": 'Encoder.load(source, { ...options, worker: new Worker(new URL("./own-worker.js", import.meta.url), { type: "module" }) })',
};

/**
 * The code of an application, which loads the models by each of these entries and embeds a text, directly and through every adapter.
 * It runs in workers, which are the part that bundlers get wrong.
 */
export function app(entries, { adapters = true } = {}) {
  return {
    "src/run.js": `
import { Encoder } from "embedlet";
${entries.includes("embedlet/inline") ? 'import { Encoder as Inline } from "embedlet/inline";' : ""}
${adapters ? `
import { embeddingModel } from "embedlet/ai-sdk";
import { embeddings } from "embedlet/langchain";
import { openai } from "embedlet/openai";` : ""}

const loads = { ${entries.map((entry) => `${JSON.stringify(entry)}: (source, options) => ${LOADS[entry]}`).join(", ")} };
const text = ${JSON.stringify(TEXT)};

async function vectors(encoder) {
  return [
    Array.from((await encoder.embed(text)).data),
    ${adapters ? `
    (await embeddingModel(encoder).doEmbed({ values: [text] })).embeddings[0],
    await embeddings(encoder, { prompt: "" }).embedQuery(text),
    (await openai(encoder, { model: "tiny" }).embeddings.create({ model: "tiny", input: text })).data[0].embedding,` : ""}
  ];
}

export async function run(open = (name) => "./model/" + name) {
  const results = {};
  for (const [entry, load] of Object.entries(loads)) {
    try {
      results[entry] = {};
      for (const name of ${JSON.stringify(MODELS)}) {
        const encoder = await load(await open(name), { device: "wasm", precision: "f32" });
        results[entry][name] = await vectors(encoder);
        encoder.dispose();
      }
    } catch (error) {
      results[entry] = error.code + ": " + error.message;
    }
  }
  return results;
}
`,
    "src/main.js": `import { run } from "./run.js"; run().then((results) => (globalThis.finished = results));`,
    "src/own-worker.js": `import "embedlet/worker";`,
  };
}

export function page(script, head = "") {
  return `<!doctype html><html lang="en"><title>app</title><link rel="icon" href="data:,">${head}<script type="module" src="${script}"></script>`;
}

/** Whether these are the vectors of the models, from whatever gave them. */
export function check(results) {
  assert.equal(typeof results, "object", `${results}`);
  for (const name of MODELS) {
    const { data, shape } = tensors(`models/${name}.expected.safetensors`).default;
    assert.ok(results[name].length > 0);
    for (const vector of results[name]) {
      const { maxAbs } = compare(vector, data.slice(0, shape[1]), shape[1]);
      assert.ok(maxAbs <= 1e-4, `${name}: difference ${maxAbs}`);
    }
  }
}

/** Opens an application: each entry must give its vectors, in workers, or the error that is expected of it. */
export async function visit(url, expected) {
  at.browser ??= await launch();
  const tab = await at.browser.newPage();
  let workers = 0;
  tab.on("worker", () => workers++);
  // A development server may load the page once more when it has found out what a worker imports.
  tab.on("framenavigated", () => (workers = 0));
  await tab.addInitScript(() => {
    const { Memory } = WebAssembly;
    globalThis.sharedMemories = 0;
    WebAssembly.Memory = function (shape) {
      if (shape.shared) globalThis.sharedMemories += 1;
      return new Memory(shape);
    };
  });
  await tab.goto(url);
  await tab.waitForFunction(() => "finished" in globalThis, undefined, { timeout: 120_000 });
  const [results, shared, isolated] = await tab.evaluate(() => [globalThis.finished, globalThis.sharedMemories, globalThis.crossOriginIsolated]);
  await tab.close();
  assert.deepEqual(Object.keys(results), Object.keys(expected));
  for (const [entry, error] of Object.entries(expected)) {
    if (error) assert.match(String(results[entry]), error);
    else check(results[entry]);
  }
  const working = Object.entries(expected).filter(([entry, error]) => !error && entry !== "worker: false").length;
  assert.ok(workers >= working * MODELS.length, `${workers} workers`);
  assert.equal(shared, isolated && expected["threads: 2"] === null ? MODELS.length : 0, "memories that threads share");
}

/** The same of files, the first mount of which a path is in, on a page that is not isolated and on one that is. */
export async function visitFiles(mounts, expected) {
  for (const headers of [{}, ISOLATED]) {
    const served = await serve(mounts, headers);
    try {
      await visit(served.url, expected);
    } finally {
      await served.close();
    }
  }
}
