// An index that stays with its storage: the view of the last commit, whoever made it, and commits of our own, one writer at a time. It
// knows nothing of texts and queries.

import { EmbedletError } from "../errors.js";
import { isDamage } from "./file.js";
import { checkIdentity, fits } from "./identity.js";
import { segmentsOf, type Made, type State } from "./manifest.js";
import { Store } from "./store.js";
import type { IndexStorage } from "./storage.js";
import type { SearchEncoder } from "./types.js";
import { View, type Entry, type QueryMap, type Unreadable } from "./view.js";

/** What a commit changes; `view` is what holds from then on, where it is another. */
export type Next = Partial<Pick<State, "made" | "parts" | "next">> & { view?: View };

/** What a view is made with. */
interface Like {
  encoder: SearchEncoder;
  made: Omit<Made, "rowBytes">;
  map: QueryMap | undefined;
}

/** Says what an encoder makes, by what made the index. */
type Identify = (stored: Made | undefined) => Promise<Omit<Made, "rowBytes">>;

const GONE = "The files of the index are gone: someone has deleted them, or the browser for want of room. Add the documents again.";

export class Core {
  readonly store: Store;
  /** Documents that were lost since the index was opened. */
  lost = 0;
  /** What was wrong with the files last. */
  problem: string | null = null;
  #like: Like;
  /** Undefined where the index must be read again. */
  #view: View | undefined;
  #latest!: View;
  #turn: Promise<unknown> = Promise.resolve();
  #closed = false;

  private constructor(storage: IndexStorage, like: Like) {
    this.store = new Store(storage);
    this.#like = like;
  }

  static async open(
    storage: IndexStorage,
    encoder: SearchEncoder,
    identify: Identify,
  ): Promise<Core> {
    const state = await new Store(storage).load([]);
    const core = new Core(storage, { encoder, ...(await likeOf(state, identify)) });
    await core.#take(state);
    storage.listen(() => void core.current().catch(() => {}));
    return core;
  }

  /** The view that was there last. */
  get latest(): View {
    this.#check();
    return this.#latest;
  }

  /** The index as it was committed last. */
  current(): Promise<View> {
    return this.#serially(async () => {
      this.#check();
      // Whoever closes the index takes it away meanwhile.
      const view = this.#view;
      const before = view?.state;
      // A newer manifest that was broken when it was looked at is looked at again: it may have been in the middle of its writing.
      const newest = await this.store.newest();
      this.#check();
      if (view && newest === before?.generation) return view;
      const state = await this.store.load(before ? segmentsOf(before) : []);
      this.#check();
      if (view && state.generation === before?.generation) return view;
      const lost = before !== undefined && before.parts.length > 0 && state.generation === 0;
      if (!lost) return this.#take(state);
      this.#drop();
      const problem = state.problem ?? GONE;
      await this.#take({ ...state, problem });
      throw new EmbedletError("index-damaged", problem);
    });
  }

  /**
   * Commits what `change` makes of the last commit, alone among all tabs and workers. Nothing is committed where it makes nothing of it, or
   * fails.
   */
  async commit(signal: AbortSignal | undefined, change: (view: View, generation: number) => Promise<Next | undefined>): Promise<void> {
    const { storage } = this.store;
    await storage.alone(signal, async () => {
      const view = await this.current();
      signal?.throwIfAborted();
      const generation = await this.store.next(view.state.generation);
      const { lost: _lost, problem: _problem, ...before } = view.state;
      const made = before.parts.length > 0 ? before.made : view.made;
      let state: State;
      let next: Next | undefined;
      try {
        next = await change(view, generation).catch(async (error) => {
          if (!isDamage(error)) throw error;
          await this.#salvage(view);
          return change(view, generation);
        });
        if (!next) return;
        this.#check();
        const { view: _view, ...changed } = next;
        state = { ...before, made, lost: 0, problem: null, ...changed, generation };
        await this.store.save(state);
      } catch (error) {
        await this.#tidy(view).catch(() => {});
        throw error;
      }
      await this.#serially(() => this.#take(state, next.view));
      await this.store.collect(state);
      if (!this.#closed) storage.announce();
    });
  }

  /** Deletes what a commit that failed has left. Storage may have taken its manifest after all. */
  async #tidy({ state: { parts, next } }: View): Promise<void> {
    const held = await this.store.load(segmentsOf({ parts, next }));
    if (held.lost === 0) await this.store.collect(held);
  }

  /** What could not be read of a view is looked for where it lies now; what has not moved is lost. */
  async recover(view: View, state: State, { entries }: Unreadable): Promise<void> {
    if ((await this.current()) === view && view.state === state) await this.#lose(view, entries);
  }

  /** Finds the segments that are not there any more, or not whole. */
  async #salvage(view: View): Promise<void> {
    for (const { segment } of view.state.parts) {
      await segment.verify().catch(async (error) => {
        if (!isDamage(error)) throw error;
        const entries: Entry[] = [...view.documents.values()].filter((entry) => entry.segment === segment);
        await this.#lose(view, entries);
      });
    }
  }

  async #lose(view: View, entries: readonly Entry[]): Promise<void> {
    this.lost += await this.#serially(() => view.lose(entries));
  }

  /** A state becomes the view. Where that fails, the next call reads the index again. */
  async #take(state: State, other?: View): Promise<View> {
    this.#check();
    let view = other ?? this.#view;
    let like = view ?? this.#like;
    if (state.made && state.parts.length > 0) {
      const { encoder, map } = like;
      // Another has come to the end of the migration whose map this is.
      if (map && fits(state.made, map.made)) [view, like] = [undefined, { encoder, made: state.made, map: undefined }];
      checkIdentity(state.made, like.made);
    }
    try {
      await view?.adopt(state);
      if (!view || (view.isWorn && !other)) view = await View.make(like.encoder, like.made, state, like.map);
      this.#check();
    } catch (error) {
      view?.dispose();
      this.#drop();
      throw error;
    }
    this.lost += state.lost;
    this.problem = state.problem ?? this.problem;
    if (other !== view) other?.dispose();
    if (view !== this.#view) this.#drop();
    this.#latest = this.#view = view;
    this.#like = { encoder: view.encoder, made: view.made, map: view.map };
    return view;
  }

  #drop(): void {
    this.#view?.dispose();
    this.#view = undefined;
  }

  #serially<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => {});
    return turn;
  }

  #check(): void {
    if (this.#closed) throw new EmbedletError("disposed", "This index has been closed: open it again.");
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.store.storage.close();
    this.#drop();
  }
}

/** An index is opened by the model that made it, or by the one that it moves to, where there is a map. */
async function likeOf({ made, parts, next }: State, identify: Identify): Promise<Omit<Like, "encoder">> {
  const stored = parts.length > 0 ? made : undefined;
  try {
    const own = await identify(stored);
    if (stored) checkIdentity(stored, own);
    return { made: own, map: undefined };
  } catch (error) {
    const isOther = error instanceof EmbedletError && error.code === "index-mismatch";
    if (!isOther || !stored || !next?.map) throw error;
    checkIdentity(next.made, await identify(next.made));
    return { made: stored, map: { ...next.map, made: next.made } };
  }
}
