// The one error class of the package, and the reading of what the WebAssembly side throws.
// An abort is not an EmbedletError: it rejects with the signal's own reason.

import type { ErrorCode } from "./types.js";

/** Every failure of this package. `code` is stable, `message` says what is wrong and what to do, `cause` is the error below, if any. */
export class EmbedletError extends Error {
  override readonly name = "EmbedletError";
  /** What to act on; the message is for people, and may change. */
  readonly code: ErrorCode;
  /** Index of the text that is at fault, in the call, where it is one. */
  readonly text?: number;

  constructor(code: ErrorCode, message: string, options: ErrorOptions & { text?: number } = {}) {
    super(message, options);
    this.code = code;
    if (options.text !== undefined) this.text = options.text;
  }

  /** Entries and adapters are bundled apart, each with this class: what one of them throws is an EmbedletError for all. */
  static override [Symbol.hasInstance](value: unknown): value is EmbedletError {
    if (this !== EmbedletError) return super[Symbol.hasInstance](value);
    return value instanceof Error && value.name === "EmbedletError" && "code" in value;
  }
}

/** Whether an engine, or the way to it, is gone with all that it held. What supervises an engine itself has the last word on that. */
export function isLoss(error: unknown, supervised = false): error is EmbedletError {
  if (!(error instanceof EmbedletError)) return false;
  return error.code === "disconnected" || (!supervised && (error.code === "runtime-crashed" || error.code === "device-lost"));
}

/** The text of anything that was thrown. */
export function textOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/**
 * What the crate throws on purpose is an Error with a `code`. Anything else that comes out of the instance (a trap, a stack
 * overflow, a borrow error of the glue) is a defect after which its memory cannot be trusted, and gives undefined here.
 */
export function fromCrate(thrown: unknown): EmbedletError | undefined {
  if (thrown instanceof EmbedletError) return thrown;
  if (!(thrown instanceof Error) || thrown instanceof DOMException || !("code" in thrown)) return undefined;
  if (typeof thrown.code !== "string") return undefined;
  const { cause, text } = thrown as Error & { text?: unknown };
  return new EmbedletError(thrown.code as ErrorCode, thrown.message, { ...(cause !== undefined && { cause }), ...(typeof text === "number" && { text }) });
}
