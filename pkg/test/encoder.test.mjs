// The public class over the fake crate, on this thread and across a message port: what a caller sees of queueing, aborts,
// progress, errors, crashes and disposal.

import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { runInNewContext } from "node:vm";
import { encoderOver, sources } from "./bundle.mjs";
import { crateError, fakeCrate, files, WASM } from "./fake.mjs";

const { EmbedletError, Engine, Instance, readSource, Remote, serve } = sources;

/** Runs a test over both ways to reach the engine. */
function both(name, run) {
  test(`${name}, on this thread`, async () => {
    const crate = fakeCrate();
    const engine = new Engine(crate.createGlue);
    const end = (_, model) => model && engine.dispose(model);
    await run(encoderOver(async () => ({ host: engine, wasm: WASM, end })), crate, engine);
  });
  test(`${name}, across a port`, async () => {
    const crate = fakeCrate();
    const engine = new Engine(crate.createGlue);
    const { port1, port2 } = new MessageChannel();
    serve(port2, engine);
    const host = new Remote(port1);
    port1.start();
    port2.start();
    const end = (_, model) => model && host.dispose(model);
    try {
      assert.equal(await host.hello(), "test");
      await run(encoderOver(async () => ({ host, wasm: WASM, end })), crate, engine);
    } finally {
      port1.close();
    }
  });
}

const rejects = (promise, code) => assert.rejects(promise, (error) => error instanceof EmbedletError && error.code === code);
const turn = () => new Promise((resolve) => setTimeout(resolve, 5));

/** A promise to be settled by the test. */
function gate() {
  let open;
  const opened = new Promise((resolve) => (open = resolve));
  return { opened, open };
}

both("embeds in order, with prompts and options", async (Encoder) => {
  const encoder = await Encoder.load(files());
  const e = await encoder.embed(["a", "bcd", "a longer text"]);
  assert.deepEqual([...e.data], [1, 97, 3, 98, 13, 97]);
  assert.deepEqual([e.count, e.dimensions, e.tokens(1), e.truncated(1), e.truncated(2)], [3, 2, 3, false, true]);
  assert.deepEqual([...e.row(1)], [3, 98]);
  assert.throws(() => e.row(3), { code: "invalid-argument" });
  assert.deepEqual([...(await encoder.embedQuery("abc")).data], [6, 113]);
  assert.deepEqual([...(await encoder.embedDocuments(["abc"])).data], [3, 97]);
  assert.equal((await encoder.embed([])).count, 0);
  assert.deepEqual((await encoder.tokenize("xy")).offsets, [[0, 2]]);
  encoder.dispose();
});

both("the total of a packed folder is known from its description on", async (Encoder) => {
  const weights = { "model.safetensors": 2_000_000, "2_Dense/model.safetensors": 9 };
  const content = files({ small: ["embedlet.json", "tokenizer.json"], weights });
  const sizes = Object.fromEntries(Object.entries(content).map(([path, bytes]) => [path, { bytes: bytes.byteLength }]));
  const read = async (about) => {
    const totals = [];
    const onProgress = ({ status, total }) => status === "progress_total" && totals.push(total);
    (await Encoder.load({ ...content, "embedlet.json": new TextEncoder().encode(about) }, { onProgress })).dispose();
    return totals;
  };
  const about = JSON.stringify({ files: { ...sizes, "README.md": { bytes: 1e9 } } });
  const sum = (length) => Object.entries(content).reduce((sum, [path, bytes]) => sum + (path === "embedlet.json" ? length : bytes.byteLength), 0);
  const totals = (await read(about)).filter((total) => total > 0);
  assert.ok(totals.length > 1 && totals.every((total) => total === totals.at(-1)), `${totals}`);
  for (const wrong of ["", "null", "{}", '{"files": 1}', '{"files": {"model.safetensors": {"bytes": -1}}}', '{"files": {"__proto__": {"bytes": 1e400}}}']) {
    assert.equal((await read(wrong)).at(-1), sum(wrong.length), wrong);
  }
});

