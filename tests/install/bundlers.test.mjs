// The package in applications of every toolchain that the README lists, with the configuration that it gives and no other, run in Chromium.

import assert from "node:assert/strict";
import { copyFile, readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import resolve from "@rollup/plugin-node-resolve";
import { rspack } from "@rspack/core";
import { importMetaAssets } from "@web/rollup-plugin-import-meta-assets";
import { rollup } from "rollup";
import * as vite7 from "vite-7";
import * as vite8 from "vite";
import webpack from "webpack";
import { serve } from "../browser/server.mjs";
import { app, INSTALL, page, PKG, project, run, SLOW, visit, visitFiles } from "./project.mjs";

/** What is expected of entries: vectors, or an error. */
const ALL = { embedlet: null, "threads: 2": null, "embedlet/inline": null, "embedlet/worker": null };
/** Where a worker of the application's own is not bundled. */
const SCRIPTS = { embedlet: null, "threads: 2": null, "embedlet/inline": null };
/** Where the files of the package do not come along. */
const MISSING = /^wasm-load: .*workerUrl.*embedlet\/inline/;
const BARE = { embedlet: MISSING, "threads: 2": MISSING, "worker: false": /^wasm-load: .*wasmUrl/, "embedlet/inline": null };

const DIST = "node_modules/embedlet/dist";
/** What the package's scripts look for beside them. */
const FILES = ["worker.js", "threads.js", "embedlet_bg.wasm", "embedlet_relaxed_bg.wasm", "embedlet_threads_bg.wasm"];

// The package brings its own build tools.
const esbuild = createRequire(join(PKG, "package.json"))("esbuild");

function importMap(base) {
  const imports = { embedlet: `${base}/index.js` };
  for (const name of ["inline", "ai-sdk", "langchain", "openai"]) imports[`embedlet/${name}`] = `${base}/${name}.js`;
  return `<script type="importmap">${JSON.stringify({ imports })}</script>`;
}

/** Workers have no import map. */
const ownWorker = (base) => `import "${base}/worker.js";`;

test("a page without tools", SLOW, async () => {
  const files = { "index.html": page("./src/main.js", importMap(`/${DIST}`)), "src/own-worker.js": ownWorker(`/${DIST}`) };
  const folder = await project("plain", { ...app(Object.keys(ALL)), ...files });
  await visitFiles({ "/model/": join(folder, "public/model"), "/": folder }, ALL);
});

test("a page without tools, the package on another origin", SLOW, async () => {
  const folder = await project("foreign", app(Object.keys(ALL)));
  const other = await serve({ "/dist": join(folder, DIST) }, { "access-control-allow-origin": "*" });
  try {
    await writeFile(join(folder, "index.html"), page("./src/main.js", importMap(`${other.url}/dist`)));
    await writeFile(join(folder, "src/own-worker.js"), ownWorker(`${other.url}/dist`));
    await visitFiles({ "/model/": join(folder, "public/model"), "/src/": join(folder, "src"), "/": folder }, ALL);
  } finally {
    await other.close();
  }
});

test("the README names the versions that are run here", async () => {
  const readme = await readFile(join(PKG, "README.md"), "utf8");
  const table = readme.split("\n## Bundlers\n")[1].split("\n## ")[0].split("\n").filter((line) => line.startsWith("|")).join("\n");
  const pinned = async (folder) => JSON.parse(await readFile(join(folder, "package.json"), "utf8")).devDependencies;
  const { "@rspack/core": rspack, "vite-7": vite7, "@web/rollup-plugin-import-meta-assets": assets, ...tools } = await pinned(INSTALL);
  const { esbuild } = await pinned(PKG);
  const versions = { Vite: tools.vite, "Vite ": vite7.split("@")[1], webpack: tools.webpack, Rspack: rspack, Next: tools.next, Rollup: tools.rollup,
    "`@web/rollup-plugin-import-meta-assets`": assets, esbuild, Parcel: tools.parcel };
  for (const [name, version] of Object.entries(versions)) assert.ok(table.includes(`${name.trim()} ${version}`), `${name} ${version}`);
});

async function visitVite(vite, folder, expected) {
  const server = await vite.createServer({ root: folder, logLevel: "error", server: { host: "127.0.0.1", port: 0 } });
  try {
    await server.listen();
    await visit(server.resolvedUrls.local[0], expected);
  } finally {
    await server.close();
  }
}

async function buildVite(vite, folder, expected) {
  await vite.build({ root: folder, logLevel: "error" });
  await visitFiles({ "/": join(folder, "dist") }, expected);
}

const VITE = { ...app(Object.keys(ALL)), "index.html": page("/src/main.js") };

test("Vite 8, development server", SLOW, async () => visitVite(vite8, await project("vite-8-dev", VITE), ALL));
test("Vite 8, build", SLOW, async () => buildVite(vite8, await project("vite-8", VITE), ALL));
test("Vite 7, development server with its line of configuration", SLOW, async () => {
  const folder = await project("vite-7-dev", { ...VITE, "vite.config.js": `export default { optimizeDeps: { exclude: ['embedlet'] } };` });
  await visitVite(vite7, folder, ALL);
});
test("Vite 7, development server without, which names the line", SLOW, async () => {
  const files = { ...app(Object.keys(BARE)), "index.html": page("/src/main.js") };
  const named = /^wasm-load: .*optimizeDeps: \{ exclude: \['embedlet'\] \}/;
  await visitVite(vite7, await project("vite-7-bare", files), { ...BARE, embedlet: named, "worker: false": named });
});
test("Vite 7, build", SLOW, async () => buildVite(vite7, await project("vite-7", VITE), ALL));

for (const [name, pack] of Object.entries({ webpack, rspack })) {
  test(name, SLOW, async () => {
    const folder = await project(name, app(Object.keys(ALL)));
    const path = join(folder, "dist");
    const stats = await promisify(pack)({ context: folder, entry: "./src/main.js", mode: "production", output: { path } });
    assert.deepEqual(stats.toJson({ all: false, errors: true }).errors, []);
    await writeFile(join(path, "index.html"), page("./main.js"));
    await visitFiles({ "/model/": join(folder, "public/model"), "/": path }, ALL);
  });
}

async function rollUp(name, entries, plugins, input) {
  const folder = await project(name, { ...app(entries), "public/index.html": page("./main.js") });
  const bundle = await rollup({ input: input.map((path) => join(folder, path)), plugins: [resolve(), ...plugins], onLog() {} });
  await bundle.write({ dir: join(folder, "public"), format: "es" });
  await bundle.close();
  return folder;
}

async function build(name, entries, entryPoints) {
  const folder = await project(name, { ...app(entries), "public/index.html": page("./main.js") });
  await esbuild.build({ absWorkingDir: folder, entryPoints, bundle: true, format: "esm", outdir: "public", logLevel: "error" });
  return folder;
}

test("Rollup with the plug-in for assets", SLOW, async () => {
  const folder = await rollUp("rollup", Object.keys(SCRIPTS), [importMetaAssets()], ["src/main.js"]);
  await visitFiles({ "/": join(folder, "public") }, SCRIPTS);
});

const BARE_TOOLS = {
  Rollup: (entries, scripts) => rollUp("rollup-bare", entries, [], scripts),
  esbuild: (entries, scripts) => build("esbuild", entries, scripts),
};
for (const [name, bundle] of Object.entries(BARE_TOOLS)) {
  test(`${name} alone, which names what to do, and with the files beside the bundle`, SLOW, async () => {
    const bare = { ...BARE, "embedlet/worker": BARE["worker: false"] };
    const entries = Object.keys(bare);
    const folder = await bundle(entries, ["src/main.js", "src/own-worker.js"]);
    const files = { "/": join(folder, "public") };
    await visitFiles(files, bare);
    for (const file of FILES) await copyFile(join(folder, DIST, file), join(folder, "public", file));
    await visitFiles(files, Object.fromEntries(entries.map((entry) => [entry, null])));
  });
}

async function buildParcel(name, entries, about) {
  const files = { ...app(entries, { adapters: entries.length > 1 }), "src/index.html": page("./main.js") };
  const folder = await project(name, files, about);
  const parcel = join(INSTALL, "node_modules/parcel/lib/bin.js");
  await run(process.execPath, [parcel, "build", "src/index.html", "--no-cache", "--no-source-maps"], { cwd: folder, maxBuffer: 1 << 26 })
    .catch(({ stdout, stderr }) => assert.fail(stdout + stderr));
  const expected = Object.fromEntries(entries.map((entry) => [entry, null]));
  await visitFiles({ "/model/": join(folder, "public/model"), "/": join(folder, "dist") }, expected);
}

test("Parcel, the entry that it sees", SLOW, () => buildParcel("parcel", ["embedlet"]));
test("Parcel with its line of configuration", SLOW, () =>
  buildParcel("parcel-exports", Object.keys(ALL), { "@parcel/resolver-default": { packageExports: true } }));

const NEXT = {
  ...app(Object.keys(ALL)),
  "next.config.mjs": `export default { output: "export" };`,
  "app/layout.jsx": `export default function Layout({ children }) { return <html lang="en"><body>{children}</body></html>; }`,
  "app/page.jsx": `"use client";
import { useEffect } from "react";
import { run } from "../src/run.js";
export default function Page() {
  useEffect(() => void run().then((results) => (globalThis.finished = results)), []);
  return <p>embedlet</p>;
}`,
};

for (const bundler of ["turbopack", "webpack"]) {
  test(`Next, static export by ${bundler}`, SLOW, async () => {
    const folder = await project(`next-${bundler}`, NEXT);
    const next = join(INSTALL, "node_modules/next/dist/bin/next");
    const env = { ...process.env, NODE_ENV: "production", NEXT_TELEMETRY_DISABLED: "1" };
    await run(process.execPath, [next, "build", `--${bundler}`], { cwd: folder, env, maxBuffer: 1 << 26 })
      .catch(({ stdout, stderr }) => assert.fail(stdout + stderr));
    await visitFiles({ "/": join(folder, "out") }, ALL);
  });
}
