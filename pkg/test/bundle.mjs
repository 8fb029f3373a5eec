// The TypeScript sources as one module that Node can import.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";

const folder = await mkdtemp(`${tmpdir()}/embedlet-`);
const outfile = `${folder}/sources.mjs`;
await build({
  stdin: {
    contents: ["cache", "connect", "xxh32", "engine", "tuning", "rpc", "encoder", "arguments", "source", "errors", "embeddings", "instance", "supervisor", "cluster", "multi", "extension/channel",
      "extension/client", "extension/host", "extension/offscreen", "search/search-index", "search/storage", "search/store", "search/write", "search/segment", "search/file", "search/map",
      "search/shards", "stores"].map((name) => `export * from "./${name}.js";`).join("\n"),
    resolveDir: fileURLToPath(new URL("../src", import.meta.url)),
  },
  bundle: true,
  format: "esm",
  target: "node20",
  define: { VERSION: '"test"' },
  plugins: [{
    name: "no generated module",
    setup(build) {
      build.onResolve({ filter: /^embedlet:glue$/ }, ({ path }) => ({ path, namespace: "none" }));
      build.onLoad({ filter: /.*/, namespace: "none" }, () => ({ contents: "export const createGlue = undefined;" }));
    },
  }],
  outfile,
});

export const sources = await import(pathToFileURL(outfile));
await rm(folder, { recursive: true });

/** An `Encoder` class over `connect`, as each entry of the package makes one. */
export function encoderOver(connect) {
  return class Encoder extends sources.Encoder {
    static load(source, options = {}) {
      return sources.open(Encoder, connect, source, options);
    }
  };
}
