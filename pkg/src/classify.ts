// Labels by example: each text takes every label's nearest example, and a softmax over the labels.

import { similarity, type Embeddings } from "./embeddings.js";
import type { Example, LabelScore } from "./types.js";

/** The labels of each text, best first. `vectors` are those of `examples`, in the same order. */
export function nearestLabels(texts: Embeddings, examples: readonly Example[], vectors: Embeddings, temperature: number, topK?: number): LabelScore[][] {
  const cosines = similarity(texts, vectors, "cosine");
  return Array.from({ length: texts.count }, (_, i) => {
    const nearest = new Map<string, LabelScore>();
    for (const [j, { label, text }] of examples.entries()) {
      const cosine = cosines[i * examples.length + j] ?? 0;
      const best = nearest.get(label);
      if (!best || cosine > best.similarity) nearest.set(label, { label, score: 0, similarity: cosine, example: text });
    }
    const labels = [...nearest.values()].sort((a, b) => b.similarity - a.similarity);
    // Relative to the best, so that the exponentials cannot overflow.
    const top = labels[0]?.similarity ?? 0;
    let sum = 0;
    for (const label of labels) sum += label.score = Math.exp((label.similarity - top) / temperature);
    for (const label of labels) label.score /= sum;
    return labels.slice(0, topK);
  });
}
