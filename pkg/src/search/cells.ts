// The manifest of a static index, and its cells: which segment has the rows that are near one another. Checked here; which segments are
// fetched is `shards.ts`'s.

import { checked, damaged, isSize, layout, unframe } from "./file.js";
import { MANIFEST, type FileRef } from "./folder.js";
import { readManifest, type Manifest, type Named } from "./manifest.js";

/** Most bytes of a segment, and of the file of cells. */
const MOST_SEGMENT = 2 ** 23;
const MOST_CELLS = 2 ** 26;

export interface CellsRef extends FileRef {
  count: number;
  /** Cells that a search reads. */
  probes: number;
  /** What so many cells have of the ten nearest rows, as it was measured. */
  recall: [probes: number, recall: number][];
}

export interface StaticManifest extends Manifest {
  segments: (Named & FileRef)[];
  cells: CellsRef | undefined;
}

export async function readStatic(file: Blob): Promise<StaticManifest> {
  const manifest = (await readManifest(MANIFEST, file)) as Partial<StaticManifest> & Manifest;
  const { segments, next, cells } = manifest;
  const good = (segments as StaticManifest["segments"]).every((one) => isFile(one, MOST_SEGMENT) && one.removed === null && one.documents > 0);
  if (!good || next !== null || !(cells === undefined || isCells(cells))) throw damaged(MANIFEST);
  return manifest as StaticManifest;
}

const isFile = ({ bytes, sha256 }: FileRef, most: number) => bytes <= most && typeof sha256 === "string" && /^[0-9a-f]{64}$/.test(sha256);

function isCells(cells: CellsRef): boolean {
  if (typeof cells !== "object" || cells === null) return false;
  const { name, bytes, count, probes, recall } = cells;
  const file = typeof name === "string" && /^cells-[\w-]{1,60}$/.test(name) && isSize(bytes) && isFile(cells, MOST_CELLS);
  const isProbes = (value: unknown) => isSize(value) && value >= 1 && value <= count;
  const isRow = (row: unknown) => Array.isArray(row) && row.length === 2 && isProbes(row[0]) && row[1] >= 0 && row[1] <= 1;
  return file && isSize(count) && isProbes(probes) && Array.isArray(recall) && recall.every(isRow);
}

export class Cells {
  private constructor(
    readonly dimensions: number,
    readonly centroids: Float32Array,
    /** The segment of each cell. */
    readonly segments: Uint32Array,
    /** Rows of each segment. */
    readonly rows: readonly number[],
  ) {}

  static async read(file: Blob, { name, count }: CellsRef, { made, segments: named }: StaticManifest): Promise<Cells> {
    const { dimensions } = made;
    const { header, body } = await unframe(name, file);
    const at = layout(name, header.parts, ["centroids", "segments", "rows"], body, file.size);
    const sizes = at.centroids[1] === 4 * count * dimensions && at.segments[1] === 4 * count && at.rows[1] === 4 * count;
    if (header.kind !== "cells" || header.count !== count || header.dimensions !== dimensions || !sizes) throw damaged(name);
    const read = async (part: "centroids" | "segments" | "rows") => (await checked(name, file, ...at[part])).buffer;
    const centroids = new Float32Array(await read("centroids"));
    const segments = new Uint32Array(await read("segments"));
    const each = new Uint32Array(await read("rows"));
    const rows = named.map(() => 0);
    let before = 0;
    for (const [cell, segment] of segments.entries()) {
      if (segment < before || segment >= named.length || each[cell]! === 0) throw damaged(name);
      rows[segment]! += each[cell]!;
      before = segment;
    }
    if (rows.includes(0) || !centroids.every(Number.isFinite)) throw damaged(name);
    return new Cells(dimensions, centroids, segments, rows);
  }

  get count(): number {
    return this.segments.length;
  }

  /** Cells, the nearest first; of two that are equal the lower. */
  nearest(query: Float32Array): number[] {
    const { dimensions, centroids } = this;
    const scores = Float64Array.from(this.segments, (_, cell) => {
      let sum = 0;
      for (let k = 0, at = cell * dimensions; k < dimensions; k++, at++) sum += query[k]! * centroids[at]!;
      return sum;
    });
    return [...scores.keys()].sort((a, b) => scores[b]! - scores[a]! || a - b);
  }
}
