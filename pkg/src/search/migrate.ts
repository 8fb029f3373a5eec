// An index that moves to another model: all texts are embedded again, beside the index, which goes on answering. What is done is kept in
// the manifests, and gone on with after a crash; when the last text has its new vectors, one commit makes them the index. Where a map is
// wanted, queries are the new model's before that.

import { invalid } from "../arguments.js";
import { EmbedletError } from "../errors.js";
import type { ChunkOptions } from "../types.js";
import type { Core } from "./core.js";
import { embedded, passagesOf, type Wanted } from "./documents.js";
import { fits, identify } from "./identity.js";
import type { Migration } from "./manifest.js";
import { fitMap } from "./map.js";
import { sample } from "./sample.js";
import type { MapQuality, MigrateOptions, SearchEncoder } from "./types.js";
import { isSame, readAll, Unreadable, View, type Entry } from "./view.js";
import { commits } from "./write.js";

/** Passages that a map is fitted to. */
const SAMPLE = 2000;

export async function migrate(core: Core, encoder: SearchEncoder, options: MigrateOptions, chunk: ChunkOptions): Promise<MapQuality | undefined> {
  const { signal, onProgress, map = false, ...wishes } = options;
  const view = await core.current();
  const { precision, vectors } = view.made;
  const as = view.map ? wishes : { precision, ...(precision !== "float32" && { rescore: vectors }), ...wishes };
  const own = await identify(encoder, as, view.map?.made, signal);
  const next = await View.make(encoder, own, { generation: 0, made: undefined, parts: [], next: undefined, lost: 0, problem: null });
  let quality: MapQuality | undefined;
  try {
    await core.commit(signal, async ({ state }) => {
      const begun = state.next && fits(state.next.made, next.made) ? state.next : { parts: [], map: undefined };
      return { next: { made: next.made, parts: begun.parts, map: begun.map } };
    });
    if (map !== false) quality = await answerByMap(core, next, map === true ? SAMPLE : map.sample, options);
    for (let isDone = false; !isDone; ) {
      const view = await core.current();
      const { state } = view;
      await follow(view, next);
      refuseGiven(view);
      const missing = [...view.documents.values()].filter((entry) => !has(next, entry));
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
    return quality;
  } catch (error) {
    next.dispose();
    throw error;
  }
}

/** Makes the index one whose queries are the new model's. The map of a migration that was given up is used again. */
async function answerByMap(core: Core, next: View, size: number, { signal, onProgress }: MigrateOptions): Promise<MapQuality | undefined> {
  const view = await core.current();
  follows(view, next);
  if (view.map) return view.map.quality;
  if (view.made.similarity !== "cosine" || next.made.similarity !== "cosine") {
    throw new EmbedletError("unsupported-option", "`map` is for models that compare by cosine: migrate without it.");
  }
  refuseGiven(view);
  const kept = view.state.next?.map;
  const pairs = kept ? undefined : await sample(core, next, size, signal);
  const fitted = pairs && (await fitMap(pairs, signal));
  const quality = kept?.quality ?? fitted?.quality;
  if (!quality) return undefined;
  onProgress?.({ done: next.documents.size, total: view.documents.size, map: { ...quality } });
  signal?.throwIfAborted();
  let mapped: View | undefined;
  try {
    await core.commit(signal, async (now, generation) => {
      const migration = follows(now, next);
      const stored = migration.map ?? (await core.store.writeMap(generation, fitted!.map, quality));
      mapped?.dispose();
      mapped = await View.make(next.encoder, now.made, now.state, { ...stored, made: next.made });
      return { next: { ...migration, map: stored }, view: mapped };
    });
  } catch (error) {
    mapped?.dispose();
    throw error;
  }
  return quality;
}

function refuseGiven({ documents }: View): void {
  const given = [...documents.values()].find(({ segment, index }) => segment.isGiven(index));
  if (given) throw invalid(`Document "${given.id}" came with a vector, which no model can make again: remove it, and add it afterwards.`);
}

/** Embeds some of the missing documents, and keeps them in the manifest as what is to come. */
async function embedSome(core: Core, next: View, missing: Entry[], chunk: ChunkOptions, signal: AbortSignal | undefined): Promise<void> {
  const wanted: Wanted[] = [];
  for (let passages = 0; missing.length > 0 && passages < commits.passages; passages += wanted.at(-1)!.passages.length) {
    signal?.throwIfAborted();
    const entry = missing.pop()!;
    const { id, metadata, segment, index } = entry;
    const [text] = await readAll([entry], () => segment.text(index), () => entry);
    const passages = await passagesOf(next, id, text!, chunk, signal);
    wanted.push({ id, text: text!, metadata, vector: undefined, hash: segment.hash(index), passages });
  }
  const put = await embedded(next, wanted, signal);
  await core.commit(signal, async (now, generation) => {
    const migration = await follow(now, next);
    const removed = wanted.flatMap(({ id }) => next.documents.get(id) ?? []);
    return { next: { ...migration, parts: await core.store.rewrite(generation, next.made, next.state.parts, { put, removed }) } };
  });
  await follow(core.latest, next);
}

/** Takes what the last commit has of the migration: another tab may be at it too. */
async function follow(view: View, next: View): Promise<Migration> {
  const migration = follows(view, next);
  await next.adopt({ ...next.state, made: migration.made, parts: migration.parts });
  return migration;
}

function follows({ state }: View, next: View): Migration {
  if (state.next && fits(state.next.made, next.made)) return state.next;
  throw new EmbedletError("index-mismatch", "Another migration of this index has begun.");
}

/** Whether a document has its new vectors. */
function has(next: View, { id, metadata, segment, index }: Entry): boolean {
  const other = next.documents.get(id);
  return other !== undefined && isSame(other, segment.hash(index)) && JSON.stringify(other.metadata) === JSON.stringify(metadata);
}
