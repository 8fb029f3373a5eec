// Workers that share one memory, and with it one model: the first has the engine, whose loops the others take part in. That takes a page
// that is cross-origin isolated; elsewhere pool.ts has several workers with a model each. The bits are the same.

import type { Connection } from "./connect.js";
import { EmbedletError, isLoss } from "./errors.js";
import { compile, hasRelaxedSimd, type SharedWasm } from "./instance.js";
import type { Remote } from "./rpc.js";
import type { LoadOptions } from "./types.js";

/** Where the files of a team are. */
export interface TeamFiles {
  wasm(): string;
  workers(): (() => Worker)[];
}

interface Started {
  host: Remote;
  end(reason: EmbedletError): void;
}

/** Pages of 64 KiB that the memory begins with: at least as many as the module has data. */
const FIRST_PAGES = 64;
/** What it may grow to. An engine reserves as many addresses, of which a small device may not have the most. */
const MOST_PAGES = [65536, 32768, 16384];

/** Whether a load can have a team. Where there could be a GPU only the engine finds out, so there it must be the CPU that is asked for. */
export function canTeam({ threads = 1, device = "auto", worker = true, workerUrl, wasmUrl, wasmModule }: LoadOptions): boolean {
  const isCpu = device === "wasm" || (device === "auto" && !("gpu" in navigator));
  const isOwn = worker === true && workerUrl === undefined && wasmUrl === undefined && wasmModule === undefined;
  return threads > 1 && isCpu && isOwn && globalThis.crossOriginIsolated === true && hasRelaxedSimd();
}

/** Starts a team. It is there with its first worker, which does the work of the others until they are. */
export async function startTeam(files: TeamFiles, threads: number, start: (ways: (() => Worker)[]) => Promise<Started>): Promise<Connection> {
  const compiling = compile(files.wasm());
  compiling.catch(() => {});
  const first = await start(files.workers());
  const started = [first];
  let ended: EmbedletError | undefined;
  const end = (reason: EmbedletError) => {
    ended = reason;
    for (const worker of started) worker.end(reason);
  };
  try {
    const wasm: SharedWasm = { module: await compiling, memory: sharedMemory(), threads };
    const follow = async () => {
      const worker = await start(files.workers());
      started.push(worker);
      if (ended) worker.end(ended);
      else await worker.host.follow(wasm);
    };
    // One that does not start is done without. One that crashes leaves its part undone, and the memory as it was then.
    for (let other = 1; other < threads; other++) follow().catch((error) => isLoss(error) && first.host.fail(error));
    return { host: first.host, wasm, worker: true, team: true, end };
  } catch (error) {
    end(new EmbedletError("disposed", "The load has been given up."));
    throw error;
  }
}

function sharedMemory(): WebAssembly.Memory {
  for (const maximum of MOST_PAGES) {
    try {
      return new WebAssembly.Memory({ initial: FIRST_PAGES, maximum, shared: true });
    } catch {
      // fewer, then
    }
  }
  throw new EmbedletError("out-of-memory", "There is no room for a memory that is shared.");
}
