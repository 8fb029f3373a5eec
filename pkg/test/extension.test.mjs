// Encoders across the contexts of an extension, over the fake crate and a stand-in for the browser's runtime: what arrives, what is
// shared, what becomes of everything when a context goes away or somebody sends what nobody should.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { encoderOver, sources } from "./bundle.mjs";
import { crateError, fakeCrate, files, WASM } from "./fake.mjs";
import { turn, World } from "./runtime.mjs";

const { connectTo, EmbedletError, ensure, Engine, hostEncoders, limits, patience, restarts, SearchIndex } = sources;
const given = { limits: { ...limits }, patience: { ...patience }, fetch: globalThis.fetch };
const MODEL = "https://models.test/tiny/";
const PAGE = { url: "offscreen.html" };

beforeEach(() => {
  restarts.delays = [0, 0];
  const folder = files({ weights: { "model.safetensors": 5 } });
  globalThis.fetch = async (url) => {
    const bytes = folder[String(url).slice(MODEL.length)];
    return new Response(bytes ?? null, { status: bytes ? 200 : 404 });
  };
});
afterEach(() => {
  Object.assign(limits, given.limits);
  Object.assign(patience, given.patience);
  globalThis.fetch = given.fetch;
});

const rejects = (promise, code, message = /./) =>
  assert.rejects(promise, (error) => error instanceof EmbedletError && error.code === code && message.test(error.message));

async function until(condition, what = "what was waited for came") {
  for (let left = 5000; !condition(); left--) {
    assert.ok(left > 0, what);
    await turn();
  }
}

/** An extension: `crate` is in its offscreen document, whose script serves with `options`. */
function extension({ clones = false, ...options } = {}) {
  const world = new World({ clones });
  const crate = fakeCrate();
  const connect = async () => {
    const engine = new Engine(crate.createGlue);
    return { host: engine, wasm: WASM, end: (_, model) => model && engine.dispose(model) };
  };
  world.script = ({ api }) => hostEncoders(api, options, connect);
  const page = world.context("panel.html");
  const open = (load = {}, from = page) => connectTo(from.api, MODEL, { offscreen: PAGE, ...load });
  return { world, crate, page, open, direct: encoderOver(connect) };
}

/** Runs a test over both kinds of runtime. */
function both(name, run) {
  for (const clones of [false, true]) {
    test(`${name}, over ${clones ? "clones" : "JSON"}`, { timeout: 60_000 }, () => run((options) => extension({ clones, ...options })));
  }
}

const TEXTS = ["a", "grüße \u{1f30a}\u{1f30a} from the sea", "half \ud800", ""];

/** What an encoder answers to every kind of request. */
async function answers(encoder) {
  const seen = [];
  const onProgress = (event) => seen.push(event);
  const e = await encoder.embed(TEXTS, { onProgress });
  const head = await encoder.trainHead({ a: ["x", "y"] });
  const multi = await encoder.embedMulti(["ab", "cde"]);
  const big = await encoder.embedMulti(Array(3).fill("m".repeat(3000)));
  return [
    encoder.info, [...e.data], e.count, e.dimensions, e.tokens(1), e.truncated(1), seen,
    [...(await encoder.embedQuery("abc")).data], [...(await encoder.embedDocuments("abc", { output: "binary" })).data],
    (await encoder.embed(TEXTS, { tokens: true })).texts, (await encoder.embed(TEXTS, { overflow: "chunk", chunkPooling: "none" })).chunks,
    await encoder.classify("t"), await head.classify("t"), [...head.save()], (await encoder.loadHead(head.save())).labels,
    await encoder.rerank("q", TEXTS), await encoder.tag("t"), await encoder.fill("t", { filter: /a/ }), await encoder.chunk("abcd"),
    [...multi.data], multi.counts, await encoder.maxSim(big, big), await encoder.tokenize("xyz"),
  ];
}

both("an encoder answers as one of the page does", async (extension) => {
  const { open, direct, crate, world } = extension();
  const own = await direct.load(MODEL);
  const expected = await answers(own);
  own.dispose();
  for (const frame of [limits.frame, 7]) {
    limits.frame = frame;
    const events = [];
    const encoder = await open({ onProgress: (event) => events.push(event.status) });
    assert.deepEqual(await answers(encoder), expected, `frames of ${frame}`);
    await turn();
    assert.deepEqual([events[0], events.at(-1)], ["phase", "ready"]);
    encoder.dispose();
    await rejects(encoder.embed("a"), "disposed");
    await until(() => crate.live.size === 0);
  }
  assert.equal(world.made, 1);
});

