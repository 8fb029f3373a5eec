// The texts that can be searched, the page's collections and the reader's own, in one index of this origin: at the next visit they are
// there again, with their vectors. What comes is embedded a slice at a time. Knows no widget; whoever shows it passes `onProgress`.

import type { Encoder } from "embedlet";
import type { Document as Stored, LexicalEngine, SearchIndex } from "embedlet/search";
import { type Document, LONGEST_LABEL } from "./document.js";

/** A text that comes to a source. */
export type Added = Pick<Document, "title" | "text"> & Partial<Pick<Document, "label">>;
export interface Hit { document: Document; passage: { start: number; end: number }; score: number }
export interface Progress { done: number; total: number; textsPerSecond: number | null }

/** The sources of the page's own collections, which are not the reader's. */
export const SAMPLE = "Sample collection";
export const GLOSSES = "Words and what they mean";
export const isOurs = (source: string): boolean => source === SAMPLE || source === GLOSSES;

/** Several such pages may be of one origin. */
const NAME = `texts of ${new URL("./", document.baseURI).pathname.slice(-50)}`;
const MOST_DOCUMENTS = 20_000;
/** A thought or two, so that the passage which is marked says why a text was found. */
const PASSAGE_TOKENS = 36;
/** Time that one slice should take, in ms: calls queue, so it is also the longest that a query waits while texts are embedded. */
const SLICE_MS = 300;
/** What is wrong with storage, or with what lies there: the page works without. */
const STORAGE = ["storage-failed", "storage-full", "index-damaged", "index-version", "index-mismatch"];

/** Where a document belongs: its source, when that was added, and its number there. */
interface Place { source: string; added: number; at: number }

export class Library {
  /** Why texts are gone with the page; `null` where they are kept. */
  unkept: string | null = null;
  /** Whether what another model embedded is being embedded anew. */
  isMigrating = false;
  #index: SearchIndex | null = null;
  #engine: (() => LexicalEngine) | null = null;
  /** By id: what the index holds, and what is pending. */
  #places = new Map<string, Place>();
  #pending: Stored[] = [];
  /** Documents of an index that keeps nothing. */
  #unkept = new Map<string, Stored>();
  /** What is to go from the index when it is open again. */
  #surplus: string[] = [];
  #abort = new AbortController();
  #running: Promise<void> | null = null;
  #slice = 8;

  constructor(readonly onProgress: (progress: Progress) => void) {}

