// A stand-in for the generated module, so that the TypeScript is tested without the crate: the same surface, a model whose
// vector of a text is [length, first code unit], and a count of living objects that makes leaks and double frees visible.

import { createHash } from "node:crypto";

/** The smallest module there is. */
export const WASM = new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);

/** What a model of the fake crate chooses. */
export const TUNED = "kernels 64\n";

export function crateError(code, message = code) {
  return Object.assign(new Error(message), { code });
}

/** Gives `createGlue` and what a test wants to see of it: `live`, `running`, and `on`, whose functions a test may replace. */
export function fakeCrate() {
  const crate = {
    live: new Set(),
    instances: 0,
    running: 0,
    mostRunning: 0,
    steps: [],
    /** Called at the start of each step, with the text; may throw, or return a promise. */
    onStep: () => {},
    /** Which files of weights were begun, and whether as checked before. */
    begun: [],
    onCreate: () => {},
    onPush: () => {},
    onFinish: () => {},
    /** Called at the start of each call of a collection, with its name; may throw, or return a promise. */
    onCollect: () => {},
    device: "wasm",
    /** Whether files must have the hashes that are asked for. */
    hashes: false,
    /** Which files of weights a load has a use for. */
    wants: () => true,
    /** The texts of the last call of `embed`. */
    given: [],
    /** Calls of loaders that were there no more. */
    misused: 0,
    /** Models made. */
    finished: 0,
    /** The options of every load. */
    created: [],
    /** How many slices of tuning a model takes, what is called at the start of each, and what was given to be taken. */
    slices: 0,
    onSlice: () => {},
    taken: [],
    createGlue: () => glueOf(crate),
  };
  return crate;
}

