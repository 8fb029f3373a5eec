// Whether a load reads from the browser's cache or from the source, and what it does where the cache turns out to be damaged.

import { alone, forget, has, KeptSource } from "./cache.js";
import { EmbedletError } from "./errors.js";
import { openSource, type Source, type SourceSpec } from "./source.js";
import type { Store } from "./stores.js";
import type { EncoderInfo, ErrorCode } from "./types.js";

interface Request {
  source: SourceSpec;
  cache: boolean;
  allowRemote: boolean;
}

interface Made<T> {
  made: T;
  cache: EncoderInfo["cache"];
}

/** What a damaged file in the cache can show as. */
const FILE_FAULTS: ReadonlySet<ErrorCode> = new Set([
  "missing-file", "invalid-file", "html-instead-of-file", "truncated-file", "wrong-hash", "missing-tensor", "wrong-shape", "unsupported-dtype",
  "unsupported-architecture", "unsupported-option", "limit-exceeded", "token-out-of-range", "invalid-tokenizer", "self-check-failed",
]);

/** Runs `load` on a source: the cache where the folder is kept, else the network, from which it is then kept. */
export async function loadKept<T>(
  { source, cache, allowRemote }: Request,
  store: Store | undefined,
  signal: AbortSignal | undefined,
  load: (source: Source) => Promise<T>,
): Promise<Made<T>> {
  const remote = openSource(source);
  if (source.kind !== "url") return { made: await load(remote), cache: { used: "none", reason: null } };
  if (!cache || !store) {
    if (!allowRemote) throw new EmbedletError("network", "`allowRemote` is false, and there is no cache here to read from.");
    return { made: await load(remote), cache: { used: "none", reason: cache ? "this context keeps no files: pages need https" : null } };
  }
  const address = source.url;
  const attempt = async (): Promise<Made<T>> => {
    const kept = await KeptSource.open(store, address, allowRemote ? remote : undefined);
    // What a load left behind that was cut short may be of another commit, and would lie there for ever.
    if (!kept.kept) await forget(store, address).catch(() => {});
    try {
      const made = await load(kept);
      await kept.commit();
      const used = kept.used ? "read" : kept.failure === undefined ? "written" : "none";
      return { made, cache: { used, reason: kept.failure ?? null } };
    } catch (error) {
      // What was written of a load that came to nothing is of no use.
      if (!kept.kept) await forget(store, address).catch(() => {});
      if (!kept.used || !(error instanceof EmbedletError) || !FILE_FAULTS.has(error.code)) throw error;
      // It worked when it was kept: what is there now is damaged.
      await forget(store, address);
      if (!allowRemote) throw error;
      signal?.throwIfAborted();
      const fresh = await KeptSource.open(store, address, openSource(source));
      const made = await load(fresh);
      await fresh.commit();
      return { made, cache: { used: fresh.failure === undefined ? "written" : "none", reason: fresh.failure ?? `the cache was damaged: ${error.message}` } };
    }
  };
  return (await has(store, address)) ? attempt() : alone(address, signal, attempt);
}
