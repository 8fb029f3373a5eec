// The adapters of the built package, under the libraries that they are for, over a tiny model on the CPU.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Document } from "@langchain/core/documents";
import { FakeVectorStore } from "@langchain/core/utils/testing";
import * as ai6 from "ai-6";
import * as ai7 from "ai-7";
import { EmbedletError, Encoder } from "embedlet";
import { embeddingModel } from "embedlet/ai-sdk";
import { EmbedletError as InlineError } from "embedlet/inline";
import { embeddings } from "embedlet/langchain";
import { openai } from "embedlet/openai";
import "./hub.mjs";

const TEXTS = ["Refunds take five days.", "The museum opens at nine.", "Ein Satz", "a", "b"];
const LONG = "word ".repeat(100);

// They are looked at, and need not be printed.
globalThis.AI_SDK_LOG_WARNINGS = false;

let encoder;
before(async () => {
  encoder = await Encoder.load("org/tiny");
});
after(() => encoder?.dispose());

const rows = (embeddings) => Array.from({ length: embeddings.count }, (_, i) => Array.from(embeddings.row(i)));
const tokens = (embeddings) => Array.from({ length: embeddings.count }, (_, i) => embeddings.tokens(i)).reduce((a, b) => a + b, 0);
/** The class is the entry's own: what an adapter throws must be one of it. */
const rejects = (promise, code, message = /./) =>
  assert.rejects(promise, (error) => error instanceof EmbedletError && error.code === code && message.test(error.message));
const throws = (call, code) => assert.throws(call, (error) => error instanceof EmbedletError && error.code === code);

for (const [name, { embed, embedMany }] of Object.entries({ "ai 6": ai6, "ai 7": ai7 })) {
  test(`${name}: vectors, usage, and what is asked of the encoder`, async () => {
    const model = embeddingModel(encoder);
    const plain = await encoder.embed(TEXTS);
    const many = await embedMany({ model, values: TEXTS });
    assert.deepEqual(many.embeddings, rows(plain));
    assert.deepEqual([many.usage.tokens, many.warnings], [tokens(plain), []]);
    const one = await embed({ model, value: TEXTS[0] });
    assert.deepEqual(one.embedding, rows(plain)[0]);

    const query = await embed({ model, value: TEXTS[0], providerOptions: { embedlet: { kind: "query", dimensions: 8 }, other: { dimensions: 3 } } });
    assert.deepEqual(query.embedding, rows(await encoder.embedQuery(TEXTS[0], { dimensions: 8 }))[0]);
    const documents = await embedMany({ model: embeddingModel(encoder, { kind: "document", dimensions: 8 }), values: TEXTS });
    assert.deepEqual(documents.embeddings, rows(await encoder.embedDocuments(TEXTS, { dimensions: 8 })));
  });

  test(`${name}: many texts in calls of a few`, async () => {
    const model = embeddingModel(encoder, { maxEmbeddingsPerCall: 2, modelId: "tiny" });
    const counts = [];
    const counting = { ...model, doEmbed: (call) => (counts.push(call.values.length), model.doEmbed(call)) };
    const many = await embedMany({ model: counting, values: TEXTS });
    assert.deepEqual(counts, [2, 2, 1]);
    assert.deepEqual(many.embeddings, rows(await encoder.embed(TEXTS)));
    assert.equal(many.usage.tokens, tokens(await encoder.embed(TEXTS)));
    assert.deepEqual([model.modelId, embeddingModel(encoder).modelId], ["tiny", "bert"]);
    await rejects(model.doEmbed({ values: TEXTS }), "invalid-argument", /embedMany/);
  });

  test(`${name}: aborts, and errors with their codes`, async () => {
    const model = embeddingModel(encoder);
    const controller = new AbortController();
    const call = embedMany({ model, values: TEXTS, abortSignal: controller.signal });
    controller.abort(new DOMException("enough", "AbortError"));
    await assert.rejects(call, { name: "AbortError", message: "enough" });
    const ask = (options) => embed({ model, value: "a", providerOptions: { embedlet: options } });
    await rejects(ask({ kind: "both" }), "invalid-argument");
    await rejects(ask({ output: "int8" }), "invalid-argument");
    await rejects(ask({ overflow: "chunk", chunkPooling: "none" }), "invalid-argument");
    await rejects(ask({ size: 3 }), "invalid-argument", /no option "size"/);
    await rejects(embed({ model, value: LONG, providerOptions: { embedlet: { overflow: "error" } } }), "text-too-long");
    assert.equal((await embed({ model, value: "a" })).embedding.length, encoder.info.dimensions);
  });

  test(`${name}: says that texts were cut`, async () => {
    const model = embeddingModel(encoder);
    const { warnings, embeddings } = await embedMany({ model, values: ["a", LONG] });
    assert.deepEqual(embeddings, rows(await encoder.embed(["a", LONG])));
    assert.equal(warnings.length, 1);
    assert.match(warnings[0].message, /^1 of 2 texts/);
    const whole = await embedMany({ model, values: ["a", LONG], providerOptions: { embedlet: { overflow: "chunk" } } });
    assert.deepEqual(whole.warnings, []);
    assert.deepEqual(whole.embeddings, rows(await encoder.embed(["a", LONG], { overflow: "chunk" })));
  });
}

