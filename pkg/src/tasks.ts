// The contract of the package, continued from types.ts: what is asked of a model beside vectors.

import type { CallOptions, EmbedOptions } from "./types.js";

/** A text, or two that the model reads together. */
export type Input = string | { text: string; pair: string };

/** Options of `classify` by the model's own head, or by one that was trained. */
export interface HeadOptions extends CallOptions {
  /** Only these labels take part: scores are among them. */
  labels?: readonly string[];
  /** Keeps the best so many labels. Default: all. */
  topK?: number;
  /** What makes scores of the head's columns. Default: as the model's configuration says; `"softmax"` where it was trained. */
  function?: "softmax" | "sigmoid" | "none";
}

/** A label and its score. */
export interface Scored {
  label: string;
  /** What `function` makes of the label's logit: 0 to 1, the logit itself with `"none"`. Of `zeroShot`, a probability. */
  score: number;
  /** Of `zeroShot`: there where the text was cut to fit beside this label's claim. */
  truncated?: true;
}

/** What a head says of a text. */
export interface Classification {
  /** The columns of the head, in the order of `info.labels`, or of its own `labels`. */
  logits: number[];
  /** Best first. */
  scores: Scored[];
  /** There where the input was cut. */
  truncated?: true;
}

/** Options of `classify` by examples, which any model can do. */
export interface ClassifyOptions extends Pick<EmbedOptions, "prompt" | "promptName" | "signal" | "onProgress"> {
  /** At least one example text for every label. */
  labels: Readonly<Record<string, readonly string[]>>;
  /** Divides the similarities before the softmax. Default 0.05, the usual scale of contrastive training. */
  temperature?: number;
  /** Keeps the best so many labels of each text. Default: all. */
  topK?: number;
}

/** A text and its label. */
export interface Example {
  text: string;
  label: string;
}

/** One label of one text. */
export interface LabelScore {
  label: string;
  /** Softmax over all labels, 0 to 1. */
  score: number;
  /** Cosine between the text and the label's nearest example. */
  similarity: number;
  /** That example. */
  example: string;
}

/** Options of `zeroShot`. */
export interface ZeroShotOptions extends CallOptions {
  /** The candidates. */
  labels: readonly string[];
  /** What is claimed of a text, with `{}` for a label. Default `"This example is {}."` */
  hypothesisTemplate?: string;
  /** Scores each label for itself. Default `false`: one of them holds, and the scores of a text sum to 1. */
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
  /** Higher is closer; only scores of one call, or of one model and `function`, can be compared. */
  score: number;
  /** There where it, or the query, was cut. */
  truncated?: true;
}

/** Options of `tag`. */
export interface TagOptions extends CallOptions {
  /**
   * How tokens become entities, by the names of transformers: one a token (`"none"`), neighbours of one label together (`"simple"`,
   * default), or words, which have the label of their first token, of their mean scores, or of their surest token.
   */
  aggregation?: "none" | "simple" | "first" | "average" | "max";
  /** Labels that are no entities. Default `["O"]`. */
  ignoreLabels?: readonly string[];
  /** Tokens that the windows of a long text share. Default 64, at most half of a window. */
  stride?: number;
}

/** A part of a text that has a label. */
export interface Entity {
  /** Without `B-`, `I-` and the like where tokens were grouped. */
  label: string;
  /** Probability of the label, 0 to 1: the mean over the tokens or words of a group. */
  score: number;
  /** The part, as its tokens spell it. */
  word: string;
  /** In UTF-16 units, as `text.slice(start, end)` takes them. */
  start: number;
  /** One past its last unit. */
  end: number;
}

/** Options of `answer`. */
export interface AnswerOptions extends CallOptions {
  /** Keeps the best so many answers. Default 1. */
  topK?: number;
  /** Most tokens of an answer. Default 15. */
  maxAnswerTokens?: number;
  /** Tokens that the windows of a long context share. Default 128, at most half of a window. */
  stride?: number;
  /** Lets an empty answer take part, for models that were trained to give none (SQuAD 2). Default `false`. */
  noAnswer?: boolean;
}

/** A part of a context that answers a question. */
export interface Answer {
  /** The part, in whole words; empty for no answer. */
  answer: string;
  /** Probability of its first token times that of its last, 0 to 1; of spans that read alike the sum. */
  score: number;
  /** In UTF-16 units of the context. */
  start: number;
  /** One past its last unit. */
  end: number;
}

/** Options of `fill`. */
export interface FillOptions extends CallOptions {
  /** Candidates a mask. Default 5. */
  topK?: number;
  /** Only these tokens are candidates; of a word that is not in the vocabulary its first token. */
  targets?: readonly string[];
  /** Only tokens of the vocabulary that match are candidates. */
  filter?: RegExp | ((token: string, id: number) => boolean);
}

/** A masked token and what may stand there. */
export interface Mask {
  /** Its place among the tokens of the text, special tokens included. */
  position: number;
  /** Best first: a token, its probability among all of the vocabulary, and the text with it in the place of the mask. */
  top: { id: number; token: string; score: number; sequence: string }[];
  /** There where the text was cut, perhaps with more masks. */
  truncated?: true;
}

/** Options of `embedSparse`. */
export interface SparseOptions extends CallOptions {
  /** Keeps the heaviest so many terms. Default: as many as the model says (`max_active_dims`), else all that are not zero. */
  topK?: number;
  /** What the texts are, where the model has prompts for them, or an encoder for documents alone. */
  kind?: "query" | "document";
}

/** A text as weights of terms, heaviest first. */
export interface SparseVector {
  /** The terms' places in the vocabulary. */
  indices: number[];
  /** Above 0 where an encoder gave them, else not 0; vectors are compared by the sum of products of equal terms. */
  weights: number[];
  /** The terms as strings of the vocabulary. */
  tokens: string[];
  /** There where the text was cut. */
  truncated?: true;
}

/** Options of `embedMulti`. */
export interface MultiOptions extends CallOptions {
  /** What the texts are: queries are filled up, documents lose what is not compared. Default: documents without a prompt. */
  kind?: "query" | "document";
  /** Keeps about one vector in so many, means of those that are closest. Default: all. */
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
  /** One past its last unit. */
  end: number;
  /** What the whole loses without it, or its share of it, as `method` says; below 0 it speaks against. */
  score: number;
}
