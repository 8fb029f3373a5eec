// Model folders that stay between visits. A folder counts as kept when its manifest is there, which is written last; whatever has
// none is left over from a load that was cut short, and is never used.

import { EmbedletError, textOf } from "./errors.js";
import type { OpenFile, Source } from "./source.js";

/** Where files lie. The Cache API; in tests, something that fails at its N-th operation. */
export interface Store {
  read(name: string): Promise<OpenFile | undefined>;
  /** Resolves when the whole file is there; until then, and if it rejects, there is none. */
  write(name: string, body: ReadableStream<Uint8Array>): Promise<void>;
  delete(name: string): Promise<void>;
  names(): Promise<string[]>;
}

/** A model folder that is kept. */
export interface CachedModel {
  /** Address of the folder. */
  source: string;
  /** Bytes of its files. */
  bytes: number;
  files: number;
  /** When it was kept. */
  saved: Date;
}

interface Manifest {
  version: typeof VERSION_OF_CACHE;
  source: string;
  saved: string;
  /** Whether the files were read again and found to be those that were written. */
  verified: boolean;
  /** By path; null where the folder has no such file. */
  files: [string, { bytes: number; sha256: string } | null][];
}

const VERSION_OF_CACHE = 1;
const PREFIX = "embedlet models ";
const NAME = PREFIX + VERSION_OF_CACHE;
/** Cache keys are addresses, of which nothing is ever fetched. */
const ROOT = "https://embedlet.invalid/";
const MANIFEST = "?manifest";

const folderOf = (source: string) => `${encodeURIComponent(source)}/`;
const manifestOf = (source: string) => folderOf(source) + MANIFEST;
const nameOf = (source: string, path: string) => folderOf(source) + encodeURIComponent(path);

/** The store of this origin, where it has one: pages without https have none. */
export function cacheStore(): Store | undefined {
  if (!globalThis.caches) return undefined;
  // What an older release kept in another form is of no use to anybody.
  const opened = caches.keys().then(async (names) => {
    await Promise.all(names.filter((name) => name.startsWith(PREFIX) && name !== NAME).map((name) => caches.delete(name)));
    return caches.open(NAME);
  });
  opened.catch(() => {});
  return {
    async read(name) {
      const response = await (await opened).match(ROOT + name);
      return response?.body ? { size: undefined, chunks: chunksOf(response.body) } : undefined;
    },
    async write(name, body) {
      await (await opened).put(ROOT + name, new Response(body));
    },
    async delete(name) {
      await (await opened).delete(ROOT + name);
    },
    async names() {
      return (await (await opened).keys()).map(({ url }) => url.slice(ROOT.length));
    },
  };
}