test("ai 7: dimensions of the call", async () => {
  const model = embeddingModel(encoder, { dimensions: 16 });
  const { embedding } = await ai7.embed({ model, value: "a", dimensions: 8 });
  assert.deepEqual(embedding, rows(await encoder.embed("a", { dimensions: 8 }))[0]);
  await rejects(ai7.embed({ model, value: "a", dimensions: 1000 }), "invalid-argument");
});

test("LangChain: a vector store finds what the encoder finds", async () => {
  const store = new FakeVectorStore(embeddings(encoder));
  await store.addDocuments(TEXTS.map((pageContent, i) => new Document({ pageContent, metadata: { i } })));
  assert.deepEqual(store.memoryVectors.map(({ embedding }) => embedding), rows(await encoder.embedDocuments(TEXTS)));
  const scores = encoder.similarity(await encoder.embedQuery("When does it open?"), await encoder.embedDocuments(TEXTS));
  const order = TEXTS.map((_, i) => i).sort((a, b) => scores[b] - scores[a]);
  const found = await store.similaritySearchWithScore("When does it open?", TEXTS.length);
  assert.deepEqual(found.map(([document]) => document.metadata.i), order);
  for (const [{ metadata }, score] of found) assert.ok(Math.abs(score - scores[metadata.i]) < 1e-6);
  const [best] = await store.asRetriever(1).invoke("When does it open?");
  assert.equal(best.metadata.i, order[0]);
});

test("LangChain: options, long texts, aborts", async () => {
  assert.deepEqual(await embeddings(encoder, { dimensions: 8 }).embedQuery("a"), rows(await encoder.embedQuery("a", { dimensions: 8 }))[0]);
  assert.deepEqual(await embeddings(encoder).embedDocuments([]), []);
  await rejects(embeddings(encoder).embedDocuments(["a", LONG]), "text-too-long");
  const chunks = embeddings(encoder, { overflow: "chunk" });
  assert.deepEqual(await chunks.embedDocuments([LONG]), rows(await encoder.embedDocuments(LONG, { overflow: "chunk" })));
  const reason = new Error("enough");
  await assert.rejects(embeddings(encoder, { signal: AbortSignal.abort(reason) }).embedQuery("a"), reason);
  await rejects(embeddings(encoder, { tokens: true }).embedQuery("a"), "invalid-argument");
  await rejects(embeddings(encoder).embedDocuments([1]), "invalid-argument");
});