both("who asks for the same shares a model, which goes with the last", async (extension) => {
  const { open, crate, world } = extension();
  const worker = world.context("background.js");
  const [one, two, other] = await Promise.all([open(), open({}, worker), open({ precision: "f16" })]);
  assert.deepEqual([crate.finished, world.made], [2, 1]);
  one.dispose();
  assert.deepEqual([...(await two.embed("ab")).data], [2, 97]);
  other.dispose();
  await until(() => crate.live.size === 1);
  worker.close();
  await until(() => crate.live.size === 0);
  const seen = [];
  const again = await Promise.all([open(), open({ onProgress: (event) => seen.push(event.status) })]);
  const late = [];
  again.push(await open({ onProgress: (event) => late.push(event.status) }));
  await turn();
  assert.deepEqual([crate.finished, seen.at(-1), late], [3, "ready", ["ready"]]);
  for (const encoder of again) encoder.dispose();
  await until(() => crate.live.size === 0);
});

test("a model is kept for as long as was said", async () => {
  const { open, crate } = extension({ keepMs: 30 });
  (await open()).dispose();
  const again = await open();
  assert.equal(crate.finished, 1);
  again.dispose();
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.equal(crate.live.size, 0);
  // Longer than a timer knows is for good.
  const forever = extension({ keepMs: Infinity });
  (await forever.open()).dispose();
  await new Promise((resolve) => setTimeout(resolve, 50));
  (await forever.open()).dispose();
  assert.equal(forever.crate.finished, 1);
  // A load that nobody waits for any more is not.
  const abort = new AbortController();
  crate.onCreate = () => abort.abort();
  await assert.rejects(open({ signal: abort.signal }), { name: "AbortError" });
  await until(() => crate.live.size === 0);
  assert.equal(crate.finished, 1);
});

both("aborts are of their caller alone", async (extension) => {
  const { open, crate } = extension();
  await assert.rejects(open({ signal: AbortSignal.abort() }), { name: "AbortError" });
  const abort = new AbortController();
  crate.onCreate = async () => {
    abort.abort();
    for (let i = 0; i < 20; i++) await turn();
  };
  const [gone, stays] = await Promise.allSettled([open({ signal: abort.signal }), open()]);
  assert.deepEqual([gone.reason?.name, stays.status, crate.finished], ["AbortError", "fulfilled", 1]);
  const encoder = stays.value;
  const other = await open();
  const call = new AbortController();
  crate.onStep = (text) => {
    if (text === "stop") call.abort();
    return turn();
  };
  const calls = [encoder.embed(["stop", "b", "c"], { signal: call.signal }), encoder.embed("ab"), other.embed("cd")];
  const [first, second, third] = await Promise.allSettled(calls);
  assert.deepEqual([first.reason?.name, [...second.value.data], [...third.value.data]], ["AbortError", [2, 97], [2, 99]]);
  assert.ok(!crate.steps.includes("c"), "it was given up where it ran");
  crate.onStep = () => turn();
  const left = other.embed(Array(50).fill("x"));
  await until(() => crate.steps.includes("x"));
  other.dispose();
  await rejects(left, "disposed");
  await encoder.embed("behind it");
  assert.ok(crate.steps.filter((text) => text === "x").length < 50, "what nobody waits for is given up");
  encoder.dispose();
  await until(() => crate.live.size === 0);
});

for (const listens of [false, true]) {
  both(`the document goes at any message${listens ? ", while another context listens" : ""}`, async (extension) => {
    limits.frame = 50;
    let last = Infinity;
    for (let at = 1; at <= last; at++) {
      const { world, open, page } = extension();
      patience.ms = 500;
      // Then ports stay open, and nobody answers.
      if (listens) world.context("background.js").api.runtime.onConnect.addListener(() => {});
      world.onDelivered = (count) => count === at && world.document?.close();
      let encoder;
      for (let tries = 0; !encoder && tries < 9; tries++) {
        encoder = await open().catch((error) => void assert.equal(error.code, "disconnected", `message ${at}: ${error.message}`));
      }
      const e = await Promise.all([encoder.embed(["a", "bcd", "e"]), encoder.tokenize("xy"), encoder.embed("f")]);
      assert.deepEqual([[...e[0].data], e[1].ids, [...e[2].data]], [[1, 97, 3, 98, 1, 101], [2], [1, 102]], `message ${at}`);
      if (world.delivered < at) last = at;
      encoder.dispose();
      page.close();
    }
    assert.ok(last > 15, `${last} messages`);
  });
}

