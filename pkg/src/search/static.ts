// Opens a static index: as any other, in memory, where it has no cells; else in parts, as searches want them.

import { isDirectory } from "../arguments.js";
import { EmbedletError } from "../errors.js";
import { Cells, readStatic } from "./cells.js";
import { Core } from "./core.js";
import { Folder, MANIFEST } from "./folder.js";
import { checkIdentity, identify } from "./identity.js";
import { Shards, several, summed } from "./shards.js";
import { memoryStorage } from "./storage.js";
import type { OpenOptions } from "./types.js";

/** Bytes of segments that stay in memory of an index in cells, and most of one without. */
const MEMORY = 2 ** 27;
const MOST_BYTES = 2 ** 30;

export const isStatic = (storage: OpenOptions["storage"]): storage is URL | FileSystemDirectoryHandle =>
  storage instanceof URL || (typeof storage === "object" && storage !== null && isDirectory(storage));

interface Opened {
  index: Core | Shards;
  folder: Folder;
}

export async function openStatic(place: URL | FileSystemDirectoryHandle, options: OpenOptions): Promise<Opened> {
  const { encoder, memory = MEMORY, signal, onProgress } = options;
  const folder = new Folder(place);
  const { file, isKept } = await folder.manifest(signal);
  const manifest = await readStatic(file);
  const { made, segments, cells } = manifest;
  const own = await identify(encoder, options, made, signal);
  checkIdentity(made, own);
  const report = summed(onProgress, signal);
  let index: Core | Shards;
  if (cells) {
    const read = await Cells.read(await folder.read(cells, signal, report(cells.bytes)), cells, manifest);
    index = new Shards(folder, manifest, read, encoder, memory);
  } else {
    if (segments.reduce((sum, { bytes }) => sum + bytes, 0) > MOST_BYTES) {
      const advice = "it would be read as a whole: build it with cells";
      throw new EmbedletError("limit-exceeded", `The index has no cells and more than ${MOST_BYTES} bytes: ${advice}.`);
    }
    const files = new Map([[MANIFEST, file]]);
    const watches = segments.map(({ bytes }) => report(bytes));
    await several([...segments.entries()], signal, async ([i, segment], signal) => {
      files.set(segment.name, await folder.read(segment, signal, watches[i]!));
    });
    index = await Core.open(memoryStorage(files), encoder, async () => own);
    if (index.problem !== null) {
      index.close();
      throw new EmbedletError("index-damaged", index.problem);
    }
  }
  if (!isKept) folder.keep(MANIFEST, file);
  folder.tidy(new Set([MANIFEST, ...segments.map(({ name }) => name), ...(cells ? [cells.name] : [])])).catch(() => {});
  return { index, folder };
}