both("queues calls that overlap", async (Encoder, crate) => {
  const encoder = await Encoder.load(files());
  crate.onStep = turn;
  const calls = ["a", "b", "c", "d"].map((text, i) => encoder.embed(Array(i + 1).fill(text)));
  const results = await Promise.all([...calls, encoder.tokenize("xyz")]);
  assert.deepEqual(results.slice(0, 4).map((e) => [e.count, e.data[1]]), [[1, 97], [2, 98], [3, 99], [4, 100]]);
  assert.deepEqual(crate.steps.join(""), "abbcccdddd");
  assert.equal(crate.mostRunning, 1);
});

both("reports the progress of an embed", async (Encoder) => {
  const encoder = await Encoder.load(files());
  const seen = [];
  await encoder.embed(["a", "b", "c"], { onProgress: (event) => seen.push(event) });
  assert.deepEqual(seen, [1, 2, 3].map((done) => ({ done, total: 3 })));
});

both("reports a load byte for byte", async (Encoder) => {
  const folder = files({ small: ["tokenizer.json"], weights: { "a.safetensors": 2_500_000, "b/c.safetensors": 7 } });
  const bytes = Object.values(folder).reduce((sum, { byteLength }) => sum + byteLength, 0);
  const seen = [];
  await Encoder.load(folder, { onProgress: (event) => seen.push(event) });
  const of = (status) => seen.filter((event) => event.status === status);
  const small = ["prompts.json", "config.json", "tokenizer.json"];
  const weights = ["a.safetensors", "b/c.safetensors"];
  const done = of("done").map(({ file, loaded }) => [file, loaded]);
  assert.deepEqual(done.slice(0, 3), small.map((path) => [path, folder[path]?.byteLength ?? 0]));
  assert.deepEqual(done.slice(3).sort(), weights.map((path) => [path, folder[path].byteLength]));
  assert.deepEqual(of("download").find(({ file }) => file === "a.safetensors"), {
    status: "download", phase: "upload", file: "a.safetensors", loaded: 0, total: 2_500_000, progress: 0,
  });
  assert.deepEqual(of("progress_total").at(-1), { status: "progress_total", phase: "upload", loaded: bytes, total: bytes, progress: 100 });
  assert.deepEqual(seen.at(-1), { status: "ready", phase: "check", loaded: bytes, total: bytes, progress: 100 });
  for (const path of weights) {
    const { loaded, total } = of("progress").filter(({ file }) => file === path).at(-1);
    assert.deepEqual([loaded, total], [folder[path].byteLength, folder[path].byteLength]);
  }
  // A total is only given when it is all of it, and that is before the weights have come.
  assert.ok(of("progress_total").some(({ loaded, total }) => total === bytes && loaded < bytes));
  for (const { total } of of("progress_total")) assert.ok(total === 0 || total === bytes);
});

both("aborts a load before, during and after", async (Encoder, crate) => {
  const reason = new Error("enough");
  await assert.rejects(Encoder.load(files(), { signal: AbortSignal.abort(reason) }), reason);

  const creating = gate();
  const held = gate();
  crate.onCreate = () => (creating.open(), held.opened);
  const abort = new AbortController();
  const load = Encoder.load(files(), { signal: abort.signal });
  await creating.opened;
  abort.abort();
  await assert.rejects(load, { name: "AbortError" });
  held.open();
  await turn();
  assert.equal(crate.live.size, 0);

  crate.onCreate = () => {};
  const late = new AbortController();
  const encoder = await Encoder.load(files(), { signal: late.signal });
  late.abort();
  assert.equal((await encoder.embed("a")).count, 1);
});

