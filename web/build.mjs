// Builds the page into `dist/`: bundles `src/`, copies the package's files beside it, and writes the list of all files with
// their hashes into the service worker. Node's part is only this; the result is static. The model is not part of it: whoever
// serves the page puts a model folder at `model/`.
//
//   node build.mjs [--package ../pkg/dist] [--out dist]

import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { ASKED, LATER } from "./later.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const { values } = parseArgs({ options: {
  package: { type: "string", default: join(here, "../pkg/dist") },
  out: { type: "string", default: join(here, "dist") },
} });
const { out } = values;
// The package's own, so that one version is pinned in one place.
const modules = join(here, "../pkg/node_modules");
const esbuild = createRequire(join(here, "../pkg/package.json"))("esbuild");

const PAGE = ["index.html", "style.css", "icon.svg", "icon-maskable.svg", "manifest.webmanifest", "sample.json", "glosses.json",
  "glosses.license.txt"];
const PACKAGE = ["index.js", "worker.js", "search.js", "cluster.js", "embedlet_bg.wasm", "embedlet_relaxed_bg.wasm"]; // not inline.js: it carries a worker and a wasm once more
rmSync(out, { recursive: true, force: true });
mkdirSync(join(out, "embedlet"), { recursive: true });
for (const file of PAGE) copyFileSync(join(here, file), join(out, file));
for (const file of PACKAGE) copyFileSync(join(values.package, file), join(out, "embedlet", file));

const { metafile } = await esbuild.build({
  entryPoints: ["main.js", ...LATER.filter((file) => /^[^/]+\.js$/.test(file))].map((file) => join(here, "src", file.replace(/js$/, "ts"))),
  outdir: out,
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  legalComments: "none",
  metafile: true,
  nodePaths: [modules],
  plugins: [{
    name: "what stands beside the page",
    setup(build) {
      build.onResolve({ filter: /^embedlet(\/|$)/ }, ({ path }) => ({ path: `./embedlet/${path.split("/")[1] ?? "index"}.js`, external: true }));
      build.onResolve({ filter: /^\.\// }, ({ path }) => (LATER.includes(path.slice(2)) ? { path, external: true } : undefined));
    },
  }],
});

// Beside each file with other people's code in it, their licences, which it has to come with.
for (const [path, { inputs }] of Object.entries(metafile.outputs)) {
  const folders = new Set(Object.keys(inputs).map((input) => /^.*node_modules\/(@[^/]+\/)?[^/]+/.exec(input)?.[0]).filter(Boolean));
  const licences = [...folders].map((folder) => {
    const file = readdirSync(folder).find((name) => /^licen[cs]e/i.test(name));
    if (!file) throw new Error(`${folder} has no licence file`);
    return `${folder.replace(/^.*node_modules\//, "")}\n\n${readFileSync(join(folder, file), "utf8").trim()}\n`;
  });
  if (licences.length > 0) writeFileSync(join(out, `${basename(path, ".js")}.license.txt`), licences.join("\n\n"));
}

const files = readdirSync(out, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => relative(out, join(entry.parentPath ?? entry.path, entry.name)).split(sep).join("/"))
  .sort()
  .map((path) => [path === "index.html" ? "" : path, `sha256-${createHash("sha256").update(readFileSync(join(out, path))).digest("base64")}`]);
const version = createHash("sha256").update(JSON.stringify(files)).digest("hex").slice(0, 12);
writeFileSync(join(out, "sw.js"), esbuild.transformSync(readFileSync(join(here, "sw.js"), "utf8"), {
  define: { VERSION: JSON.stringify(version), FILES: JSON.stringify(files), LATER: JSON.stringify(LATER), ASKED: JSON.stringify(ASKED) },
  minify: true,
  target: "es2022",
}).code);
console.log(`web: ${files.length + 1} files in ${relative(process.cwd(), out) || "."}, version ${version}`);
