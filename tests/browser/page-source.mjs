// Modules of the page's source in Node: those that need no browser.

import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const web = join(dirname(fileURLToPath(import.meta.url)), "../../web");
export const esbuild = createRequire(join(web, "../pkg/package.json"))("esbuild");

export async function load(file) {
  const { outputFiles } = await esbuild.build({ entryPoints: [join(web, "src", file)], bundle: true, format: "esm", write: false });
  return import(`data:text/javascript;base64,${Buffer.from(outputFiles[0].contents).toString("base64")}`);
}