both("aborts an embed before, while waiting, and while running", async (Encoder, crate) => {
  const encoder = await Encoder.load(files());
  await assert.rejects(encoder.embed("a", { signal: AbortSignal.abort() }), { name: "AbortError" });

  const stepping = gate();
  const held = gate();
  crate.onStep = () => (stepping.open(), held.opened);
  const [first, second] = [new AbortController(), new AbortController()];
  const running = encoder.embed(["a", "b"], { signal: first.signal });
  const waiting = encoder.embed("c", { signal: second.signal });
  const third = encoder.embed("d");
  await stepping.opened;
  second.abort();
  await assert.rejects(waiting, { name: "AbortError" });
  first.abort(new Error("enough"));
  await assert.rejects(running, { message: "enough" });
  await turn();
  held.open();
  assert.deepEqual([...(await third).data], [1, 100]);
  assert.deepEqual(crate.steps, ["a", "d"]);
  assert.equal(crate.live.size, 1);
});

both("disposes while idle, while running, and twice", async (Encoder, crate) => {
  const idle = await Encoder.load(files());
  idle.dispose();
  idle.dispose();
  await rejects(idle.embed("a"), "disposed");
  await turn();
  assert.equal(crate.live.size, 0);

  const stepping = gate();
  const held = gate();
  crate.onStep = () => (stepping.open(), held.opened);
  const busy = await Encoder.load(files());
  const calls = [busy.embed(["a", "b"]), busy.embed("c")].map((call) => rejects(call, "disposed"));
  await stepping.opened;
  busy.dispose();
  await turn();
  assert.equal(crate.live.size, 2, "a step that runs keeps its model and job");
  held.open();
  await Promise.all(calls);
  await turn();
  assert.deepEqual(crate.steps, ["a"]);
  assert.equal(crate.live.size, 0);
});

both("passes the crate's errors on and stays usable", async (Encoder, crate) => {
  const encoder = await Encoder.load(files());
  crate.onStep = () => {
    throw Object.assign(crateError("non-finite", "not finite"), { cause: new Error("below") });
  };
  const error = await encoder.embed("a").catch((thrown) => thrown);
  assert.deepEqual([error.name, error.code, error.message, error.cause.message], ["EmbedletError", "non-finite", "not finite", "below"]);
  crate.onStep = () => {};
  assert.equal((await encoder.embed("a")).count, 1);
  assert.equal(crate.live.size, 1);

  await rejects(Encoder.load({ ...files(), "model.safetensors": new Uint8Array(10) }), "truncated-file");
  assert.equal(crate.live.size, 1);
});

both("a load that crashes rejects, and the next one has a new instance", async (Encoder, crate, engine) => {
  for (const crash of [
    () => {
      throw new WebAssembly.RuntimeError("unreachable");
    },
    // The panic of a task: its promise stays pending, the trap comes out of the event loop.
    () => {
      setTimeout(() => assert.ok(engine.crash(new WebAssembly.RuntimeError("unreachable"))));
      return new Promise(() => {});
    },
  ]) {
    const before = crate.instances;
    crate.onCreate = crash;
    await rejects(Encoder.load(files()), "runtime-crashed");
    crate.onCreate = () => {};
    assert.equal((await (await Encoder.load(files())).embed("a")).count, 1);
    assert.ok(crate.instances > before);
  }
  assert.equal(engine.crash(new WebAssembly.RuntimeError("another library's")), false);
});

both("with auto, a GPU that fails its check is given up for the CPU, and only then", async (Encoder, crate) => {
  const failOnce = (code) => {
    crate.onFinish = () => {
      crate.onFinish = () => {};
      throw crateError(code, `${code} it was`);
    };
  };
  failOnce("self-check-failed");
  const seen = [];
  await Encoder.load(files(), { precision: "f16", onProgress: (event) => seen.push(event) });
  assert.deepEqual(crate.created, [
    { device: "auto", precision: "f16" },
    { device: "wasm", precision: "f16", reason: "self-check-failed it was" },
  ]);
  assert.equal(seen.filter(({ status }) => status === "ready").length, 1);
  assert.equal(crate.live.size, 1);
  failOnce("self-check-failed");
  await rejects(Encoder.load(files(), { device: "webgpu" }), "self-check-failed");
  failOnce("missing-tensor");
  await rejects(Encoder.load(files()), "missing-tensor");
  assert.equal(crate.live.size, 1);
});

