// The entry for browsers and bundlers: encoders, whose wasm and worker are files beside this one.

import { beside } from "./beside.js";
import { connect } from "./connect.js";
import { Encoder as Base, open } from "./encoder.js";
import type { LoadOptions, ModelSource } from "./types.js";

export { Embeddings } from "./embeddings.js";
export { EmbedletError } from "./errors.js";
export { TrainedHead } from "./head.js";
export { ChunkVectors, MultiVectors, TokenVectors } from "./multi.js";
export { Quantized, type Ranges } from "./quantize.js";
export type * from "./types.js";

/** A sentence-transformers model in the browser: `Encoder.load`, then `embed`. */
export class Encoder extends Base {
  /**
   * Loads a model folder, checks what was loaded on the device that it is to run on, and resolves when it can be used. Rejects with an
   * `EmbedletError` (see {@link ErrorCode}) that names what is missing or not understood, or with the signal's reason.
   */
  static load(source: ModelSource, options: LoadOptions = {}): Promise<Encoder> {
    return open(Encoder, (given) => connect(beside, given), source, options);
  }
}
