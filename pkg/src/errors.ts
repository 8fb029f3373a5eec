// The one error class of the package, and the reading of what the WebAssembly side throws.
// An abort is not an EmbedletError: it rejects with the signal's own reason.

import type { ErrorCode } from "./types.js";

/** Every failure of this package. `code` is stable, `message` says what is wrong and what to do, `cause` is the error below, if any. */
export class EmbedletError extends Error {
  override readonly name = "EmbedletError";
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }

  /** The entries of the package are bundles, each with this class of its own; an error of one is an error of all. */
  static override [Symbol.hasInstance](thrown: unknown): thrown is EmbedletError {
    return thrown instanceof Error && thrown.name === "EmbedletError";
  }
}

/** Whether an engine is gone with all that it held. */
export function isLoss(error: unknown): error is EmbedletError {
  return error instanceof EmbedletError && (error.code === "runtime-crashed" || error.code === "device-lost");
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
  return new EmbedletError(thrown.code as ErrorCode, thrown.message, thrown.cause === undefined ? {} : { cause: thrown.cause });
}