test("a document that is gone and made by nobody is an error, and a call later it may be back", async () => {
  const { world, open } = extension();
  await rejects(open({ offscreen: undefined }), "disconnected", /Receiving end.*serveEncoders/);
  const page = world.context("panel.html");
  await ensure(page.api, PAGE);
  const encoder = await open({ offscreen: undefined });
  world.document.close();
  for (let i = 0; i < 4; i++) await rejects(encoder.embed("a"), "disconnected");
  await ensure(page.api, PAGE);
  assert.deepEqual([...(await encoder.embed("ab")).data], [2, 97]);
  encoder.dispose();
});

test("what is left of an extension that was updated has an error for it", async () => {
  const { world, open } = extension();
  const page = world.context("panel.html");
  const encoder = await open({}, page);
  world.document.close();
  page.api.runtime.connect = () => {
    throw new Error("Extension context invalidated.");
  };
  await rejects(encoder.embed("a"), "disconnected");
  await rejects(open({}, page), "disconnected");
});

test("a context that listens but does not serve is waited for, not for ever", async () => {
  const { world, open } = extension();
  world.context("background.js").api.runtime.onConnect.addListener(() => {});
  patience.ms = 10;
  await rejects(open({ offscreen: undefined }), "disconnected", /does not answer/);
});

test("of several that serve, one does; the next takes over", async () => {
  const { world, open, crate, page } = extension();
  await ensure(page.api, PAGE);
  const second = world.context("second.html");
  const calls = [];
  hostEncoders(second.api, {}, async () => {
    calls.push("second");
    const engine = new Engine(crate.createGlue);
    return { host: engine, wasm: WASM, end: (_, model) => model && engine.dispose(model) };
  });
  const encoder = await open({ offscreen: undefined });
  assert.deepEqual([...(await encoder.embed("ab")).data, calls.length], [2, 97, 0]);
  world.document.close();
  assert.deepEqual([...(await encoder.embed("ab")).data, calls.length], [2, 97, 1]);
  encoder.dispose();
});

test("where encoders are served they can be had too, without a port", async () => {
  const { world, open, direct, crate } = extension();
  const encoder = await open();
  const own = await direct.load(MODEL);
  const before = world.delivered;
  const local = await open({}, world.document);
  assert.deepEqual(await answers(local), await answers(own));
  assert.deepEqual([world.delivered, crate.finished], [before, 2], "it is the model that the page has");
  crate.onStep = () => turn();
  const abort = new AbortController();
  await assert.rejects(local.embed(["a", "b", "c"], { signal: abort.signal, onProgress: () => abort.abort() }), { name: "AbortError" });
  crate.device = "elsewhere";
  let losses = 1;
  crate.onStep = () => {
    if (losses-- > 0) throw crateError("device-lost", "the GPU device was lost");
  };
  assert.deepEqual([...(await local.embed("ab")).data, local.info.device], [2, 97, "elsewhere"]);
  own.dispose();
  encoder.dispose();
  const call = local.embed("ab");
  local.dispose();
  await rejects(call, "disposed");
  await until(() => crate.live.size === 0);
});

