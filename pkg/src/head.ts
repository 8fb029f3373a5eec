// A classifier that was trained on a model's vectors. It is a file and what the crate said of it; classifying is the encoder's.

import type { Classification, EmbedOptions, EmbedProgress, Example, HeadOptions } from "./types.js";

/** What `trainHead` learns from: a list, or the texts of each label. */
export type Examples = readonly Example[] | Readonly<Record<string, readonly string[]>>;

/** Options of `trainHead`. Those of `embed` say which vectors the head is trained on, and goes by ever after. */
export interface TrainOptions extends Omit<EmbedOptions, "output" | "ranges" | "tokens" | "onProgress"> {
  /** `"logistic"` (default): multinomial logistic regression. `"centroids"`: the nearest mean of a label's vectors, by cosine. */
  method?: "logistic" | "centroids";
  /** C of the logistic regression: the less, the simpler the head. Default: the one of 1e-4 to 1e4 with the highest `accuracy`. */
  regularization?: number;
  /** Most folds of the cross-validation. Default 5; fewer where a label has fewer examples. */
  folds?: number;
  /** Called as texts are embedded and then as the fits of the cross-validation end; `total` counts both. */
  onProgress?: (event: EmbedProgress) => void;
}

/** What the crate says of a head. */
export interface About {
  labels: string[];
  method: "logistic" | "centroids";
  regularization: number | null;
  accuracy: number;
}

type Classify = (texts: string | readonly string[], options?: HeadOptions) => Promise<Classification[]>;

/** A classifier of texts. Made by `trainHead` and `loadHead`; it works as long as its encoder does. */
export class TrainedHead {
  /** In the order of its logits, which is that of code points. */
  readonly labels: readonly string[];
  /** How it was trained. */
  readonly method: "logistic" | "centroids";
  /** C of the logistic regression; `null` for centroids. */
  readonly regularization: number | null;
  /** The share of the examples, 0 to 1, that heads trained without them got right: what to expect of new texts of the same kind. */
  readonly accuracy: number;
  /** Scores the labels of each text, best first. */
  readonly classify: Classify;
  readonly #file: Uint8Array<ArrayBuffer>;

  /** @internal */
  constructor({ labels, method, regularization, accuracy }: About, file: Uint8Array<ArrayBuffer>, classify: Classify) {
    this.labels = labels;
    this.method = method;
    this.regularization = regularization;
    this.accuracy = accuracy;
    this.classify = classify;
    this.#file = file;
  }

  /** The head as a safetensors file, for `loadHead` of any encoder with the same model. */
  save(): Uint8Array<ArrayBuffer> {
    return this.#file.slice();
  }
}
