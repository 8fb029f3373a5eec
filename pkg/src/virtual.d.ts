// What build.mjs supplies to the sources: modules without a file, and one constant.

declare module "embedlet:glue" {
  /** The generated module, anew: each can be instantiated once, so that a crashed instance can be replaced. */
  export const createGlue: import("./glue.js").CreateGlue;
}

declare module "embedlet:glue-of-threads" {
  /** The same of the build that shares memory. */
  export const createGlue: import("./glue.js").CreateGlue;
}

declare module "embedlet:wasm" {
  /** embedlet_bg.wasm in base64. */
  const base64: string;
  export default base64;
}

declare module "embedlet:worker" {
  /** The text of dist/worker.js. */
  const source: string;
  export default source;
}

/** The version in package.json. */
declare const VERSION: string;

// The little of Node that index.node.ts needs.
declare module "node:fs/promises" {
  export function readFile(path: URL): Promise<Uint8Array<ArrayBuffer>>;
}
