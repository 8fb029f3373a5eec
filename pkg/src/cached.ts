// What a page can ask of the cache of models, without loading one.

import { checkNames, readSource } from "./arguments.js";
import { alone, forget, has, list, type CachedModel } from "./cache.js";
import { EmbedletError, textOf } from "./errors.js";
import { modelStore, type Store } from "./stores.js";

/** How long to wait for a load that keeps a model which is to be deleted, in ms. */
const PATIENCE = 1000;

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

  /** Deletes a model, and tells whether there was anything of it. Rejects with `storage-failed` while it is downloaded, here or in another tab. */
  async delete(source: string | URL, options: CacheOptions = {}): Promise<boolean> {
    const [models, address] = [store(), addressOf(source, options)];
    const patience = AbortSignal.timeout(PATIENCE);
    const deleted = alone(address, patience, () => forget(models, address)).catch((error) => {
      throw error === patience.reason ? new Error("it is being downloaded, here or in another tab: wait for that load's end, or abort it.") : error;
    });
    return stored("delete a model", deleted);
  },

  /** Asks the browser not to evict what this origin keeps. Tells whether it will not; some ask their user first. */
  async persist(): Promise<boolean> {
    // A frame in a sandbox has nothing that could stay, and may not even ask.
    return (await globalThis.navigator?.storage?.persist?.().catch(() => false)) ?? false;
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
  checkNames("cache", options, ["revision"]);
  const spec = readSource(source, options);
  if (spec.kind !== "url") throw new EmbedletError("invalid-argument", "Only models that have an address are kept.");
  return spec.url;
}
