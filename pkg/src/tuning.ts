// When a model may choose its kernels by measuring them, which is the crate's to do, and where that choice is kept: one small file
// of the origin for all models, whose text only the crate reads. It says on which device and in which browser it was made.

import { joined } from "./joined.js";
import type { Store } from "./stores.js";

/** How long nothing has been asked when a model is tuned, in ms. Tests change it. */
export const idle = { ms: 1000 };

/** Its name among the kept models, whose own files lie in folders. */
const NAME = "tuning";
/** Bytes that are read of it at most; more the crate does not write. */
const MOST_BYTES = 64 << 10;

/** What is kept, where anything can be read. */
export async function readTuning(store: Store | undefined): Promise<string | undefined> {
  try {
    const file = await store?.read(NAME);
    if (!file) return undefined;
    const parts: Uint8Array<ArrayBuffer>[] = [];
    let bytes = 0;
    for await (const part of file.chunks) {
      if ((bytes += part.length) > MOST_BYTES) return undefined;
      parts.push(part.slice());
    }
    return new TextDecoder().decode(joined(parts));
  } catch {
    return undefined;
  }
}

/** Keeps a text in place of what is kept. Where that fails, the next visit measures again. */
export async function keepTuning(store: Store | undefined, text: string): Promise<void> {
  await store?.write(NAME, new Response(text).body!).catch(() => {});
}

/** Does some work again and again while nothing is asked: when nothing was for a while, and from then on for as long as there is more. */
export class Idle {
  #timer: ReturnType<typeof setTimeout> | undefined;
  #asked = 0;
  readonly #work: () => Promise<boolean>;

  /** `work` tells whether there is more; it is itself to see whether somebody waits. */
  constructor(work: () => Promise<boolean>) {
    this.#work = work;
  }

  asked(): void {
    this.#asked++;
  }

  /** Something has been answered. */
  answered(): void {
    this.#wait(idle.ms);
  }

  #wait(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(async () => {
      const asked = this.#asked;
      // What was asked meanwhile has an answer of its own, which waits anew.
      if ((await this.#work()) && asked === this.#asked) this.#wait(0);
    }, ms);
    // A program need not live on for this.
    (this.#timer as { unref?(): void }).unref?.();
  }
}
