// The entry that needs no other file: the wasm and the worker's script are part of it. For bundlers that cannot carry them.

import base64 from "embedlet:wasm";
import worker from "embedlet:worker";
import { blobUrl, connect, type Entry } from "./connect.js";
import { Encoder as Base, open } from "./encoder.js";
import { compile } from "./instance.js";
import type { LoadOptions, ModelSource } from "./types.js";

export { Embeddings } from "./embeddings.js";
export { EmbedletError } from "./errors.js";
export { TrainedHead } from "./head.js";
export { ChunkVectors, MultiVectors, TokenVectors } from "./multi.js";
export { Quantized, type Ranges } from "./quantize.js";
export type * from "./types.js";

/** Compiled once; a worker is sent the compiled module. */
let wasm: Promise<WebAssembly.Module> | undefined;

const entry: Entry = {
  wasm: () => (wasm ??= compile(Uint8Array.from(atob(base64), (byte) => byte.charCodeAt(0)))),
  workers: () => [() => new Worker(blobUrl(worker))],
  // A page's policy may refuse scripts from blobs.
  elseInline: true,
};

/** A sentence-transformers model in the browser: `Encoder.load`, then `embed`. */
export class Encoder extends Base {
  /**
   * Loads a model folder, checks what was loaded on the device that it is to run on, and resolves when it can be used. Rejects with an
   * `EmbedletError` (see {@link ErrorCode}) that names what is missing or not understood, or with the signal's reason.
   */
  static load(source: ModelSource, options: LoadOptions = {}): Promise<Encoder> {
    return open(Encoder, (given) => connect(entry, given), source, options);
  }
}