test("an instance that crashed is neither asked nor freed", async () => {
  const crate = fakeCrate();
  const engine = new Engine(crate.createGlue);
  const source = readSource(files(), {});
  const { model } = await engine.load({ wasm: WASM, source, device: "wasm", precision: "auto", integrity: new Map(), cache: false, allowRemote: true }, {});
  crate.onStep = () => {
    throw new WebAssembly.RuntimeError("unreachable");
  };
  await rejects(engine.embed({ model, texts: ["a"], options: "{}" }, {}), "runtime-crashed");
  const live = new Set(crate.live);
  const shape = { dimensions: 2, precision: "float32", similarity: "cosine" };
  await rejects(engine.collect({ kind: "open", name: model, argument: shape }, {}), "runtime-crashed");
  await engine.dispose(model);
  assert.deepEqual(crate.live, live, "nothing was made of it, and nothing freed");
});

both("checks integrity", async (Encoder, crate) => {
  const folder = files();
  const hash = async (bytes) => Buffer.from(await crypto.subtle.digest("SHA-256", bytes));
  const config = await hash(folder["config.json"]);
  const weights = await hash(folder["model.safetensors"]);
  const encoder = await Encoder.load(folder, {
    integrity: { "config.json": config.toString("hex"), "model.safetensors": `sha256-${weights.toString("base64")}` },
  });
  assert.equal(encoder.info.read["model.safetensors"].sha256, weights.toString("hex"));
  encoder.dispose();
  await rejects(Encoder.load(folder, { integrity: { "config.json": weights.toString("hex") } }), "wrong-hash");
  await rejects(Encoder.load(folder, { integrity: { "other.json": weights.toString("hex") } }), "invalid-argument");
  await rejects(Encoder.load(folder, { integrity: { "config.json": "sha256-short" } }), "invalid-argument");
  await rejects(Encoder.load(folder, { integrity: { onFailure: "ignore" } }), "invalid-argument");
  const told = mock.method(console, "warn", () => {});
  (await Encoder.load(folder, { integrity: { "config.json": weights.toString("hex"), onFailure: "warn" } })).dispose();
  told.mock.restore();
  assert.equal(told.mock.callCount(), 1);
  assert.match(told.mock.calls[0].arguments[0], /^embedlet: config\.json has SHA-256 /);
  await turn();
  assert.equal(crate.live.size, 0);
});

both("classifies by the nearest example", async (Encoder, crate) => {
  const encoder = await Encoder.load(files());
  // Vectors are [length, code]: a text is close to those of its length and letter.
  const labels = { long: ["a".repeat(300), "a".repeat(60)], short: ["a"] };
  const [scores] = await encoder.classify("a", { labels, temperature: 0.1 });
  assert.deepEqual(scores.map(({ label, example }) => [label, example]), [["short", "a"], ["long", "a".repeat(60)]]);
  assert.ok(Math.abs(scores[0].similarity - 1) < 1e-6);
  assert.ok(Math.abs(scores[0].score + scores[1].score - 1) < 1e-9);
  assert.ok(Math.abs(scores[0].score / scores[1].score - Math.exp((scores[0].similarity - scores[1].similarity) / 0.1)) < 1e-6);
  const steps = crate.steps.length;
  assert.deepEqual((await encoder.classify(["a", "b"], { labels, topK: 1 })).map((list) => list.length), [1, 1]);
  assert.equal(crate.steps.length, steps + 2, "the examples are embedded once");
  for (const wrong of [{ labels: {} }, { labels: { x: [] } }, { labels: { x: "y" } }, { labels, temperature: 0 }, { labels, topK: 0 },
    { labels, layers: 1 }, { labels, tokens: true }]) {
    await rejects(encoder.classify("a", wrong), "invalid-argument");
  }
});

