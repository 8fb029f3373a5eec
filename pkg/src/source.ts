// Where bytes come from: every kind of model source becomes a `Source` that opens a file by its path and gives it in chunks.
// The only file that fetches. It does not know which files a model has, and keeps none of them.

import { EmbedletError, textOf } from "./errors.js";
import { waited } from "./signal.js";

/** A model source in a form that can be posted to a worker. */
export type SourceSpec =
  /** A folder on a server; `url` is absolute. `newest` is there where it ends in a branch or tag, and tells which commit that is. */
  | { kind: "url"; url: string; headers: Record<string, string>; newest?: string }
  | { kind: "directory"; handle: FileSystemDirectoryHandle }
  | { kind: "files"; files: Map<string, Uint8Array<ArrayBuffer> | Blob> };

/** An open file. */
export interface OpenFile {
  /** Bytes, where known before reading. */
  size: number | undefined;
  /** Whether it is checked, as it is read, that it is the file that was kept. */
  isKept?: true;
  /** Each may be written over when the next is asked for. */
  chunks: AsyncIterable<Uint8Array<ArrayBuffer>>;
}

/**
 * What a server may answer where there is no such file: hosts that have a page for every path, and buckets that refuse what they may not
 * list. Whether it matters is known to those who know whether the file is needed.
 */
export class PerhapsAbsent extends EmbedletError {}

/** What was {@link PerhapsAbsent} where it is known to be no absence. */
export const refusalOf = (answer: EmbedletError): EmbedletError => new EmbedletError(answer.code, answer.message);

/** A model folder. `undefined` means that there is no such file. */
export interface Source {
  /** Whether a file comes from the network. */
  fetches(path: string): boolean;
  /** `cache` is how the browser's own cache takes part in a fetch. */
  open(path: string, signal: AbortSignal | undefined, cache?: RequestCache): Promise<OpenFile | undefined>;
  /** Bytes of a file not opened yet, where that can be learnt without reading it. */
  size(path: string, signal: AbortSignal | undefined): Promise<number | undefined>;
  /** A file that is {@link PerhapsAbsent} was not needed: where the folder is kept, it is kept that there is none. */
  lacks?(path: string): void;
  /**
   * Where the address names a branch or tag, all files are of one commit: this one, or else the newest when the first of them is
   * wanted. Gives the commit, where it can be told.
   */
  pin?(commit: string | undefined, signal: AbortSignal | undefined): Promise<string | undefined>;
}

/** Bytes per chunk of what is in memory or on disk: enough to keep calls few, little to copy into the instance. */
const CHUNK = 1 << 20;

/** How long to gather a chunk, in ms. */
const MOMENT = 40;

/** A file that no model has: what a server answers for it, it answers for all that it does not have. */
const NOWHERE = "embedlet-no-such-file.json";

/** How long to wait before asking again, each time longer; what has come since starts it anew. Tests shorten it. */
export const retry = { delays: [500, 1500, 4000] };

/** The most that a server may ask to wait for, in ms. */
const LONGEST_WAIT = 30_000;

/** Answers that may be others in a moment. */
const TEMPORARY = new Set([408, 425, 429, 500, 502, 503, 504]);

/** Opens a model source. Reads nothing yet. */
export function openSource(spec: SourceSpec): Source {
  switch (spec.kind) {
    case "url":
      return urlSource(spec.url, spec.headers, spec.newest);
    case "directory":
      return localSource((path) => fileIn(spec.handle, path));
    case "files":
      return localSource(async (path) => spec.files.get(path));
  }
}

/**
 * Fetches, and turns what can go wrong into an EmbedletError: `undefined` when the server says that there is no such file,
 * `network` for anything else. A page in HTML where none was asked for is `html-instead-of-file`.
 */
export async function get(url: string, init: RequestInit, delays = retry.delays): Promise<Response | undefined> {
  let response = await fetched(url, init);
  for (const delay of delays) {
    if (!response || !TEMPORARY.has(response.status)) break;
    const asked = 1000 * Number(response.headers.get("retry-after") ?? 0);
    await waited(Math.min(LONGEST_WAIT, Math.max(delay, asked || 0)), init.signal);
    response = await fetched(url, init);
  }
  if (!response || response.status === 404 || response.status === 410) return undefined;
  if (!response.ok) {
    const hint = response.status === 401 || response.status === 403 ? " It wants authorisation (option `headers`), or there is no such model." : "";
    void response.body?.cancel().catch(() => {});
    throw new (response.status === 403 ? PerhapsAbsent : EmbedletError)("network", `${url} answered HTTP ${response.status}.${hint}`);
  }
  if (response.headers.get("content-type")?.startsWith("text/html")) {
    void response.body?.cancel().catch(() => {});
    const hint = "the server answers an unknown path with a page, or a sign-in stands in between; open the address to see it";
    throw new PerhapsAbsent("html-instead-of-file", `${url} answered with HTML instead of the file: ${hint}.`);
  }
  return response;
}

