// One running instance of the crate: compiled, started, and watched for crashes. Knows nothing of models.
// It is the domain of failure: after a trap nothing in its memory can be trusted, so it is given up as a whole.

import { EmbedletError, fromCrate, textOf } from "./errors.js";
import type { CreateGlue, Glue } from "./glue.js";
import { get } from "./source.js";

/** embedlet_threads_bg.wasm, compiled, and the memory that the workers of a team share. */
export interface SharedWasm {
  module: WebAssembly.Module;
  memory: WebAssembly.Memory;
  threads: number;
}

/** embedlet_bg.wasm: its address, its bytes, or compiled; or the wasm of a team. */
export type WasmInput = string | Uint8Array<ArrayBuffer> | WebAssembly.Module | SharedWasm;

export class Instance {
  /** Set once the instance has crashed; every call rejects with it from then on. */
  crashed: EmbedletError | undefined;
  readonly #glue: Glue;
  readonly #pending = new Set<(error: EmbedletError) => void>();

  private constructor(glue: Glue) {
    this.#glue = glue;
  }

  /** Compiles `wasm` and starts it. */
  static async start(createGlue: CreateGlue, wasm: WasmInput): Promise<Instance> {
    const { module, memory, threads } = isShared(wasm) ? wasm : { module: await compile(wasm) };
    // A trap in one of the crate's own tasks would come out of the event loop, which in Node ends the process.
    const glue = createGlue((task) => queueMicrotask(() => {
      try {
        task();
      } catch (error) {
        instance.crash(error);
      }
    }));
    const instance = new Instance(glue);
    try {
      await glue.default({ module_or_path: module, ...(memory && { memory }) });
      if (threads) glue.lead?.(threads);
    } catch (error) {
      throw new EmbedletError("wasm-load", `embedlet_bg.wasm does not start (${textOf(error)}): use the file of the same release.`, { cause: error });
    }
    return instance;
  }

  /** Whether the crate is at work, so that a trap nobody caught can be its own. */
  get busy(): boolean {
    return this.#pending.size > 0;
  }

  /** Runs `work` in the crate. A crash rejects it even where its own promise would never settle. */
  async run<T>(work: (glue: Glue) => T | Promise<T>): Promise<T> {
    if (this.crashed) throw this.crashed;
    let give: (error: EmbedletError) => void = () => {};
    const crash = new Promise<never>((_, reject) => (give = reject));
    // Work that throws at once leaves nobody waiting for it.
    crash.catch(() => {});
    this.#pending.add(give);
    try {
      return await Promise.race([work(this.#glue), crash]);
    } catch (error) {
      throw fromCrate(error) ?? this.crash(error);
    } finally {
      this.#pending.delete(give);
    }
  }

  /** Frees one of the crate's objects. After a crash there is nothing left to free. */
  free(object: { free(): void } | undefined): void {
    if (!object || this.crashed) return;
    try {
      object.free();
    } catch (error) {
      if (!fromCrate(error)) this.crash(error);
    }
  }

  /** Gives the instance up because of `cause`. */
  crash(cause: unknown): EmbedletError {
    const message = `embedlet's WebAssembly instance crashed (${textOf(cause)}): try again, and report it if it comes back.`;
    this.crashed ??= new EmbedletError("runtime-crashed", message, { cause });
    for (const reject of this.#pending) reject(this.crashed);
    return this.crashed;
  }
}

/** The mistake of set-up that is made most, for its development server moves the package's script away from its other files. */
export const VITE_7 = "Vite 7 or older needs optimizeDeps: { exclude: ['embedlet'] }";

/** A module of one function with one relaxed instruction, `i8x16.relaxed_swizzle`. */
const RELAXED = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 0, 253, 15, 65, 0, 253, 15, 253, 128, 2, 11];

/** Whether the engine runs the faster of the two builds. */
export function hasRelaxedSimd(): boolean {
  return WebAssembly.validate(new Uint8Array(RELAXED));
}

function isShared(wasm: WasmInput): wasm is SharedWasm {
  return typeof wasm === "object" && "memory" in wasm;
}

/** Compiles here rather than in the generated code, so that the usual mistakes of set-up can be named. */
export async function compile(wasm: Exclude<WasmInput, SharedWasm>): Promise<WebAssembly.Module> {
  if (wasm instanceof WebAssembly.Module) return wasm;
  try {
    if (typeof wasm !== "string") return await WebAssembly.compile(wasm);
    const response = await get(wasm, {});
    if (!response) throw new Error("HTTP 404: the file is not where it was looked for, pass its address as `wasmUrl`");
    // Not every server knows the type, and compileStreaming insists on it, without parameters.
    const typed = response.headers.get("content-type")?.trim().toLowerCase() === "application/wasm";
    return await (typed ? WebAssembly.compileStreaming(response) : WebAssembly.compile(await response.arrayBuffer()));
  } catch (error) {
    const html = error instanceof EmbedletError && error.code === "html-instead-of-file";
    const what = html ? `got HTML: ${VITE_7}; elsewhere pass \`wasmUrl\`` : textOf(error);
    const name = typeof wasm === "string" ? wasm : "embedlet_bg.wasm";
    throw new EmbedletError("wasm-load", `${name} could not be loaded (${what}).`, { cause: error });
  }
}
