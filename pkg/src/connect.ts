// Gets an engine: in a new worker, in a worker of the caller's, or on this thread. What differs between the entries of the
// package (where the wasm and the worker's script are) comes in as an `Entry`.

import { createGlue } from "embedlet:glue";
import { absolute } from "./arguments.js";
import { Engine, type Host } from "./engine.js";
import { EmbedletError, textOf } from "./errors.js";
import { compile, VITE_7, type WasmInput } from "./instance.js";
import { greet, Remote } from "./rpc.js";
import { canTeam, startTeam, type TeamFiles } from "./team.js";
import type { LoadOptions } from "./types.js";
import { watchCrashes } from "./watch.js";

/** What an entry of the package knows. */
export interface Entry {
  wasm(): WasmInput | Promise<WasmInput>;
  /** Ways to start the worker of this entry, tried in turn. */
  workers(): (() => Worker)[];
  /** Whether to run on this thread where none of them works. */
  elseInline: boolean;
  /** The other files, for workers that share memory. */
  team?: TeamFiles;
}

/** An engine for one encoder. */
export interface Connection {
  host: Host;
  wasm: WasmInput;
  /** There where a worker was started for it. */
  worker?: true;
  /** There where that is the first of several that share memory. */
  team?: true;
  /** There where the other end restarts engines itself: only to lose it is a loss. */
  supervised?: true;
  /** Frees what the encoder holds: its model, and the worker if that was started for it. */
  end(reason: EmbedletError, model: number | undefined): void;
}

export async function connect(entry: Entry, options: LoadOptions): Promise<Connection> {
  const { worker = true, threads = 1, workerUrl, wasmUrl, wasmModule } = options;
  if (entry.team && canTeam(options)) {
    try {
      return await startTeam(entry.team, threads, start);
    } catch {
      // As on a page that is not isolated: others get a model each.
    }
  }
  const wasm = wasmModule ?? (wasmUrl === undefined ? await entry.wasm() : absolute(wasmUrl));
  if (typeof worker === "object") return { host: await borrow(worker), wasm, end: release };
  if (!worker || typeof Worker === "undefined") return { host: onThisThread(), wasm, end: release };
  try {
    // It is compiled here while the worker starts; where a page may not, the worker tries, and says what is wrong.
    const compiled = compile(wasm).catch(() => wasm);
    const started = await start(workerUrl === undefined ? entry.workers() : workersAt(absolute(workerUrl)));
    return { ...started, wasm: await compiled, worker: true };
  } catch (error) {
    if (entry.elseInline && workerUrl === undefined) return { host: onThisThread(), wasm, end: release };
    throw error;
  }
}

/** Ways to run the script at `url`. A page may not start a worker of another origin, but a worker may import from one. */
export function workersAt(url: string, direct: () => Worker = () => new Worker(url, { type: "module" })): (() => Worker)[] {
  const foreign = new URL(url).origin !== location.origin;
  return foreign ? [direct, () => new Worker(blobUrl(`import ${JSON.stringify(url)};`), { type: "module" })] : [direct];
}

const blobUrls = new Map<string, string>();

/** An address for a script. Kept, because a worker may still be fetching it when its constructor has returned. */
export function blobUrl(script: string): string {
  let url = blobUrls.get(script);
  if (!url) blobUrls.set(script, (url = URL.createObjectURL(new Blob([script], { type: "text/javascript" }))));
  return url;
}

let engine: Engine | undefined;

/** The engine of this thread: one, so that its models share an instance. */
function onThisThread(): Host {
  if (!engine) watchCrashes((engine = new Engine(createGlue)));
  return engine;
}

/** The remote of each worker of the caller's: its replies are numbered, so there must be only one. */
const borrowed = new WeakMap<Worker, Promise<Remote>>();

function borrow(worker: Worker): Promise<Remote> {
  let remote = borrowed.get(worker);
  if (!remote) {
    borrowed.set(worker, (remote = remoteOf(worker, true)));
    remote.catch(() => borrowed.delete(worker));
  }
  return remote;
}

function release(this: Connection, _reason: EmbedletError, model: number | undefined): void {
  // It fails only where the engine is gone, and the model with it.
  if (model !== undefined) this.host.dispose(model).catch(() => {});
}

async function start(ways: (() => Worker)[]): Promise<{ host: Remote; end(reason: EmbedletError): void }> {
  let cause: unknown;
  for (const way of ways) {
    let worker: Worker | undefined;
    try {
      worker = way();
      const started = worker;
      const host = await remoteOf(started);
      const end = (reason: EmbedletError) => {
        started.terminate();
        host.fail(reason);
      };
      return { host, end };
    } catch (error) {
      worker?.terminate();
      cause = error;
    }
  }
  const advice = `${VITE_7}; elsewhere pass its address as \`workerUrl\`, run without one by \`worker: false\`, or import from embedlet/inline`;
  throw new EmbedletError("wasm-load", `The worker did not start (${textOf(cause)}): ${advice}.`, { cause });
}

/** How long a worker may take to answer, which it does as soon as its script runs, without the wasm. Tests shorten it. */
export const greeting = { ms: 60_000 };

/**
 * Waits until the worker answers, so that a script that cannot be loaded is an error and not a silence. What goes wrong later in a worker
 * that does other things too need not be embedlet's, which answers for itself.
 */
async function remoteOf(worker: Worker, isShared = false): Promise<Remote> {
  const remote = new Remote(worker);
  const greeted = new AbortController();
  const until = isShared ? { signal: greeted.signal } : {};
  const failed = (why: string) => remote.fail(new EmbedletError("runtime-crashed", `embedlet's worker failed (${why}): try again.`));
  worker.addEventListener("error", (event) => failed(event.message ?? "its script could not be loaded or run"), until);
  worker.addEventListener("messageerror", () => failed("a message could not be read"), until);
  const advice = "its script must be embedlet/worker, or import it before all that takes its time";
  const silent = () => remote.fail(new EmbedletError("wasm-load", `The worker did not answer for ${greeting.ms / 1000} seconds: ${advice}.`));
  const timer = setTimeout(silent, greeting.ms);
  await greet(remote, "worker.js").finally(() => {
    clearTimeout(timer);
    greeted.abort();
  });
  return remote;
}
