// An encoder as the embeddings of LangChain.js (its `EmbeddingsInterface`), for vector stores and retrievers. They tell queries from
// documents, so a model's prompts are used as they are meant.

import { checkEncoder, embedAs, rows, type NumberOptions } from "./adapter.js";
import type { Encoder } from "./encoder.js";

/** Options of every call; `signal` ends all of them. `overflow` is `"error"` here: the vectors could not tell that a text was cut. */
export type EmbeddingsOptions = NumberOptions;

/** An `EmbeddingsInterface` of LangChain.js. */
export interface LangChainEmbeddings {
  /** With the model's prompt for documents, where it has one. */
  embedDocuments(documents: string[]): Promise<number[][]>;
  /** With the model's prompt for queries, where it has one. */
  embedQuery(query: string): Promise<number[]>;
}

/** Makes what vector stores of LangChain take as their embeddings. */
export function embeddings(encoder: Encoder, { overflow = "error", ...options }: EmbeddingsOptions = {}): LangChainEmbeddings {
  checkEncoder(encoder);
  const given: EmbeddingsOptions = { ...options, overflow };
  return {
    embedDocuments: async (documents) => rows(await embedAs(encoder, documents, { ...given, kind: "document" })),
    embedQuery: async (query) => Array.from((await embedAs(encoder, query, { ...given, kind: "query" })).row(0)),
  };
}