async function fetched(url: string, init: RequestInit): Promise<Response | undefined> {
  try {
    return await fetch(url, init);
  } catch (error) {
    init.signal?.throwIfAborted();
    // The package of an extension has no 404: what is not in it cannot be fetched.
    if (/^[a-z-]+-extension:/.test(url)) return undefined;
    const hint = "check the address, the connection, and that the server allows this origin (CORS)";
    throw new EmbedletError("network", `${url} could not be fetched (${textOf(error)}): ${hint}.`, { cause: error });
  }
}

/** What a commit is named by. */
export const COMMIT = /^[0-9a-f]{40}$/;

/** The commit that a branch or tag of the hub names now; none where what answers has the hub's files but not its API. */
async function commitAt(url: string, headers: Record<string, string>, signal: AbortSignal | undefined): Promise<string | undefined> {
  // Here nothing is absent: what refuses is the hub, and not one of its files.
  const refused = (error: unknown) => {
    throw error instanceof PerhapsAbsent ? refusalOf(error) : error;
  };
  const response = await get(url, { headers, signal: signal ?? null }).catch(refused);
  if (!response) return undefined;
  const { sha } = await response.json().catch(() => ({})) as { sha?: unknown };
  signal?.throwIfAborted();
  if (typeof sha !== "string" || !COMMIT.test(sha)) throw new EmbedletError("network", `${url} did not say which commit it means: try again.`);
  return sha;
}

function urlSource(address: string, headers: Record<string, string>, newest: string | undefined): Source {
  let commit: Promise<string | undefined> | undefined;
  const pin = (known: string | undefined, signal: AbortSignal | undefined) =>
    (commit = known === undefined ? (commit ?? commitAt(newest as string, headers, signal)) : Promise.resolve(known));
  const folderAt = async (signal: AbortSignal | undefined) => {
    const pinned = newest === undefined ? undefined : await pin(undefined, signal);
    return pinned === undefined ? address : address.replace(/[^/]+$/, pinned);
  };
  let nowhere: Promise<unknown> | undefined;
  // A sign-in may have stood in the way of this file alone, and it would be kept that there is none.
  const confirmed = async (folder: string, answer: PerhapsAbsent, signal: AbortSignal | undefined): Promise<EmbedletError> => {
    const init: RequestInit = { headers, cache: "no-store", signal: signal ?? null };
    const found = await (nowhere ??= get(addressOf(folder, NOWHERE), init).catch((error: unknown) => error));
    signal?.throwIfAborted();
    return found instanceof PerhapsAbsent && found.code === answer.code ? answer : refusalOf(answer);
  };
  return {
    fetches: () => true,
    ...(newest !== undefined && { pin }),
    async open(path, signal, cache = "default") {
      const folder = await folderAt(signal);
      const url = addressOf(folder, path);
      const response = await get(url, { headers, cache, signal: signal ?? null }).catch(async (error: unknown) => {
        throw error instanceof PerhapsAbsent ? await confirmed(folder, error, signal) : error;
      });
      return response && { size: lengthOf(response), chunks: resumed(url, headers, response, signal) };
    },
    async size(path, signal) {
      // It is for the eye: a server that has no time for it is not asked again.
      const response = await get(addressOf(await folderAt(signal), path), { method: "HEAD", headers, signal: signal ?? null }, []);
      return response && lengthOf(response);
    },
  };
}

/** The folder's address may carry a query (a signed link): it goes with every file. */
function addressOf(folder: string, path: string): string {
  const url = new URL(folder);
  url.pathname = `${url.pathname.replace(/\/$/, "")}/${segmentsOf(path).map(encodeURIComponent).join("/")}`;
  return url.href;
}

/** Paths come out of the model's own files, so they must not lead out of its folder. */
function segmentsOf(path: string): string[] {
  const segments = path.split("/");
  if (segments.some((segment) => segment === "" || segment === "." || segment === ".." || segment.includes("\\"))) {
    throw new EmbedletError("invalid-file", `The model names a file outside its folder: "${path}".`);
  }
  return segments;
}

/** Content-Length counts what travels, which is the file only where it is not compressed on the way. */
function lengthOf(response: Response): number | undefined {
  const length = response.headers.get("content-length");
  return length === null || response.headers.has("content-encoding") ? undefined : Number(length);
}

/** What tells two versions of a file apart. Pages of another origin see the date always, the tag where the server shows it. */
function versionOf(response: Response): string | undefined {
  const { headers } = response;
  const tag = headers.get("etag");
  return (tag?.startsWith("W/") ? undefined : tag) ?? headers.get("last-modified") ?? undefined;
}

/** Where in the file a body begins. Pages of another origin are not always shown the range of an answer, which is then the one asked for. */
function startOf(response: Response, asked: number): number {
  if (response.status !== 206) return 0;
  return Number(/^bytes (\d+)-/.exec(response.headers.get("content-range") ?? "")?.[1] ?? asked);
}

