// Where lies what an origin keeps: in its private file system, which a dedicated worker reads more than ten times as fast as the
// Cache API; where there is none to write to, in the Cache API.

import type { OpenFile } from "./source.js";

/** Files by their names, which have no more than two or three folders. In tests, something that fails at its N-th operation. */
export interface Store {
  read(name: string): Promise<OpenFile | undefined>;
  /**
   * Resolves when the whole file is there. Until then, and if it rejects, what is there is no file that anybody may use. Chunks are written
   * over when they were taken.
   */
  write(name: string, body: ReadableStream<Uint8Array>): Promise<void>;
  delete(name: string): Promise<void>;
  names(): Promise<string[]>;
}

/** The store of this origin for models, where it has one: pages without https have none. What was kept in either place is found. */
export function modelStore(): Store | undefined {
  const cache = cacheStore("embedlet models ", 2);
  if (!cache) return undefined;
  // The first is written to.
  const stores = fileStore("embedlet-models").then((files) => (!files ? [cache] : hasHandles() ? [files, cache] : [cache, files]));
  return {
    async read(name) {
      for (const store of await stores) {
        const file = await store.read(name);
        if (file) return file;
      }
      return undefined;
    },
    write: async (name, body) => (await stores)[0]!.write(name, body),
    async delete(name) {
      for (const store of await stores) await store.delete(name);
    },
    names: async () => [...new Set((await Promise.all((await stores).map((store) => store.names()))).flat())],
  };
}

/** Cache keys are addresses, of which nothing is ever fetched. */
const ROOT = "https://embedlet.invalid/";

/** Files of one kind in the Cache API. */
export function cacheStore(kind: string, version: number): Store | undefined {
  const caches = ownCaches();
  if (!caches) return undefined;
  // What an older release kept in another form is of no use to anybody.
  const opened = caches.keys().then(async (names) => {
    await Promise.all(names.filter((name) => name.startsWith(kind) && name !== kind + version).map((name) => caches.delete(name)));
    return caches.open(kind + version);
  });
  opened.catch(() => {});
  return {
    async read(name) {
      const response = await (await opened).match(ROOT + name);
      return response?.body ? { size: undefined, chunks: chunksOf(response.body) } : undefined;
    },
    async write(name, body) {
      const chunks = chunksOf(body as ReadableStream<Uint8Array<ArrayBuffer>>);
      // The browser reads on when it has taken a chunk, which need not be when it has copied it. Nothing is taken before it is asked for:
      // a chunk that waited would be written over.
      const copies = new ReadableStream<Uint8Array>({
        async pull(controller) {
          const { done, value } = await chunks.next();
          if (done) controller.close();
          else controller.enqueue(value.slice());
        },
        cancel: async () => void (await chunks.return(undefined)),
      }, { highWaterMark: 0 });
      await (await opened).put(ROOT + name, new Response(copies));
    },
    async delete(name) {
      await (await opened).delete(ROOT + name);
    },
    async names() {
      return (await (await opened).keys()).map(({ url }) => url.slice(ROOT.length));
    },
  };
}

/** Pages without https have none, and a frame in a sandbox may not even ask. */
function ownCaches(): CacheStorage | undefined {
  try {
    return globalThis.caches;
  } catch {
    return undefined;
  }
}

/** What a dedicated worker has, and the declarations of a page have not. */
interface SyncHandle {
  getSize(): number;
  read(into: Uint8Array, options: { at: number }): number;
  write(from: Uint8Array, options: { at: number }): number;
  truncate(size: number): void;
  close(): void;
}
interface SyncFile extends FileSystemFileHandle {
  createSyncAccessHandle(options?: { mode: "read-only" }): Promise<SyncHandle>;
}
type Global = { FileSystemSyncAccessHandle?: { prototype: object } };

const hasHandles = () => (globalThis as Global).FileSystemSyncAccessHandle !== undefined;
/** Whether several may read a file at once by handles. Where not, one would keep other tabs out. */
const sharesHandles = () => "mode" in ((globalThis as Global).FileSystemSyncAccessHandle?.prototype ?? {});

/** Bytes that are read of a file at once by a handle. */
const CHUNK = 1 << 20;
/** How often a file is asked for that somebody else has open, and after how many milliseconds: a worker that ended holds its a moment longer. */
const [TRIES, WAIT] = [20, 50];

