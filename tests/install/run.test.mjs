// Installs the package as its users do, from the tarball of `npm pack`, into projects without any configuration, and runs
// each in Chromium or Node: it must load two tiny models and give the right vectors, on the CPU path.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import * as vite from "vite";
import webpack from "webpack";
import { compare, GOLDEN, golden, launch, tensors } from "../browser/harness.mjs";
import { serve } from "../browser/server.mjs";

const PKG = fileURLToPath(new URL("../../pkg", import.meta.url));
const MODELS = ["bert-mean", "bert-plain"];
// The package brings its own build tools; nothing else here needs them.
const fromPackage = createRequire(join(PKG, "package.json"));

const run = promisify(execFile);
let root;
let tarball;
let browser;

before(async () => {
  root = await mkdtemp(join(tmpdir(), "embedlet-install-"));
  const { stdout } = await run("npm", ["pack", "--json", "--pack-destination", root], { cwd: PKG });
  const [pack] = Object.values(JSON.parse(stdout));
  tarball = join(root, pack.filename);
  browser = await launch();
});
after(async () => {
  await browser?.close();
  if (root) await rm(root, { recursive: true, force: true });
});

/** A project with the package installed, the tiny models under public/model/, and these files. */
async function project(name, files) {
  const folder = join(root, name);
  await mkdir(join(folder, "src"), { recursive: true });
  await writeFile(join(folder, "package.json"), JSON.stringify({ name, private: true, type: "module" }));
  for (const model of MODELS) await cp(join(GOLDEN, "models", model), join(folder, "public/model", model), { recursive: true });
  for (const [path, text] of Object.entries(files)) await writeFile(join(folder, path), text);
  await run("npm", ["install", "--offline", "--no-audit", "--no-fund", tarball], { cwd: folder });
  return folder;
}

/** The code of an application. It runs in the worker, which is the part that bundlers get wrong. */
const app = (from) => `
import { Encoder } from ${JSON.stringify(from)};
const results = {};
try {
  for (const name of ${JSON.stringify(MODELS)}) {
    const encoder = await Encoder.load("./model/" + name, { device: "wasm", precision: "f32" });
    results[name] = Array.from((await encoder.embed(${JSON.stringify(golden(`models/${MODELS[0]}.json`).texts.slice(0, 1))})).data);
    encoder.dispose();
  }
  globalThis.finished = results;
} catch (error) {
  globalThis.finished = String(error) + " " + error.code + " " + error.cause;
}
`;

const page = (script) => `<!doctype html><html lang="en"><title>app</title><link rel="icon" href="data:,"><script type="module" src="${script}"></script>`;

function check(results) {
  assert.equal(typeof results, "object", `${results}`);
  for (const name of MODELS) {
    const { data, shape } = tensors(`models/${name}.expected.safetensors`).default;
    const { maxAbs } = compare(results[name], data.slice(0, shape[1]), shape[1]);
    assert.ok(maxAbs <= 1e-4, `${name}: difference ${maxAbs}`);
  }
}

/** Opens an application, and checks what it computed and that it took the worker. */
async function visit(url) {
  const tab = await browser.newPage();
  const workers = [];
  tab.on("worker", (worker) => workers.push(worker.url()));
  await tab.goto(url);
  await tab.waitForFunction(() => "finished" in globalThis, undefined, { timeout: 60_000 });
  check(await tab.evaluate(() => globalThis.finished));
  assert.equal(workers.length, MODELS.length);
  await tab.close();
}

async function visitFolders(mounts, path = "/") {
  const served = await serve(mounts);
  try {
    await visit(served.url + path);
  } finally {
    await served.close();
  }
}

const SLOW = { timeout: 180_000 };

test("the tarball holds the built package and nothing else", SLOW, async () => {
  const folder = await project("contents", {});
  const installed = join(folder, "node_modules/embedlet");
  const names = (await readdir(installed)).filter((name) => !name.startsWith("LICENSE"));
  assert.deepEqual(names.sort(), ["README.md", "dist", "package.json"]);
  const { dependencies, exports } = JSON.parse(await readFile(join(installed, "package.json"), "utf8"));
  assert.equal(dependencies, undefined);
  const paths = Object.values(exports).flatMap((target) => (typeof target === "string" ? target : Object.values(target)));
  for (const path of paths) assert.ok((await readFile(join(installed, path))).length > 0, path);
});

