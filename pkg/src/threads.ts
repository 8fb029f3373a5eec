// The worker of a team: worker.ts with the build that shares memory. The first of a team has the engine, the others follow.

import { createGlue } from "embedlet:glue-of-threads";
import { Engine } from "./engine.js";
import { EmbedletError, textOf } from "./errors.js";
import type { SharedWasm } from "./instance.js";
import { serve, type Port } from "./rpc.js";
import { watchCrashes } from "./watch.js";

const engine = new Engine(createGlue);
watchCrashes(engine);
// The compiler knows the library of pages only, where `self` is a window.
serve(self as unknown as Port, engine, follow);

/** Computes for the engine until this worker is terminated. What fails before that is no loss to the engine; a trap is one. */
async function follow({ module, memory }: SharedWasm): Promise<void> {
  const glue = createGlue(queueMicrotask);
  try {
    await glue.default({ module_or_path: module, memory });
  } catch (cause) {
    throw new EmbedletError("wasm-load", `A thread does not start (${textOf(cause)}).`, { cause });
  }
  glue.follow?.();
}
