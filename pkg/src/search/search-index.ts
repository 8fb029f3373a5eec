// The public class: checks arguments, and gives the work to the rooms beside it. What lies in storage is `core.ts`'s, what is done to it
// `write.ts`'s, what is found in it `find.ts`'s; what lies on a host in parts is `shards.ts`'s.

import { checkNames, invalid, isCount, oneOf } from "../arguments.js";
import { EmbedletError } from "../errors.js";
import type { ChunkOptions } from "../types.js";
import { unpack } from "./archive.js";
import { Core } from "./core.js";
import { checkId, readDocuments, readVector } from "./documents.js";
import { find, type Question } from "./find.js";
import type { Folder } from "./folder.js";
import { checkIdentity, identify } from "./identity.js";
import { Lexical } from "./lexical.js";
import { mapQuery } from "./map.js";
import { compileFilter } from "./metadata.js";
import { migrate } from "./migrate.js";
import { documents, get } from "./read.js";
import { Shards } from "./shards.js";
import { isStatic, openStatic } from "./static.js";
import { deleteOpfs, memoryStorage, opfsStorage, type IndexStorage } from "./storage.js";
import type {
  Document, Hit, IndexOptions, IndexStats, MapQuality, MigrateOptions, OpenOptions, ReadOptions, SearchEncoder, SearchOptions, StoredDocument,
  WorkOptions,
} from "./types.js";
import { Unreadable, type QueryMap, type View } from "./view.js";
import { compact, exported, put, remove } from "./write.js";

const INDEX_OPTIONS = ["model", "precision", "dimensions", "rescore"] as const satisfies (keyof IndexOptions)[];
const MOST_FOUND = 10_000;

/** Documents that are found by their meaning. Made by `SearchIndex.open`; calls may overlap. */
export class SearchIndex {
  readonly #index: Core | Shards;
  /** Of a static index: where it lies. */
  readonly #folder: Folder | undefined;
  readonly #chunk: ChunkOptions;
  readonly #makeLexical: OpenOptions["lexical"];
  #lexical: Lexical | undefined;

  private constructor(index: Core | Shards, { chunk = {}, lexical }: OpenOptions, folder?: Folder) {
    this.#index = index;
    this.#folder = folder;
    this.#chunk = { ...chunk };
    this.#makeLexical = lexical;
  }

  /**
   * Opens an index, or makes one where there is none of this name; or a static index, by its address. Rejects with `index-mismatch` where
   * another model made it (but for one that moves to this model by a map, see `migrate`, or with `migrate` here), with `index-version` where
   * a newer release wrote it, and with `index-damaged` where what `export` gave, or a host has, is not whole. Of a damaged index in storage
   * what is left is used: see `stats`.
   */
  static async open(options: OpenOptions): Promise<SearchIndex> {
    const names = ["name", "encoder", "storage", "memory", "chunk", "lexical", "migrate", "signal", "onProgress"] as const;
    checkNames("SearchIndex.open", options, [...INDEX_OPTIONS, ...names]);
    const { name, encoder, storage = "opfs", memory, chunk = {}, lexical, migrate: migration = false, signal } = options;
    checkIndexOptions(options);
    checkEncoder(encoder);
    if (memory !== undefined && !isCount(memory)) throw invalid("`memory` must be a positive whole number of bytes.");
    if (lexical !== undefined && typeof lexical !== "function") throw invalid("`lexical` must be a function that makes a full-text engine.");
    if (typeof migration !== "boolean" && (typeof migration !== "object" || migration === null)) {
      throw invalid("`migrate` must be true, false, or an object with `onProgress`.");
    }
    if (typeof migration === "object") checkNames("`migrate` of SearchIndex.open", migration, ["onProgress"]);
    signal?.throwIfAborted();
    if (isStatic(storage)) {
      if (migration !== false) throw new EmbedletError("read-only", "A static index is embedded anew where it is built: nothing is migrated here.");
      const { index, folder } = await openStatic(storage, options);
      return new SearchIndex(index, options, folder);
    }
    checkName(name);
    const place = await placeOf(name, storage);
    let isForeign = false;
    let core: Core | undefined;
    try {
      core = await Core.open(place, encoder, async (stored) => {
        try {
          const own = await identify(encoder, options, stored, signal);
          if (stored && migration !== false) checkIdentity(stored, own);
          return own;
        } catch (error) {
          if (migration === false || !stored || !(error instanceof EmbedletError) || error.code !== "index-mismatch") throw error;
          isForeign = true;
          return stored;
        }
      });
      // Of a file there is another copy where it came from: a part of it is no index.
      if (core.problem !== null && isFile(storage)) throw new EmbedletError("index-damaged", core.problem);
      const wishes = Object.fromEntries(INDEX_OPTIONS.flatMap((key) => (options[key] === undefined ? [] : [[key, options[key]]])));
      const work = { ...(typeof migration === "object" && migration), ...(signal && { signal }) };
      if (isForeign) await migrate(core, encoder, { ...wishes, ...work }, chunk);
      return new SearchIndex(core, options);
    } catch (error) {
      core?.close();
      place.close();
      throw error;
    }
  }

