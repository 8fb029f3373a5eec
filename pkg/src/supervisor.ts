// Keeps a model at work. An engine that crashed or lost its device is given up as a whole, the model is loaded again in a new one, and
// what the old one still owed is asked again. A call depends on its arguments alone, so asking twice is safe.

import type { Host } from "./engine.js";
import { EmbedletError, isLoss, textOf } from "./errors.js";
import { abortable, waited } from "./signal.js";
import type { EncoderInfo, ErrorCode } from "./types.js";

/** A model in an engine. */
export interface Session {
  host: Host;
  /** Names the model there. */
  model: number;
  info: EncoderInfo;
  /** Whether the other end restarts engines itself. */
  supervised?: true | undefined;
  /** Frees the model, and the worker if that was started for it. */
  end(reason: EmbedletError): void;
}

/** Loads the model. `lost` says why a GPU is not to be taken again where there is a choice. */
export type Start = (signal: AbortSignal, lost?: string) => Promise<Session>;

/**
 * How long to wait before each restart since the last answer, in ms; there are no more of them. `lost` says why this page has given its
 * GPU up: a browser takes the GPU from all of a page that loses it again and again, until the page is loaded anew. Tests set both.
 */
export const restarts = { delays: [250, 2000], lost: undefined as string | undefined };

/** What may be there the next time, and says nothing against the model or the device. */
const ELSEWHERE: ReadonlySet<ErrorCode> = new Set(["network", "wasm-load", "disconnected"]);

export class Supervisor {
  /** Of the session that is there, or was there last. */
  info: EncoderInfo;
  readonly #start: Start;
  #session: Session | undefined;
  #restarting: Promise<Session> | undefined;
  /** Since the last answer. */
  #restarts = 0;
  /** Why the last session, or restart, failed. */
  #failure: EmbedletError | undefined;
  /** Aborted when nothing can be asked any more, with the reason. */
  readonly #ended = new AbortController();
  /** What the session owes, in turn. Calls of a lane run one after the other. */
  readonly #calls = new Set<{ losses: number; lane: object }>();

  constructor(start: Start, session: Session) {
    this.#start = start;
    this.#session = session;
    this.info = session.info;
  }

  /** Answers a call by the session that is there at the end of it. What does not stand behind the calls of the model has a lane of its own. */
  async ask<T>(signal: AbortSignal | undefined, work: (session: Session) => Promise<T>, lane: object = this): Promise<T> {
    const call = { losses: 0, lane };
    for (;;) {
      this.check(signal);
      const session = this.#session ?? (await abortable((this.#restarting ??= this.#restart()), signal));
      this.#calls.add(call);
      try {
        const result = await abortable(work(session), signal);
        if (session === this.#session) {
          this.#restarts = 0;
          return result;
        }
      } catch (error) {
        // Whatever the reason of an abort is, it says nothing of the engine.
        signal?.throwIfAborted();
        if (session === this.#session) {
          if (!isLoss(error, session.supervised)) throw error;
          this.#lose(session, error);
        }
        if (call.losses > 1) throw this.#failure;
      } finally {
        this.#calls.delete(call);
      }
    }
  }

  /** Throws where a call was aborted, or nothing can be asked any more. */
  check(signal: AbortSignal | undefined): void {
    signal?.throwIfAborted();
    this.#ended.signal.throwIfAborted();
  }

  /** Whether nothing can be asked any more. */
  get ended(): boolean {
    return this.#ended.signal.aborted;
  }

  /** Ends what runs, and refuses what comes, with `reason`. */
  end(reason: EmbedletError): void {
    this.#ended.abort(reason);
    this.#session?.end(reason);
    this.#session = undefined;
  }

  #lose(session: Session, loss: EmbedletError): void {
    this.#session = undefined;
    // It is the first of a lane that did this, or was about to; the others only stood behind it.
    const lanes = new Set<object>();
    for (const call of this.#calls) {
      if (!lanes.has(call.lane)) call.losses++;
      lanes.add(call.lane);
    }
    session.end(loss);
    this.#failed(loss);
  }

  async #restart(): Promise<Session> {
    const { signal } = this.#ended;
    try {
      for (;;) {
        await waited(restarts.delays[this.#restarts++]!, signal);
        if (this.#restarts === restarts.delays.length) this.#giveUpGpu();
        try {
          const session = await this.#start(signal, restarts.lost);
          if (signal.aborted) session.end(signal.reason);
          signal.throwIfAborted();
          this.info = session.info;
          return (this.#session = session);
        } catch (error) {
          signal.throwIfAborted();
          if (error instanceof EmbedletError && ELSEWHERE.has(error.code)) {
            this.#restarts--;
            throw error;
          }
          this.#failed(error);
          signal.throwIfAborted();
        }
      }
    } finally {
      this.#restarting = undefined;
    }
  }

  #giveUpGpu(): void {
    if (this.#failure?.code === "device-lost") restarts.lost ??= `${this.#failure.message} (reload the page to have the GPU again)`;
  }

  /** What goes on failing is not tried for ever. */
  #failed(error: unknown): void {
    this.#failure = error instanceof EmbedletError ? error : new EmbedletError("runtime-crashed", textOf(error), { cause: error });
    if (this.#restarts < restarts.delays.length) return;
    const { code, message } = this.#failure;
    this.#giveUpGpu();
    const stopped = `The encoder failed again after ${this.#restarts} restarts and stays stopped: reload the page. (${message})`;
    this.end(new EmbedletError(code, stopped, { cause: this.#failure }));
  }
}
