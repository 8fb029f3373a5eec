// A stand-in for a browser's runtime of extensions: contexts, ports that every listening context hears, locks, and the offscreen document.
// Messages take a turn of the event loop and are JSON, or clones.

const LARGEST = 64 << 20;

class Event {
  listeners = new Set();
  addListener = (listener) => void this.listeners.add(listener);
  removeListener = (listener) => void this.listeners.delete(listener);
  fire(...given) {
    for (const listener of this.listeners) listener(...given);
  }
}

export class World {
  origin = "chrome-extension://ours/";
  contexts = new Set();
  /** Messages delivered, and what is done after each. */
  delivered = 0;
  onDelivered = () => {};
  /** Documents made, and the script that runs in them. */
  made = 0;
  script = () => {};
  document = undefined;
  #locks = new Map();

  constructor({ clones = false } = {}) {
    this.clones = clones;
  }

  /** What is sent, as it arrives. */
  carried(message) {
    if (this.clones) return structuredClone(message);
    const text = JSON.stringify(message);
    if (text.length > LARGEST) throw new Error("Message exceeded maximum allowed size of 64MiB.");
    return JSON.parse(text);
  }

  /** A context at `path` of the extension, or anywhere. */
  context(path, { offscreen = true, url = this.origin + path, ...runtime } = {}) {
    const context = { url, onConnect: new Event(), ends: new Set(), locks: new Set() };
    context.close = () => this.#close(context);
    context.api = {
      runtime: {
        id: "ours",
        lastError: undefined,
        onConnect: context.onConnect,
        connect: ({ name }) => this.#connect(context, name),
        getURL: (path) => this.origin + path,
        getContexts: async () => (this.document ? [{ documentUrl: this.document.url }] : []),
        ...runtime,
      },
      offscreen: offscreen ? { createDocument: (parameters) => this.#create(parameters) } : undefined,
      locks: { request: (name, ...given) => this.#request(context, name, given.at(-1), given.length > 1 ? given[0] : {}) },
    };
    this.contexts.add(context);
    return context;
  }

  async #create({ url, reasons, justification }) {
    if (this.document) throw new Error("Only a single offscreen document may be created.");
    if (!url || reasons.length === 0 || !justification) throw new Error("Invalid parameters.");
    this.made++;
    this.document = this.context(url, { getContexts: undefined });
    await turn();
    this.script(this.document);
  }

  #connect(opener, name) {
    const channel = { open: true, near: undefined, far: new Set() };
    const end = (context, others) => {
      const port = { name, sender: { id: opener.id ?? "ours", url: opener.url }, onMessage: new Event(), onDisconnect: new Event() };
      const here = { port, context, channel };
      port.postMessage = (message) => {
        if (!channel.open) throw new Error("Attempting to use a disconnected port object");
        const text = this.carried(message);
        setImmediate(() => {
          for (const { port, context } of others()) {
            if (!channel.open || !this.contexts.has(context)) continue;
            port.onMessage.fire(text);
            this.onDelivered(++this.delivered, message);
          }
        });
      };
      port.disconnect = () => this.#disconnect(channel, here);
      context.ends.add(here);
      return here;
    };
    channel.near = end(opener, () => channel.far);
    const listening = [...this.contexts].filter((context) => context !== opener && context.onConnect.listeners.size > 0);
    for (const context of listening) channel.far.add(end(context, () => [channel.near]));
    setImmediate(() => {
      for (const { port, context } of [...channel.far]) if (channel.open) context.onConnect.fire(port);
      if (listening.length > 0) return;
      opener.api.runtime.lastError = { message: "Could not establish connection. Receiving end does not exist." };
      this.#disconnect(channel, undefined);
      opener.api.runtime.lastError = undefined;
    });
    return channel.near.port;
  }

  /** Whoever does it, all ends are closed; the others are told. */
  #disconnect(channel, by) {
    if (!channel.open) return;
    channel.open = false;
    for (const end of [channel.near, ...channel.far]) {
      end.context.ends.delete(end);
      if (end !== by && this.contexts.has(end.context)) end.port.onDisconnect.fire(end.port);
    }
  }

  #close(context) {
    this.contexts.delete(context);
    if (this.document === context) this.document = undefined;
    for (const end of [...context.ends]) {
      // A port stays open as long as one listening context is there.
      if (end.channel.far.delete(end) && end.channel.far.size > 0) continue;
      this.#disconnect(end.channel, end);
    }
    for (const lock of [...context.locks]) this.#free(lock);
  }

  #request(context, name, work, { mode = "exclusive", signal } = {}) {
    return new Promise((resolve, reject) => {
      const lock = { context, name, mode, work, resolve, reject, held: false };
      signal?.addEventListener("abort", () => {
        if (lock.held) return;
        this.#free(lock);
        reject(signal.reason);
      });
      context.locks.add(lock);
      this.#locks.set(name, [...(this.#locks.get(name) ?? []), lock]);
      this.#grant(name);
    });
  }

  #grant(name) {
    for (const [at, lock] of (this.#locks.get(name) ?? []).entries()) {
      if (at > 0 && (lock.mode === "exclusive" || this.#locks.get(name)[0].mode === "exclusive")) return;
      if (lock.held) continue;
      lock.held = true;
      setImmediate(async () => {
        if (!this.contexts.has(lock.context)) return;
        await Promise.resolve(lock.work()).then(lock.resolve, lock.reject);
        this.#free(lock);
      });
    }
  }

  #free(lock) {
    lock.context.locks.delete(lock);
    this.#locks.set(lock.name, this.#locks.get(lock.name).filter((other) => other !== lock));
    this.#grant(lock.name);
  }
}

export const turn = () => new Promise((resolve) => setImmediate(resolve));
