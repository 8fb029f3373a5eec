// A stand-in for the package with the same surface, for what a real one cannot be made to do on demand: name an adapter in
// hostile words, fail with a given code, lose its device. What it should do stands in `script.json` of the model folder.
// It reads the folder from a worker as the package does; its vectors are hashed word counts. It runs in the browser, bundled.

import { fakeCollection } from "../../pkg/test/collection.mjs";

const WORDS = 384;

export class Encoder {
  static cache = { list: async () => [], persist: async () => false };

  static async load(source, { device = "auto", signal, onProgress } = {}) {
    signal?.throwIfAborted();
    const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    const folder = new URL(source, document.baseURI).href;
    try {
      const script = await new Promise((resolve, reject) => {
        signal?.addEventListener("abort", () => {
          worker.postMessage("abort");
          reject(signal.reason);
        });
        worker.onmessage = ({ data }) => {
          if (data.script) resolve(data.script);
          else if (data.failed) reject(error("network", data.failed));
          else onProgress?.(data);
        };
        worker.postMessage(folder);
      });
      if (script.fail && script.fail.device !== device) throw error(script.fail.code, script.fail.message);
      const { adapter } = script.info;
      const info = device === "webgpu" || (device === "auto" && !adapter.software) ? { device: "webgpu" }
        : { device: "wasm", adapter: null, selfCheck: null, reason: device === "auto" ? "The adapter is a software one." : null };
      return new Encoder({ ...script.info, ...info }, script, worker);
    } catch (reason) {
      // After the abort has reached the worker, as the package ends its own.
      setTimeout(() => worker.terminate(), 500);
      throw reason;
    }
  }

  constructor(info, script, worker) {
    Object.assign(this, { info, script, worker, calls: 0 });
  }

  /** Whole texts. */
  async chunk(text) {
    return [{ text, start: 0, end: text.length, tokens: 1 }];
  }

  collection(options) {
    return fakeCollection(options);
  }

  async embedDocuments(given, { signal } = {}) {
    const texts = [given].flat();
    await new Promise((resolve) => setTimeout(resolve, 4 * texts.length));
    signal?.throwIfAborted();
    if (++this.calls > (this.script.lostAfter ?? Infinity)) throw error("device-lost", "The GPU device was lost.");
    const data = new Float32Array(texts.length * WORDS);
    texts.forEach((text, at) => data.set(vector(text), at * WORDS));
    return { data, count: texts.length, dimensions: WORDS, row: (at) => data.subarray(at * WORDS, (at + 1) * WORDS) };
  }

  embedQuery(text, options) {
    return this.embedDocuments([text], options);
  }

  async classify(texts, { labels, signal }) {
    const all = await this.embedDocuments(texts, { signal });
    return texts.map((_, at) => {
      const scores = Object.entries(labels).map(([label, examples]) => {
        const [similarity, example] = examples.map((text) => [dot(all.row(at), vector(text)), text]).sort((a, b) => b[0] - a[0])[0];
        return { label, similarity, example, score: Math.exp(similarity / 0.05) };
      });
      const sum = scores.reduce((total, { score }) => total + score, 0);
      return scores.map((one) => ({ ...one, score: one.score / sum })).sort((a, b) => b.score - a.score);
    });
  }

  dispose() {
    this.worker.terminate();
  }
}

const error = (code, message) => Object.assign(new Error(message), { code });
const dot = (a, b) => a.reduce((sum, value, at) => sum + value * b[at], 0);

function vector(text) {
  const counts = new Float32Array(WORDS);
  for (const word of text.toLowerCase().match(/[\p{L}\p{N}]{4,}/gu) ?? []) {
    let hash = 7;
    for (const char of word.slice(0, 5)) hash = (hash * 31 + char.codePointAt(0)) % 1_000_003;
    counts[hash % WORDS] += 1;
  }
  const length = Math.hypot(...counts) || 1;
  return counts.map((value) => value / length);
}
