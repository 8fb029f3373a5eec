// Helpers that run in the page: model folders as maps of bytes, ways to damage them, and results that can be sent to Node.

/** The files of a tiny golden model. */
export async function folder(name) {
  const optional = ["1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors", "3_Dense/config.json", "3_Dense/model.safetensors",
    "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"];
  const files = {};
  for (const path of ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors", ...optional]) {
    const response = await fetch(`/golden/models/${name}/${path}`);
    if (response.ok) files[path] = new Uint8Array(await response.arrayBuffer());
    else if (!optional.includes(path)) throw new Error(`${name} has no ${path}`);
  }
  return files;
}

export const bytes = (value) => new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value));
const json = (file) => JSON.parse(new TextDecoder().decode(file));

/** A copy of `files` with some of a JSON file's keys set. */
export function edit(files, path, change) {
  return { ...files, [path]: bytes({ ...json(files[path]), ...change }) };
}

/** A copy with the header of the weights changed by `change`, which is given it as an object. The data stays. */
export function editHeader(files, change) {
  const file = files["model.safetensors"];
  const length = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  const header = json(file.subarray(8, 8 + length));
  change(header);
  const text = bytes(header);
  const out = new Uint8Array(8 + text.length + file.length - 8 - length);
  new DataView(out.buffer).setBigUint64(0, BigInt(text.length), true);
  out.set(text, 8);
  out.set(file.subarray(8 + length), 8 + text.length);
  return { ...files, "model.safetensors": out };
}

/** A copy whose tokenizer knows a word with an id past the model's vocabulary. */
export function withToken(files, word, id) {
  const tokenizer = json(files["tokenizer.json"]);
  tokenizer.model.vocab[word] = id;
  return { ...files, "tokenizer.json": bytes(tokenizer) };
}

/** What `Embeddings` holds, as JSON can carry it. f32 survives the way through decimal. */
export const plain = (e) => ({
  data: Array.from(e.data),
  dimensions: e.dimensions,
  tokens: Array.from({ length: e.count }, (_, i) => e.tokens(i)),
  truncated: Array.from({ length: e.count }, (_, i) => e.truncated(i)),
});

/** Vectors whose values are between -1 and 1, the same for the same seed. */
export function vectors(count, dimensions, seed) {
  let state = seed;
  return Float32Array.from({ length: count * dimensions }, () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state / 2 ** 31;
  });
}

/** Numbers from 0 to below 1, the same for the same seed, by Mulberry32. */
export function mulberry32(seed) {
  let state = seed >>> 0;
  return () => {
    let t = (state = (state + 0x6d2b79f5) >>> 0);
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The rows of the `count` vectors with the highest product with a query, in f64, of those that `allowed` is true of. */
export function nearest(vectors, query, count, allowed = () => true) {
  const dimensions = query.length;
  const scores = Array.from({ length: vectors.length / dimensions }, (_, row) => {
    let score = 0;
    for (let i = 0; i < dimensions; i++) score += vectors[row * dimensions + i] * query[i];
    return { row, score };
  });
  return scores.filter(({ row }) => allowed(row)).sort((a, b) => b.score - a.score || a.row - b.row).slice(0, count).map(({ row }) => row);
}

/** How a promise ended: `{ code }` or `{ name }` of the error with `message` and `ms`, or `{ value }`. */
export async function outcome(promise) {
  const start = performance.now();
  try {
    return { value: (await promise) ?? null };
  } catch ({ name, code, message, constructor }) {
    return { name, code: name === "EmbedletError" ? code : undefined, message, ours: constructor === embedlet.EmbedletError, ms: performance.now() - start };
  }
}

/** Asks whoever runs faults.mjs for a fault, and waits until one of them knows. */
export function fault(place, name, after = 0) {
  const channel = new BroadcastChannel("embedlet faults");
  const id = crypto.randomUUID();
  return new Promise((resolve) => {
    const ask = () => channel.postMessage({ id, place, name, after });
    // A worker may run for a moment before a browser lets it hear: what was said until then is lost.
    const again = setInterval(ask, 100);
    channel.onmessage = () => {
      clearInterval(again);
      channel.close();
      resolve();
    };
    ask();
  });
}
