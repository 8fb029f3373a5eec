// The entry for browser extensions: encoders run in one document, the offscreen one or Firefox's background page, and the service worker,
// the side panel, the popup and every other page of the extension use them through runtime ports.

import { beside } from "./beside.js";
import { connect } from "./connect.js";
import type { Encoder } from "./encoder.js";
import { surroundings } from "./extension/api.js";
import { connectTo, type ConnectOptions } from "./extension/client.js";
import { hostEncoders, type ServeOptions } from "./extension/host.js";
import { ensure, type OffscreenOptions } from "./extension/offscreen.js";

export type { Encoder } from "./encoder.js";
export { Embeddings } from "./embeddings.js";
export { EmbedletError } from "./errors.js";
export type { ConnectOptions } from "./extension/client.js";
export type { ServeOptions } from "./extension/host.js";
export type { OffscreenOptions } from "./extension/offscreen.js";
export { TrainedHead } from "./head.js";
export { ChunkVectors, MultiVectors, TokenVectors } from "./multi.js";
export { Quantized, type Ranges } from "./quantize.js";
export type * from "./types.js";

/**
 * Resolves when the offscreen document is there, which is made where it is missing, however many ask for it at once; in Firefox, with
 * `"background"`, when the background page is. Whoever may call: the service worker, or any page of the extension.
 */
export async function ensureOffscreen(options: OffscreenOptions): Promise<"offscreen" | "background"> {
  return ensure(surroundings(), options);
}

/**
 * Runs encoders for the other contexts of the extension. Called while the document's script first runs, so that no connection is missed.
 * Models that are asked for with the same source and options are loaded once.
 */
export function serveEncoders(options: ServeOptions = {}): void {
  hostEncoders(surroundings(), options, (given) => connect(beside, given));
}

/**
 * Loads a model where encoders are served, or takes part in one that is there already. `source` is an address, or a name of the hub. What
 * comes back is an `Encoder` as any; `dispose` ends the connection.
 */
export async function connectEncoder(source: string | URL, options: ConnectOptions = {}): Promise<Encoder> {
  return connectTo(surroundings(), source, options);
}
