// The pages that are kept, and the model that finds them: an encoder with its worker, and an index in the origin's private file system.
// Both are opened when they are first wanted. Who may ask for what is protocol.ts's and offscreen.ts's to say.

import { EmbedletError, Encoder } from "embedlet";
import { SearchIndex, type Hit } from "embedlet/search";
import { isAddress, MOST, type Found, type Origin, type Page, type State } from "./protocol.js";

const NAME = "pages";
const MOST_FOUND = 20;
/** A page may be there by each: found three times, it is shown once. */
const ORIGINS: readonly Origin[] = ["page", "bookmark", "history"];

const idOf = (origin: Origin, url: string) => `${origin} ${url}`;

export class Library {
  state: State = { model: "absent", progress: 0, note: "", kept: null };
  readonly #changed: () => void;
  readonly #adding = new Map<AbortController, Promise<void>>();
  #encoder: Promise<Encoder> | undefined;
  #index: Promise<SearchIndex> | undefined;
  /** What `#index` has resolved to. */
  #current: SearchIndex | undefined;

  /** `changed` is called when `state` is another. */
  constructor(changed: () => void) {
    this.#changed = changed;
  }

  async open(): Promise<void> {
    await this.#use(async () => {});
  }

  async search(query: string, signal: AbortSignal): Promise<Found[]> {
    return this.#use(async (index) => {
      const hits = await index.search(query, { topK: MOST_FOUND * ORIGINS.length, signal });
      const found = new Map<string, Found>();
      for (const hit of hits) {
        const one = foundOf(hit);
        if (one && !found.has(one.url)) found.set(one.url, one);
      }
      return [...found.values()].slice(0, MOST_FOUND);
    });
  }

  async add(pages: readonly Page[], signal: AbortSignal): Promise<void> {
    const documents = new Map(pages.map(({ url, title, text, origin }) => {
      const id = idOf(origin, url);
      return [id, { id, text: `${title}\n${text}`, metadata: { url, title, origin } }];
    }));
    const end = new AbortController();
    const either = AbortSignal.any([signal, end.signal]);
    const work = this.#use((index) => index.add([...documents.values()], { signal: either, onProgress: () => this.#count(index) }));
    this.#adding.set(end, work);
    await work.finally(() => this.#adding.delete(end));
  }

  async remove(url: string): Promise<void> {
    await this.#use((index) => index.remove(ORIGINS.map((origin) => idOf(origin, url))));
  }

  /** Deletes the index. That needs no model, so it also helps where the one that is there has made another index. */
  async clear(): Promise<void> {
    for (const end of this.#adding.keys()) end.abort(new EmbedletError("disposed", "The pages were forgotten while some were being added."));
    await Promise.allSettled(this.#adding.values());
    const index = this.#index;
    this.#index = this.#current = undefined;
    (await index?.catch(() => undefined))?.close();
    await SearchIndex.delete(NAME);
    this.#tell({ kept: { documents: 0, bytes: 0 }, ...(this.state.model === "failed" && { model: "absent", note: "" }) });
  }

  async #use<T>(work: (index: SearchIndex) => Promise<T>): Promise<T> {
    const index = await (this.#index ??= this.#load());
    try {
      return await work(index);
    } catch (error) {
      // An encoder that was restarted in vain is of no use to the next who ask.
      const isSpent = error instanceof EmbedletError && ["runtime-crashed", "device-lost"].includes(error.code);
      if (isSpent && index === this.#current) this.#drop(error);
      throw error;
    } finally {
      this.#count(index);
    }
  }

  async #load(): Promise<SearchIndex> {
    this.#tell({ model: "loading", progress: 0, note: "" });
    try {
      this.#encoder ??= Encoder.load(MODEL.source, {
        cache: MODEL.cache,
        ...(MODEL.revision && { revision: MODEL.revision }),
        onProgress: ({ status, progress }) => status === "progress_total" && this.#tell({ progress: Math.round(progress) }),
      });
      const encoder = await this.#encoder;
      const index = await SearchIndex.open({ name: NAME, encoder });
      const { lost } = index.stats();
      const where = `Runs on the ${encoder.info.device === "webgpu" ? "GPU" : "CPU"} of this device.`;
      const note = lost > 0 ? `${where} ${lost} pages were damaged in storage: add them again.` : where;
      this.#tell({ model: "ready", progress: 100, note });
      return (this.#current = index);
    } catch (error) {
      this.#drop(error);
      throw error;
    }
  }

  /** Gives up what is loaded; the next who asks loads it anew. */
  #drop(error: unknown): void {
    const [encoder, index] = [this.#encoder, this.#index];
    this.#encoder = this.#index = this.#current = undefined;
    index?.then((index) => index.close(), () => {});
    encoder?.then((encoder) => encoder.dispose(), () => {});
    this.#tell({ model: "failed", note: error instanceof Error ? error.message : String(error) });
  }

  #count(index: SearchIndex): void {
    if (index !== this.#current) return;
    const { documents, bytes } = index.stats();
    if (documents !== this.state.kept?.documents || bytes !== this.state.kept.bytes) this.#tell({ kept: { documents, bytes } });
  }

  #tell(change: Partial<State>): void {
    this.state = { ...this.state, ...change };
    this.#changed();
  }
}

/** Storage may hold what another release, or nobody, has written there. */
function foundOf({ metadata, text, passage }: Hit): Found | undefined {
  const { url, title, origin } = metadata ?? {};
  if (!isAddress(url) || typeof title !== "string" || !ORIGINS.includes(origin as Origin)) return undefined;
  // The first passage begins with the title, which is shown anyhow.
  const own = text.slice(Math.max(passage.start, title.length), Math.max(passage.end, title.length)).trim();
  return { url, title: title.slice(0, MOST.title), passage: own.slice(0, MOST.passage), origin: origin as Origin };
}
