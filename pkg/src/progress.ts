// Counts the bytes of a load and reports them, with what the load is at. Says nothing about what the bytes are.

import type { LoadPhase, LoadProgress } from "./types.js";

/** Milliseconds between two reports of one file; a message per chunk would be thousands. The last chunk is always reported. */
const INTERVAL = 40;

interface Count {
  loaded: number;
  total: number | undefined;
  /** Time of the last report, in ms. */
  reported: number;
}

export class Progress {
  readonly #files = new Map<string, Count>();
  readonly #emit: (event: LoadProgress) => void;
  #listed = false;
  #phase: LoadPhase | undefined;

  constructor(emit: (event: LoadProgress) => void) {
    this.#emit = emit;
  }

  /** The load is at `phase` from here on. */
  enter(phase: LoadPhase): void {
    if (phase === this.#phase) return;
    this.#phase = phase;
    this.#report("phase", undefined, this.#sum());
  }

  /** A file is asked for. */
  initiate(file: string): void {
    this.#report("initiate", file, this.#count(file));
  }

  /** A file begins to come. */
  download(file: string, total: number | undefined): void {
    const count = this.#count(file);
    count.total = total ?? count.total;
    this.#report("download", file, count);
  }

  /** So many more bytes of a file have come. */
  advance(file: string, bytes: number): void {
    const count = this.#count(file);
    count.loaded += bytes;
    const now = performance.now();
    if (count.loaded !== count.total && now - count.reported < INTERVAL) return;
    count.reported = now;
    this.#report("progress", file, count);
    this.#report("progress_total", undefined, this.#sum());
  }

  /** A file has come, or does not exist. */
  done(file: string): void {
    const count = this.#count(file);
    count.total = count.loaded;
    this.#report("done", file, count);
  }

  /** Every file still to come is in `sizes`: from here on the sum has a total, once each of them has. */
  list(sizes: ReadonlyMap<string, number | undefined>): void {
    for (const [file, size] of sizes) this.#count(file).total ??= size;
    this.#listed = true;
  }

  ready(): void {
    const { loaded } = this.#sum();
    this.#report("ready", undefined, { loaded, total: loaded });
  }

  #count(file: string): Count {
    let count = this.#files.get(file);
    if (!count) this.#files.set(file, (count = { loaded: 0, total: undefined, reported: -INTERVAL }));
    return count;
  }

  #sum(): { loaded: number; total: number | undefined } {
    let loaded = 0;
    let total: number | undefined = this.#listed ? 0 : undefined;
    for (const count of this.#files.values()) {
      loaded += count.loaded;
      total = total === undefined || count.total === undefined ? undefined : total + count.total;
    }
    return { loaded, total };
  }

  #report(status: LoadProgress["status"], file: string | undefined, count: { loaded: number; total: number | undefined }): void {
    const { loaded, total = 0 } = count;
    // A body that was compressed on the way can be longer than announced: never more than all of it.
    const progress = total > 0 ? Math.min(100, (100 * loaded) / total) : 0;
    this.#emit({ status, phase: this.#phase as LoadPhase, ...(file !== undefined && { file }), loaded, total, progress });
  }
}
