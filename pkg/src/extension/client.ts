// The end that uses encoders: an `Encoder` whose engine is in the document that serves them. Where that document goes away it is made
// again, and asked again, as supervisor.ts does with any engine.

import { absolute, HUB_ID, invalid } from "../arguments.js";
import type { Connection } from "../connect.js";
import { Encoder, open } from "../encoder.js";
import type { Host, LoadRequest } from "../engine.js";
import { EmbedletError } from "../errors.js";
import { isRecord, isReply } from "../messages.js";
import { greet, Remote } from "../rpc.js";
import { abortable } from "../signal.js";
import type { EncoderInfo, LoadOptions } from "../types.js";
import type { Api, RuntimePort } from "./api.js";
import { Channel, disconnected } from "./channel.js";
import { readAsked, type Asked, type SENT } from "./checks.js";
import { here, NAME, type Served } from "./host.js";
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
  const served = here.get(api.runtime);
  if (served) return locally(served, asked);
  if (offscreen) await ensure(api, offscreen);
  const channel = new Channel(dial(api), api.runtime);
  let told = (_info: object) => {};
  const host = new Remote({
    postMessage: (message) => channel.postMessage(message),
    addEventListener: (type, listener) =>
      channel.addEventListener(type, (event) => {
        const data: unknown = event.data;
        if (isReply(data)) listener(event);
        else if (isRecord(data) && isRecord(data.info)) told(data.info);
        else channel.end(disconnected("has sent what is no answer"));
      }),
  });
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
  told = asking(host, asked);
  return { host, wasm: "", supervised: true, end: (reason) => channel.end(reason) };
}

function dial({ runtime }: Api): RuntimePort {
  try {
    return runtime.connect({ name: NAME });
  } catch (error) {
    // The extension has been updated or removed, and this context is what is left of it.
    throw disconnected("cannot be reached", error);
  }
}

/** No port leads to oneself: where this context serves encoders, it asks itself. */
function locally(served: (tell: (info: object) => void) => Served, asked: Asked): Connection {
  const host = served((info) => told(info));
  const told = asking(host, asked);
  return { host, wasm: "", supervised: true, end: () => host.end() };
}

/**
 * Makes `host` ask for this model, whose source and options are read where they arrive; what `open` would ask for is what became of them
 * here. Gives what is to hear where the model runs after a restart.
 */
function asking(host: Host, asked: Asked): (info: object) => void {
  const load = host.load.bind(host);
  let info = {};
  host.load = async (_request, call) => {
    const loaded = await load(asked as unknown as LoadRequest, call);
    if (!isRecord(loaded) || !isRecord(loaded.info)) throw new EmbedletError("runtime-crashed", "The document that runs encoders has loaded nothing.");
    return { model: loaded.model, info: (info = { ...loaded.info }) as EncoderInfo };
  };
  return (now) => void Object.assign(info, now);
}
