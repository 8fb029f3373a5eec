// An encoder as a client of OpenAI's embeddings: `client.embeddings.create`, with the shapes of its requests and answers. What OpenAI
// takes and an encoder does not (token ids, `user`, options of HTTP) is refused.

import { checkEncoder, checkName, embedAs, tokensOf, type AdapterOptions } from "./adapter.js";
import { checkNames, invalid, oneOf } from "./arguments.js";
import type { Encoder } from "./encoder.js";

export type { AdapterOptions } from "./adapter.js";

/** Options of `openai`. `overflow` is `"error"` here, as it is there: an answer could not tell that a text was cut. */
export interface ClientOptions extends Omit<AdapterOptions, "dimensions" | "signal"> {
  /** The name that requests call the encoder by. Default: its architecture, such as `"bert"`. */
  model?: string;
}

/** A request as OpenAI's client sends it. What is not named here is refused. */
export interface EmbeddingRequest {
  /** A text or several; token ids are not read. */
  input: string | string[];
  /** The name that the client has the encoder under: a request for another model is not answered with this one's vectors. */
  model: string;
  /** Keeps the first so many (Matryoshka models). Default: all. */
  dimensions?: number;
  /** Arrays of numbers (default), or the bytes of little-endian f32 in base64. */
  encoding_format?: "float" | "base64";
}

/** An answer in the shape of OpenAI's. */
export interface EmbeddingResponse<Vector> {
  object: "list";
  /** In the order of the input. */
  data: { object: "embedding"; index: number; embedding: Vector }[];
  /** The name that the request gave. */
  model: string;
  /** Tokens that the model read, special tokens included; both numbers are the same. */
  usage: { prompt_tokens: number; total_tokens: number };
}

/** As much of OpenAI's client as an encoder can answer. */
export interface OpenAIClient {
  /** `create` takes texts; `encoding_format` decides the form of the vectors. Failures reject with an `EmbedletError`. */
  embeddings: {
    create(request: EmbeddingRequest & { encoding_format?: "float" }, options?: { signal?: AbortSignal }): Promise<EmbeddingResponse<number[]>>;
    create(request: EmbeddingRequest & { encoding_format: "base64" }, options?: { signal?: AbortSignal }): Promise<EmbeddingResponse<string>>;
    create(request: EmbeddingRequest, options?: { signal?: AbortSignal }): Promise<EmbeddingResponse<number[] | string>>;
  };
}

/** Makes a client whose `embeddings.create` the encoder answers. */
export function openai(encoder: Encoder, options: ClientOptions = {}): OpenAIClient {
  checkEncoder(encoder);
  const { model: name = encoder.info.architecture, overflow = "error", ...defaults } = options;
  checkName("model", name);

  async function create(request: EmbeddingRequest, options: { signal?: AbortSignal } = {}): Promise<EmbeddingResponse<never>> {
    if (typeof request !== "object" || request === null) throw invalid("create takes an object with `input` and `model`.");
    checkNames("create", request, ["input", "model", "dimensions", "encoding_format"]);
    checkNames("The second argument of create", options, ["signal"]);
    const { input, model, dimensions, encoding_format: format } = request;
    oneOf("encoding_format", format, ["float", "base64"]);
    if (model !== name) throw invalid(`This client has the model "${name}", not "${String(model)}": \`openai(encoder, { model })\` names it.`);
    if ([input].flat().some((text) => typeof text !== "string")) throw invalid("`input` must be a string or an array of strings; token ids are not read.");
    const call = { ...(dimensions !== undefined && { dimensions }), ...(options.signal && { signal: options.signal }) };
    const embeddings = await embedAs(encoder, input, { ...defaults, overflow, ...call });
    const vector = (i: number) => (format === "base64" ? base64(embeddings.row(i)) : Array.from(embeddings.row(i)));
    const tokens = tokensOf(embeddings);
    return {
      object: "list",
      // The overloads of `create` say which of the two it is.
      data: Array.from({ length: embeddings.count }, (_, index) => ({ object: "embedding", index, embedding: vector(index) as never })),
      model: name,
      usage: { prompt_tokens: tokens, total_tokens: tokens },
    };
  }
  return { embeddings: { create } };
}

/** WebAssembly's numbers are little-endian, and there is none of it on machines whose own are not. */
function base64(row: Float32Array): string {
  const bytes = new Uint8Array(row.buffer, row.byteOffset, row.byteLength);
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}