test("OpenAI: answers of its shape, in floats and in base64", async () => {
  const { create } = openai(encoder, { model: "tiny" }).embeddings;
  const plain = await encoder.embed(TEXTS, { dimensions: 8 });
  const request = { model: "tiny", input: TEXTS, dimensions: 8 };
  const data = rows(plain).map((embedding, index) => ({ object: "embedding", index, embedding }));
  const usage = { prompt_tokens: tokens(plain), total_tokens: tokens(plain) };
  assert.deepEqual(await create(request), { object: "list", data, model: "tiny", usage });
  assert.deepEqual(await create({ ...request, encoding_format: "float" }), { object: "list", data, model: "tiny", usage });
  const coded = await create({ ...request, encoding_format: "base64" });
  const decoded = coded.data.map(({ embedding }) => {
    const bytes = Buffer.from(embedding, "base64");
    return Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i));
  });
  assert.deepEqual(decoded, rows(plain));
  const query = await openai(encoder, { kind: "query" }).embeddings.create({ model: "bert", input: "a" });
  assert.deepEqual(query.data[0].embedding, rows(await encoder.embedQuery("a"))[0]);
});

test("OpenAI: what is not supported is refused, and calls can be aborted", async () => {
  const { create } = openai(encoder).embeddings;
  const ask = (request, options) => create({ model: "bert", input: "a", ...request }, options);
  await rejects(ask({ model: "text-embedding-3-small" }), "invalid-argument", /text-embedding-3-small/);
  await rejects(ask({ input: [1, 2] }), "invalid-argument", /token ids/);
  await rejects(ask({ input: [[1, 2]] }), "invalid-argument", /token ids/);
  await rejects(ask({ input: undefined }), "invalid-argument");
  await rejects(ask({ encoding_format: "hex" }), "invalid-argument");
  await rejects(ask({ user: "me" }), "invalid-argument", /"user"/);
  await rejects(ask({}, { timeout: 3 }), "invalid-argument", /"timeout"/);
  await rejects(ask({ dimensions: 0.5 }), "invalid-argument");
  await rejects(ask({ input: LONG }), "text-too-long");
  await rejects(create(undefined), "invalid-argument");
  const reason = new Error("enough");
  await assert.rejects(ask({}, { signal: AbortSignal.abort(reason) }), reason);
  assert.equal((await ask({})).data.length, 1);
});

test("adapters take an encoder", () => {
  for (const make of [embeddingModel, embeddings, openai]) {
    for (const wrong of [undefined, {}, "org/tiny", Encoder.load]) throws(() => make(wrong), "invalid-argument");
  }
  throws(() => embeddingModel(encoder, { maxEmbeddingsPerCall: 0 }), "invalid-argument");
  throws(() => embeddingModel(encoder, { modelId: 3 }), "invalid-argument");
  throws(() => openai(encoder, { model: "" }), "invalid-argument");
});

test("an error of one entry is one of every other", () => {
  class Own extends EmbedletError {}
  const error = new InlineError("network", "no");
  assert.ok(error instanceof EmbedletError && error instanceof InlineError && error instanceof Error);
  assert.ok(new Own("network", "no") instanceof Own && new Own("network", "no") instanceof InlineError);
  for (const other of [error, new Error("no"), { name: "EmbedletError", code: "network" }, null]) assert.ok(!(other instanceof Own));
  for (const other of [new Error("no"), Object.assign(new Error("no"), { code: "network" }), null]) assert.ok(!(other instanceof EmbedletError));
});

test("an encoder that is disposed of says so through its adapters", async () => {
  const other = await Encoder.load("org/tiny");
  other.dispose();
  await rejects(embeddings(other).embedQuery("a"), "disposed");
  await rejects(embeddingModel(other, { modelId: "tiny" }).doEmbed({ values: ["a"] }), "disposed");
});

test("the types fit those of the libraries", async () => {
  const libraries = "es2023,esnext.disposable,dom,dom.iterable,dom.asynciterable";
  const options = ["--ignoreConfig", "--noEmit", "--strict", "--skipLibCheck", "--exactOptionalPropertyTypes", "--types", ""];
  const target = ["--target", "es2022", "--lib", libraries, "--module", "esnext", "--moduleResolution", "bundler"];
  const tsc = ["node_modules/typescript/bin/tsc", ...options, ...target, "test/adapters.ts"];
  const cwd = fileURLToPath(new URL("..", import.meta.url));
  await promisify(execFile)(process.execPath, tsc, { cwd }).catch(({ stdout }) => assert.fail(stdout));
});
