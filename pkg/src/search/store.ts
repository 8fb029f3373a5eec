// The files of an index as a whole: which commit holds, how the next one is written, and what is deleted behind it.

import { EmbedletError } from "../errors.js";
import { isDamage, readFile } from "./file.js";
import {
  generationOf, isOurs, makeManifest, manifestOf, Part, partOf, readManifest, segmentsOf, type Made, type Manifest, type Migration, type Named,
  type State, type StoredMap,
} from "./manifest.js";
import { makeMap, readMap, type Matrix } from "./map.js";
import { makeSegment, Segment, type Fresh, type Kept } from "./segment.js";
import { guarded, type IndexStorage } from "./storage.js";
import type { MapQuality } from "./types.js";

/** Most passages of a segment, so that the parts that are read as a whole stay small. */
const MOST_PASSAGES = 32_768;
/** Segments of a size before they are made one of the next. */
const FAN = 8;

/** What a commit does to the documents of a state. */
export interface Change {
  put?: readonly (Fresh | Kept)[];
  /** Documents that are removed, by segment and place; those that are put elsewhere among them. */
  removed?: Iterable<{ segment: Segment; index: number }>;
  /** Writes all documents anew. */
  whole?: boolean;
}

/** A number that no counting comes to. Behind it there is room for those that are counted all the same. */
const FAR = 1e14;

/** The number of a first commit. Tests count from 1. */
export const numbering = { first: () => Date.now() };

export class Store {
  constructor(readonly storage: IndexStorage) {}

  /** The newest manifest's number, whole or not; 0 where there is none. */
  async newest(): Promise<number> {
    const [newest = 0] = await this.#generations();
    return newest;
  }

  /**
   * The number of the next commit. The first is a time: an index may have been deleted and made again while another tab has the old one
   * open, which must find no number, and so no name of a file, that it knows. `last` is that of the last commit that is whole: behind a
   * broken one of a number that no counting comes to there need not be any that can be read.
   */
  async next(last: number): Promise<number> {
    const newest = (await this.#generations()).find((number) => number <= Math.max(last, FAR)) ?? 0;
    return newest === 0 ? numbering.first() : newest + 1;
  }

  /**
   * The last commit that is whole; else the last that can be read, with what is left of it. `known` are segments that are open.
   *
   * A manifest that is broken may be one that is being written, and what an older one has lost may have been deleted behind it a moment
   * ago: loss is believed when it is found a second time, with no other manifest there.
   */
  async load(known: readonly Segment[]): Promise<State> {
    for (let before: string | undefined; ; ) {
      const generations = await this.#generations();
      let rest: State | undefined;
      for (const generation of generations) {
        const state = await this.#read(generation, known);
        if (state?.lost === 0) return state;
        rest ??= state;
      }
      const found = `${generations}: ${rest?.generation}, ${rest?.lost}`;
      if (found === before) return rest ?? this.#nothing();
      before = found;
    }
  }

  async #nothing(): Promise<State> {
    // A first commit that was cut short looks the same as an index that lost its manifest.
    const isEmpty = !(await guarded("list files", this.storage.list())).some(isOurs);
    const problem = isEmpty ? null : "No manifest of the index could be read: it begins anew.";
    return { generation: 0, made: undefined, parts: [], next: undefined, lost: 0, problem };
  }