test("an engine is restarted where it runs; a call that crashes it twice is refused there", async () => {
  const { world, open, crate } = extension();
  const [encoder, other] = await Promise.all([open(), open()]);
  let connections = 0;
  world.document.onConnect.addListener(() => connections++);
  let crashes = 0;
  crate.onStep = (text) => {
    if (text !== "boom") return;
    crashes++;
    throw crateError("device-lost", "the GPU device was lost");
  };
  const calls = [encoder.embed("boom"), encoder.embed("ab"), other.embed("cd")];
  await rejects(calls[0], "device-lost");
  assert.deepEqual([[...(await calls[1]).data], [...(await calls[2]).data], crashes], [[2, 97], [2, 99], 2]);
  crate.device = "elsewhere";
  const once = { left: 1 };
  crate.onStep = () => {
    if (once.left-- > 0) throw crateError("device-lost", "the GPU device was lost");
  };
  assert.deepEqual([...(await encoder.embed("ab")).data], [2, 97]);
  assert.equal(encoder.info.device, "elsewhere");
  await other.embed("ab");
  assert.equal(other.info.device, "elsewhere");
  // What has stopped for good is not shared with those who come.
  crate.onCreate = () => {
    throw crateError("device-lost", "the GPU device was lost");
  };
  crate.onStep = () => {
    throw crateError("device-lost", "the GPU device was lost");
  };
  await rejects(encoder.embed("a"), "device-lost", /stays stopped/);
  crate.onCreate = crate.onStep = () => {};
  const fresh = await open();
  assert.deepEqual([...(await fresh.embed("ab")).data, connections], [2, 97, 1]);
});

const VECTORS = Float32Array.of(1, 0, 0, 1, 3, 3);
const QUERY = Float32Array.of(2, 1);
const rowsOf = async (collection, options) => [...(await collection.search(QUERY, { topK: 9, ...options })).rows];

both("rows are encoded, appended, found, filtered and removed, and go with their connection", async (extension) => {
  const { world, open, crate } = extension();
  limits.frame = 20;
  const encoder = await open();
  const local = await open({}, world.document);
  for (const each of [encoder, local]) {
    const collection = await each.collection({ precision: "int8", similarity: "dot" });
    assert.deepEqual([collection.dimensions, collection.precision, collection.rowBytes], [2, "int8", 8]);
    const rows = await collection.encode(VECTORS);
    assert.deepEqual([await collection.append(rows), await collection.append(rows.subarray(8, 16))], [0, 3]);
    assert.deepEqual((await collection.search(QUERY, { topK: 3 })).scores, Float32Array.of(9, 2, 1));
    assert.deepEqual(await rowsOf(collection, { allowed: Uint32Array.of(0b1010) }), [1, 3]);
    await collection.remove(Uint32Array.of(2));
    assert.deepEqual(await rowsOf(collection), [0, 1, 3]);
    await assert.rejects(rowsOf(collection, { signal: AbortSignal.abort() }), { name: "AbortError" });
    await rejects(collection.remove(Uint32Array.of(99)), "invalid-argument");
    await rejects(each.collection({ dimensions: 10 }), "limit-exceeded");
    const other = await each.collection();
    other.dispose();
    await until(() => crate.live.size === 2);
    if (each === local) await rejects(collection.encode(new Float32Array(3)), "invalid-argument");
    // Of this one the connection ends while it is there.
    each.dispose();
    await rejects(rowsOf(collection), "disposed");
    await until(() => crate.live.size <= 1);
  }
  await until(() => crate.live.size === 0);
});

both("rows that went with their engine, or the document, are restored before calls go on", async (extension) => {
  for (const way of ["engine", "document", "engine, twice"]) {
    const { world, open, crate } = extension();
    const encoder = await open();
    let restored = 0;
    const collection = await encoder.collection({ restore: async (empty) => {
      restored++;
      await empty.append(await empty.encode(VECTORS));
      await empty.remove(Uint32Array.of(2));
    } });
    const bare = await encoder.collection();
    await collection.append(await collection.encode(VECTORS));
    await collection.remove(Uint32Array.of(2));
    await bare.append(await bare.encode(VECTORS));
    let losses = way === "engine, twice" ? 2 : 1;
    crate.onCollect = (kind) => {
      if (kind !== "search" || losses-- <= 0) return;
      if (way === "document") world.document.close();
      else throw crateError("device-lost", "the GPU device was lost");
    };
    if (way === "engine, twice") {
      // Asked again, it loses the engine that was restarted for it, too.
      await rejects(rowsOf(collection), "runtime-crashed", /twice/);
    } else {
      const calls = [rowsOf(collection), collection.append(await collection.encode(QUERY)), rowsOf(collection), encoder.embed("ab")];
      const [before, first, after, { count }] = await Promise.all(calls);
      assert.deepEqual([before, first, after, count, restored], [[0, 1], 3, [3, 0, 1], 1, 1], way);
    }
    assert.deepEqual((await rowsOf(collection)).slice(-2), [0, 1]);
    for (let call = 0; call < 2; call++) await rejects(rowsOf(bare), "collection-lost");
    assert.equal((await encoder.embed("abc")).count, 1);
    encoder.dispose();
    await until(() => crate.live.size === 0 || way === "document");
  }
});

