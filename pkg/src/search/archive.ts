// An index as one file, for `export` and `open`: the files of an index that lies in memory, one after another.

import { damaged, frame, isSize, unframe } from "./file.js";

/** One manifest, and segments. */
const NAMES = /^(manifest-1|segment-[\w-]{1,60})$/;
const NAME = "The file of the index";

/** The files as one, with nothing of it left in storage. */
export async function pack(files: ReadonlyMap<string, Blob>): Promise<Blob> {
  const list = [...files].map(([name, file]) => [name, file.size]);
  const { file } = frame({ kind: "index", files: list }, [...files.values()]);
  return new Blob([await file.arrayBuffer()]);
}

/** What `pack` made, apart again. What is in the files is checked as in any storage. */
export async function unpack(file: Blob): Promise<Map<string, Blob>> {
  const { header, body } = await unframe(NAME, file);
  const { kind, files } = header;
  if (kind !== "index" || !Array.isArray(files)) throw damaged(NAME);
  const found = new Map<string, Blob>();
  let at = body;
  for (const entry of files as unknown[]) {
    const [name, bytes] = Array.isArray(entry) ? (entry as unknown[]) : [];
    if (typeof name !== "string" || !NAMES.test(name) || !isSize(bytes) || at + bytes > file.size) throw damaged(NAME);
    found.set(name, file.slice(at, at + bytes));
    at += bytes;
  }
  if (at !== file.size) throw damaged(NAME);
  return found;
}