  async #generations(): Promise<number[]> {
    const names = await guarded("list files", this.storage.list());
    return names.flatMap((name) => generationOf(name) ?? []).sort((a, b) => b - a);
  }

  async #read(generation: number, known: readonly Segment[]): Promise<State | undefined> {
    const name = manifestOf(generation);
    let manifest: Manifest;
    try {
      manifest = await readFile(this.storage, name, (file) => readManifest(name, file));
    } catch (error) {
      if (isDamage(error)) return undefined;
      throw error;
    }
    const { made, segments, next } = manifest;
    const parts = await this.#open(segments, made, known);
    const documents = (list: readonly { documents: number }[]) => list.reduce((sum, one) => sum + one.documents, 0);
    const lost = documents(segments) - documents(parts);
    const problem = lost > 0 ? `${lost} documents of the index are lost: their files are gone, or damaged.` : null;
    // What a migration has not got any more, it makes again.
    const other = next ? await this.#migration(next, made, known) : undefined;
    return { generation, made, parts, next: other, lost, problem };
  }

  async #migration({ made, segments, map }: NonNullable<Manifest["next"]>, from: Made, known: readonly Segment[]): Promise<Migration> {
    const read = map && readMap(this.storage, map, made.dimensions, from.dimensions).catch((error) => {
      if (!isDamage(error)) throw error;
    });
    return { made, parts: await this.#open(segments, made, known), map: (await read) ?? undefined };
  }

  /** Those of the segments that can be opened. */
  async #open(segments: readonly Named[], made: Made, known: readonly Segment[]): Promise<Part[]> {
    const parts: Part[] = [];
    for (const named of segments) {
      try {
        const same = known.find(({ ref }) => ref.name === named.name && ref.checksum === named.checksum);
        parts.push(partOf(named, same ?? (await Segment.open(this.storage, named, made))));
      } catch (error) {
        if (!isDamage(error)) throw error;
      }
    }
    return parts;
  }

  /** Writes segments, so that `change` is done to `parts`. Nothing is changed that these are made of. */
  async rewrite(generation: number, made: Made, parts: readonly Part[], { put = [], removed = [], whole = false }: Change): Promise<Part[]> {
    const gone = new Map<Segment, number[]>();
    for (const { segment, index } of removed) {
      const indices = gone.get(segment);
      if (indices) indices.push(index);
      else gone.set(segment, [index]);
    }
    const left = parts
      .map((part) => (gone.has(part.segment) ? part.without(gone.get(part.segment)!) : part))
      .filter(({ documents }) => documents > 0)
      .sort((a, b) => a.passages - b.passages);
    const taken = whole || isMostlyDead(left) ? left.length : merged(left, put);
    const kept = left.slice(0, taken).flatMap((part) => [...part.indices()].map((index) => keptAt(part.segment, index)));
    const written: Part[] = [];
    for (const documents of portions([...kept, ...put])) {
      const { file, checksum } = await makeSegment(documents, made);
      const ref = { name: `segment-${generation}-${written.length}-${checksum.toString(16)}`, bytes: file.size, checksum };
      await this.#write(ref.name, file, async () => written.push(new Part(await Segment.open(this.storage, ref, made))));
    }
    return [...left.slice(taken), ...written];
  }

  /** Writes the map of a migration. */
  async writeMap(generation: number, matrix: Matrix, quality: MapQuality): Promise<StoredMap> {
    const { file, checksum } = makeMap(matrix, quality);
    const ref = { name: `map-${generation}-${checksum.toString(16)}`, bytes: file.size, checksum };
    let stored: StoredMap | undefined;
    await this.#write(ref.name, file, async () => (stored = await readMap(this.storage, ref, matrix.rows, matrix.columns)));
    return stored!;
  }

  /** The commit: from here on the index is `state`. */
  async save(state: State): Promise<void> {
    const name = manifestOf(state.generation);
    await this.#write(name, makeManifest(state), () => readFile(this.storage, name, (file) => readManifest(name, file)));
  }

  /**
   * Deletes what `state` has no use for. Newer manifests, which are broken, stay until there is a newer one that is not, so that no number
   * is given twice, but for those of numbers that no counting comes to. What cannot be deleted is the next writer's.
   */
  async collect(state: State): Promise<void> {
    const used = new Set(segmentsOf(state).map(({ ref }) => ref.name).concat(state.next?.map?.ref.name ?? []));
    const names = await this.storage.list().catch(() => []);
    for (const name of names) {
      const number = generationOf(name) ?? 0;
      const stays = number === state.generation || (number > state.generation && number <= FAR);
      if (!isOurs(name) || used.has(name) || stays) continue;
      await this.storage.delete(name).catch(() => {});
    }
  }

  /** What storage says it wrote is read again: a disk that is full does not always say so. */
  async #write(name: string, file: Blob, check: () => Promise<unknown>): Promise<void> {
    await guarded("write", this.storage.write(name, file));
    await check().catch((cause) => {
      if (!isDamage(cause)) throw cause;
      throw new EmbedletError("storage-failed", `The browser's storage did not keep ${name} as it was written.`, { cause });
    });
  }
}

/** A document as it lies in a segment. */
export function keptAt(segment: Segment, index: number): Kept {
  const [id, metadata] = segment.entries[index]!;
  return { id, metadata, segment, index };
}

const passagesOf = (document: Fresh | Kept) =>
  "segment" in document ? document.segment.passagesOf(document.index)[1] : document.passages.length;
const total = (counts: readonly number[]) => counts.reduce((sum, count) => sum + count, 0);

function isMostlyDead(parts: readonly Part[]): boolean {
  return total(parts.map(({ segment }) => segment.passages)) > 2 * total(parts.map(({ passages }) => passages));
}

/**
 * How many of the smallest segments become one with what is new: as many as make the next size, so that there are never many of
 * a size, and a passage is seldom copied. Those that have their size stay as they are.
 */
function merged(parts: readonly Part[], put: readonly (Fresh | Kept)[]): number {
  if (put.length === 0) return 0;
  let size = total(put.map(passagesOf));
  for (let taken = 0; ; taken += FAN - 1) {
    const sizes = parts.slice(taken, taken + FAN - 1).map(({ passages }) => passages);
    const [largest = 0, sum] = [sizes.at(-1), size + total(sizes)];
    if (sizes.length < FAN - 1 || largest > MOST_PASSAGES / 2 || largest > sum - largest) return taken;
    size = sum;
  }
}

function* portions(documents: readonly (Fresh | Kept)[]): Generator<(Fresh | Kept)[]> {
  let portion: (Fresh | Kept)[] = [];
  let passages = 0;
  for (const document of documents) {
    const more = passagesOf(document);
    if (portion.length > 0 && passages + more > MOST_PASSAGES) {
      yield portion;
      [portion, passages] = [[], 0];
    }
    portion.push(document);
    passages += more;
  }
  if (portion.length > 0) yield portion;
}
