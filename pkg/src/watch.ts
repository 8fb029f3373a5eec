// Hears of traps that no promise reports. A panic inside what the browser calls back leaves the promise the caller waits for pending for
// ever; the trap itself comes out of the event loop, as an error nobody caught. Those of the crate's own tasks `instance.ts` hears of.

import type { Engine } from "./engine.js";

/** Tells `engine` of traps nobody caught. One that is not its own (another library's) is left alone while it is idle. */
export function watchCrashes(engine: Engine): void {
  // Node has no such events: there an error nobody caught ends the process.
  if (typeof addEventListener !== "function") return;
  const heard = (event: Event, error: unknown) => {
    if (error instanceof WebAssembly.RuntimeError && engine.crash(error)) event.preventDefault();
  };
  addEventListener("error", (event) => heard(event, event.error));
  addEventListener("unhandledrejection", (event) => heard(event, event.reason));
}
