// The package as it is installed: what is in it, how its entries resolve, their types, and Node.

import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { checkPackage, createPackageFromTarballData } from "@arethetypeswrong/core";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import { app, at, check, PKG, project, run, SLOW } from "./project.mjs";

const manifest = async (folder) => JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
/** The entries that are code. */
const ENTRIES = Object.keys((await manifest(PKG)).exports).filter((entry) => !/\.(wasm|json)$/.test(entry));

test("the tarball holds the built package and nothing else", SLOW, async () => {
  const folder = await project("contents", {});
  const installed = join(folder, "node_modules/embedlet");
  const names = (await readdir(installed)).filter((name) => !name.startsWith("LICENSE"));
  assert.deepEqual(names.sort(), ["README.md", "dist", "package.json"]);
  const { dependencies, exports } = await manifest(installed);
  assert.equal(dependencies, undefined);
  const paths = Object.values(exports).flatMap((target) => (typeof target === "string" ? target : Object.values(target)));
  for (const path of paths) assert.ok((await readFile(join(installed, path))).length > 0, path);
});

test("publint finds nothing", SLOW, async () => {
  const { messages, pkg } = await publint({ pack: { tarball: await bytes() }, strict: true });
  assert.deepEqual(messages.map((message) => formatMessage(message, pkg)), []);
});

test("attw finds nothing, for a package of modules alone", SLOW, async () => {
  const data = createPackageFromTarballData(new Uint8Array(await bytes()));
  const { entrypoints, problems } = await checkPackage(data, { excludeEntrypoints: [/\.(wasm|json)$/] });
  // require() of modules is not promised.
  const promised = problems.filter(({ resolutionKind }) => resolutionKind !== "node16-cjs");
  assert.deepEqual(promised, []);
  assert.deepEqual(Object.keys(entrypoints), ENTRIES);
});

async function bytes() {
  const tarball = await readFile(at.tarball);
  return tarball.buffer.slice(tarball.byteOffset, tarball.byteOffset + tarball.byteLength);
}

const USES = `
import { Encoder, EmbedletError, Embeddings, type EncoderInfo, type LabelScore, type LoadProgress } from "embedlet";
import { Encoder as Inline } from "embedlet/inline";
import "embedlet/worker";
import { communityDetection, type Pair } from "embedlet/cluster";
import { SearchIndex, type Hit } from "embedlet/search";
import { connectEncoder, ensureOffscreen, serveEncoders } from "embedlet/extension";
import { embeddingModel, type EmbeddingModel } from "embedlet/ai-sdk";
import { embeddings } from "embedlet/langchain";
import { openai } from "embedlet/openai";
const progress = (event: LoadProgress): number => event.loaded;
export async function main(): Promise<Float32Array> {
  using encoder = await Encoder.load("org/name", { device: "auto", onProgress: progress });
  const info: EncoderInfo = encoder.info;
  const e: Embeddings = await encoder.embed(["a"], { dimensions: info.dimensions });
  const best: LabelScore | undefined = (await encoder.classify("a", { labels: { x: ["y"] } }))[0]?.[0];
  try { await Inline.load(new Map([["config.json", new Uint8Array(1)]])); } catch (error) {
    if (error instanceof EmbedletError && error.code === "missing-file") throw error;
  }
  const groups: number[][] = await communityDetection(encoder, e, { threshold: 0.8 });
  const pairs: Pair[] = [];
  const index = await SearchIndex.open({ name: "notes", encoder, storage: "memory" });
  const hits: Hit[] = await index.search("a", { filter: { year: { $gte: 2020 } } });
  serveEncoders({ keepMs: 1000 });
  await ensureOffscreen({ url: "offscreen.html" });
  const remote: EncoderInfo = (await connectEncoder("org/name")).info;
  const model: EmbeddingModel = embeddingModel(encoder, { kind: "query" });
  const vectors: number[][] = await embeddings(encoder).embedDocuments(["a"]);
  const { data } = await openai(encoder).embeddings.create({ model: model.modelId, input: "a", dimensions: vectors.length + groups.length + pairs.length + remote.layers + hits.length });
  // @ts-expect-error there is no such option
  await Encoder.load("org/name", { dtype: "q8" });
  return best ? e.row(data.length) : encoder.similarity(e, e);
}`;

const RESOLUTIONS = {
  bundler: ["--module", "esnext", "--moduleResolution", "bundler"],
  node16: ["--module", "node16", "--moduleResolution", "node16"],
  nodenext: ["--module", "nodenext", "--moduleResolution", "nodenext"],
};

for (const [name, resolution] of Object.entries(RESOLUTIONS)) {
  test(`TypeScript finds the types of every entry, moduleResolution ${name}`, SLOW, async () => {
    const folder = await project(`types-${name}`, { "src/main.ts": USES });
    for (const entry of ENTRIES) assert.ok(USES.includes(`"${entry.replace(".", "embedlet")}"`), `${entry} is not tried`);
    const options = ["--noEmit", "--strict", "--types", "", "--target", "es2022", "--lib", "es2022,dom", ...resolution];
    await run(process.execPath, [join(PKG, "node_modules/typescript/bin/tsc"), ...options, "src/main.ts"], { cwd: folder })
      .catch(({ stdout }) => assert.fail(stdout));
  });
}

test("Node", SLOW, async () => {
  const folder = await project("node", {
    ...app(["embedlet", "embedlet/inline"]),
    "src/node.js": `
import { readdir, readFile } from "node:fs/promises";
import { run } from "./run.js";
async function open(name) {
  const folder = "public/model/" + name;
  const entries = (await readdir(folder, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  const paths = entries.map((entry) => (entry.parentPath ?? entry.path) + "/" + entry.name);
  return new Map(await Promise.all(paths.map(async (path) => [path.slice(folder.length + 1), await readFile(path)])));
}
console.log(JSON.stringify(await run(open)));`,
  });
  const { stdout } = await run(process.execPath, ["src/node.js"], { cwd: folder });
  const results = JSON.parse(stdout);
  assert.deepEqual(Object.keys(results), ["embedlet", "embedlet/inline"]);
  for (const vectors of Object.values(results)) check(vectors);
});
