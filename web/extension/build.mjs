// Builds the extension, once for Chromium and once for Firefox: bundles `src/`, copies the package's files beside it and makes each
// browser's manifest of the one that is here. Node's part is only this; the result is static, and loads no code from elsewhere.
//
//   node build.mjs [--model DIR | org/name[@revision] | http[s]://…] [--package ../../pkg/dist] [--out ../dist-extension]
//
// A folder goes into the extension, which then needs no network at all; anything else is fetched once, when it is first used.

import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, extname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const here = dirname(fileURLToPath(import.meta.url));
const { values } = parseArgs({ options: {
  model: { type: "string", default: "sentence-transformers/all-MiniLM-L6-v2@1110a243fdf4706b3f48f1d95db1a4f5529b4d41" },
  package: { type: "string", default: join(here, "../../pkg/dist") },
  out: { type: "string", default: join(here, "../dist-extension") },
} });
// The package's own, so that one version is pinned in one place.
const esbuild = createRequire(join(here, "../../pkg/package.json"))("esbuild");

const PAGES = ["offscreen.html", "panel.html", "panel.css", "icons"];
const PACKAGE = ["index.js", "search.js", "extension.js", "worker.js", "embedlet_bg.wasm", "embedlet_relaxed_bg.wasm"];
/** What a model is read from; a folder may have it in other forms beside. */
const MODEL_FILES = [".json", ".txt", ".safetensors", ".model"];
const HUB = ["https://huggingface.co", "https://*.huggingface.co", "https://*.hf.co"];

const model = modelOf(values.model);
const manifest = readFileSync(join(here, "manifest.json"), "utf8").replace("CONNECT", ["'self'", ...model.hosts].join(" "));

execFileSync(process.execPath, [join(here, "../../pkg/node_modules/typescript/bin/tsc"), "-p", here], { stdio: "inherit" });
rmSync(values.out, { recursive: true, force: true });
for (const [name, change] of Object.entries({ chromium, firefox })) {
  const out = join(values.out, name);
  mkdirSync(join(out, "embedlet"), { recursive: true });
  for (const file of PAGES) cpSync(join(here, file), join(out, file), { recursive: true });
  for (const file of PACKAGE) cpSync(join(values.package, file), join(out, "embedlet", file));
  if (model.folder) cpSync(model.folder, join(out, "model"), { recursive: true, filter: isOfModel });
  writeFileSync(join(out, "manifest.json"), JSON.stringify(change(JSON.parse(manifest)), null, 2));
  await esbuild.build({
    entryPoints: ["background", "offscreen", "panel"].map((name) => join(here, `src/${name}.ts`)),
    outdir: out,
    bundle: true,
    // In Firefox two of them share a document.
    splitting: true,
    format: "esm",
    target: "es2022",
    define: { MODEL: JSON.stringify(model.load), FIREFOX: String(change === firefox) },
    // What is of the other browser goes.
    minifySyntax: true,
    logLevel: "warning",
    plugins: [{
      name: "what stands beside the scripts",
      setup({ onResolve }) {
        onResolve({ filter: /^embedlet/ }, ({ path }) => ({ path: `./embedlet/${path.split("/")[1] ?? "index"}.js`, external: true }));
      },
    }],
  });
  console.log(`extension: ${relative(process.cwd(), out) || "."}`);
}

function chromium({ browser_specific_settings, sidebar_action, background: { scripts, ...background }, ...rest }) {
  return { ...rest, background };
}

function firefox({ minimum_chrome_version, side_panel, background: { service_worker, ...background }, permissions, ...rest }) {
  return { ...rest, background, permissions: permissions.filter((name) => !["offscreen", "sidePanel"].includes(name)) };
}

/** What is loaded, from which hosts, and the folder that goes into the extension. */
function modelOf(given) {
  if (existsSync(join(given, "config.json")) || existsSync(join(given, "modules.json"))) {
    return { load: { source: "/model/", cache: false }, hosts: [], folder: given };
  }
  if (/^https?:/.test(given)) return { load: { source: given, cache: true }, hosts: [new URL(given).origin] };
  const [, source, revision] = /^([\w.-]+\/[\w.-]+)(?:@(.+))?$/.exec(given) ?? [];
  if (!source) throw new Error(`--model ${given}: no model folder, hub id or address`);
  return { load: { source, ...(revision && { revision }), cache: true }, hosts: HUB };
}

function isOfModel(path) {
  return statSync(path).isDirectory() ? !basename(path).startsWith(".") : MODEL_FILES.includes(extname(path));
}
