// Where the files of an index lie: in the origin's private file system, or in memory. Files are written once and whole. What is in
// them is `file.ts`'s.

import { alone } from "../cache.js";
import { EmbedletError, textOf } from "../errors.js";

/** A place for files. Whatever rejects does so with the browser's own error, which the index gives a code. */
export interface IndexStorage {
  /** The file as it is now; undefined where there is none. */
  read(name: string): Promise<Blob | undefined>;
  /** Resolves when the whole file is there, in the place of an older one. */
  write(name: string, file: Blob): Promise<void>;
  /** Resolves when there is no such file. */
  delete(name: string): Promise<void>;
  /** The names of all files, in any order. */
  list(): Promise<string[]>;
  /** Runs `work` alone among all who write here. */
  alone<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T>;
  /** Tells the others that something was committed. */
  announce(): void;
  /** Calls `changed` when another has committed. */
  listen(changed: () => void): void;
  /** Ends the listening; the files stay. */
  close(): void;
}

/** Errors of storage as those of this package: a full disk is the user's to empty, the rest is a fault. */
export async function guarded<T>(what: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (cause) {
    if (cause instanceof EmbedletError) throw cause;
    if (cause instanceof Error && cause.name === "QuotaExceededError") {
      throw new EmbedletError("storage-full", `There is no room to ${what}: free some space. The index is as it was committed last.`, { cause });
    }
    throw new EmbedletError("storage-failed", `The browser's storage failed to ${what}: ${textOf(cause)}`, { cause });
  }
}

/** Files that live as long as this object. */
export function memoryStorage(files = new Map<string, Blob>()): IndexStorage {
  let turn: Promise<unknown> = Promise.resolve();
  return {
    read: async (name) => files.get(name),
    write: async (name, file) => void files.set(name, file),
    delete: async (name) => void files.delete(name),
    list: async () => [...files.keys()],
    alone: (signal, work) => {
      const next = turn.then(() => {
        signal?.throwIfAborted();
        return work();
      });
      turn = next.catch(() => {});
      return next;
    },
    announce: () => {},
    listen: () => {},
    close: () => {},
  };
}

const ROOT = "embedlet-index";
const lockOf = (name: string) => `index ${name}`;

/** A name that any file system takes. */
function folderOf(name: string): string {
  const folder = encodeURIComponent(name.replace(/\p{Surrogate}/gu, "\ufffd")).replaceAll(".", "%2E");
  if (folder.length > 0 && folder.length <= 200) return folder;
  throw new EmbedletError("invalid-argument", "`name` must have a character, and no more than some sixty.");
}

async function rootFolder(): Promise<FileSystemDirectoryHandle> {
  const { storage } = globalThis.navigator ?? {};
  if (!storage?.getDirectory) {
    const advice = "it needs https, and a browser that has one. Or open the index with `storage: \"memory\"`.";
    throw new EmbedletError("storage-failed", `This context has no private file system: ${advice}`);
  }
  return guarded("open", storage.getDirectory().then((root) => root.getDirectoryHandle(ROOT, { create: true })));
}

const isAbsent = (error: unknown) => error instanceof DOMException && error.name === "NotFoundError";

/** A folder of the origin's private file system. Works in pages, workers and offscreen documents. */
export async function opfsStorage(name: string): Promise<IndexStorage> {
  const folderName = folderOf(name);
  const root = await rootFolder();
  const folder = () => root.getDirectoryHandle(folderName, { create: true });
  await guarded("open", folder());
  const channel = new BroadcastChannel(`embedlet ${lockOf(name)}`);
  return {
    // The folder is asked for anew each time: it may have been deleted and made again.
    read: async (name) => {
      try {
        return await (await (await folder()).getFileHandle(name)).getFile();
      } catch (error) {
        if (isAbsent(error)) return undefined;
        throw error;
      }
    },
    write: async (name, file) => {
      const handle = await (await folder()).getFileHandle(name, { create: true });
      const writable = await handle.createWritable();
      try {
        await writable.write(file);
      } catch (error) {
        await writable.abort().catch(() => {});
        throw error;
      }
      // The file is swapped here.
      await writable.close();
    },
    delete: async (name) => {
      await (await folder()).removeEntry(name).catch((error) => {
        if (!isAbsent(error)) throw error;
      });
    },
    list: async () => {
      const names: string[] = [];
      for await (const name of (await folder()).keys()) names.push(name);
      return names;
    },
    alone: (signal, work) => alone(lockOf(name), signal, work),
    announce: () => channel.postMessage(null),
    listen: (changed) => (channel.onmessage = changed),
    close: () => channel.close(),
  };
}

/** Deletes an index of the origin's private file system. Tells whether there was one. */
export async function deleteOpfs(name: string): Promise<boolean> {
  const folderName = folderOf(name);
  const root = await rootFolder();
  const remove = () => root.removeEntry(folderName, { recursive: true });
  return alone(lockOf(name), undefined, () =>
    guarded("delete the index", remove().then(() => true, (error) => {
      if (isAbsent(error)) return false;
      throw error;
    })));
}
