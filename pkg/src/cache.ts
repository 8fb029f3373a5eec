// Model folders that stay between visits. A folder counts as kept when its manifest is there, which is written last; whatever has
// none is left over from a load that was cut short, and is never used.

import { EmbedletError, textOf } from "./errors.js";
import { joined } from "./joined.js";
import { COMMIT, PerhapsAbsent, refusalOf, type OpenFile, type Source } from "./source.js";
import type { Store } from "./stores.js";
import { Xxh32 } from "./xxh32.js";

/** A model folder that is kept. */
export interface CachedModel {
  /** Address of the folder. */
  source: string;
  /** Bytes of its files. */
  bytes: number;
  /** How many there are. */
  files: number;
  /** When it was kept. */
  saved: Date;
  /** Of a branch or tag of the hub: the commit that its files are of. */
  commit?: string;
}

interface Manifest {
  version: typeof VERSION_OF_CACHE;
  source: string;
  saved: string;
  /** Where the source is a branch or tag: what it named. */
  commit?: string | undefined;
  /** By path; null where the folder has no such file. */
  files: [string, KeptFile | null][];
}

interface KeptFile {
  bytes: number;
  xxh32: number;
}

const VERSION_OF_CACHE = 2;
const MANIFEST = "?manifest";

/** The first bytes of a file, and as many of all files, come before the store is waited for, which takes its time to open one. */
const AHEAD = 8 << 20;

const folderOf = (source: string) => `${encodeURIComponent(source)}/`;
const manifestOf = (source: string) => folderOf(source) + MANIFEST;
/** The commit is part of the name: files of two commits never lie beside one another. */
const nameOf = (source: string, commit: string | undefined, path: string) =>
  folderOf(source) + (commit === undefined ? "" : `${commit}/`) + encodeURIComponent(path);

/** What this origin keeps. */
export async function list(store: Store): Promise<CachedModel[]> {
  const found: CachedModel[] = [];
  for (const name of await store.names()) {
    const manifest = name.endsWith(MANIFEST) ? await readManifest(store, name) : undefined;
    if (!manifest) continue;
    const files = manifest.files.flatMap(([, file]) => file ?? []);
    const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
    const { source, saved, commit } = manifest;
    found.push({ source, bytes, files: files.length, saved: new Date(saved), ...(commit !== undefined && { commit }) });
  }
  return found;
}

/** Whether a folder is kept. */
export async function has(store: Store, source: string): Promise<boolean> {
  return (await readManifest(store, manifestOf(source))) !== undefined;
}

/**
 * Deletes what lies there of loads that were cut short, and of folders that were deleted while somebody read them: nobody lists or uses it.
 * A folder that is being loaded has its lock taken.
 */