/** Files in a folder of the origin's private file system, which some browsers refuse in private windows. */
async function fileStore(name: string): Promise<Store | undefined> {
  const root = await globalThis.navigator?.storage?.getDirectory?.().catch(() => undefined);
  if (!root) return undefined;

  /** The folders on the way to a file, and its own name. */
  async function way(path: string, create = false) {
    const steps = [name, ...stepsOf(path)];
    const file = steps.pop()!;
    const folders = [root!];
    for (const step of steps) folders.push(await folders.at(-1)!.getDirectoryHandle(step, { create }));
    return { folders, steps, file, own: folders.at(-1)! };
  }

  return {
    async read(path) {
      const handle = await unlessAbsent(way(path).then(({ own, file }) => own.getFileHandle(file)));
      return handle && { size: undefined, chunks: contentsOf(handle) };
    },
    async write(path, body) {
      const { own, file } = await way(path, true);
      const handle = await own.getFileHandle(file, { create: true });
      const access = await whenFree(() => (handle as SyncFile).createSyncAccessHandle());
      try {
        access.truncate(0);
        let at = 0;
        for await (const chunk of chunksOf(body as ReadableStream<Uint8Array<ArrayBuffer>>)) {
          // A disk that is full may say so by a length alone.
          if (access.write(chunk, { at }) !== chunk.length) throw new DOMException("The quota has been exceeded.", "QuotaExceededError");
          at += chunk.length;
        }
      } catch (error) {
        access.truncate(0);
        throw error;
      } finally {
        access.close();
      }
    },
    async delete(path) {
      const found = await unlessAbsent(way(path));
      if (!found) return;
      const { folders, steps, file, own } = found;
      await unlessAbsent(whenFree(() => own.removeEntry(file)));
      // Folders that are empty now; of others the browser refuses it.
      const isRemoved = (i: number) => folders[i]!.removeEntry(steps[i]!).then(() => true, () => false);
      for (let i = steps.length - 1; i > 0 && (await isRemoved(i)); ) i--;
    },
    async names() {
      const own = await unlessAbsent(root.getDirectoryHandle(name));
      return own ? (await pathsIn(own)).map((path) => path.replaceAll("+/", "")) : [];
    },
  };
}

async function* contentsOf(handle: FileSystemFileHandle): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const file = await unlessAbsent(handle.getFile());
  if (!file) return;
  // What is small may be written again while it is there, as a manifest is, and nobody must find it taken.
  const large = file.size > CHUNK && sharesHandles();
  const access = large ? await (handle as SyncFile).createSyncAccessHandle({ mode: "read-only" }).catch(() => undefined) : undefined;
  if (!access) return yield* chunksOf(file.stream());
  try {
    const size = access.getSize();
    const buffer = new Uint8Array(CHUNK);
    for (let at = 0; at < size; at += CHUNK) {
      const chunk = buffer.subarray(0, size - at);
      if (access.read(chunk, { at }) !== chunk.length) return;
      yield chunk;
    }
  } finally {
    access.close();
  }
}

/** A name cut into what any file system takes, of at most 200 letters; a plus, which no name has, ends what goes on. */
const stepsOf = (name: string) => name.replace(/[^/]{200}(?=[^/])/g, "$&+/").split("/");

async function pathsIn(folder: FileSystemDirectoryHandle, above = ""): Promise<string[]> {
  const found: string[] = [];
  await unlessAbsent((async () => {
    for await (const [name, handle] of folder.entries()) {
      if (handle.kind === "file") found.push(above + name);
      else found.push(...(await pathsIn(handle as FileSystemDirectoryHandle, `${above + name}/`)));
    }
  })());
  return found;
}

const named = (error: unknown, name: string) => error instanceof DOMException && error.name === name;

/** What `work` gives; undefined where a file or folder was not there. */
async function unlessAbsent<T>(work: Promise<T>): Promise<T | undefined> {
  return work.catch((error) => {
    if (named(error, "NotFoundError")) return undefined;
    throw error;
  });
}

/** What `work` gives when nobody else has the file open, for whom it waits a second. */
async function whenFree<T>(work: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await work();
    } catch (error) {
      if (tries === TRIES || !named(error, "NoModificationAllowedError")) throw error;
      await new Promise((resolve) => setTimeout(resolve, WAIT));
    }
  }
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
