// What the adapters to other libraries share: the options of `embed` that they take, and its result as plain numbers. What a library
// names these things, and what of it is not supported, is each adapter's own. None of them imports its library.

import { invalid, oneOf } from "./arguments.js";
import type { Embeddings } from "./embeddings.js";
import type { Encoder } from "./encoder.js";
import type { VectorOptions } from "./types.js";

/** The options of `embed` that give a text one vector of numbers. */
export type NumberOptions = Omit<VectorOptions, "output" | "ranges" | "tokens">;

/** The same, of an adapter whose calls do not tell queries from documents. */
export interface AdapterOptions extends NumberOptions {
  /** Takes the model's prompt for queries or documents, where it has one. Default: its default prompt, if any. */
  kind?: "query" | "document";
}

/** Checks what an adapter is made of, so that a mistake is named there and not at the first call. */
export function checkEncoder(encoder: Encoder): void {
  // Not `instanceof`: adapters and entries are bundled apart.
  const fits = [encoder?.embed, encoder?.embedQuery, encoder?.embedDocuments].every((method) => typeof method === "function");
  if (!fits) throw invalid("An adapter takes an Encoder: pass what `await Encoder.load(…)` gave.");
}

export function checkName(option: string, name: string): string {
  if (typeof name !== "string" || name === "") throw invalid(`\`${option}\` must be a string that is not empty.`);
  return name;
}

export async function embedAs(encoder: Encoder, texts: string | readonly string[], { kind, ...options }: AdapterOptions): Promise<Embeddings> {
  oneOf("kind", kind, ["query", "document"]);
  const other = ["output", "ranges", "tokens"].find((name) => name in options);
  if (other !== undefined || (options.chunkPooling as string) === "none") {
    throw invalid(`\`${other ?? "chunkPooling"}\`: an adapter gives one vector of numbers a text; ask \`embed\` of the encoder for others.`);
  }
  if (kind === "query") return encoder.embedQuery(texts, options);
  return kind === "document" ? encoder.embedDocuments(texts, options) : encoder.embed(texts, options);
}

export function rows(embeddings: Embeddings): number[][] {
  return Array.from({ length: embeddings.count }, (_, i) => Array.from(embeddings.row(i)));
}

export function tokensOf(embeddings: Embeddings): number {
  let sum = 0;
  for (let i = 0; i < embeddings.count; i++) sum += embeddings.tokens(i);
  return sum;
}
