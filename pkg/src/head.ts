// A classifier that was trained on a model's vectors. It is a file and what the crate said of it; classifying is the encoder's.

import type { Classification, HeadOptions } from "./types.js";

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
  readonly method: "logistic" | "centroids";
  /** C of the logistic regression; `null` for centroids. */
  readonly regularization: number | null;
  /** The share of the examples that heads trained without them got right: what to expect of new texts of the same kind. */
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