both("gives vectors in bytes or bits", async (Encoder) => {
  const encoder = await Encoder.load(files());
  assert.deepEqual([...(await encoder.embed(["a", "bcd"], { output: "int8" })).data], [-128, -128, 126, 126]);
  assert.deepEqual([...(await encoder.embedQuery(["a"], { output: "binary" })).data], [64]);
  await rejects(encoder.embed("a", { output: "int8" }), "invalid-argument");
  await rejects(encoder.embed("a", { output: "int4" }), "invalid-argument");
  await rejects(encoder.embed("a", { ranges: { lowest: [], highest: [] } }), "invalid-argument");
  encoder.dispose();
});

both("gives a vector for every token", async (Encoder) => {
  const encoder = await Encoder.load(files());
  const found = await encoder.embed(["ab", "a longer text"], { tokens: true });
  assert.deepEqual([found.count, [...found.vectors(0)], found.texts[0].tokens], [2, [97, 98], ["a", "b"]]);
  assert.deepEqual([found.truncated(0), found.truncated(1)], [false, true]);
  assert.deepEqual((await encoder.embedQuery("ab", { tokens: true })).texts[0].tokens, ["q", ":", " ", "a", "b"]);
  assert.equal((await encoder.embed([], { tokens: true })).count, 0);
  await rejects(encoder.embed("a", { tokens: 1 }), "invalid-argument");
  await rejects(encoder.embed("a", { tokens: true, output: "int8" }), "invalid-argument");
  encoder.dispose();
});

both("reads long texts in chunks", async (Encoder) => {
  const encoder = await Encoder.load(files());
  assert.deepEqual(await encoder.chunk("a🙂b", { size: 5, by: "sentences" }), [
    { text: "a\ud83d", start: 0, end: 2, tokens: 2 },
    { text: "\ude42b", start: 2, end: 4, tokens: 2 },
  ]);
  const found = await encoder.embed(["abcd", "ef"], { overflow: "chunk", chunkPooling: "none", chunk: { size: 9 } });
  assert.deepEqual(found.chunks.map((chunks) => chunks.map(({ text }) => text)), [["ab", "cd"], ["e", "f"]]);
  assert.deepEqual([...found.vectors(1)], [101, 102]);
  assert.equal((await encoder.embed("a", { overflow: "chunk" })).count, 1);
  await rejects(encoder.embed("a", { overflow: "chunk", chunkPooling: "none", output: "int8" }), "invalid-argument");
  await rejects(encoder.embed("a", { overflow: "chunk", chunk: { size: NaN } }), "invalid-argument");
  await rejects(encoder.chunk(["a"]), "invalid-argument");
  await rejects(encoder.chunk("a", { sise: 5 }), "invalid-argument");
  encoder.dispose();
});

