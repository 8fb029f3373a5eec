// The contract of the package, continued from types.ts: what is asked of a model beside vectors.

import type { CallOptions } from "./types.js";

/** Options of `zeroShot`. */
export interface ZeroShotOptions extends CallOptions {
  /** The candidates. */
  labels: readonly string[];
  /** What is claimed of a text, with `{}` for a label. Default `"This example is {}."` */
  hypothesisTemplate?: string;
  /** Scores each label for itself. Default: one of them holds. */
  multiLabel?: boolean;
}

/** Options of `rerank`. */
export interface RerankOptions extends CallOptions {
  /** Keeps the best so many documents. Default: all. */
  topK?: number;
  /** What makes scores of logits. Default: of a cross-encoder as its configuration says, of a Uni-Encoder a softmax, of late interaction nothing. */
  function?: "softmax" | "sigmoid" | "none";
}

/** A document of a `rerank` call. */
export interface Ranked {
  /** Its place in the list that was given. */
  index: number;
  score: number;
  /** There where it, or the query, was cut. */
  truncated?: true;
}

/** Options of `tag`. */
export interface TagOptions extends CallOptions {
  /** How tokens become entities, by the names of transformers. Default `"simple"`. */
  aggregation?: "none" | "simple" | "first" | "average" | "max";
  /** Labels that are no entities. Default `["O"]`. */
  ignoreLabels?: readonly string[];
  /** Tokens that the windows of a long text share. */
  stride?: number;
}

/** A part of a text that has a label. */
export interface Entity {
  label: string;
  score: number;
  word: string;
  /** In UTF-16 units, as `text.slice(start, end)` takes them. */
  start: number;
  end: number;
}

/** Options of `answer`. */
export interface AnswerOptions extends CallOptions {
  /** Keeps the best so many answers. Default 1. */
  topK?: number;
  /** Most tokens of an answer. Default 15. */
  maxAnswerTokens?: number;
  /** Tokens that the windows of a long context share. */
  stride?: number;
  /** Lets an empty answer take part. */
  noAnswer?: boolean;
}

/** A part of a context that answers a question. */
export interface Answer {
  answer: string;
  score: number;
  /** In UTF-16 units of the context. */
  start: number;
  end: number;
}

/** Options of `fill`. */
export interface FillOptions extends CallOptions {
  /** Candidates a mask. Default 5. */
  topK?: number;
  /** Only these tokens are candidates. */
  targets?: readonly string[];
  /** Only tokens of the vocabulary that match are candidates. */
  filter?: RegExp | ((token: string, id: number) => boolean);
}

/** A masked token and what may stand there. */
export interface Mask {
  /** Its place among the tokens of the text, special tokens included. */
  position: number;
  /** Best first. */
  top: { id: number; token: string; score: number; sequence: string }[];
  /** There where the text was cut, perhaps with more masks. */
  truncated?: true;
}

/** Options of `embedSparse`. */
export interface SparseOptions extends CallOptions {
  /** Keeps the heaviest so many terms. Default: all above zero. */
  topK?: number;
  /** What the texts are, where the model has prompts for them. */
  kind?: "query" | "document";
}

/** A text as weights of terms, heaviest first. */
export interface SparseVector {
  indices: number[];
  weights: number[];
  tokens: string[];
  /** There where the text was cut. */
  truncated?: true;
}

/** Options of `embedMulti`. */
export interface MultiOptions extends CallOptions {
  /** What the texts are: queries are filled up, documents lose what is not compared. */
  kind?: "query" | "document";
  /** Keeps about one vector in so many, means of those that are closest. */
  poolFactor?: number;
}

/** Options of `explain`: with `against` a similarity is explained, else a label of the model's own head. */
export interface ExplainOptions extends CallOptions {
  /** The text that the text is compared with, by the cosine of their vectors. */
  against?: string;
  /** The label whose score is explained. Default: the best one. */
  label?: string;
  /**
   * `"occlusion"` (default): what the score loses when the part is left out of the tokens that the model reads. `"maxsim"`, with
   * `against`: the largest cosine of the token's vector with one of the other text.
   */
  method?: "occlusion" | "maxsim";
  /** What a part is. A word stands between blanks, and between cuts of the tokenizer. Default `"token"`. */
  unit?: "token" | "word";
  /** With `against`: what the text is where the model has prompts for both; the other text is the other. */
  kind?: "query" | "document";
}

/** What of a text makes a score. */
export interface Explanation {
  /** Of the whole text: the cosine, the label's score, or with `"maxsim"` the sum of the parts' scores. */
  score: number;
  /** Where a label is explained. */
  label?: string;
  /** In the order of the text; what was cut off is none. */
  parts: Part[];
  /** There where the text, or the other, was cut. */
  truncated?: true;
}

/** A token or a word of a text. */
export interface Part {
  text: string;
  /** In UTF-16 units. */
  start: number;
  end: number;
  score: number;
}
