// An index that moves to another model: all texts are embedded again, beside the index, which goes on answering. What is done is kept in
// the manifests, and gone on with after a crash; when the last text has its new vectors, one commit makes them the index.

import { invalid } from "../arguments.js";
import { EmbedletError } from "../errors.js";
import type { ChunkOptions } from "../types.js";
import type { Core } from "./core.js";
import { embedded, passagesOf, type Wanted } from "./documents.js";
import { fits, identify } from "./identity.js";
import type { IndexOptions, SearchEncoder, WorkOptions } from "./types.js";
import { isSame, readAll, Unreadable, View, type Entry } from "./view.js";
import { commits } from "./write.js";

export async function migrate(core: Core, encoder: SearchEncoder, options: IndexOptions & WorkOptions, chunk: ChunkOptions): Promise<void> {
  const { signal, onProgress, ...wishes } = options;
  const view = await core.current();
  const { precision, vectors } = view.made;
  const own = await identify(encoder, { precision, ...(precision !== "float32" && { rescore: vectors }), ...wishes }, undefined, signal);
  const next = await View.make(encoder, own, { generation: 0, made: undefined, parts: [], next: undefined, lost: 0, problem: null });
  try {
    await core.commit(signal, async ({ state }) => {
      const begun = state.next && fits(state.next.made, next.made) ? state.next.parts : [];
      return { next: { made: next.made, parts: begun } };
    });
    for (let isDone = false; !isDone; ) {
      const view = await core.current();
      const { state } = view;
      await follow(view, next);
      const missing = [...view.documents.values()].filter((entry) => !has(next, entry));
      const given = missing.find(({ segment, index }) => segment.isGiven(index));
      if (given) throw invalid(`Document "${given.id}" came with a vector, which no model can make again: remove it, and add it afterwards.`);
      try {
        for (const total = view.documents.size; missing.length > 0; ) {
          await embedSome(core, next, missing, chunk, signal);
          if (!signal?.aborted) onProgress?.({ done: total - missing.length, total });
        }
      } catch (error) {
        if (!(error instanceof Unreadable)) throw error;
        await core.recover(view, state, error);
      }
      await core.commit(signal, async (now, generation) => {
        await follow(now, next);
        if (![...now.documents.values()].every((entry) => has(next, entry))) return undefined;
        const removed = [...next.documents.values()].filter(({ id }) => !now.documents.has(id));
        const parts = await core.store.rewrite(generation, next.made, next.state.parts, { removed });
        isDone = true;
        return { made: next.made, parts, next: undefined, view: next };
      });
    }
  } catch (error) {
    next.dispose();
    throw error;
  }
}

/** Embeds some of the missing documents, and keeps them in the manifest as what is to come. */
async function embedSome(core: Core, next: View, missing: Entry[], chunk: ChunkOptions, signal: AbortSignal | undefined): Promise<void> {
  const wanted: Wanted[] = [];
  for (let passages = 0; missing.length > 0 && passages < commits.passages; passages += wanted.at(-1)!.passages.length) {
    signal?.throwIfAborted();
    const entry = missing.pop()!;
    const { id, metadata, segment, index } = entry;
    const [text] = await readAll([entry], () => segment.text(index), () => entry);
    const passages = await passagesOf(next, text!, chunk, signal);
    wanted.push({ id, text: text!, metadata, vector: undefined, hash: segment.hash(index), passages });
  }
  const put = await embedded(next, wanted, signal);
  await core.commit(signal, async (now, generation) => {
    await follow(now, next);
    const removed = wanted.flatMap(({ id }) => next.documents.get(id) ?? []);
    return { next: { made: next.made, parts: await core.store.rewrite(generation, next.made, next.state.parts, { put, removed }) } };
  });
  await follow(core.latest, next);
}

/** Takes what the last commit has of the migration: another tab may be at it too. */
async function follow({ state }: View, next: View): Promise<void> {
  const fitting = state.next && fits(state.next.made, next.made);
  if (!fitting) throw new EmbedletError("index-mismatch", "Another migration of this index has begun.");
  await next.adopt({ ...next.state, ...state.next });
}

/** Whether a document has its new vectors. */
function has(next: View, { id, metadata, segment, index }: Entry): boolean {
  const other = next.documents.get(id);
  return other !== undefined && isSame(other, segment.hash(index)) && JSON.stringify(other.metadata) === JSON.stringify(metadata);
}
