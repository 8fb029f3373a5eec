// What an index is made of: which segments, which of their documents are removed, and which model made the vectors. A commit is a new
// manifest, written last; whatever no manifest names is not there.

import { damaged, frame, isSize, unframe } from "./file.js";
import type { Matrix } from "./map.js";
import type { Segment, SegmentRef, Shape } from "./segment.js";
import type { IndexPrecision, MapQuality } from "./types.js";

/** What made the vectors. Two indexes that differ here have nothing to say to each other. */
export interface Made extends Shape {
  model: string | null;
  architecture: string;
  similarity: "cosine" | "dot";
  precision: IndexPrecision;
  /** The model's prompts by name. */
  prompts: Record<string, string>;
  /** The vector of a text that never changes. */
  probe: number[];
}

/** A segment, and which of its documents are there. */
export class Part {
  /** Documents and passages that are there. */
  readonly documents: number;
  readonly passages: number;

  constructor(
    readonly segment: Segment,
    /** A bit a document, the lowest of a byte first. */
    readonly removed: Uint8Array<ArrayBuffer> = new Uint8Array(Math.ceil(segment.documents / 8)),
  ) {
    let [documents, passages] = [0, 0];
    for (const index of this.indices()) {
      documents++;
      passages += segment.passagesOf(index)[1];
    }
    [this.documents, this.passages] = [documents, passages];
  }

  has(index: number): boolean {
    return (this.removed[index >> 3]! & (1 << (index & 7))) === 0;
  }

  /** The documents that are there. */
  *indices(): Generator<number> {
    for (let index = 0; index < this.segment.documents; index++) if (this.has(index)) yield index;
  }

  without(indices: Iterable<number>): Part {
    const removed = this.removed.slice();
    for (const index of indices) removed[index >> 3]! |= 1 << (index & 7);
    return new Part(this.segment, removed);
  }
}

/** An index at a commit. */
export interface State {
  /** Counts commits; 0 where there has been none. */
  generation: number;
  made: Made | undefined;
  parts: readonly Part[];
  /** What a migration to another model has done so far. */
  next: Migration | undefined;
  /** Documents that were committed and whose files are gone, or damaged. */
  lost: number;
  /** What was wrong with the files. */
  problem: string | null;
}

export interface Migration {
  made: Made;
  parts: readonly Part[];
  /** By which queries of that model are answered meanwhile. */
  map: StoredMap | undefined;
}

/** A map from the vectors of an index to those of the model that it moves to, in a file of its own. */
export interface StoredMap {
  ref: SegmentRef;
  matrix: Matrix;
  quality: MapQuality;
}

export function segmentsOf({ parts, next }: Pick<State, "parts" | "next">): Segment[] {
  return [...parts, ...(next?.parts ?? [])].map(({ segment }) => segment);
}

/** A segment as a manifest names it. */
export interface Named extends SegmentRef {
  /** That are there. */
  documents: number;
  removed: string | null;
}

/** A manifest as it was read; its segments are not. */
export interface Manifest {
  generation: number;
  made: Made;
  segments: Named[];
  next: { made: Made; segments: Named[]; map?: SegmentRef | null } | null;
}

export const manifestOf = (generation: number) => `manifest-${generation}`;
export const isOurs = (name: string) => /^(manifest|segment|map)-/.test(name);

/** The generation of a manifest, by its name. */
export function generationOf(name: string): number | undefined {
  const digits = /^manifest-([1-9][0-9]{0,14})$/.exec(name)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

export function makeManifest({ generation, made, parts, next }: State): Blob {
  const named = (parts: readonly Part[]) =>
    parts.map(({ segment, documents, removed }) => ({
      ...segment.ref,
      documents,
      removed: documents < segment.documents ? toBase64(removed) : null,
    }));
  const other = next ? { made: next.made, segments: named(next.parts), map: next.map?.ref ?? null } : null;
  return frame({ kind: "manifest", generation, made, segments: named(parts), next: other }).file;
}

export async function readManifest(name: string, file: Blob): Promise<Manifest> {
  const { header, body } = await unframe(name, file);
  const { kind, generation, made, segments, next } = header as Record<string, never> & Partial<Manifest>;
  const good = kind === "manifest" && body === file.size && generation === generationOf(name) && isMade(made) && isSegments(segments);
  if (!good || !(next === null || (isMade(next?.made) && isSegments(next?.segments) && isMap(next?.map)))) throw damaged(name);
  return header as unknown as Manifest;
}

const isText = (value: unknown) => typeof value === "string";

function isMade(made: Made | undefined): boolean {
  if (typeof made !== "object" || made === null) return false;
  const { model, architecture, dimensions, rowBytes, vectors, similarity, precision, prompts, probe } = made;
  const names = (model === null || isText(model)) && isText(architecture) && isText(precision) && ["cosine", "dot"].includes(similarity);
  const sizes = [dimensions, rowBytes].every((size) => isSize(size) && size > 0 && size < 2 ** 24) && typeof vectors === "boolean";
  const texts = typeof prompts === "object" && prompts !== null && Object.values(prompts).every(isText);
  return names && sizes && texts && Array.isArray(probe) && probe.length === dimensions && probe.every(Number.isFinite);
}

function isSegments(segments: Named[] | undefined): boolean {
  if (!Array.isArray(segments) || new Set(segments.map((one) => one?.name)).size < segments.length) return false;
  return segments.every((one) => {
    if (typeof one !== "object" || one === null) return false;
    const { name, bytes, checksum, documents, removed } = one;
    const numbers = [bytes, checksum, documents].every(isSize);
    return isText(name) && /^segment-[\w-]{1,60}$/.test(name) && numbers && (removed === null || isText(removed));
  });
}

/** Other releases' manifests have none. */
function isMap(map: SegmentRef | null | undefined): boolean {
  if (map === undefined || map === null) return true;
  return typeof map === "object" && isText(map.name) && /^map-[\w-]{1,60}$/.test(map.name) && [map.bytes, map.checksum].every(isSize);
}

/** What a manifest says of a segment that is there. */
export function partOf({ name, documents, removed }: Named, segment: Segment): Part {
  const part = new Part(segment, removed === null ? undefined : fromBase64(name, removed, Math.ceil(segment.documents / 8)));
  if (part.documents !== documents) throw damaged(name);
  return part;
}

function toBase64(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

function fromBase64(name: string, text: string, length: number): Uint8Array<ArrayBuffer> {
  try {
    const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
    if (bytes.length === length) return bytes;
  } catch {
    // Not base64.
  }
  throw damaged(name);
}