/** The body of a file; where it breaks off it goes on behind what has come, if it is known to be the same file still. */
async function* resumed(
  url: string,
  headers: Record<string, string>,
  response: Response,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const version = versionOf(response);
  let received = 0;
  let skip = 0;
  for (let attempt = 0; ; attempt++) {
    try {
      for await (const chunk of bodyOf(response, signal)) {
        const rest = chunk.subarray(Math.min(skip, chunk.length));
        skip -= chunk.length - rest.length;
        if (rest.length === 0) continue;
        received += rest.length;
        attempt = 0;
        yield rest;
      }
      return;
    } catch (error) {
      if (!(error instanceof EmbedletError) || error.code !== "network") throw error;
      for (;; attempt++) {
        const delay = retry.delays[attempt];
        if (version === undefined || delay === undefined) throw error;
        await waited(delay, signal);
        // A range of what is compressed on the way would be one of other bytes.
        const range = response.headers.has("content-encoding") ? {} : { Range: `bytes=${received}-` };
        const next = await get(url, { headers: { ...headers, ...range }, signal: signal ?? null }).catch((again: unknown) => {
          signal?.throwIfAborted();
          if (!(again instanceof EmbedletError) || again.code !== "network") throw again;
        });
        if (!next) continue;
        const changed = versionOf(next) !== version;
        const start = startOf(next, received);
        if (changed || start > received) void next.body?.cancel().catch(() => {});
        if (changed) throw new EmbedletError("network", `${url} changed while it was read: load it again.`, { cause: error });
        if (start > received) continue;
        response = next;
        skip = received - start;
        break;
      }
    }
  }
}

async function* bodyOf(response: Response, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const reader = response.body && readerOf(response.body);
  if (!reader) return;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (value?.length) yield value;
      if (done) return;
    }
  } catch (error) {
    signal?.throwIfAborted();
    throw new EmbedletError("network", `${response.url} broke off while it was read (${textOf(error)}): try again.`, { cause: error });
  } finally {
    // After the end this does nothing; otherwise it stops a download that nobody reads any more.
    reader.cancel().catch(() => {});
  }
}

/**
 * Reads whole chunks where the browser can gather them, into one buffer: else it gives what has just come, and every piece is memory of
 * its own and a turn of all loops.
 */
function readerOf(body: ReadableStream<Uint8Array<ArrayBuffer>>): Pick<ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>, "cancel"> & {
  read(): Promise<{ done: boolean; value?: Uint8Array<ArrayBuffer> | undefined }>;
} {
  let reader: ReadableStreamBYOBReader;
  try {
    reader = body.getReader({ mode: "byob" });
  } catch {
    return body.getReader(); // one that knows of no bytes
  }
  let buffer = new ArrayBuffer(CHUNK);
  // As many bytes as come in a moment, and never much more than before: progress goes on where the network is slow, or becomes so.
  let min = 1;
  return {
    async read() {
      const asked = performance.now();
      const { done, value } = await reader.read(new Uint8Array(buffer), { min });
      if (value) {
        buffer = value.buffer;
        const rate = value.length / (performance.now() - asked);
        min = Math.max(1, Math.floor(Math.min(2 * value.length, rate * MOMENT, CHUNK / 4)));
      }
      return { done, value };
    },
    cancel: (reason) => reader.cancel(reason),
  };
}

function localSource(find: (path: string) => Promise<Uint8Array<ArrayBuffer> | Blob | undefined>): Source {
  return {
    fetches: () => false,
    async open(path) {
      const content = await find(path);
      return content && { size: sizeOf(content), chunks: piecesOf(content, path) };
    },
    async size(path) {
      const content = await find(path);
      return content && sizeOf(content);
    },
  };
}

function sizeOf(content: Uint8Array<ArrayBuffer> | Blob): number {
  return content instanceof Blob ? content.size : content.byteLength;
}

async function* piecesOf(content: Uint8Array<ArrayBuffer> | Blob, path: string): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  for (let start = 0; start < sizeOf(content); start += CHUNK) {
    if (content instanceof Blob) {
      const piece = await reading(path, content.slice(start, start + CHUNK).arrayBuffer());
      yield new Uint8Array(piece);
    } else {
      yield content.subarray(start, start + CHUNK);
    }
  }
}

async function fileIn(folder: FileSystemDirectoryHandle, path: string): Promise<File | undefined> {
  const segments = segmentsOf(path);
  const name = segments.pop() ?? "";
  try {
    for (const segment of segments) folder = await folder.getDirectoryHandle(segment);
    const handle = await folder.getFileHandle(name);
    return await handle.getFile();
  } catch (error) {
    if (error instanceof DOMException && error.name === "NotFoundError") return undefined;
    return reading(path, Promise.reject(error));
  }
}

/** A local file can become unreadable: changed or deleted since it was picked, or the permission withdrawn. */
async function reading<T>(path: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw new EmbedletError("network", `${path} could not be read (${textOf(error)}): pick the folder again.`, { cause: error });
  }
}