async function* chunksOf(body: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** What this origin keeps. */
export async function list(store: Store): Promise<CachedModel[]> {
  const found: CachedModel[] = [];
  for (const name of await store.names()) {
    const manifest = name.endsWith(MANIFEST) ? await readManifest(store, name) : undefined;
    if (!manifest) continue;
    const files = manifest.files.flatMap(([, file]) => file ?? []);
    const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
    found.push({ source: manifest.source, bytes, files: files.length, saved: new Date(manifest.saved) });
  }
  return found;
}

/** Whether a folder is kept. */
export async function has(store: Store, source: string): Promise<boolean> {
  return (await readManifest(store, manifestOf(source))) !== undefined;
}

/** Deletes what is kept of a folder, its manifest first. Tells whether there was any. */
export async function forget(store: Store, source: string): Promise<boolean> {
  await store.delete(manifestOf(source));
  const names = (await store.names()).filter((name) => name.startsWith(folderOf(source)));
  await Promise.all(names.map((name) => store.delete(name)));
  return names.length > 0;
}

/** Stored bytes are as hostile as any: what is not a manifest of this version is none. */
async function readManifest(store: Store, name: string): Promise<Manifest | undefined> {
  try {
    const file = await store.read(name);
    if (!file) return undefined;
    const parts: Uint8Array<ArrayBuffer>[] = [];
    for await (const part of file.chunks) parts.push(part);
    const manifest = JSON.parse(await new Blob(parts).text()) as Manifest;
    const isFile = (entry: unknown) =>
      Array.isArray(entry) && typeof entry[0] === "string" &&
      (entry[1] === null || (Number.isSafeInteger(entry[1].bytes) && entry[1].bytes >= 0 && /^[0-9a-f]{64}$/.test(entry[1].sha256)));
    const good = manifest.version === VERSION_OF_CACHE && manifestOf(manifest.source) === name && Array.isArray(manifest.files) && manifest.files.every(isFile);
    return good && !Number.isNaN(Date.parse(manifest.saved)) ? manifest : undefined;
  } catch {
    return undefined;
  }
}

/** A folder that is read from the store where it is kept, and kept as it is read where it is not. */
export class KeptSource implements Source {
  /** Why nothing could be kept. */
  failure: string | undefined;
  /** Whether a file came out of the store. */
  used = false;
  /** What files must hash to that were not read since they were written. */
  readonly integrity = new Map<string, string>();
  readonly #files = new Map<string, { bytes: number; sha256: string } | null>();
  readonly #hashes = new Map<string, string>();
  #changed = false;

  private constructor(
    readonly store: Store,
    readonly address: string,
    /** Where files come from that are not kept. */
    readonly remote: Source | undefined,
    readonly kept: boolean,
    files: Manifest["files"],
    verified: boolean,
  ) {
    this.#files = new Map(files);
    if (!verified) for (const [path, file] of files) if (file) this.integrity.set(path, file.sha256);
    this.#changed = kept && !verified;
  }

  static async open(store: Store, address: string, remote: Source | undefined): Promise<KeptSource> {
    const manifest = await readManifest(store, manifestOf(address));
    return new KeptSource(store, address, remote, manifest !== undefined, manifest?.files ?? [], manifest?.verified ?? true);
  }

  async open(path: string, signal: AbortSignal | undefined): Promise<OpenFile | undefined> {
    const kept = this.#files.get(path);
    if (kept === null) return undefined;
    if (kept && this.kept) {
      this.used = true;
      const file = await this.store.read(nameOf(this.address, path));
      if (!file) throw new EmbedletError("truncated-file", `${path} is not in the browser's cache any more.`);
      return { size: kept.bytes, chunks: counted(path, file.chunks, kept.bytes) };
    }
    if (!this.remote) {
      throw new EmbedletError("network", `${this.address} is not in the browser's cache as a whole, and \`allowRemote\` is false: load it once with the network.`);
    }
    const file = await this.remote.open(path, signal);
    if (file) return { size: file.size, chunks: this.#keeping(path, file) };
    this.#files.set(path, null);
    this.#changed = true;
    return undefined;
  }

  async size(path: string, signal: AbortSignal | undefined): Promise<number | undefined> {
    return this.#files.get(path)?.bytes ?? this.remote?.size(path, signal);
  }

  /** Takes what a file hashes to. */
  hashed(path: string, sha256: string): void {
    this.#hashes.set(path, sha256);
  }

  /** The model works: from now on the folder is kept. Never fails; `failure` says why it is not. */
  async commit(): Promise<void> {
    if (!this.#changed) return;
    try {
      if (this.failure !== undefined) throw this.failure;
      const files: Manifest["files"] = [];
      for (const [path, file] of this.#files) {
        const sha256 = file && (file.sha256 || this.#hashes.get(path));
        if (file && !sha256) throw `${path} was not hashed`;
        files.push([path, file && { bytes: file.bytes, sha256: sha256 as string }]);
      }
      const manifest: Manifest = { version: VERSION_OF_CACHE, source: this.address, saved: new Date().toISOString(), verified: this.kept, files };
      await this.store.write(manifestOf(this.address), new Blob([JSON.stringify(manifest)]).stream());
    } catch (error) {
      this.failure = textOf(error);
      await forget(this.store, this.address).catch(() => {});
    }
  }

  /** Gives a file's chunks on, and to the store. What the store cannot take does not hold the load up. */
  async *#keeping(path: string, file: OpenFile): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    const writer = writable.getWriter();
    let dropped = false;
    const fail = (error: unknown) => {
      if (!dropped) this.failure ??= textOf(error);
    };
    const written = this.store.write(nameOf(this.address, path), readable).catch(fail);
    let bytes = 0;
    let whole = false;
    try {
      for await (const chunk of file.chunks) {
        bytes += chunk.length;
        // A store that has given up takes nothing any more, and need not say so to the stream.
        if (this.failure === undefined) await Promise.race([writer.write(chunk).catch(fail), written]);
        yield chunk;
      }
      whole = true;
    } finally {
      if (whole && this.failure === undefined) {
        await Promise.race([writer.close().catch(fail), written]);
      } else {
        // Nobody reads on; but who gave the GPU up comes again, for the CPU.
        dropped = true;
        writer.abort().catch(() => {});
      }
    }
    await written;
    this.#files.set(path, { bytes, sha256: "" });
    this.#changed = true;
  }
}

/** The chunks of a file of so many bytes. */
async function* counted(path: string, chunks: OpenFile["chunks"], bytes: number): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  let found = 0;
  for await (const chunk of chunks) {
    found += chunk.length;
    yield chunk;
  }
  if (found !== bytes) throw new EmbedletError("truncated-file", `${path} in the browser's cache has ${found} bytes of ${bytes}.`);
}

/**
 * Runs `work` alone among all tabs and workers of the origin that load this folder: the others find it kept when it is their turn. The
 * lock of a tab that is gone is free.
 */
export function alone<T>(address: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
  const locks = globalThis.navigator?.locks;
  if (!locks) return work();
  return locks.request(`embedlet ${address}`, signal ? { signal } : {}, work) as Promise<T>;
}
