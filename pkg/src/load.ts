// One load: reads a model's folder file by file into the crate, checks what the caller wants checked, and gives the model.
// Which files there are, and what is in them, only the crate knows. Whatever goes wrong, nothing half-loaded stays behind.

import { EmbedletError } from "./errors.js";
import type { DeviceOptions, Folder, Loader, Model } from "./glue.js";
import type { Instance } from "./instance.js";
import { joined } from "./joined.js";
import { pause } from "./pause.js";
import { Progress } from "./progress.js";
import { sha256 } from "./sha256.js";
import { PerhapsAbsent, type OpenFile, type Source } from "./source.js";
import type { ErrorCode, LoadProgress } from "./types.js";

/** Bytes of a small file (config, tokenizer) that are read at most; the crate's own limits are lower. */
const SMALL_FILE_LIMIT = 64 << 20;

/** Bytes of weights taken between two turns of the event loop. */
const PAUSE_EVERY = 4 << 20;

/** Weight files that are read at once; of some servers each comes no faster than what it is given. */
const AT_ONCE = 4;

/** What can show only when the weights are on their way to the GPU, and need not be a fault of the model's; as `Error::is_of_gpu`. */
const GPU_FAULTS: ReadonlySet<ErrorCode> = new Set(["self-check-failed", "shader", "device-lost", "out-of-memory", "limit-exceeded"]);

/** What a load needs besides the choice of device. */
export interface LoadContext {
  instance: Instance;
  source: Source;
  /** Hexadecimal SHA-256 by path. */
  integrity: ReadonlyMap<string, string>;
  onEvent: (event: LoadProgress) => void;
  signal: AbortSignal | undefined;
}

/** Loads a model. With `device: "auto"`, a GPU that turns out not to do is given up for the CPU, which reads the files again. */
export async function loadModel(context: LoadContext, device: string, precision: string, task?: string): Promise<Model> {
  const asked = task === undefined ? {} : { task };
  try {
    return await new Load(context).run({ device, precision, ...asked });
  } catch (error) {
    if (device !== "auto" || !(error instanceof EmbedletError) || !GPU_FAULTS.has(error.code)) throw error;
    context.signal?.throwIfAborted();
    return new Load(context).run({ device: "wasm", precision, ...asked, reason: error.message });
  }
}

/** The description of a packed folder, which knows the size of every file. */
const PACKED = "embedlet.json";

/** The sizes of the files that a load of a packed folder reads. They are for the eye: what is wrong with them the crate says. */
function sizesIn(bytes: Uint8Array<ArrayBuffer>): Map<string, number> {
  try {
    const { files } = JSON.parse(new TextDecoder().decode(bytes)) as { files: Record<string, { bytes: number }> };
    const sizes = Object.entries(files).map(([path, file]) => [path, Number(file.bytes)] as const);
    return new Map(sizes.filter(([path, size]) => /\.(json|safetensors)$/.test(path) && Number.isSafeInteger(size) && size >= 0));
  } catch {
    return new Map();
  }
}

class Load {
  /** Small files that the server need not have, by its answer. */
  readonly #absent = new Map<string, EmbedletError>();
  /** Paths of `integrity` not met yet. */
  readonly #unchecked: Set<string>;
  readonly #progress: Progress;
  /** Weight files that were opened before they are wanted. */
  readonly #opened = new Map<string, Promise<OpenFile | undefined>>();
  /** Ends all that is still being read when the load ends, of itself or by the caller's signal. */
  readonly #end = new AbortController();

