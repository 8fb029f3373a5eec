// What a page can ask of the cache of models, without loading one.

import { readSource } from "./arguments.js";
import { forget, has, list, type CachedModel } from "./cache.js";
import { EmbedletError, textOf } from "./errors.js";
import { modelStore, type Store } from "./stores.js";

/** A model that has an address: of the hub, or of a folder. */
export interface CacheOptions {
  /** As it was given to `load`. */
  revision?: string;
}

/** The models that this origin keeps. */
export const modelCache = {
  /** Every model that is kept. */
  async list(): Promise<CachedModel[]> {
    return stored("list models", list(store()));
  },

  /** Whether a model is kept, as a whole. */
  async has(source: string | URL, options: CacheOptions = {}): Promise<boolean> {
    return stored("look for a model", has(store(), addressOf(source, options)));
  },

  /** Deletes a model, and tells whether there was anything of it. */
  async delete(source: string | URL, options: CacheOptions = {}): Promise<boolean> {
    return stored("delete a model", forget(store(), addressOf(source, options)));
  },

  /** Asks the browser not to evict what this origin keeps. Tells whether it will not; some ask their user first. */
  async persist(): Promise<boolean> {
    return (await globalThis.navigator?.storage?.persist?.()) ?? false;
  },
};

async function stored<T>(what: string, work: Promise<T>): Promise<T> {
  return work.catch((cause) => {
    throw new EmbedletError("storage-failed", `The browser's storage failed to ${what}: ${textOf(cause)}`, { cause });
  });
}

function store(): Store {
  const found = modelStore();
  if (!found) throw new EmbedletError("unsupported-option", "This context keeps no files: pages need https or localhost.");
  return found;
}

function addressOf(source: string | URL, options: CacheOptions): string {
  const spec = readSource(source, options);
  if (spec.kind !== "url") throw new EmbedletError("invalid-argument", "Only models that have an address are kept.");
  return spec.url;
}
