// Documents as the caller gives them, checked, and what a segment takes: texts in passages, passages as vectors and rows.

import { checkNames, invalid } from "../arguments.js";
import { EmbedletError } from "../errors.js";
import type { ChunkOptions } from "../types.js";
import { xxh32 } from "../xxh32.js";
import { checkMetadata } from "./metadata.js";
import type { Fresh, Hash, Place } from "./segment.js";
import type { Document, Metadata } from "./types.js";
import type { View } from "./view.js";

/** Longest name of a document, and most JSON of its metadata, in UTF-16 units. */
const MOST_ID = 1024;
const MOST_METADATA = 8192;

/** A document that was checked. What a change leaves out is undefined. */
export interface Given {
  id: string;
  text: string | undefined;
  metadata: Metadata | null | undefined;
  vector: Float32Array | undefined;
}

/** Checks documents, so that nothing is done where one of them is wrong. */
export function readDocuments(method: string, documents: Document | readonly Document[], dimensions: number): Given[] {
  const list = (Array.isArray(documents) ? documents : [documents]) as readonly Document[];
  const ids = new Set<string>();
  return Array.from(list, (document, i) => {
    if (typeof document !== "object" || document === null) throw invalid(`Document ${i} must be an object with an \`id\` and a \`text\`.`);
    checkNames(method, document, ["id", "text", "metadata", "vector"]);
    const { id, text, metadata, vector } = document;
    checkId(id);
    if (ids.has(id)) throw invalid(`Document "${id}" is there twice.`);
    ids.add(id);
    if (text !== undefined && typeof text !== "string") throw invalid(`The text of document "${id}" is not a string.`);
    // UTF-8, and the tokenizer, have no halves of surrogate pairs.
    const whole = text?.replace(/\p{Surrogate}/gu, "\ufffd");
    return { id, text: whole, metadata: readMetadata(id, metadata), vector: readVector(`of document "${id}"`, vector, dimensions) };
  });
}

export function checkId(id: unknown): asserts id is string {
  if (typeof id === "string" && id.length <= MOST_ID) return;
  throw invalid(`The \`id\` of a document must be a string of at most ${MOST_ID} characters.`);
}

export function readVector(what: string, vector: Float32Array | undefined, dimensions: number): Float32Array | undefined {
  if (vector === undefined) return undefined;
  const fits = vector instanceof Float32Array && vector.length === dimensions && vector.every(Number.isFinite);
  if (!fits) throw invalid(`The vector ${what} must be a Float32Array of ${dimensions} finite numbers.`);
  return vector.slice();
}

/** A copy, which stays as it was checked. */
function readMetadata(id: string, metadata: Metadata | null | undefined): Metadata | null | undefined {
  if (metadata === undefined || metadata === null) return metadata;
  const wrong = checkMetadata(metadata);
  if (wrong !== undefined) throw invalid(`The metadata of document "${id}" ${wrong}.`);
  const json = JSON.stringify(metadata);
  if (json.length > MOST_METADATA) throw invalid(`The metadata of document "${id}" takes more than ${MOST_METADATA} characters as JSON.`);
  return JSON.parse(json) as Metadata;
}

/** Sets the second sum apart from the first. */
const SALT = new Uint8Array(16).fill(0x5a);

/** What the vectors of a document depend on, beside the model. Two checksums, for one would let a change in four billion pass. */
export function hashOf(text: string, vector: Float32Array | undefined, { size, overlap, by }: ChunkOptions): Hash {
  const content = new TextEncoder().encode(JSON.stringify([text, vector ? [...vector] : [size, overlap, by]]));
  const salted = new Uint8Array(SALT.length + content.length);
  salted.set(SALT);
  salted.set(content, SALT.length);
  return [xxh32(content), xxh32(salted)];
}

/** A document whose vectors are to be made. */
export interface Wanted {
  id: string;
  text: string;
  metadata: Metadata | null;
  vector: Float32Array | undefined;
  hash: Hash;
  passages: readonly Place[];
}

/** What the model says of a text is said of its document. */
function ofDocument(error: unknown, id: string | undefined): unknown {
  if (!(error instanceof EmbedletError) || id === undefined) return error;
  return new EmbedletError(error.code, `Document "${id}": ${error.message}`, { cause: error });
}

/** Cuts the text of a document into passages that the model reads whole. */
export async function passagesOf({ encoder }: View, id: string, text: string, chunk: ChunkOptions, signal: AbortSignal | undefined): Promise<Place[]> {
  const chunks = await encoder.chunk(text, { ...chunk, kind: "document", ...(signal && { signal }) }).catch((error) => {
    throw ofDocument(error, error?.code === "limit-exceeded" ? id : undefined);
  });
  return chunks.length > 0 ? chunks.map(({ start, end }) => ({ start, end })) : [{ start: 0, end: text.length }];
}

/** The vectors of documents, as a segment takes them. */
export async function embedded(view: View, documents: readonly Wanted[], signal: AbortSignal | undefined): Promise<Fresh[]> {
  const { dimensions, rowBytes } = view.made;
  const texts = documents.flatMap(({ text, vector, passages }) => (vector ? [] : passages.map(({ start, end }) => text.slice(start, end))));
  const options = { dimensions, overflow: "error", ...(signal && { signal }) } as const;
  const embed = () => view.encoder.embedDocuments(texts, options).catch((error) => {
    throw ofDocument(error, documents.flatMap(({ id, vector, passages }) => (vector ? [] : passages.map(() => id)))[error?.text]);
  });
  const made = texts.length > 0 ? (await embed()).data : new Float32Array();
  if (made.length !== texts.length * dimensions) throw new EmbedletError("runtime-crashed", "The encoder gave too few vectors.");
  const vectors = new Float32Array(documents.reduce((sum, { passages }) => sum + passages.length, 0) * dimensions);
  let [read, at] = [0, 0];
  for (const { vector, passages } of documents) {
    const part = vector ?? made.subarray(read, read + passages.length * dimensions);
    vectors.set(part, at);
    at += part.length;
    if (!vector) read += part.length;
  }
  const rows = Uint8Array.from(await view.collection.encode(vectors));
  if (rows.length * dimensions !== vectors.length * rowBytes) throw new EmbedletError("runtime-crashed", "The scan gave too few rows.");
  let passage = 0;
  return documents.map(({ id, text, metadata, vector, hash, passages }) => {
    const [from, to] = [passage, (passage += passages.length)];
    const own = { rows: rows.slice(from * rowBytes, to * rowBytes), vectors: vectors.slice(from * dimensions, to * dimensions) };
    return { id, text, metadata, hash, given: vector !== undefined, passages, ...own };
  });
}
