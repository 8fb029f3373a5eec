// The files of a static index, made as `docs/index-format.md` says, a host that serves them, and a Cache API.

import { createHash } from "node:crypto";
import { sources } from "./bundle.mjs";

const { frame, makeSegment, xxh32 } = sources;
const unit = (vector) => Array.from(vector).map((value) => value / (Math.hypot(...vector) || 1));
const dot = (a, b) => a.reduce((sum, value, k) => sum + value * b[k], 0);
const meanOf = (vectors) => vectors[0].map((_, k) => vectors.reduce((sum, vector) => sum + vector[k], 0) / vectors.length);
const bytesOf = async (blob) => new Uint8Array(await blob.arrayBuffer());

/**
 * Files by name. The documents of a cell are those nearest to every so many-th document; `inSegment` cells share a segment. `change` may
 * spoil the manifest, `spoil` the header of the cells.
 */
export async function staticFiles(documents, encoder, { cells = 4, inSegment = 1, probes = 1, precision = "int8", change = () => {}, spoil = () => {} } = {}) {
  const { dimensions, architecture, similarity, prompts } = encoder.info;
  const collection = await encoder.collection({ dimensions, precision, similarity });
  const shape = { dimensions, rowBytes: collection.rowBytes, vectors: false };
  const probe = (await encoder.embedDocuments("The quick brown fox jumps over the lazy dog, and 42 others watch.")).row(0);
  const made = { ...shape, model: null, architecture, similarity, precision, prompts, probe: [...probe] };
  const rows = await Promise.all(documents.map(async ({ id, text, metadata = null }) => {
    const vectors = (await encoder.embedDocuments(text)).row(0).slice();
    const passages = [{ start: 0, end: text.length }];
    return { id, text, metadata, hash: [0, 0], given: false, passages, vectors, rows: await collection.encode(vectors) };
  }));
  const count = Math.max(cells, 1);
  const seeds = Array.from({ length: count }, (_, i) => unit(rows[Math.floor((i * rows.length) / count)].vectors));
  const groups = seeds.map(() => []);
  for (const row of rows) {
    const near = seeds.map((seed) => dot(seed, unit(row.vectors)));
    groups[near.indexOf(Math.max(...near))].push(row);
  }
  const files = new Map();
  const put = async (name, { file, checksum }) => {
    const bytes = await bytesOf(file);
    const full = `${name}-${checksum.toString(16)}`;
    files.set(full, bytes);
    return { name: full, bytes: bytes.length, checksum, sha256: createHash("sha256").update(bytes).digest("hex") };
  };
  const segments = [];
  for (let first = 0; first < count; first += inSegment) {
    const inside = groups.slice(first, first + inSegment).flat();
    const ref = await put(`segment-1-${segments.length}`, await makeSegment(inside, shape));
    segments.push({ ...ref, documents: inside.length, removed: null });
  }
  const manifest = { kind: "manifest", generation: 1, made, segments, next: null };
  if (cells > 0) {
    const parts = {
      centroids: Float32Array.from(groups.flatMap((group) => unit(meanOf(group.map(({ vectors }) => unit(vectors)))))),
      segments: Uint32Array.from(groups, (_, cell) => Math.floor(cell / inSegment)),
      rows: Uint32Array.from(groups, (group) => group.length),
    };
    spoil(parts);
    const bodies = Object.values(parts).map((part) => new Uint8Array(part.buffer));
    const lengths = Object.fromEntries(Object.keys(parts).map((name, i) => [name, [bodies[i].length, xxh32(bodies[i])]]));
    const ref = await put("cells-1", frame({ kind: "cells", count, dimensions, parts: lengths }, bodies));
    manifest.cells = { ...ref, count, probes, recall: [[probes, 0.9], ...(probes < count ? [[count, 1]] : [])] };
  }
  change(manifest);
  files.set("manifest-1", await bytesOf(frame(manifest).file));
  return files;
}

/** A fetch over files at `address`. `before` is called with each name; it may throw, or answer itself. */
export function fakeHost(address, files, before = () => {}) {
  const asked = [];
  const inits = [];
  const host = { asked, inits, most: 0, before, files };
  let now = 0;
  host.fetch = async (url, init = {}) => {
    if (!url.startsWith(address)) throw new TypeError(`nobody is at ${url}`);
    const name = decodeURIComponent(url.slice(address.length));
    asked.push(name);
    inits.push([name, init]);
    host.most = Math.max(host.most, ++now);
    try {
      await new Promise(setImmediate);
      init.signal?.throwIfAborted();
      const own = await host.before(name, init);
      if (own) return own;
      init.signal?.throwIfAborted();
      const bytes = host.files.get(name);
      return bytes ? new Response(bytes, { headers: { "content-length": bytes.length } }) : new Response("no", { status: 404 });
    } finally {
      now--;
    }
  };
  return host;
}

/** As much of the Cache API as is used. `before` is called with the kind of each operation, and may throw. */
export function fakeCaches(before = () => {}) {
  const all = new Map();
  return {
    all,
    async keys() {
      return [...all.keys()];
    },
    async open(name) {
      if (!all.has(name)) all.set(name, new Map());
      const files = all.get(name);
      return {
        async match(key) {
          await before("match");
          return files.has(key) ? new Response(files.get(key)) : undefined;
        },
        async put(key, response) {
          await before("put");
          files.set(key, new Uint8Array(await response.arrayBuffer()));
        },
        async delete(key) {
          return files.delete(key);
        },
        async keys() {
          return [...files.keys()].map((url) => ({ url }));
        },
      };
    },
    async delete(name) {
      return all.delete(name);
    },
  };
}
