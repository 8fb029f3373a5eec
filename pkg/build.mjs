// Builds dist/ from src/ and the generated src/wasm/: bundles with esbuild, then the declarations with tsc.
// The wasm itself is made by `cargo xtask build`, which calls this at its end.

import { execFileSync } from "node:child_process";
import { copyFile, mkdir, readFile, rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const src = `${here}src/`;
const dist = `${here}dist/`;
const wasm = `${src}wasm/embedlet_bg.wasm`;
const { version } = JSON.parse(await readFile(`${here}package.json`, "utf8"));

const common = {
  bundle: true,
  minify: true,
  target: "es2022",
  legalComments: "none",
  define: { VERSION: JSON.stringify(version) },
  logLevel: "warning",
};

/** Supplies the modules of src/virtual.d.ts. */
const virtual = {
  name: "virtual",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^embedlet:/ }, ({ path }) => ({ path, namespace: "embedlet" }));
    onLoad({ filter: /:glue$/, namespace: "embedlet" }, async () => ({ contents: await glueFactory("embedlet"), loader: "js" }));
    onLoad({ filter: /:glue-of-threads$/, namespace: "embedlet" }, async () => ({ contents: await glueFactory("embedlet_threads"), loader: "js" }));
    onLoad({ filter: /:wasm$/, namespace: "embedlet" }, async () => ({ contents: await readFile(wasm), loader: "base64" }));
    onLoad({ filter: /:worker$/, namespace: "embedlet" }, async () => ({ contents: await readFile(`${dist}worker.js`), loader: "text" }));
  },
};

/**
 * The generated module keeps its one instance in module variables, so a crashed instance could never be replaced.
 * Wrapped in a function, each call gives the module anew, and its tasks go the caller's way.
 */
async function glueFactory(name) {
  const { outputFiles } = await build({
    ...common,
    entryPoints: [`${src}wasm/${name}.js`],
    format: "iife",
    globalName: "glue",
    write: false,
    // Only used where no wasm is given, which instance.ts always does.
    define: { "import.meta.url": '""' },
  });
  return `export function createGlue(queueMicrotask) { ${outputFiles[0].text} return glue; }`;
}

function bundle(entry, outfile, options) {
  return build({ ...common, plugins: [virtual], entryPoints: [`${src}${entry}`], outfile: `${dist}${outfile}`, ...options });
}

await rm(dist, { recursive: true, force: true });
await mkdir(dist);
for (const name of ["embedlet_bg.wasm", "embedlet_relaxed_bg.wasm", "embedlet_threads_bg.wasm"]) await copyFile(`${src}wasm/${name}`, `${dist}${name}`);
// The tarball carries the licences of the repository.
for (const name of ["LICENSE-MIT", "LICENSE-APACHE"]) await copyFile(`${here}../${name}`, `${here}${name}`);
// Not a module, so that it starts as either kind of worker and from a blob.
for (const name of ["worker", "threads"]) await bundle(`${name}.ts`, `${name}.js`, { format: "iife" });
await bundle("index.ts", "index.js", { format: "esm" });
await bundle("index.node.ts", "index.node.js", { format: "esm", platform: "node" });
await bundle("inline.ts", "inline.js", { format: "esm" });
const ENTRIES = ["search", "cluster", "extension", "ai-sdk", "langchain", "openai"];
for (const name of ENTRIES) await bundle(`${name}.ts`, `${name}.js`, { format: "esm" });
execFileSync(process.execPath, [`${here}node_modules/typescript/bin/tsc`, "-p", here], { stdio: "inherit" });
