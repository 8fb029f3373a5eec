// The worker of transformers.js: loads a pipeline, then embeds as sentence-transformers would. Nothing comes from other servers.

import { env, pipeline } from "/transformers/transformers.min.js";

let extract;

onmessage = async ({ data: { options, texts } }) => {
  try {
    if (options) {
      await load(options);
      postMessage({});
    } else {
      const { data } = await extract(texts, { pooling: "mean", normalize: true });
      postMessage({ data });
    }
  } catch (error) {
    postMessage({ error: String(error?.stack ?? error) });
  }
};

async function load({ device, dtype, threads }) {
  if (threads > 1 && !crossOriginIsolated) throw new Error("threads need a page that is cross-origin isolated");
  env.allowRemoteModels = false;
  env.allowLocalModels = true;
  env.localModelPath = "/peer/";
  // The build that it takes from its CDN by default.
  const file = `${location.origin}/ort/ort-wasm-simd-threaded.asyncify`;
  env.backends.onnx.wasm.wasmPaths = { mjs: `${file}.mjs`, wasm: `${file}.wasm` };
  env.backends.onnx.wasm.numThreads = threads;
  extract = await pipeline("feature-extraction", "model", { device, dtype });
}
