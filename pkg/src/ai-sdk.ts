// An encoder as an embedding model of the Vercel AI SDK. Specification v3, with the `dimensions` of v4: versions 6 and 7 of the SDK
// both take it, and 7 asks v3 for dimensions too. A plain object: 7 puts a proxy before it, which private fields do not survive.

import { checkEncoder, checkName, embedAs, rows, tokensOf, type AdapterOptions } from "./adapter.js";
import { invalid, isCount, readTexts } from "./arguments.js";
import type { Encoder } from "./encoder.js";

export type { AdapterOptions } from "./adapter.js";

/** Options of `embeddingModel`. Those of `embed` hold for every call that does not name its own in `providerOptions.embedlet`. */
export interface EmbeddingModelOptions extends AdapterOptions {
  /** What results and traces call the model. Default: its architecture, such as `"bert"`. */
  modelId?: string;
  /** Texts that the SDK hands over at once; `embedMany` asks again for the rest. Default: no limit, for the encoder makes its own batches. */
  maxEmbeddingsPerCall?: number;
}

/** What the SDK asks. */
export interface EmbedCall {
  /** The texts. */
  values: string[];
  /** Keeps the first so many; version 7 of the SDK passes them on. */
  dimensions?: number | undefined;
  /** Gives the call up. */
  abortSignal?: AbortSignal | undefined;
  /** `embedlet` holds {@link AdapterOptions}; what is meant for others is theirs. */
  providerOptions?: Readonly<Record<string, object>> | undefined;
  /** For models behind HTTP; the SDK always sends its own name. Nothing is sent here. */
  headers?: Readonly<Record<string, string | undefined>> | undefined;
}

/** What it is given. */
export interface EmbedResult {
  /** A vector a text. */
  embeddings: number[][];
  /** Tokens that the model read, special tokens included. */
  usage: { tokens: number };
  /** Says how many texts were cut. */
  warnings: { type: "other"; message: string }[];
}

/** An `EmbeddingModelV3`. */
export interface EmbeddingModel {
  readonly specificationVersion: "v3";
  readonly provider: "embedlet";
  readonly modelId: string;
  readonly maxEmbeddingsPerCall: number | undefined;
  readonly supportsParallelCalls: boolean;
  /** What `embed` and `embedMany` of the SDK call. */
  doEmbed(call: EmbedCall): Promise<EmbedResult>;
}

/** Makes a model for `embed` and `embedMany` of the SDK. */
export function embeddingModel(encoder: Encoder, options: EmbeddingModelOptions = {}): EmbeddingModel {
  checkEncoder(encoder);
  const { modelId = encoder.info.architecture, maxEmbeddingsPerCall, ...defaults } = options;
  if (maxEmbeddingsPerCall !== undefined && !isCount(maxEmbeddingsPerCall)) throw invalid("`maxEmbeddingsPerCall` must be a positive whole number.");

  async function doEmbed({ values, dimensions, abortSignal, providerOptions }: EmbedCall): Promise<EmbedResult> {
    const texts = readTexts(values);
    if (maxEmbeddingsPerCall !== undefined && texts.length > maxEmbeddingsPerCall) {
      throw invalid(`${texts.length} texts in one call, of at most ${maxEmbeddingsPerCall}: use \`embedMany\`, or raise \`maxEmbeddingsPerCall\`.`);
    }
    const { embedlet = {} } = providerOptions ?? {};
    if (typeof embedlet !== "object" || embedlet === null) throw invalid("`providerOptions.embedlet` must be an object.");
    const call = { ...(dimensions !== undefined && { dimensions }), ...(abortSignal && { signal: abortSignal }) };
    const embeddings = await embedAs(encoder, texts, { ...defaults, ...embedlet, ...call });
    const cut = texts.filter((_, i) => embeddings.truncated(i)).length;
    const message = `${cut} of ${texts.length} texts are longer than the model reads and were cut: `
      + 'providerOptions: { embedlet: { overflow: "chunk" } } reads them in chunks, "error" refuses them.';
    return { embeddings: rows(embeddings), usage: { tokens: tokensOf(embeddings) }, warnings: cut > 0 ? [{ type: "other", message }] : [] };
  }

  return {
    specificationVersion: "v3",
    provider: "embedlet",
    modelId: checkName("modelId", modelId),
    maxEmbeddingsPerCall,
    // They would run one after another.
    supportsParallelCalls: false,
    doEmbed,
  };
}
