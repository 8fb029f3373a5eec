// The entry for Node: the CPU path on the calling thread, with the wasm read from beside this file.

import { readFile } from "node:fs/promises";
import { connect, type Entry } from "./connect.js";
import { Encoder as Base, open } from "./encoder.js";
import { EmbedletError, textOf } from "./errors.js";
import { compile, hasRelaxedSimd } from "./instance.js";
import type { LoadOptions, ModelSource } from "./types.js";

export { Embeddings } from "./embeddings.js";
export { EmbedletError } from "./errors.js";
export { TrainedHead } from "./head.js";
export { ChunkVectors, MultiVectors, TokenVectors } from "./multi.js";
export { Quantized, type Ranges } from "./quantize.js";
export type * from "./types.js";

let wasm: Promise<WebAssembly.Module> | undefined;

const entry: Entry = {
  wasm: () => (wasm ??= read().catch((error) => {
    wasm = undefined;
    throw error;
  })),
  workers: () => [],
  elseInline: true,
};

async function read(): Promise<WebAssembly.Module> {
  const file = new URL(hasRelaxedSimd() ? "./embedlet_relaxed_bg.wasm" : "./embedlet_bg.wasm", import.meta.url);
  const bytes = await readFile(file).catch((cause) => {
    throw new EmbedletError("wasm-load", `The library's WebAssembly cannot be read (${textOf(cause)}): install embedlet as a whole, and keep it out of bundles for Node.`, { cause });
  });
  return compile(bytes);
}

/** A sentence-transformers model: `Encoder.load`, then `embed`. */
export class Encoder extends Base {
  /**
   * Loads a model folder, checks what was loaded on the device that it is to run on, and resolves when it can be used. Rejects with an
   * `EmbedletError` (see {@link ErrorCode}) that names what is missing or not understood, or with the signal's reason.
   */
  static load(source: ModelSource, options: LoadOptions = {}): Promise<Encoder> {
    return open(Encoder, (given) => connect(entry, given), source, options);
  }
}
