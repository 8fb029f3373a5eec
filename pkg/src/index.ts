// The entry for browsers and bundlers: the wasm and the worker are files beside this one.

import { absolute } from "./arguments.js";
import { connect, workersAt, type Entry } from "./connect.js";
import { Encoder as Base, open } from "./encoder.js";
import { hasRelaxedSimd } from "./instance.js";
import type { LoadOptions, ModelSource } from "./types.js";

export { Embeddings } from "./embeddings.js";
export { EmbedletError } from "./errors.js";
export { TrainedHead } from "./head.js";
export { ChunkVectors, MultiVectors, TokenVectors } from "./multi.js";
export { Quantized, type Ranges } from "./quantize.js";
export type * from "./types.js";

// Bundlers find the files by the literal form of these expressions. What some of them (Next) put in its place is an address without host.
const entry: Entry = {
  wasm: () =>
    absolute((hasRelaxedSimd() ? new URL("./embedlet_relaxed_bg.wasm", import.meta.url) : new URL("./embedlet_bg.wasm", import.meta.url)).href),
  workers: () =>
    workersAt(absolute(new URL("./worker.js", import.meta.url).href), () => new Worker(new URL("./worker.js", import.meta.url), { type: "module" })),
  elseInline: false,
};

/** A sentence-transformers model in the browser: `Encoder.load`, then `embed`. */
export class Encoder extends Base {
  /** Loads a model folder. Rejects with an `EmbedletError`, or with the signal's reason. */
  static load(source: ModelSource, options: LoadOptions = {}): Promise<Encoder> {
    return open(Encoder, (given) => connect(entry, given), source, options);
  }
}