both("asks for tasks, and gives their results a form", async (Encoder) => {
  const encoder = await Encoder.load(files(), { task: "fill" });
  const [asked] = await encoder.classify([{ text: "a", pair: "b" }], { topK: 2, labels: ["x"] });
  assert.deepEqual(asked, { task: "classify", inputs: [{ text: "a", pair: "b" }], options: { topK: 2, labels: ["x"] } });
  // The crate's strings cannot hold half a pair.
  assert.deepEqual((await encoder.tag("a\ud83d🙂"))[0].texts, ["a\ufffd🙂"]);
  assert.deepEqual((await encoder.rerank("q", ["d"]))[0], { task: "rerank", query: "q", documents: ["d"], options: {} });
  const filtered = async (filter) => (await encoder.fill("[MASK]", { filter }))[0].options.ids;
  assert.deepEqual(await filtered(/^[ap]/g), [1, 3]);
  assert.deepEqual(await filtered((token, id) => token.length > 4 && id > 0), [1]);
  const multi = await encoder.embedMulti(["ab", "c"]);
  assert.deepEqual([multi.count, [...multi.counts], [...multi.vectors(0)], [...multi.vectors(1)]], [2, [2, 1], [97, 98], [99]]);
  assert.deepEqual([...(await encoder.maxSim(multi, multi))], [97 * 98 + 98 * 98, 97 * 99 + 98 * 99, 98 * 99, 99 * 99]);
  // Many are compared by the crate, so many bytes at a time.
  const long = await encoder.embedMulti(["x".repeat(3e6), "x".repeat(1e6), "x".repeat(2e6)]);
  const events = [];
  const scores = await encoder.maxSim(await encoder.embedMulti(["abcd", "ef"]), long, { onProgress: (event) => events.push(event) });
  assert.deepEqual([...scores], [4, 2].flatMap((query) => [3e6, 1e6, 2e6].map((count) => 1e7 * query + count)));
  assert.deepEqual(events, [1, 2, 3].map((done) => ({ done, total: 3 })));
  await rejects(encoder.maxSim(multi, long, { topK: 1 }), "invalid-argument");
  await rejects(encoder.maxSim(multi, [1]), "invalid-argument");
  assert.deepEqual([multi.truncated(0), multi.truncated(1)], [false, false]);
  for (const at of ["vectors", "truncated"]) for (const i of [2, 0n, Symbol("s")]) assert.throws(() => multi[at](i), { code: "invalid-argument" });
  await rejects(encoder.tag("a", { agregation: "max" }), "invalid-argument");
  await rejects(encoder.classify([{ text: "a" }]), "invalid-argument");
  await rejects(Encoder.load(files(), { task: "dance" }), "invalid-argument");
  encoder.dispose();
});

both("trains heads, keeps them and asks by them", async (Encoder) => {
  const encoder = await Encoder.load(files());
  const seen = [];
  const head = await encoder.trainHead({ a: ["x", "y"], b: ["z"] }, { regularization: 2, prompt: "p", onProgress: (event) => seen.push(event) });
  assert.deepEqual([head.labels, head.method, head.regularization, head.accuracy], [["a"], "logistic", 1, 0.5]);
  assert.deepEqual(seen.at(-1), { done: 3, total: 3 });
  const [asked] = await head.classify("t", { topK: 1 });
  assert.deepEqual(asked, { task: "classify-by", texts: ["t"], options: { topK: 1 }, head: [3] });
  // What was saved is the caller's own.
  const file = head.save();
  file[0] = 7;
  for (const kept of [file, file.buffer, new Blob([file])]) {
    const again = await encoder.loadHead(kept);
    assert.deepEqual([again.labels, (await again.classify("t"))[0].head], [["b"], [7]]);
  }
  assert.deepEqual((await head.classify("t"))[0].head, [3]);
  const listed = await encoder.trainHead([{ text: "x", label: "a" }, { text: "y", label: "b" }]);
  assert.deepEqual([...listed.save()], [2]);
  for (const [examples, options] of [
    [{ a: [] }], [{ a: "x" }], [[{ text: "x" }]], [[null]], [{ a: ["x"] }, { output: "int8" }], [{ a: ["x"] }, { C: 1 }],
    [{ a: ["x"] }, { regularization: NaN }], [{ a: ["x"] }, { folds: 0.5 }], [{ a: ["x"] }, { promptName: "none" }],
  ]) {
    await rejects(encoder.trainHead(examples, options), "invalid-argument");
  }
  await rejects(encoder.loadHead("file"), "invalid-argument");
  await rejects(head.classify("t", { prompt: "p" }), "invalid-argument");
  encoder.dispose();
  await rejects(head.classify("t"), "disposed");
});

