// Whether a load reads from the browser's cache or from the source, and what it does where the cache turns out to be damaged.

import { alone, forget, has, KeptSource, sweep } from "./cache.js";
import { EmbedletError } from "./errors.js";
import { openSource, type Source, type SourceSpec } from "./source.js";
import type { Store } from "./stores.js";
import type { EncoderInfo } from "./types.js";

interface Request {
  source: SourceSpec;
  cache: boolean;
  allowRemote: boolean;
}

interface Made<T> {
  made: T;
  cache: EncoderInfo["cache"];
}

/** What is kept could not be read. */
interface Unusable {
  error: EmbedletError;
  /** When it was kept, where it is not what was kept, or not what the caller wants: it has to come from the network again. */
  saved: string | undefined;
  /** Whether it is what was kept. */
  isIntact: boolean;
}

/** Runs `load` on a source: the cache where the folder is kept, else the network, from which it is then kept. */
export async function loadKept<T>(
  { source, cache, allowRemote }: Request,
  store: Store | undefined,
  signal: AbortSignal | undefined,
  load: (source: Source) => Promise<T>,
): Promise<Made<T>> {
  if (source.kind !== "url") return { made: await load(openSource(source)), cache: { used: "none", reason: null } };
  if (!cache || !store) {
    if (!allowRemote) throw new EmbedletError("network", "`allowRemote` is false, and there is no cache here to read from.");
    return { made: await load(openSource(source)), cache: { used: "none", reason: cache ? "this context keeps no files: pages need https" : null } };
  }
  const address = source.url;
  const attempt = async (isAlone: boolean, found?: Unusable): Promise<Made<T> | Unusable> => {
    const kept = await KeptSource.open(store, address, allowRemote ? openSource(source) : undefined, found?.saved);
    // What a load left behind that was cut short may be of another commit, and would lie there for ever.
    if (!kept.saved && kept.remote) {
      // What is whole may be what others want: it goes where something can come in its place.
      if (found?.isIntact) await reach(kept.remote, signal);
      await forget(store, address).catch(() => {});
    }
    try {
      const made = await load(kept);
      // Whoever finds the manifest half written, and is alone, takes all of it for what a load left behind.
      await (isAlone || !kept.changed ? kept.commit() : alone(address, undefined, () => kept.commit()));
      void sweep(store).catch(() => {}); // nobody waits for it
      const used = kept.used ? "read" : kept.failure === undefined ? "written" : "none";
      const reason = kept.failure ?? (found && !kept.used ? `the cache was damaged or stale: ${found.error.message}` : null);
      return { made, cache: { used, reason } };
    } catch (error) {
      await kept.undo();
      if (!allowRemote || !kept.used || !(error instanceof EmbedletError)) throw error;
      // Most of what goes wrong with a model that is kept is not the cache's doing, and no reason to lose it.
      const isIntact = await kept.isIntact();
      const isSound = error.code !== "wrong-hash" && isIntact;
      if (isSound && !kept.failed) throw error;
      return { error, saved: isSound ? undefined : kept.saved, isIntact };
    }
  };
  const first = (await has(store, address)) ? await attempt(false) : await alone(address, signal, () => attempt(true));
  if ("made" in first) return first;
  signal?.throwIfAborted();
  // Another tab may have mended it by then.
  const second = await alone(address, signal, () => attempt(true, first));
  if ("made" in second) return second;
  throw second.error;
}

/** Rejects where the network gives nothing. */
async function reach(remote: Source, signal: AbortSignal | undefined): Promise<void> {
  const file = await remote.open("config.json", signal);
  for await (const _ of file?.chunks ?? []) return;
}