function glueOf(crate) {
  class Tracked {
    constructor() {
      crate.live.add(this);
    }
    free() {
      if (!crate.live.delete(this)) throw new Error("null pointer passed to rust");
    }
  }

  class Folder extends Tracked {
    #files = new Map();
    wanted() {
      if (!this.#files.has("config.json")) return ["config.json", "prompts.json"];
      const { small = [] } = this.config();
      return small.filter((path) => !this.#files.has(path));
    }
    put(path, bytes) {
      if (!bytes && path !== "prompts.json") throw crateError("missing-file", `There is no ${path}.`);
      this.#files.set(path, bytes);
    }
    weights() {
      const paths = Object.keys(this.config().weights);
      return paths.length === 1 ? paths[0] : undefined;
    }
    config() {
      return JSON.parse(new TextDecoder().decode(this.#files.get("config.json")));
    }
  }

  class Loader extends Tracked {
    hashes = new Map();
    static async create(folder, options) {
      crate.created.push(options);
      const config = folder.config();
      folder.free();
      await crate.onCreate();
      const loader = new Loader();
      loader.config = config;
      loader.read = {};
      return loader;
    }
    files() {
      return Object.keys(this.config.weights).filter(crate.wants);
    }
    begin(path, sha256, checked) {
      this.#alive();
      crate.begun.push({ path, checked });
      this.read[path] = { bytes: 0, sha256 };
      this.hashes.set(path, createHash("sha256"));
    }
    push(path, chunk) {
      this.#alive();
      crate.onPush(path);
      this.hashes.get(path).update(chunk);
      this.read[path].bytes += chunk.length;
    }
    /** What is asked of a loader that was freed or ended is a defect. */
    #alive() {
      if (crate.live.has(this)) return;
      crate.misused++;
      throw new Error("null pointer passed to rust");
    }
    end(path) {
      this.#alive();
      const { bytes, sha256 } = this.read[path];
      if (bytes !== this.config.weights[path]) throw crateError("truncated-file");
      const found = this.hashes.get(path).digest("hex");
      if (crate.hashes && sha256 !== undefined && sha256 !== found) throw crateError("wrong-hash");
    }
    async compile() {}
    async finish() {
      this.free();
      crate.onFinish();
      crate.finished++;
      const model = new Model();
      model.read = this.read;
      return model;
    }
  }

  class Model extends Tracked {
    info() {
      return JSON.stringify({ device: crate.device, architecture: "fake", dimensions: 2, similarity: "cosine", prompts: { query: "q: " }, loraAdaptations: [], read: this.read });
    }
    tokenize(text) {
      return JSON.stringify({ ids: [text.length], tokens: [text], offsets: [[0, text.length]], truncated: false });
    }
    embed(texts, options) {
      crate.given = texts;
      return new Job(texts, JSON.parse(options));
    }
    takeTuning(kept) {
      crate.taken.push(kept);
      this.slices = kept === TUNED ? 0 : crate.slices;
      return this.slices > 0;
    }
    async tune() {
      crate.mostRunning = Math.max(crate.mostRunning, ++crate.running);
      try {
        await crate.onSlice();
        return --this.slices > 0;
      } finally {
        crate.running--;
      }
    }
    tuning() {
      if (!crate.live.has(this)) throw new Error("null pointer passed to rust");
      return TUNED;
    }
    vocabulary() {
      return JSON.stringify(["[MASK]", "apple", null, "pear"]);
    }
    /** Says of each document and query how many vectors the one and the other have. */
    maxSim(data, dimensions, counts, queries) {
      if (dimensions !== 1 || data.length !== counts.reduce((sum, count) => sum + count, 0)) throw crateError("invalid-argument");
      return new Job([...counts.subarray(queries)], { task: "max-sim", queryCounts: [...counts.subarray(0, queries)] });
    }
    /** Answers with what was asked, or with a vector a character. A head is the number of examples it was trained on. */
    ask(text, head) {
      const [[task, given]] = Object.entries(JSON.parse(text));
      const request = { task, ...given };
      if (head) request.head = [...head];
      return new Job(request.texts ?? request.inputs ?? request.documents ?? request.examples ?? [""], request);
    }
  }

  class Job extends Tracked {
    constructor(texts, options) {
      super();
      Object.assign(this, { texts, options, total: texts.length, done: 0 });
    }
    async step() {
      crate.mostRunning = Math.max(crate.mostRunning, ++crate.running);
      try {
        crate.steps.push(this.texts[this.done]);
        await crate.onStep(this.texts[this.done]);
        this.done++;
      } finally {
        crate.running--;
      }
    }
    finish() {
      this.free();
      if (this.options.task === "multi") return ofTokens(this.texts);
      if (this.options.task === "chunk") return { json: JSON.stringify(halves(this.options.text)) };
      if (this.options.task === "max-sim") {
        const data = Float32Array.from(this.texts.flatMap((count) => this.options.queryCounts.map((query) => 1e7 * query + count)));
        return { data, dimensions: this.options.queryCounts.length, tokens: new Uint32Array(), truncated: new Uint8Array() };
      }
      if (this.options.task === "train-head") {
        const about = { labels: ["a"], method: "logistic", regularization: 1, accuracy: 0.5 };
        return { json: JSON.stringify({ ...about, asked: this.options }), head: Uint8Array.of(this.total) };
      }
      if (this.options.task === "load-head") return { json: JSON.stringify({ labels: ["b"] }), head: Uint8Array.from(this.options.head) };
      if (this.options.task) return { json: JSON.stringify([this.options]) };
      const prefix = this.options.prompt ?? (this.options.kind === "query" ? "q: " : "");
      const texts = this.texts.map((text) => prefix + text);
      if (this.options.tokens) return ofTokens(texts);
      if (this.options.chunkPooling === "none") {
        const counts = new Uint32Array(texts.length).fill(2);
        return { ...ofTokens(this.texts.map((text) => text.slice(0, 2).padEnd(2))), counts, details: JSON.stringify(this.texts.map(halves)) };
      }
      return {
        dimensions: 2,
        data: Float32Array.from(texts.flatMap((text) => [text.length, text.charCodeAt(0) || 0])),
        tokens: Uint32Array.from(texts, (text) => text.length),
        truncated: Uint8Array.from(texts, (text) => (text.length > 9 ? 1 : 0)),
      };
    }
  }

  /** Rows as f32, in a list. */
  class Collection extends Tracked {
    #rows = [];
    #removed = new Set();
    constructor(model, dimensions, precision, similarity) {
      if (!(model instanceof Model)) throw new Error("expected instance of Model");
      if (dimensions > 9) throw crateError("limit-exceeded");
      super();
      Object.assign(this, { dimensions, precision, similarity, rowBytes: 4 * dimensions });
    }
    encode(vectors, rows) {
      if (vectors.includes(NaN)) throw crateError("non-finite");
      rows.set(new Uint8Array(vectors.buffer, vectors.byteOffset, vectors.byteLength));
    }
    async append(rows) {
      await crate.onCollect("append");
      const first = this.#rows.length;
      for (let at = 0; at < rows.length; at += this.rowBytes) this.#rows.push(new Float32Array(rows.slice(at, at + this.rowBytes).buffer));
      return first;
    }
    remove(rows) {
      if (rows.some((row) => row >= this.#rows.length)) throw crateError("invalid-argument");
      rows.forEach((row) => this.#removed.add(row));
    }
    async search(query, topK, allowed) {
      await crate.onCollect("search");
      const hits = this.#rows.map((values, row) => ({ row, score: values.reduce((sum, value, i) => sum + value * query[i], 0) }))
        .filter(({ row }) => !this.#removed.has(row) && (!allowed || (allowed[row >> 5] >> row % 32) & 1));
      const best = hits.sort((a, b) => b.score - a.score || a.row - b.row).slice(0, topK);
      return { rows: Uint32Array.from(best, ({ row }) => row), scores: Float32Array.from(best, ({ score }) => score) };
    }
  }

  crate.instances++;
  return { default: async () => {}, Folder, Loader, Collection };
}

/** Where the two chunks of a text are. */
function halves(text) {
  const half = text.length >> 1;
  return [[0, half, half], [half, text.length, text.length - half]];
}

/** A vector a character. */
function ofTokens(texts) {
  const counts = Uint32Array.from(texts, (text) => text.length);
  return {
    data: Float32Array.from(texts.join(""), (c) => c.charCodeAt(0)),
    dimensions: 1,
    counts,
    tokens: counts.slice(),
    truncated: Uint8Array.from(texts, (text) => (text.length > 9 ? 1 : 0)),
    details: JSON.stringify(texts.map((text) => ({ tokens: [...text] }))),
  };
}

const encode = (value) => new TextEncoder().encode(JSON.stringify(value));

/** A folder the fake crate can load. */
export function files({ small = [], weights = { "model.safetensors": 3_000_000 }, ...rest } = {}) {
  const folder = { "config.json": encode({ small, weights }) };
  for (const path of small) folder[path] = encode({ path });
  for (const [path, bytes] of Object.entries(weights)) folder[path] = new Uint8Array(bytes);
  return { ...folder, ...rest };
}