both("a search index is where its page is, and its scan where the model is", async (extension) => {
  const { world, open } = extension();
  const encoder = await open();
  const index = await SearchIndex.open({ name: "panel", encoder, storage: "memory", precision: "float32" });
  await index.add(["a", "b", "cc"].map((text) => ({ id: text, text })));
  const best = async () => (await index.search("b", { topK: 3 })).map(({ id, score }) => [id, score]);
  const first = await best();
  assert.equal(first.length, 3);
  world.document.close();
  assert.deepEqual(await best(), first, "what the document held was filled again");
  await index.add({ id: "d", text: "d" });
  assert.equal((await index.search("d", { topK: 9 })).length, 4);
});

test("what cannot be sent is refused before it is", async () => {
  const { world, page, open } = extension();
  const load = (source, options) => connectTo(page.api, source, { offscreen: PAGE, ...options });
  for (const source of [files(), 3, null, [], "ftp://models.test/x", "file:///etc", "data:,x", "chrome-extension://other/model"]) {
    await rejects(load(source), "invalid-argument");
  }
  for (const options of [{ worker: false }, { wasmUrl: "x" }, { wasmModule: {} }, { devise: "wasm" }, { device: "npu" }, { headers: { a: 1 } },
    { headers: { $view: ["Uint8Array", 0] } }, { integrity: "x" }, { integrity: { a: "sha1" } }, { revision: "x" }, { revision: 3 }, { threads: 99 }]) {
    await rejects(load(MODEL, options), "invalid-argument");
  }
  assert.equal(world.made, 0);
  const encoder = await open();
  limits.message = 5000;
  await rejects(encoder.embed("x".repeat(6000)), "limit-exceeded", /fewer texts/);
  await rejects(encoder.embed("x".repeat(2000), { tokens: true }), "limit-exceeded");
  assert.deepEqual([...(await encoder.embed("ab")).data], [2, 97]);
  encoder.dispose();
});

const text = (message) => ({ text: typeof message === "string" ? message : JSON.stringify(message), more: false });
const bytes = (length, more = false) => ({ bytes: Buffer.alloc(length).toString("base64"), more });
const view = (kind, length) => ({ $view: [kind, length] });
const ask = (method, argument, id = 9) => text({ embedlet: 1, id, method, argument });

/** Frames after which a connection is over. */
const MALFORMED = [
  undefined, null, 3, "text", [], {}, { text: "{}" }, { text: 3, more: false }, { bytes: 3, more: false }, { bytes: "?", more: false }, { more: false },
  text(""), text("{"), text("3"), text("[]"), text("null"), text({}), text({ embedlet: 1, id: -1, method: "hello" }), text({ embedlet: 1, id: "1", method: "hello" }),
  text({ embedlet: 1, id: 1, method: 3 }), text({ id: 1, method: "hello" }), text({ embedlet: 1, abort: "x" }), text({ embedlet: 1, abort: {} }), text({ abort: 1 }), bytes(3), text("[".repeat(100_000)),
  ask("embed", { texts: view("Float32Array", 4) }), ask("embed", { texts: view("Float32Array", -4) }),
  [{ text: JSON.stringify({ embedlet: 1, id: 1, method: "maxSim", argument: view("Float32Array", 3) }), more: true }, bytes(3)],
  [{ text: JSON.stringify({ embedlet: 1, id: 1, method: "hello" }), more: true }, bytes(3)],
  Array(3000).fill({ text: "", more: true }), [{ text: "x".repeat(2001), more: true }],
];