both("names what has a wrong type, in every call", async (Encoder) => {
  const detached = new Uint8Array(8);
  structuredClone(detached.buffer, { transfer: [detached.buffer] });
  const circular = {};
  circular.self = circular;
  for (const options of [{ worker: {} }, { worker: null }, { integrity: null }, { onProgress: "log" }, { signal: new AbortController() }, null]) {
    await rejects(Encoder.load(files(), options), "invalid-argument");
  }
  for (const bytes of [detached, detached.buffer]) await rejects(Encoder.load({ "config.json": bytes }), "invalid-argument");
  const encoder = await Encoder.load(files());
  const examples = { a: ["x"], b: ["y"] };
  const calls = {
    embed: (options) => encoder.embed("a", options),
    classify: (options) => encoder.classify("a", options),
    trainHead: (options) => encoder.trainHead(examples, options),
    loadHead: (options) => encoder.loadHead(new Uint8Array(1), options),
    rerank: (options) => encoder.rerank("a", ["b"], options),
    fill: (options) => encoder.fill("a", options),
    chunk: (options) => encoder.chunk("a", options),
    maxSim: (options) => encoder.maxSim({}, {}, options),
  };
  for (const call of Object.values(calls)) {
    const wrong = [null, { onProgress: "log" }, { onProgress: 5 }, { signal: {} }, { signal: new AbortController() }];
    for (const options of wrong) await rejects(call(options), "invalid-argument");
  }
  for (const value of [1n, circular]) {
    await rejects(encoder.embed("a", { pooling: value }), "invalid-argument");
    await rejects(encoder.rerank("a", ["b"], { topK: value }), "invalid-argument");
    await rejects(encoder.classify("a", { labels: examples, prompt: value }), "invalid-argument");
  }
  await rejects(encoder.embed("a", { promptName: Symbol("s") }), "invalid-argument");
  await rejects(encoder.classify("a", { labels: examples, temperature: 1n }), "invalid-argument");
  for (const filter of [5, "x", null]) await rejects(encoder.fill("a", { filter }), "invalid-argument");
  await rejects(encoder.trainHead(new Array(2)), "invalid-argument");
  await rejects(encoder.loadHead(detached), "invalid-argument");
  assert.equal((await encoder.embed("text", { signal: null, onProgress: null })).count, 1);
  encoder.dispose();
});

both("names wrong arguments", async (Encoder) => {
  for (const [source, options] of [
    [undefined], [null], [7], [{}], [[]], [["x"]], [{ "a.json": "text" }], ["http://["],
    [files(), { dtype: "q8" }], [files(), { device: "gpu" }], [files(), { precision: "q4" }], [files(), { revision: "v1" }],
  ]) {
    await rejects(Encoder.load(source, options), "invalid-argument");
  }
  const encoder = await Encoder.load(files());
  for (const [texts, options] of [
    [undefined], [7], [["a", 7]], ["a", { promptName: "nope" }], ["a", { promptName: "constructor" }], ["a", { prompt: 7 }],
    ["a", { dimensions: 0 }], ["a", { dimensions: 1.5 }], ["a", { normalize: "yes" }], ["a", { pool: "mean" }],
    ["a", { task: "clustering" }],
  ]) {
    await rejects(encoder.embed(texts, options), "invalid-argument");
  }
  await rejects(encoder.tokenize(["a"]), "invalid-argument");
  for (const wrong of [[1], null, { data: new Float32Array(2), dimensions: 2 }, { data: [1], count: 1, dimensions: 1 }]) {
    assert.throws(() => encoder.similarity(wrong, wrong), { code: "invalid-argument" });
  }
  // As another entry of the package has it, whose class is another.
  const theirs = { data: Float32Array.of(3, 4), count: 1, dimensions: 2, row: () => Float32Array.of(3, 4) };
  assert.deepEqual([...encoder.similarity(theirs, theirs)], [1]);
  // And another page, which has arrays of its own too.
  const elsewhere = { ...theirs, data: runInNewContext("Float32Array.of(3, 4)") };
  assert.deepEqual([...encoder.similarity(elsewhere, theirs)], [1]);
  await rejects(encoder.zeroShot("text"), "invalid-argument");
});

