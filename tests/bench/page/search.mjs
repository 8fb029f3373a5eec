// In the page, and on both ends of a comparison: vectors, those who search them, and an index that is opened anew. `../search.mjs` calls
// these and takes the times.

import { vectors } from "../../browser/in-page.mjs";

const NEAREST = 10;
const KINDS = { embedlet, edgevec, orama, copy };
let contender;
let asked;
let turns = 0;

/** Rows and queries of length 1 in random directions, the same wherever they are made. */
export function collection({ count, dimensions, queries }) {
  return { rows: unit(vectors(count, dimensions, 1), dimensions), queries: split(unit(vectors(queries, dimensions, 2), dimensions), dimensions) };
}

function unit(data, dimensions) {
  for (const row of split(data, dimensions)) {
    const length = Math.hypot(...row);
    for (let i = 0; i < dimensions; i++) row[i] /= length;
  }
  return data;
}

const split = (data, dimensions) => Array.from({ length: data.length / dimensions }, (_, row) => data.subarray(row * dimensions, (row + 1) * dimensions));

/** Gives all rows to a contender, and the first search, which compiles: what it found for each query. */
export async function open(kind, options, shape) {
  const { rows, queries } = collection(shape);
  contender = await KINDS[kind](rows, shape.dimensions, options);
  asked = queries;
  const found = [];
  for (const query of queries) found.push(await contender(query));
  return found;
}

/** Searches until `least` milliseconds are over: milliseconds of a search. */
export async function turn(least) {
  const start = performance.now();
  let calls = 0;
  do {
    await contender(asked[turns++ % asked.length]);
    calls++;
  } while (performance.now() - start < least);
  return (performance.now() - start) / calls;
}

/** Its worker does the work, and messages go there and back. */
async function embedlet(rows, dimensions, { precision }) {
  const { Encoder } = await import("/embedlet/index.js");
  const encoder = await Encoder.load("/model", { device: "wasm", precision: "f32" });
  const collection = await encoder.collection({ dimensions, precision });
  for (let at = 0; at < rows.length; at += 8192 * dimensions) {
    await collection.append(await collection.encode(rows.slice(at, at + 8192 * dimensions)));
  }
  return async (query) => [...(await collection.search(query, { topK: NEAREST })).rows];
}

/** Its flat index has rows of bits alone, a sign each. */
async function edgevec(rows, dimensions) {
  const { default: init, EdgeVec, EdgeVecConfig, JsIndexType } = await import("/edgevec/edgevec.js");
  await init();
  const config = new EdgeVecConfig(dimensions);
  config.indexType = JsIndexType.Flat;
  config.metric = "hamming";
  const index = new EdgeVec(config);
  const rowOf = new Map(split(rows, dimensions).map((vector, row) => [index.insertBinary(signs(vector)), row]));
  return (query) => index.searchBinary(signs(query), NEAREST).map(({ id }) => rowOf.get(id));
}

function signs(vector) {
  const bits = new Uint8Array(vector.length / 8);
  vector.forEach((value, i) => (bits[i >> 3] |= (value > 0) << (i & 7)));
  return bits;
}

/** What is less similar than a right angle is left out, since its time depends on how much it sorts. */
async function orama(rows, dimensions) {
  const { create, insertMultiple, searchVector } = await import("/orama/index.js");
  const index = create({ schema: { vector: `vector[${dimensions}]` } });
  await insertMultiple(index, split(rows, dimensions).map((vector, row) => ({ id: `${row}`, vector: Array.from(vector) })), 10_000);
  return async (value) => {
    const { hits } = await searchVector(index, { vector: { value, property: "vector" }, similarity: 0, limit: NEAREST });
    return hits.map(({ id }) => Number(id));
  };
}

/** No search at all: as many bytes, from one place to another. */
async function copy(rows, dimensions, { bytes }) {
  const from = new Uint8Array((rows.length / dimensions) * bytes).fill(1);
  const to = new Uint8Array(from.length);
  return () => void to.set(from);
}

/** Opens the index of this profile beside an encoder that is loaded already, and searches it for a text, then for others: milliseconds. */
export async function reopen(shape, texts) {
  const { Encoder } = await import("/embedlet/index.js");
  const { SearchIndex } = await import("/embedlet/search.js");
  const encoder = await Encoder.load("/model", { device: "wasm" });
  for (const text of texts) await encoder.embedQuery(text);
  const start = performance.now();
  const index = await SearchIndex.open({ name: "bench", encoder });
  const opened = performance.now();
  await index.search(texts[0]);
  const first = performance.now();
  for (const text of texts.slice(1)) await index.search(text);
  const later = performance.now();
  for (const text of texts.slice(1)) await encoder.embedQuery(text);
  const embedded = performance.now();
  const { documents, bytes, segments } = index.stats();
  if (documents !== shape.count) throw new Error(`${documents} documents of ${shape.count} are there`);
  const each = (ms) => ms / (texts.length - 1);
  const cold = { open: opened - start, "first search": first - opened, "open and first search": first - start };
  return { times: { ...cold, "later search": each(later - first), "vector of a query": each(embedded - later) }, bytes, segments };
}

/** Makes that index. */
export async function fill(shape, texts) {
  const { Encoder } = await import("/embedlet/index.js");
  const { SearchIndex } = await import("/embedlet/search.js");
  const encoder = await Encoder.load("/model", { device: "wasm" });
  const index = await SearchIndex.open({ name: "bench", encoder });
  const rows = split(collection(shape).rows, shape.dimensions);
  await index.add(rows.map((vector, row) => ({ id: `${row}`, text: texts[row % texts.length], vector })));
}
