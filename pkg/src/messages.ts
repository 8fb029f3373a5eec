// The messages of rpc.ts, and what they are told from others by: a worker of the caller's, or a port, may have messages of its own.

import type { ErrorCode } from "./types.js";

/** What each message has, to be told by. */
export const TAG = { embedlet: 1 } as const;
type Tagged = typeof TAG;

export type Request = Tagged & ({ id: number; method: string; argument?: unknown } | { abort: number });
export type Failure = { code: ErrorCode; message: string; cause?: string; text?: number } | "aborted";
export type Reply = Tagged & ({ id: number; event: unknown } | { id: number; result: unknown } | { id: number; error: Failure });

export function isRequest(message: unknown): message is Request {
  if (!isTagged(message)) return false;
  return "abort" in message ? isIndex(message.abort) : isIndex(message.id) && typeof message.method === "string";
}

export function isReply(message: unknown): message is Reply {
  if (!isTagged(message) || !isIndex(message.id)) return false;
  const { error } = message;
  return !("error" in message) || error === "aborted" || (isRecord(error) && typeof error.code === "string" && typeof error.message === "string");
}

const isTagged = (message: unknown): message is Record<string, unknown> => isRecord(message) && message.embedlet === TAG.embedlet;

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A number that names something, or counts. */
export function isIndex(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}