  get isOpen(): boolean { return this.#index !== null; }
  get size(): number { return this.#places.size; }
  get passages(): number { return this.#index?.stats().passages ?? 0; }
  /** What is kept takes so much in storage. */
  get bytes(): number { return this.unkept === null ? (this.#index?.stats().bytes ?? 0) : 0; }

  /** The sources of all documents, and how many each has. */
  sources(): Map<string, number> {
    const counts = new Map<string, number>();
    for (const { source } of this.#places.values()) counts.set(source, (counts.get(source) ?? 0) + 1);
    return counts;
  }

  /**
   * Opens the index with an encoder. Texts that another model embedded are embedded anew before it resolves; where the browser keeps
   * nothing, the index lasts as long as the page.
   */
  async open(encoder: Encoder): Promise<void> {
    const { signal } = this.#abort;
    const { SearchIndex } = await import("embedlet/search");
    const options = {
      name: NAME, encoder, signal,
      chunk: { size: Math.min(PASSAGE_TOKENS, encoder.info.maxTokens), by: "sentences" as const },
      lexical: () => this.#engine!(),
      migrate: {
        onProgress: ({ done, total }: { done: number; total: number }) => {
          this.isMigrating = true;
          this.onProgress({ done, total, textsPerSecond: null });
        },
      },
    };
    let index: SearchIndex;
    try {
      index = await SearchIndex.open(options);
      this.unkept = null;
    } catch (error) {
      const { code, message } = error as { code?: string; message: string };
      if (!STORAGE.includes(code ?? "")) throw error;
      this.unkept = message;
      index = await SearchIndex.open({ ...options, storage: "memory" });
    } finally {
      this.isMigrating = false;
    }
    try {
      const held: [string, Place][] = [];
      for await (const { id, text, metadata } of index.documents({ signal })) held.push([id, read(id, text, metadata).place]);
      const pending = new Set(this.#pending.map(({ id }) => id));
      this.#pending.unshift(...[...this.#unkept.values()].filter(({ id }) => !pending.has(id)));
      const coming = this.#pending.map((one): [string, Place] => [one.id, read(one.id, one.text!, one.metadata).place]);
      this.#places = new Map([...held, ...coming].sort(([, a], [, b]) => inOrder(a, b)));
      if (this.#surplus.length > 0) await index.remove(this.#surplus, { signal });
      signal.throwIfAborted();
    } catch (error) {
      index.close();
      throw error;
    }
    for (const id of this.#surplus) if (!this.#pending.some((one) => one.id === id)) this.#places.delete(id);
    this.#surplus = [];
    this.#index = index;
  }

  /** Lets go of the index and its encoder; what is pending waits for the next. */
  close(): void {
    this.#abort.abort();
    this.#abort = new AbortController();
    this.#running = null;
    this.#index?.close();
    this.#index = null;
  }

  /** Takes documents in the place of those that the source has had, as far as there is room, and returns how many it took. */
  async replace(source: string, documents: readonly Added[], added = Date.now()): Promise<number> {
    const old = this.#idsOf((one) => one === source);
    const taken = documents.slice(0, Math.max(0, MOST_DOCUMENTS - (this.size - old.length))).map(({ title, text, label = "" }, at): Stored => ({
      id: `${source} ${at}`, text: title === "" ? text : `${title}\n${text}`,
      metadata: { source, title: title.length, ...(label === "" ? {} : { label }), added, at },
    }));
    const ids = new Set(taken.map(({ id }) => id));
    this.#pending = [...this.#pending.filter(({ id }) => !ids.has(id)), ...taken];
    for (const { id, metadata } of taken) this.#places.set(id, metadata as unknown as Place);
    await this.#remove(old.filter((id) => !ids.has(id)));
    return taken.length;
  }

  /** Forgets every document of one source; its bytes go too. */
  async remove(source: string): Promise<void> {
    await this.#remove(this.#idsOf((one) => one === source));
  }

  /** Forgets all that is the reader's, also what could not be opened; or the page's own collections too. */
  async forget(all = false): Promise<void> {
    await this.#remove(this.#idsOf((source) => all || !isOurs(source)));
    if (this.isOpen && this.unkept === null) return;
    const { SearchIndex } = await import("embedlet/search");
    await SearchIndex.delete(NAME).catch((error) => {
      // Where there is no storage, which the reader knows, there is nothing in it.
      if (this.unkept === null || error.code !== "storage-failed") throw error;
    });
    this.#surplus = [];
  }

  #idsOf(wanted: (source: string) => boolean): string[] {
    return [...this.#places].flatMap(([id, { source }]) => (wanted(source) ? [id] : []));
  }

  async #remove(ids: string[]): Promise<void> {
    if (ids.length === 0) return;
    const gone = new Set(ids);
    this.#pending = this.#pending.filter(({ id }) => !gone.has(id));
    for (const id of ids) {
      this.#places.delete(id);
      this.#unkept.delete(id);
    }
    const index = this.#index;
    try {
      if (index === null) this.#surplus.push(...ids);
      else if ((await index.remove(ids)) > 0) await index.compact();
    } catch (error) {
      if (this.#index === index) throw error;
      this.#surplus.push(...ids); // it was closed meanwhile
    }
  }

  /** Embeds what is pending. Calls while it runs join it, as it takes up whatever has come in meanwhile. */
  index(): Promise<void> {
    const { signal } = this.#abort;
    this.#running ??= this.#embedPending(signal).finally(() => {
      if (!signal.aborted) this.#running = null;
    });
    return this.#running;
  }

  async #embedPending(signal: AbortSignal): Promise<void> {
    const index = this.#index;
    let [embedded, busy] = [0, 0];
    while (index && this.#pending.length > 0) {
      const slice = this.#pending.slice(0, this.#slice);
      const [start, before] = [performance.now(), index.stats().passages];
      try {
        await index.add(slice, { signal });
        // Some may have been removed while they were embedded.
        const removed = slice.filter(({ id }) => !this.#places.has(id)).map(({ id }) => id);
        if (removed.length > 0) await index.remove(removed);
      } catch (error) {
        signal.throwIfAborted();
        throw error;
      }
      signal.throwIfAborted();
      const took = performance.now() - start;
      const taken = new Set(slice);
      this.#pending = this.#pending.filter((one) => !taken.has(one));
      if (this.unkept !== null) for (const one of slice) if (this.#places.has(one.id)) this.#unkept.set(one.id, one);
      this.#slice = Math.max(1, Math.min(256, Math.round(this.#slice * Math.min(2, SLICE_MS / took))));
      embedded += Math.max(0, index.stats().passages - before);
      busy += took;
      const textsPerSecond = embedded > 0 ? (1000 * embedded) / busy : null;
      this.onProgress({ done: this.size - this.#pending.length, total: this.size, textsPerSecond });
    }
  }

  /** Has the words of a query count too, where a search asks for it. */
  async loadWords(): Promise<void> {
    this.#engine ??= (await import("./words.js")).engine;
  }

  /** The best documents for a query, each with its best passage. */
  async search(query: string, { limit, words, signal }: { limit: number; words: boolean; signal: AbortSignal }): Promise<Hit[]> {
    const hits = (await this.#index?.search(query, { topK: limit, hybrid: words, signal })) ?? [];
    return hits.map(({ id, text, metadata, passage, score }) => {
      const { document, from } = read(id, text, metadata);
      const within = (place: number) => Math.max(0, place - from);
      return { document, passage: { start: within(passage.start), end: within(passage.end) }, score };
    });
  }

  /** The documents that are embedded, each with the mean of its passages' vectors, at length 1. */
  async points(signal: AbortSignal): Promise<{ documents: Document[]; vectors: { data: Float32Array; dimensions: number } }> {
    const found: { document: Document; place: Place; vector: Float32Array }[] = [];
    for await (const { id, text, metadata, passages } of this.#index?.documents({ vectors: true, signal }) ?? []) {
      const sum = new Float32Array(passages[0]!.vector!.length);
      for (const { vector } of passages) vector!.forEach((value, c) => (sum[c]! += value));
      const length = Math.sqrt(sum.reduce((all, value) => all + value * value, 0)) || 1;
      found.push({ ...read(id, text, metadata), vector: sum.map((value) => value / length) });
    }
    found.sort((a, b) => inOrder(a.place, b.place));
    const dimensions = found[0]?.vector.length ?? 1;
    const data = new Float32Array(found.length * dimensions);
    found.forEach(({ vector }, row) => data.set(vector, row * dimensions));
    return { documents: found.map(({ document }) => document), vectors: { data, dimensions } };
  }
}

const inOrder = (a: Place, b: Place): number => a.added - b.added || (a.source < b.source ? -1 : a.source > b.source ? 1 : a.at - b.at);

/** A stored document as it was added: its title is its first line. Storage may hold what this page never wrote. */
function read(id: string, text: string, metadata: unknown): { document: Document; place: Place; from: number } {
  const { source, title, label, added, at } = (metadata ?? {}) as Record<string, unknown>;
  const whole = (value: unknown, most: number) => (Number.isSafeInteger(value) && (value as number) > 0 ? Math.min(value as number, most) : 0);
  const place = { source: typeof source === "string" ? source : id, added: whole(added, Infinity), at: whole(at, Infinity) };
  const length = whole(title, text.length);
  const from = length === 0 ? 0 : length + 1;
  const document = {
    title: text.slice(0, length), text: text.slice(from), source: place.source,
    label: typeof label === "string" ? label.slice(0, LONGEST_LABEL) : "",
  };
  return { document, place, from };
}
