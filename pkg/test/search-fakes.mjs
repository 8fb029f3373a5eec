// Stand-ins for what an index uses: an encoder whose vectors depend on words alone, and storage that fails, shortens or tears what it is given.

import { fakeCollection } from "./collection.mjs";
import { sources } from "./bundle.mjs";

sources.numbering.first = () => 1;

/** Texts with common words are close. `chunk` cuts behind so many words. */
export function fakeEncoder({ dimensions = 16, words = 6, seed = 0, similarity = "cosine", prompts = {} } = {}) {
  const encoder = {
    info: { architecture: "fake", dimensions, similarity, prompts },
    /** Texts that were embedded. */
    embedded: [],
    collections: [],
    /** Called before each call of `embedDocuments`; may throw, or return a promise. */
    onEmbed: () => {},
    async chunk(text, { kind, signal, size = words }) {
      if (kind !== "document") throw new Error("chunks are of documents");
      signal?.throwIfAborted();
      const chunks = [];
      let first;
      let end = 0;
      for (const { index, 0: word } of text.matchAll(/\S+/g)) {
        first ??= { start: index, count: 0 };
        end = index + word.length;
        if (++first.count === size) {
          chunks.push({ start: first.start, end });
          first = undefined;
        }
      }
      if (first) chunks.push({ start: first.start, end });
      const places = chunks.length > 1 ? chunks : [{ start: 0, end: text.length }];
      return places.map(({ start, end }) => ({ text: text.slice(start, end), start, end, tokens: 1 }));
    },
    async embedDocuments(texts, { dimensions: width = dimensions, signal } = {}) {
      const list = [texts].flat();
      await encoder.onEmbed(list);
      signal?.throwIfAborted();
      encoder.embedded.push(...list);
      const data = Float32Array.from(list.flatMap((text) => vectorOf(text, dimensions, seed).slice(0, width)));
      return { data, row: (i) => data.subarray(i * width, (i + 1) * width) };
    },
    embedQuery: (text, options) => encoder.embedDocuments(text, options).finally(() => encoder.embedded.pop()),
    async collection(options) {
      const collection = await fakeCollection(options);
      encoder.collections.push(collection);
      return collection;
    },
  };
  return encoder;
}

function vectorOf(text, dimensions, seed) {
  const vector = new Array(dimensions).fill(0);
  for (const word of text.toLowerCase().match(/\w+/g) ?? []) {
    const next = random(seed + [...word].reduce((hash, char) => (hash * 31 + char.charCodeAt(0)) >>> 0, 7));
    for (let k = 0; k < dimensions; k++) vector[k] += next() - 0.5;
  }
  return vector;
}

/** Numbers from 0 to 1 that depend on the seed alone (mulberry32). */
export function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) >>> 0;
    let t = Math.imul(seed ^ (seed >>> 15), seed | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * Storage over `files`. `before` is called with the number of each operation and its kind; it may throw, say "tear" (half of a write
 * is there and it fails), "short" (half is there, or is read, and nobody says so) or "late" (it is done, and fails).
 */
export function faultyStorage(files = new Map(), before = () => {}) {
  const inner = sources.memoryStorage(files);
  const others = new Set();
  let operations = 0;
  const operation = async (kind, work) => {
    const fault = await before(++operations, kind);
    const result = await work(fault);
    if (fault === "late" || fault === "tear") throw new DOMException("there is no room", "QuotaExceededError");
    return result;
  };
  const half = (file) => file?.slice(0, file.size >> 1);
  const storage = {
    ...inner,
    files,
    get operations() {
      return operations;
    },
    read: (name) => operation("read", async (fault) => (fault === "short" ? half(files.get(name)) : lasting(files, name))),
    write: async (name, file) => {
      // As a browser does: the file is there, and empty, before it has what is written.
      if (!files.has(name)) files.set(name, new Blob());
      await operation("write", async (fault) => {
        const bytes = new Blob([await file.arrayBuffer()]);
        files.set(name, fault === "tear" || fault === "short" ? half(bytes) : bytes);
      });
    },
    delete: (name) => operation("delete", () => inner.delete(name)),
    list: () => operation("list", () => inner.list()),
    /** The same files from another tab: one writer over both. */
    tab: () => {
      const announce = () => others.forEach((other) => other !== tab && other.changed?.());
      const tab = { ...storage, announce, listen: (changed) => (tab.changed = changed) };
      others.add(tab);
      return tab;
    },
  };
  return storage;
}

const { Blob } = globalThis;

/** Bytes that can be read for as long as the files that they are of are there as they were. */
class LastingBlob extends Blob {
  static [Symbol.hasInstance](value) {
    return Object.prototype.isPrototypeOf.call(Blob.prototype, value);
  }

  constructor(parts = [], options, isThere = () => parts.every((part) => part.isThere?.() ?? true)) {
    super(parts, options);
    this.isThere = isThere;
  }

  slice(start, end, type) {
    return new LastingBlob([super.slice(start, end, type)], { type }, this.isThere);
  }

  async arrayBuffer() {
    if (!this.isThere()) throw new DOMException("the file has changed", "NotReadableError");
    return super.arrayBuffer();
  }
}
globalThis.Blob = LastingBlob;

/** A file as a browser gives it: what is read of it fails when it was deleted or written over. */
function lasting(files, name) {
  const file = files.get(name);
  return file && new LastingBlob([file], {}, () => files.get(name) === file);
}
