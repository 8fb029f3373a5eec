// The hub as far as the tests need it: every model of it is a tiny one of tests/golden/, and nothing else is reached.
// Imported for its effect on `fetch`.

import { readFile } from "node:fs/promises";

const MODEL = new URL("../../tests/golden/models/bert-mean/", import.meta.url);

globalThis.fetch = async (url) => {
  const path = /^https:\/\/huggingface\.co\/[\w.-]+\/[\w.-]+\/resolve\/\w+\/(.+)$/.exec(url)?.[1];
  // As far as its table of positions goes: its tokens are short.
  if (path === "sentence_bert_config.json") return Response.json({ max_seq_length: 44 });
  const bytes = path && (await readFile(new URL(path, MODEL)).catch(() => undefined));
  return bytes ? new Response(bytes) : new Response(null, { status: 404 });
};
