// Reads what has come over a port, where nothing is as its type says until it was looked at. Options and the JSON of requests are left to
// those who read them anyhow, arguments.ts and the crate; here is what would otherwise reach the engine unseen.

import { absolute, HUB_ID, invalid } from "../arguments.js";
import type { AskRequest, EmbedRequest, MaxSimRequest } from "../engine.js";
import { isIndex, isRecord } from "../messages.js";
import type { LoadOptions } from "../types.js";

/** The options of `load` that a client may choose: those that JSON can carry, and that say nothing of where the library's files are. */
export const SENT = [
  "device", "precision", "threads", "task", "revision", "cache", "allowRemote", "tune", "integrity", "headers",
] as const satisfies (keyof LoadOptions)[];

/** A model that is asked for. */
export interface Asked {
  source: string;
  options: Pick<LoadOptions, (typeof SENT)[number]>;
}

/** `own` is the address of the extension. */
export function readAsked(argument: unknown, own: string): Asked {
  if (!isRecord(argument) || typeof argument.source !== "string" || !isRecord(argument.options)) throw malformed("load");
  const { source, options } = argument as { source: string; options: Record<string, unknown> };
  if (!HUB_ID.test(source)) {
    const url = absolute(source);
    if (!/^https?:/.test(url) && !url.startsWith(own)) throw invalid(`Models come from the hub, from http or https, or from the extension's package, not from "${url}".`);
  }
  const other = Object.keys(options).find((name) => !(SENT as readonly string[]).includes(name));
  if (other !== undefined) throw invalid(`\`${other}\` is for serveEncoders to say, or nothing that can be sent.`);
  for (const name of ["integrity", "headers"]) {
    const record = options[name];
    if (record !== undefined && !(isRecord(record) && Object.values(record).every((value) => typeof value === "string"))) {
      throw invalid(`\`${name}\` must be an object of strings.`);
    }
  }
  if (options.revision !== undefined && typeof options.revision !== "string") throw invalid("`revision` must be a string.");
  // In one order, so that two who ask for the same can be told to.
  return { source, options: Object.fromEntries(SENT.flatMap((name) => (options[name] === undefined ? [] : [[name, options[name]]]))) };
}

export function readEmbed(argument: unknown): Omit<EmbedRequest, "model"> {
  if (!isRecord(argument)) throw malformed("embed");
  const { texts, options } = argument;
  if (!Array.isArray(texts) || !texts.every((text) => typeof text === "string") || typeof options !== "string") throw malformed("embed");
  return { texts, options };
}

export function readAsk(argument: unknown): Omit<AskRequest, "model"> {
  if (!isRecord(argument)) throw malformed("ask");
  const { request, head } = argument;
  if (typeof request !== "string" || !(head === undefined || head instanceof Uint8Array)) throw malformed("ask");
  return { request, head: head as Uint8Array<ArrayBuffer> | undefined };
}

export function readMaxSim(argument: unknown): Omit<MaxSimRequest, "model"> {
  if (!isRecord(argument)) throw malformed("maxSim");
  const { data, dimensions, counts, queries } = argument;
  if (!(data instanceof Float32Array) || !(counts instanceof Uint32Array) || !isIndex(dimensions) || !isIndex(queries)) throw malformed("maxSim");
  return { data, dimensions, counts, queries };
}

/** Arrays and options are read by the collection. */
export function readCollect(request: unknown): { kind: string; name: number; argument: Record<string, unknown> } {
  if (!isRecord(request)) throw malformed("collect");
  const { kind, name, argument } = request;
  if (typeof kind !== "string" || !isIndex(name) || !isRecord(argument)) throw malformed("collect");
  return { kind, name, argument };
}

export function readText(argument: unknown): string {
  if (!isRecord(argument) || typeof argument.text !== "string") throw malformed("tokenize");
  return argument.text;
}

export function malformed(request: string) {
  return invalid(`A request "${request}" that is none of embedlet's.`);
}
