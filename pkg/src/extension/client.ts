// The end that uses encoders: an `Encoder` whose engine is in the document that serves them. Where that document goes away it is made
// again, and asked again, as supervisor.ts does with any engine.

import { absolute, HUB_ID, invalid } from "../arguments.js";
import type { Connection } from "../connect.js";
import { Encoder, open } from "../encoder.js";
import type { Call, Loaded, LoadRequest } from "../engine.js";
import { EmbedletError } from "../errors.js";
import { greet, Remote } from "../rpc.js";
import { abortable } from "../signal.js";
import type { EncoderInfo, LoadOptions, LoadProgress } from "../types.js";
import type { Api } from "./api.js";
import { Channel, disconnected } from "./channel.js";
import { isRecord, isReply, readAsked, type Asked, type SENT } from "./checks.js";
import { NAME } from "./host.js";
import { ensure, type OffscreenOptions } from "./offscreen.js";

/** Options of `connectEncoder`: those of `Encoder.load` but for what `serveEncoders` is given. */
export interface ConnectOptions extends Pick<LoadOptions, (typeof SENT)[number] | "onProgress" | "signal"> {
  /** Sees to this document whenever one is needed. Without it, whoever closes the document must see to a new one. */
  offscreen?: OffscreenOptions;
}

/** How long to wait for the document to answer, in ms. Tests shorten it. */
export const patience = { ms: 5000 };

export async function connectTo(api: Api, source: string | URL, options: ConnectOptions): Promise<Encoder> {
  const { offscreen, onProgress, signal, ...given } = options;
  if (typeof source !== "string" && !(source instanceof URL)) throw invalid("A model comes from its address here: files and handles cannot be sent.");
  const address = typeof source === "string" && HUB_ID.test(source) ? source : absolute(source);
  const asked = readAsked({ source: address, options: given }, api.runtime.getURL(""));
  const events = { ...(onProgress && { onProgress }), ...(signal && { signal }) };
  signal?.throwIfAborted();
  // The way there cannot be given up half-way, but nobody need wait for it.
  return abortable(open(Encoder, () => connected(api, asked, offscreen), address, { ...asked.options, ...events }), signal);
}

async function connected(api: Api, asked: Asked, offscreen: OffscreenOptions | undefined): Promise<Connection> {
  if (offscreen) await ensure(api, offscreen);
  const channel = new Channel(api.runtime.connect({ name: NAME }), api.runtime);
  const host = new Distant(channel, asked);
  channel.gone.addEventListener("abort", () => host.fail(channel.gone.reason));
  const silent = setTimeout(() => channel.end(disconnected("does not answer")), patience.ms);
  try {
    channel.greet();
    const lock = await channel.ready;
    api.locks.request(lock, { mode: "shared", signal: channel.gone }, () => channel.end(disconnected("is gone"))).catch(() => {});
    await greet(host, "The document that runs encoders");
  } catch (error) {
    channel.end(disconnected("is of no use"));
    throw error;
  } finally {
    clearTimeout(silent);
  }
  return { host, wasm: "", supervised: true, end: (reason) => channel.end(reason) };
}

/** A remote that asks for a model by its address, and hears where it runs after a restart. */
class Distant extends Remote {
  readonly #asked: Asked;
  #info: EncoderInfo | undefined;

  constructor(channel: Channel, asked: Asked) {
    super({
      postMessage: (message) => channel.postMessage(message),
      addEventListener: (type, listener) =>
        channel.addEventListener(type, (event) => {
          const data: unknown = event.data;
          if (isReply(data)) listener(event);
          else if (isRecord(data) && isRecord(data.info) && this.#info) Object.assign(this.#info, data.info);
          else channel.end(disconnected("has sent what is no answer"));
        }),
    });
    this.#asked = asked;
  }

  /** What serves encoders reads the source and checks the options itself: `request` is what became of them here. */
  override async load(_request: LoadRequest, call: Call<LoadProgress>): Promise<Loaded> {
    const loaded = await super.load(this.#asked as unknown as LoadRequest, call);
    if (typeof loaded?.info !== "object") throw new EmbedletError("runtime-crashed", "The document that runs encoders has loaded nothing.");
    this.#info = loaded.info;
    return loaded;
  }
}