  /** Deletes an index of this origin. Tells whether there was one. */
  static async delete(name: string): Promise<boolean> {
    checkName(name);
    return deleteOpfs(name);
  }

  /**
   * Adds documents, in the place of those with the same `id`. They are committed in parts: what an abort or a crash has left is there, and
   * when the same documents are added again, those that have not changed are skipped. A full disk is `storage-full`.
   */
  async add(documents: Document | readonly Document[], options: WorkOptions = {}): Promise<void> {
    checkNames("add", options, ["signal", "onProgress"]);
    const core = this.#writable();
    const given = readDocuments("add", documents, core.latest.made.dimensions);
    const without = given.find(({ text, vector }) => text === undefined && vector === undefined);
    if (without) throw invalid(`Document "${without.id}" needs a \`text\`, or a \`vector\`.`);
    const whole = given.map((one) => ({ ...one, metadata: one.metadata ?? null, text: one.text ?? "" }));
    await put(core, whole, false, this.#chunk, options);
  }

  /** Changes documents that are there. What is left out stays; a change of metadata alone embeds nothing. */
  async update(documents: Document | readonly Document[], options: WorkOptions = {}): Promise<void> {
    checkNames("update", options, ["signal", "onProgress"]);
    const core = this.#writable();
    const given = readDocuments("update", documents, core.latest.made.dimensions);
    const view = await core.current();
    const unknown = given.find(({ id }) => !view.documents.has(id));
    if (unknown) throw invalid(`There is no document "${unknown.id}" to be updated.`);
    await put(core, given, true, this.#chunk, options);
  }

  /** Removes documents. Tells how many of them were there. */
  async remove(ids: string | readonly string[], options: Pick<WorkOptions, "signal"> = {}): Promise<number> {
    checkNames("remove", options, ["signal"]);
    return remove(this.#writable(), readIds("remove", ids), options.signal);
  }

  /**
   * All documents, or those that pass the filter, read as they come, in no order that means anything. Others may write meanwhile: what is
   * there from beginning to end comes once, what changes comes as it is when it is its turn.
   */
  documents(options: ReadOptions & Pick<SearchOptions, "filter"> = {}): AsyncGenerator<StoredDocument, void, undefined> {
    checkNames("documents", options, ["vectors", "filter", "signal"]);
    const { vectors = false, filter, signal } = options;
    const holds = filter === undefined ? undefined : compileFilter(filter);
    const reading = { vectors: checkVectors(vectors), holds, signal };
    return this.#index instanceof Shards ? this.#index.documents(reading) : documents(this.#index, reading);
  }

  /** Documents by their names, in the order of these; undefined where there is none. */
  async get(ids: string | readonly string[], options: ReadOptions = {}): Promise<(StoredDocument | undefined)[]> {
    checkNames("get", options, ["vectors", "signal"]);
    const { vectors = false, signal } = options;
    const list = readIds("get", ids);
    const found = await get(this.#whole("get"), list, { vectors: checkVectors(vectors), holds: undefined, signal });
    return list.map((id) => found.get(id));
  }

  /** Finds the documents that are closest to a query: a text, or a vector of the model. Best first. */
  async search(query: string | Float32Array, options: SearchOptions = {}): Promise<Hit[]> {
    checkNames("search", options, ["topK", "filter", "hybrid", "rerank", "probes", "signal", "onProgress"]);
    const { topK = 10, filter, hybrid = false, rerank, probes, signal, onProgress } = options;
    if (!isCount(topK) || topK > MOST_FOUND) throw invalid(`\`topK\` must be a whole number from 1 to ${MOST_FOUND}.`);
    const text = typeof query === "string" ? query : undefined;
    if (rerank && typeof rerank.rerank !== "function") throw invalid("`rerank` must be an encoder, as `Encoder.load` gives it.");
    if (text === undefined && (hybrid || rerank)) throw invalid("`hybrid` and `rerank` need a query that is a text.");
    if (hybrid && !this.#makeLexical) throw invalid("`hybrid` needs a full-text engine: open the index with `lexical`.");
    if (probes !== undefined && probes !== Infinity && !isCount(probes)) throw invalid("`probes` must be a positive whole number, or Infinity.");
    const holds = filter === undefined ? undefined : compileFilter(filter);
    const shards = this.#index instanceof Shards ? this.#index : undefined;
    if (shards && !hybrid) {
      const question = { vector: await vectorOf(shards, query, signal), text, topK, holds, lexical: undefined, rerank, signal };
      return shards.find(question, probes, onProgress);
    }
    const core = this.#whole("hybrid");
    let asked: { view: View; vector: Float32Array } | undefined;
    for (;;) {
      signal?.throwIfAborted();
      const view = await core.current();
      const { state } = view;
      if (asked?.view !== view) asked = { view, vector: await vectorOf(view, query, signal) };
      const lexical = hybrid ? this.#lexicalOf(view) : undefined;
      const question: Question = { vector: asked.vector, text, topK, holds, lexical, rerank, signal };
      try {
        return await find(view, question);
      } catch (error) {
        if (error instanceof Unreadable) await core.recover(view, state, error);
        // A view that was given up in the middle answers nothing.
        else if ((await core.current()) === view) throw error;
      }
    }
  }

  /** What the index holds, as of the last call; `problem` and `lost` say what of it could not be read. */
  stats(): IndexStats {
    const fetched = this.#folder && { fetched: this.#folder.fetched };
    if (this.#index instanceof Shards) return { ...this.#index.stats(), ...fetched };
    const { latest, lost, problem } = this.#index;
    const { documents, made, map, state } = latest;
    const segments = state.parts.map(({ segment }) => segment);
    const sum = (counts: number[]) => counts.reduce((all, count) => all + count, 0);
    const passages = sum([...documents.values()].map((entry) => entry.passages));
    return {
      documents: documents.size,
      passages,
      bytes: sum(segments.map(({ ref }) => ref.bytes)),
      segments: segments.length,
      dead: sum(segments.map((segment) => segment.passages)) - passages,
      generation: state.generation,
      model: made.model,
      dimensions: made.dimensions,
      precision: made.precision,
      similarity: made.similarity,
      lost,
      problem,
      ...(map && { map: { ...map.quality } }),
      ...fetched,
    };
  }

  /** The index as one file, which `open` takes as `storage`. */
  async export(): Promise<Blob> {
    return exported(this.#whole("export"));
  }

  /** Frees what removed documents take in storage. Done unasked when they are more than half. */
  async compact(options: Pick<WorkOptions, "signal"> = {}): Promise<void> {
    checkNames("compact", options, ["signal"]);
    await compact(this.#writable(), options.signal);
  }

  /**
   * Embeds all texts with another model, or in another form, while the index goes on answering. Goes on where it was given up. Afterwards
   * the index is the new model's, and other tabs must open it with that. With `map` queries are the new model's from early on, the old
   * encoder is not needed any more, and `open` takes the new one; gives how good the map is.
   */
  async migrate(encoder: SearchEncoder, options: MigrateOptions = {}): Promise<MapQuality | undefined> {
    checkNames("migrate", options, [...INDEX_OPTIONS, "map", "signal", "onProgress"]);
    checkIndexOptions(options);
    checkEncoder(encoder);
    checkMap(options.map);
    return migrate(this.#writable(), encoder, options, this.#chunk);
  }

  /** Frees the memory of the index; its encoder stays. Calls still running reject with `disposed`. */
  close(): void {
    this.#lexical = undefined;
    this.#index.close();
  }

  /** For `using index = await SearchIndex.open(…)`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** The index where it has all of its documents at hand. */
  #whole(what: string): Core {
    if (!(this.#index instanceof Shards)) return this.#index;
    const reason = "needs an index that is there as a whole; this one is in cells, of which searches read some";
    throw new EmbedletError("unsupported-option", `\`${what}\` ${reason}.`);
  }

  #writable(): Core {
    if (!this.#folder) return this.#index as Core;
    throw new EmbedletError("read-only", "A static index takes no changes: build it anew, or open an index of your own.");
  }

  #lexicalOf(view: View): Lexical {
    if (this.#lexical?.view !== view) this.#lexical = new Lexical(view, this.#makeLexical!);
    return this.#lexical;
  }
}

type Asked = Pick<View, "encoder" | "made"> & { map?: QueryMap | undefined };

async function vectorOf({ encoder, made, map }: Asked, query: string | Float32Array, signal: AbortSignal | undefined): Promise<Float32Array> {
  const { dimensions } = map?.made ?? made;
  const embed = async (text: string) => (await encoder.embedQuery(text, { dimensions, ...(signal && { signal }) })).row(0);
  const own = typeof query === "string" ? await embed(query) : readVector("of the query", query, dimensions)!;
  return map ? mapQuery(map.matrix, own) : own;
}

const isFile = (storage: OpenOptions["storage"]) => storage instanceof Blob || storage instanceof ArrayBuffer || ArrayBuffer.isView(storage);

type OwnStorage = Exclude<OpenOptions["storage"], undefined | URL | FileSystemDirectoryHandle>;

async function placeOf(name: string, storage: OwnStorage): Promise<IndexStorage> {
  if (storage === "opfs") return opfsStorage(name);
  if (storage === "memory") return memoryStorage();
  if (isFile(storage)) return memoryStorage(await unpack(new Blob([storage as BlobPart])));
  if (typeof storage === "object" && storage !== null && "alone" in storage) return storage;
  throw invalid("`storage` must be \"opfs\", \"memory\", a file that `export` gave, or a URL.");
}

function readIds(method: string, ids: string | readonly string[]): readonly string[] {
  const list = typeof ids === "string" ? [ids] : ids;
  if (!Array.isArray(list)) throw invalid(`${method} takes an id, or an array of ids.`);
  for (const id of list) checkId(id);
  return list;
}

function checkVectors(vectors: unknown): boolean {
  if (typeof vectors !== "boolean") throw invalid("`vectors` must be true or false.");
  return vectors;
}

function checkName(name: unknown): asserts name is string {
  if (typeof name !== "string" || name.length === 0) throw invalid("`name` must be a string, and not empty.");
}

/** By what it can do: an extension's encoder is of another class. */
function checkEncoder(encoder: SearchEncoder): void {
  if (typeof encoder?.embedQuery !== "function") throw invalid("An index needs an `encoder`, as `Encoder.load` gives it.");
}

function checkIndexOptions({ model, precision, dimensions, rescore }: IndexOptions): void {
  if (model !== undefined && typeof model !== "string") throw invalid("`model` must be a string.");
  oneOf("precision", precision, ["float32", "int8", "binary"]);
  if (dimensions !== undefined && !isCount(dimensions)) throw invalid("`dimensions` must be a positive whole number.");
  if (rescore !== undefined && typeof rescore !== "boolean") throw invalid("`rescore` must be true or false.");
}

function checkMap(map: MigrateOptions["map"]): void {
  if (map === undefined || typeof map === "boolean") return;
  const good = typeof map === "object" && map !== null && isCount(map.sample) && map.sample >= 10 && map.sample <= 100_000;
  if (!good) throw invalid("`map` must be true, or have a `sample` of 10 to 100,000 passages.");
  checkNames("map", map, ["sample"]);
}