/** Requests that are refused, with what they are refused. */
const REFUSED = [
  ["constructor"], ["__proto__"], ["toString"], ["end"], ["greet"], ["hasOwnProperty"], [""],
  ["embed"], ["embed", null], ["embed", { texts: "a", options: "{}" }], ["embed", { texts: [1], options: "{}" }], ["embed", { texts: [], options: {} }],
  ["ask", { request: 3 }], ["ask", { request: "{}", head: [1] }], ["tokenize", { text: 3 }], ["tokenize"],
  ["maxSim", { data: [1], dimensions: 1, counts: [1], queries: 1 }], ["maxSim", { data: 1 }],
  ["collect"], ["collect", { kind: "open", name: 0 }], ["collect", { kind: 3, name: 0, argument: {} }], ["collect", { kind: "open", name: -1, argument: {} }],
  ["collect", { kind: "open", name: 0, argument: { dimensions: "2" } }], ["collect", { kind: "open", name: 0, argument: { similarity: {} } }],
  ["load"], ["load", { source: MODEL, options: {} }],
];
const LOADS = [
  null, {}, { source: 3, options: {} }, { source: MODEL }, { source: MODEL, options: [] }, { source: "file:///etc/", options: {} },
  { source: MODEL, options: { wasmUrl: "https://evil.test/x.wasm" } }, { source: MODEL, options: { worker: false } },
  { source: MODEL, options: { signal: {} } }, { source: MODEL, options: { onProgress: "x" } }, { source: MODEL, options: { headers: ["a"] } },
  { source: MODEL, options: { device: ["wasm"] } }, { source: MODEL, options: { integrity: { a: {} } } }, { source: MODEL, options: { cache: "yes" } },
  { source: { kind: "files" }, options: {} },
];

/** A connection without a client: what arrives, and whether it is over. */
async function raw(context) {
  const port = context.api.runtime.connect({ name: "embedlet encoders" });
  const line = { port, got: [], over: false };
  port.onMessage.addListener((frame) => line.got.push(frame));
  port.onDisconnect.addListener(() => (line.over = true));
  port.postMessage({ probe: [] });
  await until(() => line.got.length > 0 || line.over);
  line.ask = async (frame) => {
    const before = line.got.length;
    for (const each of [frame].flat()) port.postMessage(each);
    const answers = () => line.got.slice(before).flatMap(({ text }) => (text?.startsWith('{"embedlet"') ? [JSON.parse(text)] : []));
    const last = () => answers().find((answer) => !("event" in answer));
    await until(() => last() || line.over);
    return last();
  };
  return line;
}

test("hostile messages end their connection, or are refused; others are not touched", async () => {
  const { page, open, crate } = extension();
  const encoder = await open();
  const [listed, models] = [limits.message, crate.finished];
  limits.message = 2000;
  for (const frame of MALFORMED) {
    const line = await raw(page);
    // A list of frames is one of those that are none, where it is sent as one.
    for (const each of Array.isArray(frame) && frame.length > 0 ? frame : [frame]) if (!line.over) line.port.postMessage(each ?? null);
    await until(() => line.over, `over after ${JSON.stringify(frame)?.slice(0, 99)}`);
  }
  limits.message = listed;
  for (const argument of LOADS) {
    const line = await raw(page);
    const { error } = await line.ask(ask("load", argument));
    assert.equal(error?.code, "invalid-argument", JSON.stringify(argument));
    line.port.disconnect();
  }
  const line = await raw(page);
  assert.equal((await line.ask(ask("embed", { texts: ["a"], options: "{}" }))).error.code, "invalid-argument", "nothing is loaded");
  assert.ok((await line.ask(ask("load", { source: MODEL, options: {} }))).result?.info);
  for (const [method, argument] of REFUSED) {
    const { error, id } = await line.ask(ask(method, argument));
    assert.deepEqual([error?.code, id], ["invalid-argument", 9], `${method} ${JSON.stringify(argument)}`);
  }
  const lies = (counts, queries, dimensions = 1) => [
    { text: JSON.stringify({ embedlet: 1, id: 9, method: "maxSim", argument: { data: view("Float32Array", 8), dimensions, counts: view("Uint32Array", 4 * counts), queries } }), more: true },
    bytes(8 + 4 * counts),
  ];
  for (const lie of [lies(1, 1), lies(2, 3), lies(0, 0), lies(2, 1, 1e9)]) assert.equal((await line.ask(lie)).error.code, "invalid-argument");
  assert.ok((await line.ask(ask("embed", { texts: ["a"], options: "{}" }))).result, "it is of use still");
  line.port.disconnect();
  assert.deepEqual([[...(await encoder.embed("ab")).data], crate.finished], [[2, 97], models]);
  encoder.dispose();
  await until(() => crate.live.size === 0);
});

