// The way to an engine in a worker, over a stand-in for the browser's: workers that are slow, silent, shared, or fail.

import assert from "node:assert/strict";
import { test } from "node:test";
import { MessageChannel } from "node:worker_threads";
import { encoderOver, sources } from "./bundle.mjs";
import { fakeCrate, files, WASM } from "./fake.mjs";

const { connect, Engine, greeting, serve, undoing } = sources;

/** What a page has of a worker; `inside` is what the worker has of the page. */
function channel(t) {
  const { port1: page, port2: inside } = new MessageChannel();
  t.after(() => (page.close(), inside.close()));
  const events = new EventTarget();
  const worker = {
    ended: false,
    postMessage: (message) => page.postMessage(message),
    addEventListener: (type, listener, options) => (type === "message" ? page.addEventListener(type, listener) : events.addEventListener(type, listener, options)),
    dispatchEvent: (event) => events.dispatchEvent(event),
    terminate() {
      worker.ended = true;
    },
  };
  page.start();
  const answer = (crate = fakeCrate()) => {
    serve(inside, new Engine(crate.createGlue));
    inside.start();
  };
  return { worker, inside, answer };
}

const entryOf = (worker) => ({ wasm: () => WASM, workers: () => [() => worker], elseInline: false });
const failure = () => Object.assign(new Event("error"), { message: "x is not defined" });

test("a load is aborted although its worker never starts, and a late one is ended", async (t) => {
  globalThis.Worker ??= class {};
  const { worker, answer } = channel(t);
  const Encoder = encoderOver((options) => connect(entryOf(worker), options));
  const abort = new AbortController();
  const load = Encoder.load(files(), { signal: abort.signal });
  setTimeout(() => abort.abort(new Error("enough")), 5);
  await assert.rejects(load, { message: "enough" });
  answer();
  while (!worker.ended) await new Promise((resolve) => setTimeout(resolve, 5));
});

test("a worker is ended when its engine has undone a load that is given up, or hangs", async (t) => {
  const { ms } = undoing;
  t.after(() => void (undoing.ms = ms));
  for (const hangs of [false, true]) {
    undoing.ms = hangs ? 50 : 2000;
    const { worker, answer } = channel(t);
    const crate = fakeCrate();
    const abort = new AbortController();
    let goOn;
    crate.onCreate = () => (abort.abort(new Error("enough")), new Promise((resolve) => (goOn = resolve)));
    answer(crate);
    const Encoder = encoderOver((options) => connect(entryOf(worker), options));
    await assert.rejects(Encoder.load(files(), { signal: abort.signal }), { message: "enough" });
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.ok(!worker.ended);
    if (!hangs) goOn();
    while (!worker.ended) await new Promise((resolve) => setTimeout(resolve, 5));
    goOn();
  }
});

test("what fails in a worker of the caller's, once it has answered, is the caller's", async (t) => {
  const { worker, answer } = channel(t);
  answer();
  const Encoder = encoderOver((options) => connect(entryOf(undefined), options));
  const encoder = await Encoder.load(files(), { worker });
  worker.dispatchEvent(failure());
  worker.dispatchEvent(new Event("messageerror"));
  assert.equal((await encoder.embed("text")).count, 1);
  const another = await Encoder.load(files(), { worker });
  assert.equal((await another.embed("text")).count, 1);
});

test("a worker of the caller's that failed before it answered may be tried again", async (t) => {
  const { worker, answer } = channel(t);
  const Encoder = encoderOver((options) => connect(entryOf(undefined), options));
  setTimeout(() => worker.dispatchEvent(failure()), 5);
  await assert.rejects(Encoder.load(files(), { worker }), { code: "runtime-crashed" });
  answer();
  const encoder = await Encoder.load(files(), { worker });
  assert.equal((await encoder.embed("text")).count, 1);
});

test("a worker that runs something else is an error, and not a silence", async (t) => {
  const { ms } = greeting;
  t.after(() => void (greeting.ms = ms));
  greeting.ms = 50;
  const { worker, answer } = channel(t);
  const refused = { code: "wasm-load", message: /embedlet\/worker/ };
  const Shared = encoderOver((options) => connect(entryOf(undefined), options));
  await assert.rejects(Shared.load(files(), { worker }), refused);
  assert.ok(!worker.ended, "it is the caller's");
  const own = channel(t).worker;
  const Own = encoderOver((options) => connect(entryOf(own), options));
  await assert.rejects(Own.load(files()), refused);
  assert.ok(own.ended);
  // One that was slow may be tried again.
  answer();
  assert.equal((await (await Shared.load(files(), { worker })).embed("text")).count, 1);
});

test("messages that are not embedlet's pass by at both ends", async (t) => {
  const { worker, inside, answer } = channel(t);
  answer();
  const answers = [];
  const Encoder = encoderOver((options) => connect(entryOf(undefined), options));
  const encoder = await Encoder.load(files(), { worker });
  worker.addEventListener("message", ({ data }) => answers.push(data));
  const foreign = [null, "abort", 3, [], { type: "ready" }, { id: "a3", method: "run" }, { abort: "all" }, { id: -1, result: 1 }, { id: 1.5, error: "x" },
    { jsonrpc: "2.0", id: 1, method: "hello" }, { abort: 1 }, ...Array.from({ length: 9 }, (_, id) => ({ id, result: 3 })), { id: 3, error: { code: "x", message: "y" } }];
  const call = encoder.embed("text");
  for (const message of foreign) {
    worker.postMessage(message);
    inside.postMessage(message);
  }
  assert.equal((await call).count, 1);
  assert.deepEqual(answers.filter((data) => data?.embedlet !== 1), foreign, "none of them was answered");
});
