// Compiled by adapters.test.mjs: the adapters are what the libraries' own types ask for. It never runs.

import type { EmbeddingsInterface } from "@langchain/core/embeddings";
import type { EmbeddingModel as Model6 } from "ai-6";
import type { EmbeddingModel as Model7 } from "ai-7";
import type { CreateEmbeddingResponse, EmbeddingCreateParams } from "openai/resources/embeddings";
import { Encoder } from "embedlet";
import { Encoder as Inline } from "embedlet/inline";
import { embeddingModel } from "embedlet/ai-sdk";
import { embeddings } from "embedlet/langchain";
import { openai } from "embedlet/openai";

declare const encoder: Encoder;
declare const inline: Inline;

export const six: Model6 = embeddingModel(encoder, { kind: "query", dimensions: 8 });
export const seven: Model7 = embeddingModel(inline);
export const langchain: EmbeddingsInterface = embeddings(encoder, { overflow: "chunk", chunkPooling: "max" });

type Create = (request: Omit<EmbeddingCreateParams, "input" | "user" | "encoding_format"> & { input: string | string[] }) => Promise<CreateEmbeddingResponse>;
export const create: Create = openai(encoder).embeddings.create;
export const text: Promise<string | undefined> = openai(encoder).embeddings
  .create({ model: "bert", input: "a", encoding_format: "base64" }).then(({ data }) => data[0]?.embedding);

// @ts-expect-error not a vector of numbers
embeddings(encoder, { output: "int8" });
// @ts-expect-error not one vector a text
embeddingModel(encoder, { chunkPooling: "none" });
// @ts-expect-error a vector store tells queries from documents itself
embeddings(encoder, { kind: "query" });
// @ts-expect-error token ids are not read
openai(encoder).embeddings.create({ model: "bert", input: [1, 2] });
// @ts-expect-error not the vectors of another model
openai(encoder).embeddings.create({ input: "a" });
