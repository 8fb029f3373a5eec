// What an origin has in a browser and not in Node, in memory: the Cache API and the private file system. Imported for its effect.

const cachesByName = new Map();

class FakeCache {
  #bodies = new Map();
  async match(url) {
    const body = this.#bodies.get(url);
    return body && new Response(body);
  }
  async put(url, response) {
    this.#bodies.set(url, await response.blob());
  }
  async delete(url) {
    return this.#bodies.delete(url);
  }
  async keys() {
    return [...this.#bodies.keys()].map((url) => ({ url }));
  }
}

globalThis.caches = {
  async open(name) {
    if (!cachesByName.has(name)) cachesByName.set(name, new FakeCache());
    return cachesByName.get(name);
  },
  delete: async (name) => cachesByName.delete(name),
  keys: async () => [...cachesByName.keys()],
};

const missing = () => {
  throw new DOMException("There is no such entry.", "NotFoundError");
};

class Folder {
  #entries = new Map();
  async getDirectoryHandle(name, { create = false } = {}) {
    if (!this.#entries.has(name)) this.#entries.set(name, create ? new Folder() : missing());
    return this.#entries.get(name);
  }
  async getFileHandle(name, { create = false } = {}) {
    const entries = this.#entries;
    if (!entries.has(name)) entries.set(name, create ? new Blob([]) : missing());
    return {
      getFile: async () => entries.get(name),
      async createWritable() {
        const parts = [];
        return { write: async (part) => void parts.push(part), abort: async () => {}, close: async () => void entries.set(name, new Blob(parts)) };
      },
    };
  }
  async removeEntry(name) {
    if (!this.#entries.delete(name)) missing();
  }
  async *keys() {
    yield* [...this.#entries.keys()];
  }
}

const root = new Folder();
const storage = { getDirectory: async () => root, persist: async () => true };
Object.defineProperty(globalThis, "navigator", { configurable: true, value: { ...globalThis.navigator, storage } });
