// The messages of rpc.ts, and what they are told from others by: a worker of the caller's, or a port, may have messages of its own.

import type { ErrorCode } from "./types.js";

export type Request = { id: number; method: string; argument?: unknown } | { abort: number };
export type Failure = { code: ErrorCode; message: string; cause?: string; text?: number } | "aborted";
export type Reply = { id: number; event: unknown } | { id: number; result: unknown } | { id: number; error: Failure };

export function isRequest(message: unknown): message is Request {
  if (!isRecord(message)) return false;
  return "abort" in message ? isIndex(message.abort) : isIndex(message.id) && typeof message.method === "string";
}

export function isReply(message: unknown): message is Reply {
  if (!isRecord(message) || !isIndex(message.id)) return false;
  const { error } = message;
  return !("error" in message) || error === "aborted" || (isRecord(error) && typeof error.code === "string" && typeof error.message === "string");
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A number that names something, or counts. */
export function isIndex(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}
