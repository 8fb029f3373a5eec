// UMAP, loaded when it is asked for: places in the plane at which near neighbours are near again (McInnes, Healy and Melville, 2018, arXiv
// 1802.03426). All neighbours are compared here, on the encoder's device; graph and layout are umap-js's, in a worker of their own
// (`umap-worker.ts`), since its first step cannot be cut into slices: 0.5 s at 2,000 texts, 3 s at 10,000.

import type { Encoder } from "embedlet";
import type { Rows } from "./projection.js";

/** Of each point, itself included. */
const NEIGHBOURS = 15;
/** Scores that are compared at once. */
const BLOCK = 1 << 21;
/** The share of the neighbours in the whole, as it is shown. */
const FIRST = 0.3;

/** The nearest points of each, itself first, with their distances: 1 less the cosine. `size` of each point, one point after another. */
export interface Near { size: number; indices: Uint32Array; distances: Float32Array }
interface Work { signal: AbortSignal; onProgress(share: number): void }

/** Moves `places` (`x, y, x, y, …`), such as principal components, to where neighbours are near. The same input gives the same places. */
export async function umap(encoder: Pick<Encoder, "maxSim">, rows: Rows, places: Float32Array, { signal, onProgress }: Work): Promise<Float32Array> {
  const near = await neighbours(encoder, rows, Math.min(NEIGHBOURS, places.length / 2 - 1), { signal, onProgress });
  signal.throwIfAborted();
  const worker = new Worker("umap-worker.js", { type: "module" });
  try {
    return await new Promise((resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      worker.onerror = ({ message }) => reject(new Error(`UMAP: ${message || "its worker did not load"}`));
      worker.onmessage = ({ data }: MessageEvent<number | Float32Array>) => {
        if (signal.aborted) return;
        if (typeof data === "number") onProgress(FIRST + (1 - FIRST) * data);
        else resolve(data);
      };
      worker.postMessage({ near, places });
    });
  } finally {
    worker.terminate();
  }
}

async function neighbours(encoder: Pick<Encoder, "maxSim">, { data, dimensions }: Rows, size: number, { signal, onProgress }: Work): Promise<Near> {
  const count = data.length / dimensions;
  const some = (from: number, to: number) =>
    ({ data: data.subarray(from * dimensions, to * dimensions), dimensions, counts: new Uint32Array(to - from).fill(1) });
  const all = some(0, count);
  const rows = Math.max(1, Math.floor(BLOCK / count));
  const near = { size, indices: new Uint32Array(count * size), distances: new Float32Array(count * size) };
  for (let from = 0; from < count; from += rows) {
    const to = Math.min(count, from + rows);
    const scores = await encoder.maxSim(some(from, to), all, { signal });
    for (let row = from; row < to; row++) {
      const indices = near.indices.subarray(row * size, (row + 1) * size).fill(row);
      const distances = near.distances.subarray(row * size, (row + 1) * size).fill(Infinity, 1);
      scores.subarray((row - from) * count, (row - from + 1) * count).forEach((cosine, other) => {
        const distance = Math.max(0, 1 - cosine);
        if (other === row || !(distance < distances[size - 1]!)) return;
        let at = size - 1;
        for (; at > 1 && distances[at - 1]! > distance; at--) {
          indices[at] = indices[at - 1]!;
          distances[at] = distances[at - 1]!;
        }
        indices[at] = other;
        distances[at] = distance;
      });
    }
    onProgress((FIRST * to) / count);
  }
  return near;
}