export async function sweep(store: Store): Promise<void> {
  const folders = new Set((await store.names()).flatMap((name) => /^(.+?)\//.exec(name)?.[1] ?? []));
  for (const source of [...folders].map(decodeURIComponent)) {
    await globalThis.navigator?.locks?.request(lockOf(source), { ifAvailable: true }, async (lock) => {
      // What somebody has open is for another time.
      if (lock && !(await has(store, source))) await forget(store, source).catch(() => {});
    });
  }
}

/** Deletes what is kept of a folder, its manifest first. Tells whether there was any. */
export async function forget(store: Store, source: string): Promise<boolean> {
  await store.delete(manifestOf(source));
  const names = (await store.names()).filter((name) => name.startsWith(folderOf(source)));
  for (const name of names) await store.delete(name);
  return names.length > 0;
}

/** Stored bytes are as hostile as any: what is not a manifest of this version is none. */
async function readManifest(store: Store, name: string): Promise<Manifest | undefined> {
  try {
    const file = await store.read(name);
    if (!file) return undefined;
    const parts: Uint8Array<ArrayBuffer>[] = [];
    for await (const part of file.chunks) parts.push(part.slice());
    const manifest = JSON.parse(new TextDecoder().decode(joined(parts))) as Manifest;
    const isKept = ({ bytes, xxh32 }: KeptFile) => Number.isSafeInteger(bytes) && bytes >= 0 && Number.isSafeInteger(xxh32);
    const isFile = (entry: unknown) => Array.isArray(entry) && typeof entry[0] === "string" && (entry[1] === null || isKept(entry[1]));
    const good = manifest.version === VERSION_OF_CACHE && manifestOf(manifest.source) === name && Array.isArray(manifest.files) && manifest.files.every(isFile);
    const pinned = manifest.commit === undefined || COMMIT.test(manifest.commit);
    return good && pinned && !Number.isNaN(Date.parse(manifest.saved)) ? manifest : undefined;
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
  /** Whether the store failed when a file was read. */
  failed = false;
  #manifest: Manifest | undefined;
  readonly #files: Map<string, KeptFile | null>;
  /** Names in the store that were written to, and when that is done. */
  readonly #written = new Map<string, Promise<void>>();
  /** Bytes that the store has not taken yet. */
  #waiting = 0;
  /** Whether something is known of the folder that is not kept yet. */
  changed = false;
  /** When the manifest that it wrote says it was kept. */
  #saving: string | undefined;
  #commit: string | undefined;

  private constructor(
    readonly store: Store,
    readonly address: string,
    /** Where files come from that are not kept. */
    readonly remote: Source | undefined,
    manifest: Manifest | undefined,
  ) {
    this.#manifest = manifest;
    this.#files = new Map(manifest?.files);
    this.#commit = manifest?.commit;
  }

  /** What was kept at the time `unusable` counts as not kept. */
  static async open(store: Store, address: string, remote: Source | undefined, unusable?: string): Promise<KeptSource> {
    const manifest = await readManifest(store, manifestOf(address));
    return new KeptSource(store, address, remote, manifest?.saved === unusable ? undefined : manifest);
  }

  /** When it was kept, where it is. */
  get saved(): string | undefined {
    return this.#manifest?.saved;
  }

  fetches(path: string): boolean {
    return !this.#manifest || !this.#files.has(path);
  }

  async open(path: string, signal: AbortSignal | undefined): Promise<OpenFile | undefined> {
    const kept = this.#files.get(path);
    if (kept === null) return undefined;
    const written = kept && this.#written.get(nameOf(this.address, this.#commit, path));
    if (kept && this.#manifest && !written) {
      this.used = true;
      return { size: kept.bytes, isKept: true, chunks: this.#read(path, kept) };
    }
    // Who gave the GPU up reads what has come again, for the CPU.
    await written;
    if (kept && written && this.failure === undefined) return { size: kept.bytes, chunks: this.#read(path, kept) };
    if (!this.remote) {
      throw new EmbedletError("network", `${this.address} is not in the browser's cache as a whole, and \`allowRemote\` is false: load it once with the network.`);
    }
    await this.#pin(this.remote, signal);
    // The browser would keep it a second time, and take its time for that.
    const file = await this.remote.open(path, signal, this.failure === undefined ? "no-store" : "default").catch(async (error: unknown) => {
      // A sign-in in front of the whole folder looks as if the host answered so for what it does not have.
      throw error instanceof PerhapsAbsent && !(await this.#answers(signal)) ? refusalOf(error) : error;
    });
    if (file) return { size: file.size, chunks: this.#keeping(path, file) };
    this.lacks(path);
    return undefined;
  }

  /** Whether a file that the folder has, where that is known, comes from the network. */
  async #answers(signal: AbortSignal | undefined): Promise<boolean> {
    const known = [...(this.#manifest?.files ?? [])].find(([path, kept]) => kept && path.endsWith(".json"))?.[0];
    if (known === undefined) return true;
    try {
      const file = await this.remote?.open(known, signal, "no-store");
      for await (const _ of file?.chunks ?? []) break;
      return file !== undefined;
    } catch {
      return false;
    }
  }

  lacks(path: string): void {
    this.#files.set(path, null);
    this.changed = true;
  }

  async size(path: string, signal: AbortSignal | undefined): Promise<number | undefined> {
    const kept = this.#files.get(path);
    if (kept || !this.remote) return kept?.bytes;
    await this.#pin(this.remote, signal);
    return this.remote.size(path, signal);
  }

  /** What comes from the network is of the commit that what is kept is of. */
  async #pin(remote: Source, signal: AbortSignal | undefined): Promise<void> {
    this.#commit = await remote.pin?.(this.#commit, signal);
  }

  /** Whether every file that was kept is still what it was. */
  async isIntact(): Promise<boolean> {
    try {
      for (const [path, kept] of this.#manifest?.files ?? []) if (kept) for await (const _ of this.#read(path, kept));
      return true;
    } catch {
      return false;
    }
  }

  /** The model works: from now on the folder is kept. Never fails; `failure` says why it is not. */
  async commit(): Promise<void> {
    if (!this.changed) return;
    await Promise.all(this.#written.values());
    try {
      if (this.failure !== undefined) throw this.failure;
      await this.#find();
      await this.#keep([...this.#files], new Date().toISOString());
    } catch (error) {
      this.failure = textOf(error);
      const others = await this.undo();
      // Its manifest may have been written over in part; there is room for the old one again.
      const { files, saved } = this.#manifest ?? {};
      if (files && saved && !others) await this.#keep(files, saved).catch(() => forget(this.store, this.address)).catch(() => {});
    }
  }

  /** What was deleted meanwhile cannot be kept, nor what was kept before. */
  async #find(): Promise<void> {
    const there = new Set(await this.store.names());
    const isThere = ([path, file]: [string, KeptFile | null]) => file === null || there.has(nameOf(this.address, this.#commit, path));
    if ([...this.#files].every(isThere)) return;
    this.#manifest = undefined;
    throw new Error("its files were deleted while it was loaded");
  }

  /**
   * Deletes what this load has written: nobody will read it. What was kept before stays, and what another tab has kept since then; tells
   * whether one has. Never fails.
   */
  async undo(): Promise<boolean> {
    if (!this.remote) return false; // it has written nothing
    await Promise.all(this.#written.values());
    const there = await readManifest(this.store, manifestOf(this.address));
    const others = there && ![this.#manifest?.saved, this.#saving].includes(there.saved) ? there : undefined;
    const kept = others ?? this.#manifest;
    const spared = new Set(kept?.files.flatMap(([path, file]) => (file ? [nameOf(this.address, kept.commit, path)] : [])));
    const deleted = [...this.#written.keys()].filter((name) => !spared.has(name)).map((name) => this.store.delete(name));
    await Promise.allSettled(kept ? deleted : [forget(this.store, this.address)]);
    return others !== undefined;
  }

  async #keep(files: Manifest["files"], saved: string): Promise<void> {
    this.#saving = saved;
    const manifest: Manifest = { version: VERSION_OF_CACHE, source: this.address, commit: this.#commit, saved, files };
    await this.store.write(manifestOf(this.address), new Response(JSON.stringify(manifest)).body!);
  }

  /** The chunks of a file, which fail where it cannot be read, and at its end where it is not the one that was kept. */
  async *#read(path: string, kept: KeptFile): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const sum = new Xxh32();
    try {
      const file = await this.store.read(nameOf(this.address, this.#commit, path));
      for await (const chunk of file?.chunks ?? []) {
        sum.add(chunk);
        yield chunk;
      }
    } catch (cause) {
      this.failed = true;
      throw new EmbedletError("truncated-file", `${path} in the browser's cache cannot be read (${textOf(cause)}).`, { cause });
    }
    if (sum.bytes !== kept.bytes) throw new EmbedletError("truncated-file", `${path} in the browser's cache has ${sum.bytes} bytes of ${kept.bytes}.`);
    if (sum.digest() !== kept.xxh32) throw new EmbedletError("wrong-hash", `${path} in the browser's cache is not what was kept there.`);
  }

  /** Gives a file's chunks on, and to the store, whose end `commit` waits for. What it cannot take does not hold the load up. */
  async *#keeping(path: string, file: OpenFile): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    const writer = writable.getWriter();
    let dropped = false;
    const fail = (error: unknown) => {
      if (!dropped) this.failure ??= textOf(error);
    };
    const name = nameOf(this.address, this.#commit, path);
    // What was cut short is there no longer when it comes again.
    const before = this.#written.get(name);
    const written = Promise.resolve(before).then(() => this.store.write(name, readable)).catch(fail);
    this.#written.set(name, written);
    const sum = new Xxh32();
    let whole = false;
    try {
      for await (const chunk of file.chunks) {
        sum.add(chunk);
        // A store that has given up takes nothing any more, and need not say so to the stream.
        if (this.failure === undefined) {
          const isAhead = Math.max(sum.bytes, this.#waiting + chunk.length) <= AHEAD;
          this.#waiting += chunk.length;
          const taken = writer.write(isAhead ? chunk.slice() : chunk).catch(() => {}); // the store says why
          void Promise.race([taken, written]).then(() => (this.#waiting -= chunk.length));
          if (!isAhead) await Promise.race([taken, written]);
        }
        yield chunk;
      }
      whole = true;
    } finally {
      if (whole && this.failure === undefined) {
        writer.close().catch(() => {});
      } else {
        dropped = true; // nobody reads on
        writer.abort().catch(() => {});
        await written;
      }
    }
    this.#files.set(path, { bytes: sum.bytes, xxh32: sum.digest() });
    this.changed = true;
  }
}

const lockOf = (address: string) => `embedlet ${address}`;

/**
 * Runs `work` alone among all tabs and workers of the origin that load this folder: the others find it kept when it is their turn. The
 * lock of a tab that is gone is free.
 */
export function alone<T>(address: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
  const locks = globalThis.navigator?.locks;
  if (!locks) return work();
  let isAlone = false;
  const request = locks.request(lockOf(address), signal ? { signal } : {}, () => {
    isAlone = true;
    return work();
  }) as Promise<T>;
  return request.catch((error) => {
    if (isAlone || signal?.aborted) throw error;
    return work(); // a context that may not store anything is refused locks too
  });
}
