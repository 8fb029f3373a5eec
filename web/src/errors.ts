// What a reader of the page can do about an error of the package. The package's own message says what is wrong; the advice
// here is about this page: its model folder, its device buttons, its stored files.

import type { ErrorCode } from "embedlet";

const FILE = "Look whether the model folder is complete, or choose another one under Model.";
const DEVICE = "Choose WebAssembly under Device: it runs everywhere, if more slowly.";

const ADVICE: Partial<Record<ErrorCode, string>> = {
  network: "Look at the connection, then try again.",
  "missing-file": FILE,
  "invalid-argument": FILE,
  "html-instead-of-file": `The server answered with a web page in place of a file. ${FILE}`,
  "truncated-file": "The download ended early. Try again.",
  "wrong-hash": "The file is not the one that was meant. What was stored of it has been removed; try again.",
  "invalid-file": FILE,
  "invalid-tokenizer": FILE,
  "missing-tensor": FILE,
  "wrong-shape": FILE,
  "unsupported-dtype": "Use the model in f32, f16 or bf16.",
  "unsupported-option": "Choose another model or precision under Model, or another device.",
  "unsupported-architecture": "Choose a model of another kind under Model.",
  "limit-exceeded": "The model is too large for this device; use a smaller one.",
  "no-webgpu": `This browser has no WebGPU, or has it switched off. ${DEVICE}`,
  "no-adapter": `The browser offers no graphics device here. ${DEVICE}`,
  "device-lost": `The graphics device went away. Try again; if it does so again: ${DEVICE}`,
  "out-of-memory": `Close other tabs and try again. ${DEVICE}`,
  shader: DEVICE,
  "self-check-failed": `This device computes wrong results, so it is not used. ${DEVICE}`,
  "non-finite": DEVICE,
  "runtime-crashed": "Try again.",
  "storage-full": "Remove texts or stored models, or free space on the disk; then try again.",
  "storage-failed": "Try again.",
  "index-damaged": "Try again: what is left of your texts is there.",
  "index-mismatch": "Another tab of this page has loaded another model: close one of the two, then try again.",
  "wasm-load": "The encoder itself did not load. Reload the page.",
};

/** Codes that say nothing against the files themselves; after any other, stored model files are forgotten. */
const NOT_THE_FILES: ErrorCode[] = ["network", "invalid-argument", "unsupported-option", "no-webgpu", "no-adapter", "device-lost", "out-of-memory", "shader",
  "self-check-failed", "limit-exceeded", "runtime-crashed", "wasm-load", "storage-full", "storage-failed", "index-damaged", "index-mismatch"];

export interface Problem { code: string; message: string; advice: string; aboutFiles: boolean }

export function problemOf(error: unknown): Problem {
  const { code, message } = error as { code?: unknown; message?: unknown };
  const known = typeof code === "string" && Object.hasOwn(ADVICE, code) ? (code as ErrorCode) : undefined;
  return {
    code: typeof code === "string" ? code : "unexpected",
    message: typeof message === "string" && message !== "" ? message : String(error),
    advice: (known && ADVICE[known]) ?? "Reload the page; if it happens again, please report it with this message.",
    aboutFiles: known !== undefined && !NOT_THE_FILES.includes(known),
  };
}

/** Whether an error only says that a signal was aborted. */
export const isAbort = (error: unknown): boolean => (error as { name?: unknown })?.name === "AbortError";
