// The frame that every file of an index has, docs/index-format.md: what it is, a header of JSON, and bytes behind it. What the bytes mean
// is the segments' and manifests' own. Nothing is believed that was not checked, and nothing allocated that a file has not.

import { EmbedletError } from "../errors.js";
import { xxh32 } from "../xxh32.js";
import { guarded, type IndexStorage } from "./storage.js";

const MAGIC = 0x78_64_69_65; // "eidx"
const VERSION = 1;
const FRAME = 20;

export type Bytes = Uint8Array<ArrayBuffer>;

export function damaged(what: string): EmbedletError {
  return new EmbedletError("index-damaged", `${what} is not what was written.`);
}

export const isDamage = (error: unknown) => error instanceof EmbedletError && error.code === "index-damaged";

export const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;

/** A file with a header and what is behind it. */
export function frame(header: object, body: readonly BlobPart[] = []): { file: Blob; checksum: number } {
  const json = new TextEncoder().encode(JSON.stringify(header));
  const words = new Uint32Array(FRAME / 4);
  const checksum = xxh32(json);
  words.set([MAGIC, VERSION, json.length, checksum]);
  words[4] = xxh32(new Uint8Array(words.buffer, 0, 16));
  return { file: new Blob([words, json, ...body]), checksum };
}

/** The header of a file, its checksum, and where the bytes behind it begin. */
export async function unframe(name: string, file: Blob): Promise<{ header: Record<string, unknown>; checksum: number; body: number }> {
  const words = new Uint32Array((await slice(name, file, 0, FRAME)).buffer);
  const [magic, version, bytes, checksum, own] = words as unknown as [number, number, number, number, number];
  if (magic !== MAGIC || own !== xxh32(new Uint8Array(words.buffer, 0, 16))) throw damaged(name);
  if (version !== VERSION) {
    const advice = version > VERSION ? "update embedlet" : "make the index anew";
    throw new EmbedletError("index-version", `The index has format version ${version}, and this release reads ${VERSION}: ${advice}.`);
  }
  const json = await slice(name, file, FRAME, bytes);
  if (xxh32(json) !== checksum) throw damaged(name);
  const header = parsed(name, json) as Record<string, unknown>;
  if (typeof header !== "object" || header === null || Array.isArray(header)) throw damaged(name);
  return { header, checksum, body: FRAME + bytes };
}

/** JSON whose bytes are those that were written, by whomever. */
export function parsed(name: string, bytes: Bytes): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch {
    throw damaged(name);
  }
}

/** Bytes of a file, all of them. */
export async function slice(name: string, file: Blob, start: number, bytes: number): Promise<Bytes> {
  if (start + bytes > file.size) throw damaged(name);
  const found = await guarded("read", file.slice(start, start + bytes).arrayBuffer()).catch((error: EmbedletError) => {
    // A file that was deleted or written over since it was opened.
    const gone = error.cause instanceof DOMException && ["NotFoundError", "NotReadableError"].includes(error.cause.name);
    throw gone ? damaged(name) : error;
  });
  if (found.byteLength !== bytes) throw damaged(name);
  return new Uint8Array(found);
}

/** What is read of a file at once, when it is asked for at once: for every read a browser asks another process. */
export class Reads {
  #waiting: { start: number; bytes: number; resolve: (found: Bytes) => void; reject: (error: unknown) => void }[] = [];

  constructor(
    readonly name: string,
    readonly file: Blob,
  ) {}

  /** Bytes of the file that have their checksum. */
  async checked(...[start, bytes, checksum]: At): Promise<Bytes> {
    if (start + bytes > this.file.size) throw damaged(this.name);
    const found = await new Promise<Bytes>((resolve, reject) => {
      if (this.#waiting.push({ start, bytes, resolve, reject }) === 1) queueMicrotask(() => void this.#read());
    });
    if (xxh32(found) !== checksum) throw damaged(this.name);
    return found;
  }

  async #read(): Promise<void> {
    const waiting = this.#waiting.splice(0);
    try {
      const parts = new Blob(waiting.map(({ start, bytes }) => this.file.slice(start, start + bytes)));
      const found = await slice(this.name, parts, 0, parts.size);
      let at = 0;
      for (const { bytes, resolve } of waiting) resolve(found.slice(at, (at += bytes)));
    } catch (error) {
      for (const { reject } of waiting) reject(error);
    }
  }
}

/** Where a part of a file lies. */
export type At = [start: number, bytes: number, checksum: number];

/** Where the parts of a file lie: one after another, to its end. */
export function layout<Part extends string>(name: string, parts: unknown, names: readonly Part[], body: number, size: number): Record<Part, At> {
  const at = {} as Record<Part, At>;
  let start = body;
  for (const part of names) {
    const told = ((parts ?? {}) as Record<string, unknown>)[part];
    const [bytes, checksum = 0] = Array.isArray(told) ? (told as unknown[]) : [];
    if (!isSize(bytes) || !isSize(checksum)) throw damaged(name);
    at[part] = [start, bytes, checksum];
    start += bytes;
  }
  if (start !== size) throw damaged(name);
  return at;
}

/** Bytes that have their checksum. */
export async function checked(name: string, file: Blob, ...[start, bytes, checksum]: At): Promise<Bytes> {
  const found = await slice(name, file, start, bytes);
  if (xxh32(found) !== checksum) throw damaged(name);
  return found;
}

/**
 * Reads a file by `read`, which throws what {@link damaged} makes where the bytes are wrong. They are read a second time before that is
 * believed, for what follows is that documents are given up.
 */
export async function readFile<T>(storage: IndexStorage, name: string, read: (file: Blob) => Promise<T>): Promise<T> {
  const attempt = async () => {
    const file = await guarded("read", storage.read(name));
    if (!file) throw damaged(name);
    return read(file);
  };
  return attempt().catch((error) => {
    if (isDamage(error)) return attempt();
    throw error;
  });
}
