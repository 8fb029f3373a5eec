// The words of the passages, for hybrid searches: a full-text engine that is filled from the stored texts when it is first asked and kept
// up from then on. The engine is the caller's; ours are the filling and the fusion.

import type { Predicate } from "./metadata.js";
import type { LexicalEngine } from "./types.js";
import { readAll, type Entry, type View } from "./view.js";

/** Texts that are read at once. */
const AT_ONCE = 64;

export class Lexical {
  readonly #engine: LexicalEngine;
  #next = 0;
  #removed = 0;
  readonly #added = new Set<number>();
  #turn: Promise<unknown> = Promise.resolve();

  constructor(
    readonly view: View,
    make: () => LexicalEngine,
  ) {
    this.#engine = make();
  }

  /** Rows of passages that have words of the query, best first. Throws `Unreadable` where a text cannot be read. */
  async search(query: string, holds: Predicate | undefined, signal: AbortSignal | undefined): Promise<number[]> {
    const turn = this.#turn.then(() => this.#follow(signal));
    this.#turn = turn.catch(() => {});
    await turn;
    const filter = ({ id }: { id: number }) => this.view.isThere(id) && (!holds || holds(this.view.rows[id]!.metadata));
    return this.#engine.search(query, { filter }).map(({ id }) => id);
  }

  /** Takes what has come since the last time, and lets go of what was removed. One at a time, for texts are read in between. */
  async #follow(signal: AbortSignal | undefined): Promise<void> {
    const { rows, removed } = this.view;
    while (this.#next < rows.length) {
      signal?.throwIfAborted();
      const entries: Entry[] = [];
      let next = this.#next;
      for (; next < rows.length && entries.length < AT_ONCE; next += rows[next]!.passages) if (rows[next]!.alive) entries.push(rows[next]!);
      const texts = await readAll(entries, ({ segment, index }) => segment.text(index), (entry) => entry);
      for (const [i, { segment, index, row, passages }] of entries.entries()) {
        const [first] = segment.passagesOf(index);
        for (let p = 0; p < passages; p++) {
          const { start, end } = segment.place(first + p);
          this.#engine.add({ id: row + p, text: texts[i]!.slice(start, end) });
          this.#added.add(row + p);
        }
      }
      this.#next = next;
    }
    for (; this.#removed < removed.length; this.#removed++) {
      const row = removed[this.#removed]!;
      if (this.#added.delete(row)) this.#engine.discard(row);
    }
  }
}

/** The usual constant of reciprocal rank fusion (Cormack et al., 2009). */
const K = 60;

/** Several rankings as one: what is high in many of them is first. Ties keep the order of the first ranking. */
export function fuse<T>(rankings: readonly (readonly T[])[]): Map<T, number> {
  const scores = new Map<T, number>();
  for (const ranking of rankings) ranking.forEach((one, rank) => scores.set(one, (scores.get(one) ?? 0) + 1 / (K + rank + 1)));
  return new Map([...scores].sort(([, a], [, b]) => b - a));
}
