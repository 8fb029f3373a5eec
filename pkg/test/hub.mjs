// The hub as far as the tests need it: models of it are tiny ones of tests/golden/, by what they can do, and nothing else is reached.
// Imported for its effect on `fetch`.

import { readFile } from "node:fs/promises";

const GOLDEN = new URL("../../tests/golden/", import.meta.url);
/** What a name of the hub stands for; every other for an embedder. */
const MODELS = [
  [/reranker|ms-marco/, "tasks/bert-cross"],
  [/nli/, "tasks/bert-nli"],
  [/NER/, "tasks/bert-entities"],
  [/squad/, "tasks/bert-answers"],
  [/splade/, "tasks/splade-max"],
  [/colbert/, "tasks/colbert"],
  [/sst-2/, "tasks/bert-labels"],
  [/bert-base-uncased$/, "tasks/bert-masks"],
  [/./, "models/bert-mean"],
];

globalThis.fetch = async (url) => {
  const [, name, path] = /^https:\/\/huggingface\.co\/([\w.-]+\/[\w.-]+)\/resolve\/\w+\/(.+)$/.exec(url) ?? [];
  if (!path) return new Response(null, { status: 404 });
  const [, folder] = MODELS.find(([pattern]) => pattern.test(name));
  // As far as its table of positions goes: its tokens are short.
  if (path === "sentence_bert_config.json" && folder === "models/bert-mean") return Response.json({ max_seq_length: 44 });
  const bytes = await readFile(new URL(`${folder}/${path}`, GOLDEN)).catch(() => undefined);
  return bytes ? new Response(bytes) : new Response(null, { status: 404 });
};