test("a trap at once rejects the one call, and nobody else hears of it", async () => {
  const instance = await Instance.start(() => ({ default: async () => {} }), WASM);
  await rejects(instance.run(() => {
    throw new WebAssembly.RuntimeError("unreachable");
  }), "runtime-crashed");
  await turn();
});

test("a trap in a task of the crate's own rejects the call that waits for it, and does not end the process", async () => {
  let queue;
  const instance = await Instance.start((queueMicrotask) => ((queue = queueMicrotask), { default: async () => {} }), WASM);
  assert.equal(await instance.run(() => new Promise((resolve) => queue(() => resolve(1)))), 1);
  await rejects(instance.run(() => new Promise(() => {
    queue(() => {
      throw new WebAssembly.RuntimeError("unreachable");
    });
  })), "runtime-crashed");
  await rejects(instance.run(() => 1), "runtime-crashed");
});

both("a call is of the texts and options that it was given, whatever becomes of the arrays", async (Encoder) => {
  const encoder = await Encoder.load(files());
  const batch = ["a", "bcd"];
  const options = { output: "float32" };
  const calls = [encoder.embed(batch, options)];
  batch.length = 0;
  batch.push("other", "texts", "come");
  options.tokens = true;
  calls.push(encoder.embed(batch));
  const [first, second] = await Promise.all(calls);
  assert.deepEqual([[...first.data], first.count, second.count], [[1, 97, 3, 98], 2, 3]);
  encoder.dispose();
});

both("maxSim of little hears of an abort, and of the end", async (Encoder) => {
  const encoder = await Encoder.load(files());
  const rows = { data: Float32Array.of(1, 2), dimensions: 2, counts: Uint32Array.of(1) };
  await assert.rejects(encoder.maxSim(rows, rows, { signal: AbortSignal.abort() }), { name: "AbortError" });
  assert.deepEqual([...(await encoder.maxSim(rows, rows))], [5]);
  encoder.dispose();
  await rejects(encoder.maxSim(rows, rows), "disposed");
});

both("a collection that opens while its encoder ends is freed", async (Encoder, crate) => {
  const encoder = await Encoder.load(files());
  const opening = encoder.collection();
  encoder.dispose();
  await rejects(opening, "disposed");
  await turn();
  assert.equal(crate.live.size, 0);
});

test("an answer's vectors are moved, not copied", async () => {
  const sent = [];
  const port = { addEventListener: (_, listener) => (port.receive = listener), postMessage: (...message) => sent.push(message) };
  const result = { dimensions: 1, data: new Float32Array(1), tokens: new Uint32Array(1), truncated: new Uint8Array(1) };
  serve(port, { embed: async () => result });
  await port.receive({ data: { embedlet: 1, id: 1, method: "embed" } });
  assert.deepEqual(sent, [[{ embedlet: 1, id: 1, result }, [result.data.buffer, result.tokens.buffer, result.truncated.buffer]]]);
});

test("a remote is not asked for what was aborted before", async () => {
  const remote = new Remote({ addEventListener() {}, postMessage: () => assert.fail("asked") });
  await assert.rejects(remote.tokenize({ model: 1, text: "" }, { signal: AbortSignal.abort() }), { name: "AbortError" });
});

test("a remote whose other end is gone rejects what waits and what comes", async () => {
  const remote = new Remote({ addEventListener() {}, postMessage() {} });
  const waiting = rejects(remote.embed({ model: 1, texts: [], options: "{}" }, {}), "runtime-crashed");
  remote.fail(new EmbedletError("runtime-crashed", "gone"));
  await waiting;
  await rejects(remote.tokenize({ model: 1, text: "" }, {}), "runtime-crashed");
});
