// A runtime port as a `Port`: messages of any size, with typed arrays in them, in frames that a runtime carries. Most runtimes make JSON
// of what they carry, where bytes go in base64; whether one clones is tried with the first frame. Nothing of a frame is believed unseen.

import { EmbedletError } from "../errors.js";
import { joined } from "../joined.js";
import type { Port } from "../rpc.js";
import type { Runtime, RuntimePort } from "./api.js";
import { isRecord } from "../messages.js";

/** The most characters, or bytes, of a frame, which may have 64 MiB, and of a message. Tests shorten them. */
export const limits = { frame: 4 << 20, message: 256 << 20 };

/** A frame is `{ probe }`, or a piece of a message: first of its text, then of what the typed arrays in it hold. */
type Piece = { text: string; more: boolean } | { bytes: Uint8Array | string; more: boolean };

const KINDS = { Float32Array, Uint32Array, Uint8Array };
/** Stands for a typed array in the text: its kind, and its bytes. */
type View = { $view: [keyof typeof KINDS, number] };

type Listener = (event: MessageEvent) => void;

export class Channel implements Port {
  /** Aborted, with an `EmbedletError`, when the other end is gone or this one has ended it. */
  readonly gone: AbortSignal;
  /** Resolves when the other end has said that it is there, with the name of the lock that it holds as long as it is. */
  readonly ready: Promise<string>;
  readonly #port: RuntimePort;
  readonly #end = new AbortController();
  readonly #listeners: Listener[] = [];
  readonly #inbox = new Inbox();
  #answered: (lock: string) => void = () => {};
  #clones = false;

  constructor(port: RuntimePort, runtime: Runtime) {
    this.#port = port;
    this.gone = this.#end.signal;
    this.ready = new Promise((resolve, reject) => {
      this.#answered = resolve;
      this.gone.addEventListener("abort", () => reject(this.gone.reason));
    });
    // Not every end waits for it.
    this.ready.catch(() => {});
    port.onMessage.addListener((frame) => this.#receive(frame));
    port.onDisconnect.addListener(() => {
      const why = runtime.lastError?.message;
      this.#end.abort(disconnected(why ? `is not there (${why})` : "is gone, or refuses this connection"));
    });
  }

  /** Says that this end is there, and shows the other what arrives of bytes. */
  greet(lock = ""): void {
    this.#post({ probe: Uint8Array.of(1, 2, 3), lock });
  }

  postMessage(message: unknown): void {
    for (const piece of piecesOf(message, this.#clones)) this.#post(piece);
  }

  addEventListener(_type: "message", listener: Listener): void {
    this.#listeners.push(listener);
  }

  end(reason: EmbedletError): void {
    if (this.gone.aborted) return;
    this.#port.disconnect();
    this.#end.abort(reason);
  }

  #post(frame: unknown): void {
    if (this.gone.aborted) return;
    try {
      this.#port.postMessage(frame);
    } catch (error) {
      // Frames are small and plain: it is the port that is of no use any more.
      this.end(disconnected("cannot be reached", error));
    }
  }

  #receive(frame: unknown): void {
    if (this.gone.aborted) return;
    if (isRecord(frame) && "probe" in frame) {
      this.#clones = frame.probe instanceof Uint8Array;
      return this.#answered(typeof frame.lock === "string" ? frame.lock.slice(0, 100) : "");
    }
    let data: unknown;
    try {
      data = this.#inbox.take(frame);
    } catch (error) {
      return this.end(disconnected("has sent what is no message of embedlet", error));
    }
    if (data !== undefined) for (const listener of this.#listeners) listener({ data } as MessageEvent);
  }
}

export function disconnected(what: string, cause?: unknown): EmbedletError {
  const advice = "call serveEncoders in a document of this extension, and give connectEncoder `offscreen` so that it is made";
  return new EmbedletError("disconnected", `The document that runs encoders ${what}: ${advice}.`, cause === undefined ? {} : { cause });
}

function* piecesOf(message: unknown, clones: boolean): Generator<Piece> {
  const buffers: Uint8Array[] = [];
  const text = JSON.stringify(message, (_, value: unknown) => {
    if (!ArrayBuffer.isView(value)) return value;
    buffers.push(new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
    return { $view: [value.constructor.name, value.byteLength] };
  });
  const size = buffers.reduce((sum, { length }) => sum + length, text.length);
  if (size > limits.message) {
    const most = `${limits.message} bytes are the most that go to or from the document that runs encoders at once`;
    throw new EmbedletError("limit-exceeded", `${size} bytes in one call: ${most}; give fewer texts at a time.`);
  }
  let left = size;
  for (let start = 0; start < text.length; start += limits.frame) {
    const piece = text.slice(start, start + limits.frame);
    yield { text: piece, more: (left -= piece.length) > 0 };
  }
  for (const buffer of buffers) {
    for (let start = 0; start < buffer.length; start += limits.frame) {
      // What is cloned is all of the memory behind a view.
      const bytes = buffer.slice(start, start + limits.frame);
      yield { bytes: clones ? bytes : toBase64(bytes), more: (left -= bytes.length) > 0 };
    }
  }
}

/** Puts the pieces of messages together. */
class Inbox {
  #texts: string[] = [];
  #buffers: Uint8Array[] = [];
  #size = 0;

  /** Gives a message with its last piece. Throws where a piece is none, or a message too long. */
  take(frame: unknown): unknown {
    if (!isRecord(frame) || typeof frame.more !== "boolean") throw new TypeError("no frame");
    const { text, bytes, more } = frame;
    if (typeof text === "string") this.#texts.push(text);
    else if (bytes instanceof Uint8Array) this.#buffers.push(bytes);
    else if (typeof bytes === "string") this.#buffers.push(fromBase64(bytes));
    else throw new TypeError("a frame without content");
    // Nothing, again and again, is not without end either.
    this.#size += Math.max(1, typeof text === "string" ? text.length : this.#buffers.at(-1)!.length);
    if (this.#size > limits.message) throw new RangeError("a message that is too long");
    if (more) return undefined;
    const [texts, buffers] = [this.#texts, this.#buffers];
    [this.#texts, this.#buffers, this.#size] = [[], [], 0];
    return messageOf(texts.join(""), joined(buffers));
  }
}

function messageOf(text: string, bytes: Uint8Array): unknown {
  let at = 0;
  const message: unknown = JSON.parse(text, (_, value: unknown) => {
    if (!isView(value)) return value;
    const [kind, length] = value.$view;
    if (length < 0 || length > bytes.length - at) throw new RangeError("a typed array of more bytes than have come");
    return new KINDS[kind](bytes.slice(at, (at += length)).buffer);
  });
  if (!isRecord(message) || at < bytes.length) throw new TypeError("no message");
  return message;
}

function isView(value: unknown): value is View {
  if (!isRecord(value) || !Array.isArray(value.$view)) return false;
  const [kind, length] = value.$view as unknown[];
  return typeof kind === "string" && Object.hasOwn(KINDS, kind) && Number.isSafeInteger(length);
}

function toBase64(bytes: Uint8Array): string {
  let binary = "";
  // A function has a most of arguments.
  for (let at = 0; at < bytes.length; at += 1 << 15) binary += String.fromCharCode(...bytes.subarray(at, at + (1 << 15)));
  return btoa(binary);
}

function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (byte) => byte.charCodeAt(0));
}
