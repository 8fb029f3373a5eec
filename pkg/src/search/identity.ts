// What made an index, and whether an encoder is that. Names and numbers are compared first, for their message says what to do; then the
// vector of a text that never changes, which nothing that matters escapes.

import { EmbedletError } from "../errors.js";
import { Embeddings, similarity as similarities } from "../embeddings.js";
import type { Made } from "./manifest.js";
import type { IndexOptions, SearchEncoder } from "./types.js";

const PROBE = "The quick brown fox jumps over the lazy dog, and 42 others watch.";
/** Devices and precisions of weights differ less than this, models more. */
const LEAST_COSINE = 0.999;

/** What `encoder` would make, all but the size of its rows. What `options` leave open is as in `stored`. */
export async function identify(
  encoder: SearchEncoder,
  { model, precision, dimensions, rescore }: IndexOptions,
  stored: Made | undefined,
  signal: AbortSignal | undefined,
): Promise<Omit<Made, "rowBytes">> {
  const { info } = encoder;
  const { similarity } = info;
  if (similarity !== "cosine" && similarity !== "dot") {
    throw new EmbedletError("unsupported-option", `An index compares by cosine or dot product, and this model's similarity is "${similarity}".`);
  }
  const form = precision ?? stored?.precision ?? "int8";
  const width = dimensions ?? stored?.dimensions ?? info.dimensions;
  if (dimensions === undefined && width > info.dimensions) throw mismatch(`the model has ${info.dimensions} dimensions, and the index ${width}`);
  const probe = await encoder.embedDocuments(PROBE, { dimensions: width, ...(signal && { signal }) });
  return {
    model: model ?? stored?.model ?? null,
    architecture: info.architecture,
    dimensions: width,
    similarity,
    precision: form,
    vectors: form !== "float32" && (rescore ?? stored?.vectors ?? true),
    prompts: info.prompts,
    probe: [...probe.row(0)],
  };
}

/** What is compared by name, and how a message calls it. */
const NAMES = {
  model: "the model",
  architecture: "the architecture",
  dimensions: "dimensions",
  similarity: "the similarity",
  precision: "the precision",
  vectors: "`rescore`",
  prompts: "prompts",
} as const;

/** Refuses vectors that cannot be compared with those of an index. */
export function checkIdentity(index: Made, own: Omit<Made, "rowBytes">): void {
  for (const [key, name] of Object.entries(NAMES) as [keyof typeof NAMES, string][]) {
    const [there, here] = [JSON.stringify(index[key]), JSON.stringify(own[key])];
    if (there !== here) throw mismatch(`it was made with ${name} ${there}, and is opened with ${here}`);
  }
  if (!(cosine(index.probe, own.probe) > LEAST_COSINE)) throw mismatch("the model that made it gives other vectors");
}

/** Whether the vectors, and the rows, of one can stand beside those of the other. */
export function fits(made: Made, own: Made): boolean {
  try {
    checkIdentity(made, own);
    return made.rowBytes === own.rowBytes;
  } catch {
    return false;
  }
}

function mismatch(reason: string): EmbedletError {
  const advice = "Open it as it was made, and `migrate` it if need be.";
  return new EmbedletError("index-mismatch", `This encoder does not fit the index: ${reason}. ${advice}`);
}

function cosine(a: readonly number[], b: readonly number[]): number {
  return compare(Float32Array.from(a), Float32Array.from(b), "cosine")[0]!;
}

/** Compares one vector with several, in float32, which are one after another. */
export function compare(query: Float32Array, vectors: Float32Array, by: "cosine" | "dot"): Float32Array {
  const dimensions = query.length;
  const rows = (data: Float32Array) => {
    const count = data.length / dimensions;
    const nothing = { tokens: new Uint32Array(count), truncated: new Uint8Array(count) };
    return new Embeddings({ data: data as Float32Array<ArrayBuffer>, dimensions, ...nothing });
  };
  return similarities(rows(query), rows(vectors), by);
}
