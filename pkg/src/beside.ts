// Where the wasm and the worker's script are for the entries that have them as files: beside the module.

import { workersAt, type Entry } from "./connect.js";
import { hasRelaxedSimd } from "./instance.js";

// Bundlers find the files by the literal form of these expressions.
export const beside: Entry = {
  wasm: () =>
    (hasRelaxedSimd() ? new URL("./embedlet_relaxed_bg.wasm", import.meta.url) : new URL("./embedlet_bg.wasm", import.meta.url)).href,
  workers: () =>
    workersAt(new URL("./worker.js", import.meta.url).href, () => new Worker(new URL("./worker.js", import.meta.url), { type: "module" })),
  elseInline: false,
};
