// Who is measured, and the folders that they are served from.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const at = (path) => fileURLToPath(new URL(path, import.meta.url));

const ours = (name, options, byDefault = true) => ({
  name: `embedlet ${name}`,
  kind: "embedlet",
  options: { precision: "f32", ...options },
  /** Whether it loads a model that was packed, where there is one, as those load one that was quantised. */
  packed: options.precision === "int8",
  byDefault,
});
const theirs = (device, dtype, threads, byDefault = true) => ({
  name: `transformers.js ${device} ${dtype}${device === "wasm" ? ` ${threads}t` : ""}`,
  kind: "transformers",
  options: { device, dtype, threads },
  /** Whose work it does: the ratio is taken of this one. */
  against: `embedlet ${device}${device === "wasm" && dtype === "q8" ? " int8" : ""}${threads > 1 ? ` ${threads}t` : ""}`,
  byDefault,
});

const ALL = [
  ours("webgpu", { device: "webgpu" }),
  ours("wasm", { device: "wasm" }),
  ours("wasm 2t", { device: "wasm", threads: 2 }),
  ours("wasm int8", { device: "wasm", precision: "int8" }),
  ours("wasm int8 2t", { device: "wasm", precision: "int8", threads: 2 }),
  // What a browser without relaxed SIMD runs.
  ours("wasm simd128", { device: "wasm", wasmUrl: "/embedlet/embedlet_bg.wasm" }, false),
  theirs("webgpu", "fp32", 1),
  theirs("webgpu", "q8", 1, false),
  theirs("wasm", "fp32", 1),
  theirs("wasm", "fp32", 2),
  theirs("wasm", "q8", 1),
  theirs("wasm", "q8", 2),
];

/** Those that `wanted` names by parts of their names, or without it the usual ones; the peer only where there is its model. */
export function choose(wanted, peerModel) {
  const named = ({ name, byDefault }) => (wanted ? wanted.some((part) => name.includes(part)) : byDefault);
  return ALL.filter((contender) => named(contender) && (contender.kind === "embedlet" || peerModel));
}

/** What a server needs for all of them, by path. */
export function mounts(model, peerModel) {
  const dist = at("../../pkg/dist");
  if (!existsSync(join(dist, "index.js"))) throw new Error("pkg/dist is not built: run `cargo xtask build`.");
  const ours = { "/bench/": at("page"), "/embedlet/": dist, "/model/": model };
  if (!peerModel) return ours;
  const modules = at("node_modules");
  return { ...ours, "/transformers/": `${modules}/@huggingface/transformers/dist`, "/ort/": `${modules}/onnxruntime-web/dist`, "/peer/model/": peerModel };
}
