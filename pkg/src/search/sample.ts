// Passages of an index with their vectors of two models: those that it has, and those of the model that it moves to. A map is fitted to
// them; none of them is kept.

import { EmbedletError } from "../errors.js";
import type { Core } from "./core.js";
import type { Pairs } from "./map.js";
import { decoded, Rows } from "./read.js";
import type { Segment } from "./segment.js";
import { readAll, Unreadable, type Entry, type View } from "./view.js";
import { commits } from "./write.js";

/** A passage, and where it lies: a commit may move its document meanwhile. */
interface Passage {
  entry: Entry;
  segment: Segment;
  index: number;
  number: number;
}

/** At most `size` pairs; undefined where there are no two. */
export async function sample(core: Core, next: View, size: number, signal: AbortSignal | undefined): Promise<Pairs | undefined> {
  for (;;) {
    const view = await core.current();
    const { state } = view;
    const chosen = choose(view, size);
    if (chosen.length < 2) return undefined;
    try {
      return await pairsOf(view, next, chosen, signal);
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error;
      await core.recover(view, state, error);
    }
  }
}

/** Passages that are spread evenly over the names of documents, in the order of the files. */
function choose({ documents, state }: View, size: number): Passage[] {
  const all = [...documents.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  const step = Math.max(1, all.reduce((sum, { passages }) => sum + passages, 0) / size);
  const chosen: Passage[] = [];
  let [count, wanted] = [0, 0];
  for (const entry of all) {
    const { segment, index } = entry;
    const [first, passages] = segment.passagesOf(index);
    for (let p = 0; p < passages; p++, count++) {
      if (count < Math.floor(wanted * step)) continue;
      wanted++;
      const { start, end } = segment.place(first + p);
      if (start < end) chosen.push({ entry, segment, index, number: first + p });
    }
  }
  const order = new Map(state.parts.map(({ segment }, i) => [segment, i]));
  const placeOf = ({ segment }: Passage) => order.get(segment) ?? 0;
  return chosen.sort((a, b) => placeOf(a) - placeOf(b) || a.number - b.number);
}

async function pairsOf({ made }: View, next: View, chosen: readonly Passage[], signal: AbortSignal | undefined): Promise<Pairs> {
  const { dimensions } = next.made;
  const from = new Float32Array(chosen.length * made.dimensions);
  const to = new Float32Array(chosen.length * dimensions);
  const rows = new Rows();
  for (let at = 0; at < chosen.length; at += commits.passages) {
    signal?.throwIfAborted();
    const some = chosen.slice(at, at + commits.passages);
    const read = await readAll(some, async ({ segment, index, number }) => {
      const { start, end } = segment.place(number);
      const vector = made.vectors ? await segment.vector(number) : decoded(made, await rows.of(segment), number);
      return { text: (await segment.text(index)).slice(start, end), vector };
    }, ({ entry }) => entry);
    const { data } = await next.encoder.embedDocuments(read.map(({ text }) => text), { dimensions, ...(signal && { signal }) });
    if (data.length !== read.length * dimensions) throw new EmbedletError("runtime-crashed", "The encoder gave too few vectors.");
    read.forEach(({ vector }, i) => from.set(vector, (at + i) * made.dimensions));
    to.set(data, at * dimensions);
  }
  return { from, to, count: chosen.length };
}
