// A folder of a static index, on a host or on disk: its files are fetched, held against what the manifest says of them, and kept in the
// Cache API. What they hold is for others to read.

import { absolute, invalid, isDirectory } from "../arguments.js";
import { EmbedletError } from "../errors.js";
import { sha256 as digestOf } from "../sha256.js";
import { waited } from "../signal.js";
import { openSource, retry, type OpenFile, type Source } from "../source.js";
import { cacheStore, type Store } from "../stores.js";
import { damaged, type Bytes } from "./file.js";

/** A file as the manifest names it. It never changes. */
export interface FileRef {
  name: string;
  bytes: number;
  /** Of the whole file, in hex. */
  sha256: string;
}

export const MANIFEST = "manifest-1";
/** Most bytes of a manifest. */
const MOST_MANIFEST = 2 ** 24;
const [CACHE, VERSION_OF_CACHE] = ["embedlet indexes ", 1];

type OnBytes = (loaded: number) => void;

interface Download {
  cache: RequestCache;
  /** Whether to ask again where the connection fails. */
  patient: boolean;
  signal: AbortSignal | undefined;
  onBytes: OnBytes;
}

export class Folder {
  /** Bytes that came from the network. */
  fetched = 0;
  readonly #source: Source;
  readonly #address: string;
  /** Where files are kept that came from the network. */
  readonly #store: Store | undefined;

  constructor(place: URL | FileSystemDirectoryHandle) {
    if (!globalThis.crypto?.subtle) {
      throw new EmbedletError("unsupported-option", "A static index is checked by SHA-256, for which pages need https or localhost.");
    }
    if (isDirectory(place)) {
      this.#address = `The folder "${place.name}"`;
      this.#source = openSource({ kind: "directory", handle: place });
      return;
    }
    if (!/^(https?|[a-z-]+-extension):$/.test(place.protocol)) throw invalid("A static index has an address of http, https or an extension.");
    this.#address = absolute(place);
    this.#source = openSource({ kind: "url", url: this.#address, headers: {} });
    // What an extension has in its package is kept already.
    if (place.protocol.startsWith("http")) this.#store = cacheStore(CACHE, VERSION_OF_CACHE);
  }

  /** The manifest as it is now; where the network fails, as it was kept. */
  async manifest(signal: AbortSignal | undefined): Promise<{ file: Blob; isKept: boolean }> {
    const kept = await this.#kept(MANIFEST, MOST_MANIFEST);
    try {
      const file = await this.#download(MANIFEST, MOST_MANIFEST, { cache: "no-cache", patient: !kept, signal, onBytes: () => {} });
      return { file, isKept: false };
    } catch (error) {
      const isOffline = error instanceof EmbedletError && ["network", "html-instead-of-file"].includes(error.code);
      if (kept && isOffline) return { file: kept, isKept: true };
      throw error;
    }
  }

  /** A file that is what the manifest says. What came damaged is fetched once more, past the browser's own cache. */
  async read({ name, bytes, sha256 }: FileRef, signal: AbortSignal | undefined, onBytes: OnBytes): Promise<Blob> {
    const isRight = async (file: Blob) => file.size === bytes && (await digestOf(await file.arrayBuffer())) === sha256;
    const kept = await this.#kept(name, bytes);
    if (kept && (await isRight(kept))) {
      onBytes(bytes);
      return kept;
    }
    for (const cache of ["default", "reload"] as const) {
      const file = await this.#download(name, bytes, { cache, patient: true, signal, onBytes });
      if (!(await isRight(file))) continue;
      this.keep(name, file);
      return file;
    }
    throw damaged(name);
  }

  /** Keeps a file, where there is room. Nobody waits for it. */
  keep(name: string, file: Blob): void {
    this.#store?.write(this.#keyOf(name), file.stream()).catch(() => {});
  }

  /** Deletes what is kept of another version of the index. */
  async tidy(names: ReadonlySet<string>): Promise<void> {
    const all = (await this.#store?.names()) ?? [];
    const others = all.filter((key) => key.startsWith(this.#keyOf("")) && !names.has(key.slice(this.#keyOf("").length)));
    await Promise.all(others.map((key) => this.#store!.delete(key)));
  }

  #keyOf(name: string): string {
    return `${encodeURIComponent(this.#address)}/${name}`;
  }

  /** A cache that fails, or has more than there should be, has nothing. */
  async #kept(name: string, most: number): Promise<Blob | undefined> {
    try {
      const file = await this.#store?.read(this.#keyOf(name));
      return file && (await whole(name, file, most, () => {}));
    } catch {
      return undefined;
    }
  }

  async #download(name: string, most: number, { cache, patient, signal, onBytes }: Download): Promise<Blob> {
    const counts = this.#source.fetches(name);
    for (let attempt = 0; ; attempt++) {
      try {
        const file = await this.#source.open(name, signal, cache);
        if (!file) throw new EmbedletError("missing-file", missing(this.#address, name));
        let before = 0;
        return await whole(name, file, most, (loaded) => {
          if (counts) this.fetched += loaded - before;
          before = loaded;
          onBytes(loaded);
        });
      } catch (error) {
        const delay = retry.delays[attempt];
        // What has a cause failed on the way. A server that answered was asked again already.
        const onTheWay = error instanceof EmbedletError && error.code === "network" && error.cause !== undefined;
        if (!onTheWay || !counts || !patient || delay === undefined) throw error;
        await waited(delay, signal);
      }
    }
  }
}

function missing(address: string, name: string): string {
  const advice = name === MANIFEST ? "there is no index at this address" : "the index was replaced, or is not there as a whole: open it again";
  return `${address} has no ${name}: ${advice}.`;
}

/** The bytes of a file, and never more than it may have. */
async function whole(name: string, { size, chunks }: OpenFile, most: number, onBytes: OnBytes): Promise<Blob> {
  const parts: Bytes[] = [];
  let loaded = 0;
  for await (const chunk of chunks) {
    loaded += chunk.length;
    if (loaded > most || (size ?? 0) > most) throw damaged(name);
    parts.push(chunk.slice());
    onBytes(loaded);
  }
  return new Blob(parts);
}