test("nobody else's connection is accepted", async () => {
  const { world, open } = extension();
  const encoder = await open();
  const script = world.context("", { url: "https://page.test/", offscreen: false });
  await rejects(connectTo(script.api, MODEL, {}), "disconnected", /refuses/);
  for (const [id, url] of [["theirs", `${world.origin}panel.html`], ["ours", undefined], ["ours", "chrome-extension://ours.evil/"], ["ours", "about:blank"]]) {
    assert.ok((await raw(Object.assign(world.context("x"), { id, url }))).over, `${id} ${url}`);
  }
  assert.deepEqual([...(await encoder.embed("ab")).data], [2, 97]);
  encoder.dispose();
});

test("answers of who is no host end the connection with an error", async () => {
  const hello = text({ embedlet: 1, id: 1, result: "test" });
  for (const frame of [...MALFORMED.filter((frame) => !Array.isArray(frame)), text({ embedlet: 1, id: 1, error: 3 }), text({ embedlet: 1, id: 1, result: 3 }), text({ info: {} }),
    [hello, text({ embedlet: 1, id: 2, result: null })], [hello, text({ embedlet: 1, id: 2, error: {} })]]) {
    const world = new World();
    const page = world.context("panel.html");
    const evil = world.context("evil.html");
    evil.api.runtime.onConnect.addListener((port) => {
      const frames = [{ probe: 3, lock: "x".repeat(1e4) }, frame].flat();
      port.onMessage.addListener(() => frames.length > 0 && port.postMessage(frames.shift() ?? null));
    });
    const error = await connectTo(page.api, MODEL, {}).then(() => undefined, (error) => error);
    assert.ok(error instanceof EmbedletError && ["disconnected", "wasm-load", "runtime-crashed"].includes(error.code), `${JSON.stringify(frame)}: ${error}`);
  }
});

test("what no longer serves says so, and holds nothing", async () => {
  const abort = new AbortController();
  const { world, open, crate } = extension({ signal: abort.signal, keepMs: 1e6 });
  const encoder = await open();
  (await open({ precision: "f16" })).dispose();
  abort.abort();
  await until(() => crate.live.size === 0);
  await rejects(encoder.embed("a"), "disconnected");
  assert.equal(world.document.onConnect.listeners.size, 0);
  assert.equal(world.document.locks.size, 0);
});

test("one offscreen document, however many ask for it", async () => {
  const { world, page } = extension();
  const worker = world.context("background.js");
  const asked = [page, worker, page, worker, page].map(({ api }) => ensure(api, PAGE));
  assert.deepEqual(await Promise.all(asked), Array(5).fill("offscreen"));
  assert.equal(world.made, 1);
  await rejects(ensure(page.api, { url: "other.html" }), "invalid-argument", /offscreen\.html/);
  await rejects(ensure(page.api, {}), "invalid-argument");
  world.document.close();
  // Somebody makes one who does not ask for the lock.
  const [own, other] = await Promise.allSettled([ensure(page.api, PAGE), worker.api.offscreen.createDocument({ url: "offscreen.html", reasons: ["BLOBS"], justification: "x" })]);
  assert.deepEqual([own.value, other.status, world.made], ["offscreen", "fulfilled", 2]);
  world.document.close();
  page.api.offscreen.createDocument = async () => {
    throw new Error("no such file");
  };
  await rejects(ensure(page.api, PAGE), "unsupported-option", /no such file/);
  assert.equal(await ensure(worker.api, PAGE), "offscreen", "the lock is free again");
});

test("without offscreen documents it is the background page, or an error", async () => {
  const { world } = extension();
  const asked = (runtime) => ensure(world.context("x.html", { offscreen: false, ...runtime }).api, PAGE);
  assert.equal(await asked({ getBackgroundPage: async () => ({ Worker() {} }) }), "background");
  for (const getBackgroundPage of [undefined, async () => null, async () => ({}), async () => Promise.reject(new Error("none"))]) {
    await rejects(asked({ getBackgroundPage }), "unsupported-option", /permission "offscreen"/);
  }
  const old = world.context("x.html", { getContexts: undefined });
  await rejects(ensure(old.api, PAGE), "unsupported-option", /116/);
});