test("a plain script", SLOW, async () => {
  const folder = await project("plain", { "index.html": page("./src/main.js"), "src/main.js": app("../node_modules/embedlet/dist/index.js") });
  await visitFolders({ "/model/": join(folder, "public/model"), "/": folder });
});

test("Vite, development server", SLOW, async () => {
  const folder = await project("vite-dev", { "index.html": page("/src/main.js"), "src/main.js": app("embedlet") });
  const server = await vite.createServer({ root: folder, configFile: false, logLevel: "error", server: { host: "127.0.0.1", port: 0 } });
  try {
    await server.listen();
    await visit(server.resolvedUrls.local[0]);
  } finally {
    await server.close();
  }
});

test("Vite, build", SLOW, async () => {
  const folder = await project("vite-build", { "index.html": page("/src/main.js"), "src/main.js": app("embedlet") });
  await vite.build({ root: folder, configFile: false, logLevel: "error" });
  await visitFolders({ "/": join(folder, "dist") });
});

test("webpack", SLOW, async () => {
  const folder = await project("webpack", { "src/index.js": app("embedlet") });
  const path = join(folder, "dist");
  const stats = await promisify(webpack)({ context: folder, mode: "production", output: { path } });
  assert.deepEqual(stats.toJson({ all: false, errors: true }).errors, []);
  await writeFile(join(path, "index.html"), page("./main.js"));
  await visitFolders({ "/model/": join(folder, "public/model"), "/": path });
});

test("esbuild, which carries no files along, with embedlet/inline", SLOW, async () => {
  const folder = await project("esbuild", { "public/index.html": page("./main.js"), "src/main.js": app("embedlet/inline") });
  const esbuild = fromPackage("esbuild");
  await esbuild.build({ absWorkingDir: folder, entryPoints: ["src/main.js"], bundle: true, format: "esm", outfile: "public/main.js", logLevel: "error" });
  await visitFolders({ "/": join(folder, "public") });
});

test("Node", SLOW, async () => {
  const folder = await project("node", {
    "src/main.js": `
      import { readdir, readFile } from "node:fs/promises";
      import { Encoder } from "embedlet";
      const results = {};
      for (const name of ${JSON.stringify(MODELS)}) {
        const folder = "public/model/" + name;
        const paths = (await readdir(folder, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile())
          .map((entry) => (entry.parentPath ?? entry.path) + "/" + entry.name);
        const files = new Map();
        for (const path of paths) files.set(path.slice(folder.length + 1), await readFile(path));
        const encoder = await Encoder.load(files, { precision: "f32" });
        results[name] = Array.from((await encoder.embed(${JSON.stringify(golden(`models/${MODELS[0]}.json`).texts[0])})).data);
        encoder.dispose();
      }
      console.log(JSON.stringify(results));`,
  });
  const { stdout } = await run(process.execPath, ["src/main.js"], { cwd: folder });
  check(JSON.parse(stdout));
});

test("TypeScript finds the types", SLOW, async () => {
  const folder = await project("types", {
    "src/main.ts": `
      import { Encoder, EmbedletError, Embeddings, type EncoderInfo, type LabelScore, type LoadProgress } from "embedlet";
      import { Encoder as Inline } from "embedlet/inline";
      const progress = (event: LoadProgress): number => event.loaded;
      export async function main(): Promise<Float32Array> {
        using encoder = await Encoder.load("org/name", { device: "auto", onProgress: progress });
        const info: EncoderInfo = encoder.info;
        const e: Embeddings = await encoder.embed(["a"], { dimensions: info.dimensions });
        const best: LabelScore | undefined = (await encoder.classify("a", { labels: { x: ["y"] } }))[0]?.[0];
        try { await Inline.load(new Map([["config.json", new Uint8Array(1)]])); } catch (error) {
          if (error instanceof EmbedletError && error.code === "missing-file") throw error;
        }
        // @ts-expect-error there is no such option
        await Encoder.load("org/name", { dtype: "q8" });
        return best ? e.row(0) : encoder.similarity(e, e);
      }`,
  });
  const tsc = join(PKG, "node_modules/typescript/bin/tsc");
  for (const resolution of [["--module", "esnext", "--moduleResolution", "bundler"], ["--module", "nodenext"]]) {
    await run(process.execPath, [tsc, "--noEmit", "--strict", "--types", "", "--target", "es2022", "--lib", "es2022,dom", ...resolution, "src/main.ts"], { cwd: folder })
      .catch(({ stdout }) => assert.fail(stdout));
  }
});
