// Where the wasm and the worker's script are for the entries that have them as files: beside the module.

import { absolute } from "./arguments.js";
import { workersAt, type Entry } from "./connect.js";
import { hasRelaxedSimd } from "./instance.js";

// Bundlers find the files by the literal form of these expressions. What some of them (Next) put in its place is an address without host.
export const beside: Entry = {
  wasm: () =>
    absolute((hasRelaxedSimd() ? new URL("./embedlet_relaxed_bg.wasm", import.meta.url) : new URL("./embedlet_bg.wasm", import.meta.url)).href),
  workers: () =>
    workersAt(absolute(new URL("./worker.js", import.meta.url).href), () => new Worker(new URL("./worker.js", import.meta.url), { type: "module" })),
  elseInline: false,
  team: {
    wasm: () => absolute(new URL("./embedlet_threads_bg.wasm", import.meta.url).href),
    workers: () =>
      workersAt(absolute(new URL("./threads.js", import.meta.url).href), () => new Worker(new URL("./threads.js", import.meta.url), { type: "module" })),
  },
};
