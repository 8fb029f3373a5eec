// What is done to an index: documents that come, change and go, in commits of so many passages, so that what was done of a long work stays
// done. Vectors are made outside of the commit; what has changed meanwhile is looked at again.

import { invalid } from "../arguments.js";
import { EmbedletError } from "../errors.js";
import { pause } from "../pause.js";
import type { ChunkOptions } from "../types.js";
import { pack } from "./archive.js";
import type { Core } from "./core.js";
import { embedded, hashOf, passagesOf, type Given, type Wanted } from "./documents.js";
import { isDamage } from "./file.js";
import type { Hash, Kept } from "./segment.js";
import { guarded, memoryStorage } from "./storage.js";
import { Store } from "./store.js";
import type { Metadata, WorkOptions } from "./types.js";
import { isSame, Unreadable, type Entry, type View } from "./view.js";

/** Passages that are embedded and committed at once. Tests take fewer. */
export const commits = { passages: 256 };

/** A document whose vectors are there, with other metadata. */
interface Renamed {
  id: string;
  metadata: Metadata | null;
  hash: Hash;
}

/** A document as it was when its update was planned, of which that keeps something. */
interface Before {
  entry: Entry;
  metadata: Metadata | null;
  hash: Hash;
}

/** Puts documents into the index. An update keeps what it leaves out. */
export async function put(core: Core, documents: readonly Given[], isUpdate: boolean, chunk: ChunkOptions, options: WorkOptions): Promise<void> {
  const { signal, onProgress } = options;
  const total = documents.length;
  const waiting = [...documents].reverse();
  while (waiting.length > 0) {
    const view = await core.current();
    const { state } = view;
    const taken: Given[] = [];
    const wanted: Wanted[] = [];
    const renamed: Renamed[] = [];
    const updated: Before[] = [];
    for (let passages = 0; waiting.length > 0 && passages < commits.passages; ) {
      // Documents that are there already are many, and gone through fast.
      if (waiting.length % 256 === 0) await pause();
      signal?.throwIfAborted();
      const given = waiting.pop()!;
      const before = isUpdate ? beforeOf(view, given) : undefined;
      let plan: Wanted | Renamed | undefined;
      try {
        plan = await planOf(view, given, before, chunk, signal);
      } catch (error) {
        if (!before || !isDamage(error)) throw error;
        // Its text lies elsewhere by now, or is lost.
        await core.recover(view, state, new Unreadable([before.entry]));
        waiting.push(given);
        break;
      }
      if (!plan) continue;
      taken.push(given);
      if (before) updated.push(before);
      if ("text" in plan) wanted.push(plan);
      else renamed.push(plan);
      passages += "text" in plan ? plan.passages.length : 1;
    }
    const fresh = await embedded(view, wanted, signal);
    if (taken.length > 0) {
      await core.commit(signal, async (now, generation) => {
        const kept = renamed.map(({ id, metadata, hash }) => ({ id, metadata, hash, entry: now.documents.get(id) }));
        // Another call or tab was here, or the index was read anew: what was made is of the past.
        if (now !== view || !updated.every((before) => isThere(now, before)) || kept.some(({ entry, hash }) => !entry || !isSame(entry, hash))) {
          waiting.push(...taken);
          return undefined;
        }
        const moved = kept.map(({ id, metadata, entry }): Kept => ({ id, metadata, segment: entry!.segment, index: entry!.index }));
        const old = [...taken.flatMap(({ id }) => now.documents.get(id) ?? []), ...now.lost];
        return { parts: await core.store.rewrite(generation, now.made, now.state.parts, { put: [...fresh, ...moved], removed: old }) };
      });
    }
    if (!signal?.aborted) onProgress?.({ done: total - waiting.length, total });
  }
}

function beforeOf(view: View, { id }: Given): Before {
  const entry = view.documents.get(id);
  if (!entry) throw invalid(`There is no document "${id}" to be updated.`);
  return { entry, metadata: entry.metadata, hash: entry.segment.hash(entry.index) };
}

/** Whether a document is as it was. */
function isThere({ documents }: View, { entry: { id }, metadata, hash }: Before): boolean {
  const now = documents.get(id);
  return now !== undefined && isSame(now, hash) && JSON.stringify(now.metadata) === JSON.stringify(metadata);
}

/** What is to be done for a document; undefined where it is there as it is. An update knows what was there before. */
async function planOf(
  view: View,
  given: Given,
  before: Before | undefined,
  chunk: ChunkOptions,
  signal: AbortSignal | undefined,
): Promise<Wanted | Renamed | undefined> {
  const { id, vector } = given;
  const entry = view.documents.get(id);
  const old = before?.entry;
  const metadata = given.metadata === undefined ? (old?.metadata ?? null) : given.metadata;
  const isNew = given.text !== undefined || vector !== undefined;
  const text = given.text ?? (old && isNew ? await old.segment.text(old.index) : "");
  const hash = isNew ? hashOf(text, vector, chunk) : old!.segment.hash(old!.index);
  if (entry && isSame(entry, hash)) {
    return JSON.stringify(entry.metadata) === JSON.stringify(metadata) ? undefined : { id, metadata, hash };
  }
  if (view.map) {
    const reason = "This index moves to another model, and has vectors of the old one until then";
    throw new EmbedletError("index-mismatch", `${reason}: add documents when \`migrate\` has ended.`);
  }
  const passages = vector ? [{ start: 0, end: text.length }] : await passagesOf(view, id, text, chunk, signal);
  return { id, text, metadata, vector, hash, passages };
}

/** Removes documents; tells how many were there. */
export async function remove(core: Core, ids: readonly string[], signal: AbortSignal | undefined): Promise<number> {
  let count = 0;
  await core.commit(signal, async ({ documents, made, state, lost }, generation) => {
    const entries = [...new Set(ids)].flatMap((id) => documents.get(id) ?? []);
    count = entries.length;
    if (count === 0) return undefined;
    return { parts: await core.store.rewrite(generation, made, state.parts, { removed: [...entries, ...lost] }) };
  });
  return count;
}

/** Writes all that is there anew, and nothing else. */
export async function compact(core: Core, signal: AbortSignal | undefined): Promise<void> {
  await core.commit(signal, async ({ made, state, lost }, generation) => ({
    parts: await core.store.rewrite(generation, made, state.parts, { removed: lost, whole: true }),
  }));
}

/** The index as a file, with what is there alone. Nobody writes meanwhile, for files would go. */
export async function exported(core: Core): Promise<Blob> {
  let packed: Blob | undefined;
  await core.commit(undefined, async ({ made, state, lost }) => {
    const files = new Map<string, Blob>();
    const store = new Store(memoryStorage(files));
    const parts = await store.rewrite(1, made, state.parts, { removed: lost, whole: true });
    await store.save({ generation: 1, made, parts, next: undefined, lost: 0, problem: null });
    packed = await guarded("read", pack(files));
    return undefined;
  });
  return packed!;
}
