// A stand-in for the scan of an encoder: the same surface and the same rows, exact and slow, in plain JavaScript. Runs in Node and in pages.

/** What `encoder.collection` gives. A test may replace `before`, which is called with the name of each call; `lose` loses all rows. */
export async function fakeCollection({ dimensions, precision, similarity, restore }) {
  const rowBytes = { float32: 4 * dimensions, int8: dimensions + 4, binary: Math.ceil(dimensions / 8) }[precision];
  let rows = [];
  let removed = new Set();
  let isLost = false;
  let disposed = false;
  const collection = { dimensions, precision, rowBytes, encode, append, remove, search, dispose };
  Object.assign(collection, { before: () => {}, lose: () => (isLost = true), isDisposed: () => disposed });
  /** The same calls within a restore. */
  const restored = { dimensions, precision, rowBytes, append: async (bytes) => put(bytes), remove: async (list) => drop(list) };

  async function ready(name) {
    if (disposed) throw Object.assign(new Error(`${name} of a collection that was disposed of`), { name: "EmbedletError", code: "disposed" });
    await collection.before(name);
    if (!isLost) return;
    [rows, removed, isLost] = [[], new Set(), false];
    await restore(restored);
  }

  async function encode(vectors) {
    await ready("encode");
    const out = [];
    for (let at = 0; at < vectors.length; at += dimensions) out.push(rowOf(vectors.slice(at, at + dimensions)));
    return new Uint8Array(await new Blob(out).arrayBuffer());
  }

  async function append(bytes) {
    await ready("append");
    return put(bytes);
  }

  async function remove(list) {
    await ready("remove");
    drop(list);
  }

  async function search(query, { topK, allowed, signal }) {
    await ready("search");
    signal?.throwIfAborted();
    if (!(topK >= 1 && topK <= 4096) || query.length !== dimensions) throw new Error(`a scan for ${topK} rows by ${query.length} values`);
    const asked = precision === "binary" ? query.map((value) => (value > 0 ? 1 : -1)) : query;
    const found = [];
    rows.forEach((row, i) => {
      const may = !allowed || (allowed[i >> 5] & (1 << (i & 31))) !== 0;
      if (may && !removed.has(i)) found.push([i, compare(asked, row, precision === "binary" ? "dot" : similarity)]);
    });
    found.sort((a, b) => b[1] - a[1] || a[0] - b[0]);
    const best = found.slice(0, topK);
    return { rows: Uint32Array.from(best, ([row]) => row), scores: Float32Array.from(best, ([, score]) => score) };
  }

  function dispose() {
    disposed = true;
  }

  function put(bytes) {
    if (bytes.length === 0 || bytes.length % rowBytes !== 0) throw new Error(`${bytes.length} bytes are no rows`);
    const first = rows.length;
    for (let at = 0; at < bytes.length; at += rowBytes) rows.push(decoded(bytes.slice(at, at + rowBytes)));
    return first;
  }

  function drop(list) {
    for (const row of list) {
      if (row >= rows.length) throw new Error(`there is no row ${row}`);
      removed.add(row);
    }
  }

  function rowOf(vector) {
    const length = similarity === "cosine" ? Math.hypot(...vector) || 1 : 1;
    const scaled = vector.map((value) => value / length);
    if (precision === "float32") return new Uint8Array(scaled.buffer);
    const row = new Uint8Array(rowBytes);
    if (precision === "binary") {
      scaled.forEach((value, k) => value > 0 && (row[k >> 3] |= 128 >> (k & 7)));
      return row;
    }
    const scale = Math.max(...scaled.map(Math.abs)) / 127 || 1;
    new Int8Array(row.buffer).set(scaled.map((value) => Math.round(value / scale)));
    new DataView(row.buffer).setFloat32(dimensions, scale, true);
    return row;
  }

  function decoded(row) {
    if (precision === "float32") return new Float32Array(row.buffer);
    if (precision === "binary") return Float32Array.from({ length: dimensions }, (_, k) => (row[k >> 3] & (128 >> (k & 7)) ? 1 : -1));
    const scale = new DataView(row.buffer).getFloat32(dimensions, true);
    return Float32Array.from(new Int8Array(row.buffer, 0, dimensions), (code) => code * scale);
  }

  return collection;
}

function compare(a, b, by) {
  let [dot, own, other] = [0, 0, 0];
  for (let k = 0; k < a.length; k++) {
    dot += a[k] * b[k];
    own += a[k] ** 2;
    other += b[k] ** 2;
  }
  return by === "cosine" ? dot / (Math.sqrt(own * other) || 1) : dot;
}
