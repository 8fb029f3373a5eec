// Modules of the page's source in Node: those that need no browser.

import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Worker as Thread } from "node:worker_threads";

const web = join(dirname(fileURLToPath(import.meta.url)), "../../web");
export const esbuild = createRequire(join(web, "../pkg/package.json"))("esbuild");

export async function load(file) {
  return import(`data:text/javascript;base64,${Buffer.from(await bundled(file, "esm")).toString("base64")}`);
}

/** The browser's `Worker`, as far as the page's own workers ask for it, on Node's. */
export class SourceWorker {
  #thread;
  constructor(path) {
    this.#thread = bundled(path.replace(/js$/, "ts"), "iife").then((code) => {
      const thread = new Thread(`const { parentPort } = require("node:worker_threads"); globalThis.self = globalThis;
        globalThis.postMessage = (data) => parentPort.postMessage(data); parentPort.on("message", (data) => onmessage({ data })); ${code}`, { eval: true });
      return thread.on("message", (data) => this.onmessage({ data })).on("error", this.onerror);
    });
  }
  async postMessage(data) {
    (await this.#thread).postMessage(data);
  }
  async terminate() {
    await (await this.#thread).terminate();
  }
}

async function bundled(file, format) {
  const { outputFiles } = await esbuild.build({ entryPoints: [join(web, "src", file)], bundle: true, format, write: false,
    nodePaths: [join(web, "../pkg/node_modules")] });
  return outputFiles[0].text;
}