  constructor(private readonly context: LoadContext) {
    this.#unchecked = new Set(context.integrity.keys());
    this.#progress = new Progress(context.onEvent);
    const { signal } = context;
    signal?.addEventListener("abort", () => this.#end.abort(signal.reason), { signal: this.#end.signal });
  }

  async run(options: DeviceOptions): Promise<Model> {
    const { instance, signal } = this.context;
    signal?.throwIfAborted();
    let loader: Loader | undefined;
    try {
      const folder = await this.#folder();
      // It begins to come while the tokenizer is built and the device opens.
      const ahead = await instance.run(() => folder.weights());
      if (ahead !== undefined) this.#openAhead(ahead);
      loader = await instance.run((glue) => glue.Loader.create(folder, options));
      signal?.throwIfAborted();
      await this.#weights(loader);
      const complete: Loader = loader;
      this.#progress.enter("compile");
      await instance.run(() => complete.compile());
      loader = undefined;
      this.#progress.enter("check");
      const model = await instance.run(() => complete.finish());
      this.#progress.ready();
      return model;
    } catch (error) {
      throw this.#explained(error);
    } finally {
      this.#end.abort();
      instance.free(loader);
    }
  }

  /** Reads the small files, in rounds: each may name others. */
  async #folder(): Promise<Folder> {
    const folder = await this.context.instance.run((glue) => new glue.Folder());
    try {
      for (;;) {
        const wanted = await this.context.instance.run(() => folder.wanted());
        if (wanted.length === 0) return folder;
        this.#progress.enter(wanted.some((path) => this.context.source.fetches(path)) ? "download" : "verify");
        const contents = await Promise.all(wanted.map((path) => this.#small(path)));
        this.context.signal?.throwIfAborted();
        this.#progress.enter("verify");
        for (const [i, path] of wanted.entries()) {
          const bytes = contents[i];
          if (bytes) await this.#verify(path, bytes);
          await this.context.instance.run(() => folder.put(path, bytes));
        }
      }
    } catch (error) {
      this.context.instance.free(folder);
      throw error;
    }
  }

  /** A file as a whole. What is perhaps absent counts as absent here: the crate knows whether it can do without, see `#explained`. */
  async #small(path: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    let file: OpenFile | undefined;
    try {
      file = await this.#open(path);
    } catch (error) {
      if (!(error instanceof PerhapsAbsent)) throw error;
      this.#absent.set(path, error);
      this.context.source.lacks?.(path);
      this.#progress.done(path);
    }
    if (!file) return undefined;
    const chunks: Uint8Array<ArrayBuffer>[] = [];
    let length = 0;
    for await (const chunk of this.#chunks(path, file)) {
      length += chunk.length;
      if (length > SMALL_FILE_LIMIT) throw new EmbedletError("limit-exceeded", `${path} is longer than ${SMALL_FILE_LIMIT} bytes.`);
      chunks.push(chunk.slice());
    }
    const bytes = joined(chunks);
    const sizes = path === PACKED ? sizesIn(bytes) : undefined;
    if (sizes?.size) this.#progress.list(sizes);
    return bytes;
  }

  async #verify(path: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    const expected = this.context.integrity.get(path);
    if (expected === undefined) return;
    this.#unchecked.delete(path);
    if (!globalThis.crypto?.subtle) {
      throw new EmbedletError("unsupported-option", `integrity of ${path} can only be checked on https or localhost.`);
    }
    const found = await sha256(bytes);
    if (found !== expected) throw new EmbedletError("wrong-hash", `${path} has SHA-256 ${found}, expected ${expected}: another version, or damaged.`);
  }

  /** Streams the weight files into the device. */
  async #weights(loader: Loader): Promise<void> {
    const paths = await this.context.instance.run(() => loader.files());
    for (const path of paths) this.#unchecked.delete(path);
    for (const path of this.#unchecked) {
      throw new EmbedletError("invalid-argument", `integrity names "${path}", which this model has no use for.`);
    }
    this.#progress.list(new Map(paths.map((path) => [path, undefined])));
    this.#progress.enter(paths.some((path) => this.context.source.fetches(path)) ? "download" : "upload");
    // Lanes take the next file in turn.
    const waiting = paths.values();
    const lanes = Array.from({ length: AT_ONCE }, async () => {
      for (const path of waiting) await this.#stream(loader, path);
    });
    void this.#sizes(paths.slice(AT_ONCE));
    try {
      await Promise.all(lanes);
    } catch (error) {
      // The loader is not freed under those that still read.
      this.#end.abort();
      await Promise.allSettled(lanes);
      throw error;
    }
    this.#progress.enter("verify");
  }

  #openAhead(path: string): void {
    const opening = this.#open(path);
    opening.catch(() => {}); // who waits for it hears of it
    this.#opened.set(path, opening);
  }

  async #stream(loader: Loader, path: string): Promise<void> {
    const file = await (this.#opened.get(path) ?? this.#open(path));
    if (!file) throw new EmbedletError("missing-file", `The model folder has no ${path}.`);
    await this.context.instance.run(() => loader.begin(path, this.context.integrity.get(path), file.isKept === true));
    let since = 0;
    for await (const chunk of this.#chunks(path, file)) {
      await this.context.instance.run(() => loader.push(path, chunk));
      if ((since += chunk.length) < PAUSE_EVERY) continue;
      since = 0;
      await pause();
    }
    await this.context.instance.run(() => loader.end(path));
  }

  async #open(path: string): Promise<OpenFile | undefined> {
    this.#progress.initiate(path);
    const file = await this.context.source.open(path, this.#end.signal);
    if (file) this.#progress.download(path, file.size);
    else this.#progress.done(path);
    return file;
  }

  async *#chunks(path: string, file: OpenFile): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    for await (const chunk of file.chunks) {
      this.#end.signal.throwIfAborted();
      this.#progress.advance(path, chunk.length);
      yield chunk;
    }
    this.#end.signal.throwIfAborted();
    this.#progress.done(path);
  }

  /**
   * The lengths of files whose turn comes later; those of others come with their first bytes. The total that they make is a courtesy: not
   * every server answers HEAD, so nobody waits for it, and one at a time is asked for, for a browser has few connections to a host.
   */
  async #sizes(paths: readonly string[]): Promise<void> {
    for (const path of paths) {
      const size = await this.context.source.size(path, this.#end.signal).catch(() => undefined);
      if (this.#end.signal.aborted) return;
      this.#progress.list(new Map([[path, size]]));
    }
  }

  /** What a file that must be there was answered with: that, and not its absence, is what the user can mend. */
  #explained(error: unknown): unknown {
    if (!(error instanceof EmbedletError) || error.code !== "missing-file") return error;
    for (const [path, answer] of this.#absent) if (error.message.includes(path)) return answer;
    return error;
  }
}
