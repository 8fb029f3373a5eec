// Models that are kept between visits: over a store that fails, shortens or damages what it is given.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { after, before, mock, test } from "node:test";
import { sources } from "./bundle.mjs";
import { crateError, fakeCrate, files, WASM } from "./fake.mjs";

const { cacheStore, Encoder, Engine, forget, has, list, readSource, Xxh32 } = sources;
const WEIGHTS = 300_000;
const content = files({ small: ["1_Pooling/config.json"], weights: { "model.safetensors": WEIGHTS } });
const sharded = files({ weights: { "a.safetensors": 1000, "b.safetensors": 2000 } });

/** What the hub's branch `main` names; each commit has other bytes in its files. */
let head = "a".repeat(40);
const atCommit = (bytes, commit) => Uint8Array.from(bytes).fill(commit.charCodeAt(0), bytes.length >> 1);

let server;
let address;
/** Paths asked for since the last load began. */
let asked = [];
let onWeights = () => {};
/** How the server answers for a file that is not there. */
let onAbsent = (response) => response.writeHead(404).end();
/** What stands in front of all of its files. */
let inFront;

before(async () => {
  server = createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://x");
    if (/^\/api\/models\/org\/\w+\/revision\/main$/.test(pathname)) return response.end(JSON.stringify({ sha: head }));
    const [, folder, commit, inCommit] = /^\/(org\/\w+)\/resolve\/([^/]+)\/(.*)$/.exec(pathname) ?? [];
    const isSharded = pathname.startsWith("/sharded/") || folder === "org/shards";
    const path = inCommit ?? pathname.slice(isSharded ? "/sharded/".length : "/model/".length);
    asked.push(commit === undefined ? path : `${commit[0]} ${path}`);
    if (path.endsWith(".safetensors")) onWeights();
    if (inFront) return inFront(response);
    const found = (isSharded ? sharded : content)[path];
    const bytes = found && commit !== undefined && path.endsWith(".safetensors") ? atCommit(found, commit) : found;
    if (!bytes) return onAbsent(response, path);
    response.writeHead(200, { "content-length": bytes.byteLength });
    response.end(bytes);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  address = `http://127.0.0.1:${server.address().port}/model`;
});

after(() => {
  server.closeAllConnections();
  server.close();
});

/** A store in memory. `before` is called with the number of each operation and its kind, and may throw or say "tear". */
function memory(before = () => {}) {
  const held = new Map();
  let operations = 0;
  const operation = async (kind) => before(++operations, kind);
  return {
    held,
    get operations() {
      return operations;
    },
    async read(name) {
      await operation("read");
      const bytes = held.get(name);
      return bytes && { size: undefined, chunks: (async function* () {
        for (let at = 0; at < bytes.length; at += 70_000) yield bytes.slice(at, at + 70_000);
      })() };
    },
    async write(name, body) {
      const torn = (await operation("write")) === "tear";
      const parts = [];
      for await (const part of body) {
        parts.push(part.slice());
        if (torn) break;
      }
      held.set(name, new Uint8Array(await new Blob(parts).arrayBuffer()));
      if (torn) throw new DOMException("there is no room", "QuotaExceededError");
    },
    async delete(name) {
      await operation("delete");
      held.delete(name);
    },
    async names() {
      await operation("names");
      return [...held.keys()];
    },
  };
}

async function load(store, { signal, onEvent, from = address, crate = fakeCrate(), ...options } = {}) {
  asked = [];
  const engine = new Engine(crate.createGlue, store);
  const source = readSource(from, {});
  const request = { wasm: WASM, source, device: "auto", precision: "auto", integrity: new Map(), cache: true, allowRemote: true, ...options };
  try {
    return (await engine.load(request, { signal, onEvent })).info.cache;
  } catch (error) {
    assert.equal(crate.live.size, 0, "nothing half-loaded stays");
    throw error;
  }
}

const nameOf = (path) => `${encodeURIComponent(address)}/${encodeURIComponent(path)}`;
const MANIFEST = () => `${encodeURIComponent(address)}/?manifest`;

test("a second load asks the network for nothing, not even for files that are not there", async () => {
  const store = memory();
  const phases = [];
  const onEvent = ({ status, phase }) => status === "phase" && phases.push(phase);
  assert.deepEqual(await load(store, { onEvent }), { used: "written", reason: null });
  assert.equal(phases.splice(0).join(" "), "download verify download verify download verify compile check");
  assert.ok(asked.includes("prompts.json") && asked.includes("model.safetensors"));
  for (let visit = 0; visit < 3; visit++) {
    assert.deepEqual(await load(store, { allowRemote: visit < 2, onEvent }), { used: "read", reason: null });
    assert.deepEqual(asked, []);
    assert.equal(phases.splice(0).join(" "), "verify upload verify compile check", "nothing is downloaded");
  }
  const [kept, ...others] = await list(store);
  assert.equal(others.length, 0);
  assert.equal(kept.source, address);
  assert.equal(kept.files, 3);
  assert.equal(kept.bytes, Object.values(content).reduce((sum, bytes) => sum + bytes.byteLength, 0));
  assert.ok(await has(store, address));
  assert.equal(await forget(store, address), true);
  assert.equal(store.held.size, 0);
  assert.equal(await forget(store, address), false);
  assert.equal(await has(store, address), false);
});

test("a file in whose place the server has a page, or a refusal, is kept as one that is not there", async (t) => {
  t.after(() => void (onAbsent = (response) => response.writeHead(404).end()));
  const page = (response) => response.writeHead(200, { "content-type": "text/html" }).end("<!doctype html>");
  for (const answer of [page, (response) => response.writeHead(403).end()]) {
    onAbsent = answer;
    const store = memory();
    assert.equal((await load(store)).used, "written");
    assert.ok(asked.includes("prompts.json"));
    assert.deepEqual(await load(store), { used: "read", reason: null });
    assert.deepEqual(asked, []);
    assert.deepEqual(await load(store, { allowRemote: false }), { used: "read", reason: null });
  }
});

test("a page that stands once in the place of one file is no reason to go on without it", async (t) => {
  t.after(() => void (onAbsent = (response) => response.writeHead(404).end()));
  const page = (response) => response.writeHead(200, { "content-type": "text/html" }).end("<!doctype html>");
  const refusal = (response) => response.writeHead(403).end();
  for (const [answer, code] of [[page, "html-instead-of-file"], [refusal, "network"]]) {
    onAbsent = (response, path) => (path === "prompts.json" ? answer(response) : response.writeHead(404).end());
    const store = memory();
    await assert.rejects(load(store), { code });
    assert.equal(store.held.size, 0);
    // And a folder that answers so for all that is not there is asked once whether it does.
    onAbsent = answer;
    assert.equal((await load(store)).used, "written");
    assert.equal(asked.filter((path) => path === "embedlet-no-such-file.json").length, 1);
  }
});

test("a sign-in that has come to stand in front of a kept folder is no absence of what was not asked for before", async (t) => {
  t.after(() => void (inFront = undefined));
  const store = memory();
  assert.equal((await load(store)).used, "written");
  const manifest = JSON.parse(new TextDecoder().decode(store.held.get(MANIFEST())));
  manifest.files = manifest.files.filter(([path]) => path !== "prompts.json");
  const before = new TextEncoder().encode(JSON.stringify(manifest));
  store.held.set(MANIFEST(), before);
  const page = (response) => response.writeHead(200, { "content-type": "text/html" }).end("<!doctype html>");
  for (const [answer, code] of [[page, "html-instead-of-file"], [(response) => response.writeHead(403).end(), "network"]]) {
    inFront = answer;
    await assert.rejects(load(store), { code });
    assert.deepEqual(store.held.get(MANIFEST()), before);
  }
  inFront = undefined;
  assert.deepEqual(await load(store), { used: "read", reason: null });
  assert.deepEqual(asked, ["prompts.json"]);
  assert.deepEqual(await load(store), { used: "read", reason: null });
  assert.deepEqual(asked, []);
});

/** Locks as a browser has them, but that nobody waits for one: those whose names are in `taken` are not available. */
function locks(t, taken) {
  const request = async (name, { ifAvailable }, work) => work(ifAvailable && taken.has(name) ? null : { name });
  browser(t, { locks: { request } });
}

function browser(t, value) {
  const before = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  t.after(() => (before ? Object.defineProperty(globalThis, "navigator", before) : delete globalThis.navigator));
  Object.defineProperty(globalThis, "navigator", { value, configurable: true });
}

test("a frame in a sandbox keeps nothing, and may not ask for it", async (t) => {
  browser(t, { storage: { persist: () => Promise.reject(new TypeError("not allowed")) } });
  assert.equal(await Encoder.cache.persist(), false);
});

test("what lies there of loads that were cut short goes at the next load of any model, but not while somebody loads it", async (t) => {
  const [theirs, left] = ["https://example.org/theirs", "https://example.org/left"];
  const taken = new Set([`embedlet ${theirs}`]);
  locks(t, taken);
  const store = memory();
  const names = [theirs, left].map((source) => `${encodeURIComponent(source)}/model.safetensors`);
  for (const name of [...names, "tuning"]) store.held.set(name, new Uint8Array(9));
  const isGone = async (name) => {
    while (store.held.has(name)) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  assert.equal((await load(store)).used, "written");
  await isGone(names[1]);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.ok(store.held.has(names[0]) && store.held.has("tuning"));
  taken.clear();
  assert.deepEqual(await load(store), { used: "read", reason: null });
  await isGone(names[0]);
  assert.ok(await has(store, address));
});

test("what was deleted while it was loaded is not kept, and leaves nothing", async () => {
  const from = `${new URL(address).origin}/sharded`;
  for (const isKept of [false, true]) {
    const store = memory();
    if (isKept) await load(store, { from, crate: Object.assign(fakeCrate(), { wants: (path) => path === "a.safetensors" }) });
    const crate = fakeCrate();
    crate.onFinish = () => forget(store, from);
    const { used, reason } = await load(store, { from, crate });
    assert.deepEqual([used, /deleted/.test(reason)], [isKept ? "read" : "none", true]);
    assert.deepEqual([...store.held.keys()], []);
  }
});

test("checksums are XXH32's, whatever the pieces that bytes come in", () => {
  const sum = (bytes, piece = bytes.length) => {
    const sum = new Xxh32();
    for (let at = 0; at < bytes.length; at += piece) sum.add(bytes.subarray(at, at + piece));
    assert.equal(sum.bytes, bytes.length);
    return sum.digest();
  };
  const text = (text) => new TextEncoder().encode(text);
  // The values that xxhsum gives.
  assert.equal(sum(text("")), 0x02cc5d05);
  assert.equal(sum(text("a")), 0x550d7456);
  assert.equal(sum(text("abc")), 0x32d153ff);
  assert.equal(sum(text("Nobody inspects the spammish repetition")), 0xe2293b2f);
  const bytes = Uint8Array.from({ length: 1003 }, (_, index) => (index * index) >> 3);
  for (let piece = 1; piece < 70; piece++) assert.equal(sum(bytes, piece), sum(bytes), `pieces of ${piece}`);
  assert.equal(sum(new Uint8Array([9, ...bytes]).subarray(1)), sum(bytes), "bytes that lie anywhere");
});

test("what is damaged is found, deleted and fetched again", async () => {
  const damage = {
    "a byte of the weights": (held) => held.get(nameOf("model.safetensors")).fill(255, 1000, 1001),
    "the end of the weights": (held) => held.set(nameOf("model.safetensors"), new Uint8Array(WEIGHTS - 1)),
    "more weights": (held) => held.set(nameOf("model.safetensors"), new Uint8Array(WEIGHTS + 1)),
    "no weights": (held) => held.delete(nameOf("model.safetensors")),
    "a byte of a small file": (held) => held.get(nameOf("config.json")).fill(32, 0, 1),
    "no small file": (held) => held.delete(nameOf("1_Pooling/config.json")),
  };
  for (const [what, change] of Object.entries(damage)) {
    const store = memory();
    await load(store);
    change(store.held);
    const found = await load(store);
    assert.equal(found.used, "written", what);
    assert.match(found.reason, /damaged/, what);
    if (/the end|more/.test(what)) assert.match(found.reason, /bytes of 300000/, what);
    assert.equal((await load(store)).used, "read", what);
    assert.deepEqual(asked, [], what);

    change(store.held);
    await assert.rejects(load(store, { allowRemote: false }), what);
    assert.equal((await load(store)).used, "written", `${what}: it is mended as soon as the network may be used`);
  }
});

test("what is fetched in the place of damage is held against the hashes that the caller gave", async () => {
  const store = memory();
  await load(store);
  store.held.get(nameOf("config.json")).fill(32, 0, 1);
  const told = mock.method(console, "warn", () => {});
  const found = await load(store, { integrity: new Map([["1_Pooling/config.json", "0".repeat(64)]]), isLenient: true });
  told.mock.restore();
  assert.equal(found.used, "written");
  assert.match(told.mock.calls.at(-1).arguments[0], /1_Pooling\/config\.json has SHA-256 /);
});

test("two that find the same damage mend it one after the other, and it is fetched once", async (t) => {
  const turns = new Map();
  const request = (name, _options, work) => {
    const turn = (turns.get(name) ?? Promise.resolve()).then(work);
    turns.set(name, turn.catch(() => {}));
    return turn;
  };
  const before = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  Object.defineProperty(globalThis, "navigator", { value: { locks: { request } }, configurable: true });
  t.after(() => (before ? Object.defineProperty(globalThis, "navigator", before) : delete globalThis.navigator));
  const store = memory();
  await load(store);
  store.held.get(nameOf("model.safetensors")).fill(255, 1000, 1001);
  const tabs = await Promise.all([load(store), load(store)]);
  assert.deepEqual(tabs.map(({ used }) => used).sort(), ["read", "written"]);
  assert.equal(asked.filter((path) => path === "model.safetensors").length, 1);
});

test("what goes wrong with a model that is whole is no reason to lose it", async () => {
  const store = memory();
  await load(store);
  for (const code of ["missing-tensor", "unsupported-option", "limit-exceeded", "self-check-failed", "out-of-memory", "invalid-file"]) {
    for (const at of ["onCreate", "onPush", "onFinish"]) {
      const crate = fakeCrate();
      crate[at] = () => {
        throw crateError(code);
      };
      await assert.rejects(load(store, { crate, device: "webgpu" }), { code }, `${code} ${at}`);
      assert.equal(crate.created.length, 1, `${code} ${at}: it is not tried twice`);
      assert.deepEqual(asked, [], `${code} ${at}`);
    }
  }
  assert.deepEqual(await load(store, { allowRemote: false }), { used: "read", reason: null });
});

test("what is whole but not what `integrity` wants is stale, and fetched again", async () => {
  const store = memory();
  const crate = Object.assign(fakeCrate(), { hashes: true });
  await load(store);
  const path = "model.safetensors";
  const now = Uint8Array.from(content[path]).fill(7, 100, 200);
  const integrity = new Map([[path, createHash("sha256").update(now).digest("hex")]]);
  await assert.rejects(load(store, { crate, integrity, allowRemote: false }), { code: "wrong-hash" });
  assert.equal((await load(store)).used, "read", "it is still there for others");
  const before = content[path];
  content[path] = now;
  try {
    const found = await load(store, { crate, integrity });
    assert.equal(found.used, "written");
    assert.match(found.reason, /stale/);
    assert.deepEqual(await load(store, { crate, integrity, allowRemote: false }), { used: "read", reason: null });
  } finally {
    content[path] = before;
  }
});

test("what is added to a kept folder is kept too, or not, and what was there stays", async () => {
  for (const how of ["throw", "tear"]) {
    for (let nth = 1; ; nth++) {
      let armed = false;
      let since = 0;
      const store = memory((_, kind) => {
        if (!armed || kind !== "write" || ++since !== nth) return undefined;
        armed = false;
        if (how === "tear") return "tear";
        throw new DOMException("there is no room", "QuotaExceededError");
      });
      const from = `${new URL(address).origin}/sharded`;
      await load(store, { from, crate: Object.assign(fakeCrate(), { wants: (path) => path === "a.safetensors" }) });
      const kept = new Map(store.held);
      armed = true;
      const more = await load(store, { from });
      assert.deepEqual([...new Set(asked)], ["b.safetensors"]);
      assert.equal(more.used, "read");
      if (armed) {
        assert.deepEqual(await load(store, { from, allowRemote: false }), { used: "read", reason: null });
        break;
      }
      assert.match(more.reason, /no room/, `${how} ${nth}`);
      assert.deepEqual([...store.held].sort(), [...kept].sort(), `${how} ${nth}`);
      assert.ok(nth < 10, "the failures come to an end");
    }
  }
});

test("a file that another task wants is of the commit that is kept, though its size is asked for first", async (t) => {
  const { fetch } = globalThis;
  t.after(() => void (globalThis.fetch = fetch));
  globalThis.fetch = (url, init) => fetch(new URL(new URL(url).pathname, address), init);
  const store = memory();
  const from = "org/shards";
  const wants = (path) => path === "a.safetensors";
  head = "a".repeat(40);
  assert.equal((await load(store, { from, crate: Object.assign(fakeCrate(), { wants }) })).used, "written");
  head = "b".repeat(40);
  assert.deepEqual(await load(store, { from }), { used: "read", reason: null });
  assert.deepEqual([...new Set(asked)], ["a b.safetensors"]);
  assert.equal((await list(store))[0].commit, "a".repeat(40));
  assert.deepEqual(await load(store, { from, allowRemote: false }), { used: "read", reason: null });
  head = "a".repeat(40);
});

test("what another tab has kept meanwhile stays, whatever becomes of this load", async () => {
  const from = `${new URL(address).origin}/sharded`;
  const other = memory();
  await load(other, { from });
  for (const code of ["out-of-memory", "no room"]) {
    let full = false;
    const store = memory((_, kind) => {
      if (full && kind === "write") throw new DOMException("there is no room", "QuotaExceededError");
    });
    await load(store, { from, crate: Object.assign(fakeCrate(), { wants: (path) => path === "a.safetensors" }) });
    const crate = fakeCrate();
    crate.onFinish = () => {
      for (const [name, bytes] of other.held) store.held.set(name, bytes);
      full = code === "no room";
      if (!full) throw crateError(code);
    };
    await load(store, { from, crate, device: "webgpu" }).catch((error) => assert.equal(error.code, code));
    full = false;
    assert.deepEqual(await load(store, { from, allowRemote: false }), { used: "read", reason: null }, code);
  }
});

test("what is whole but not what the caller wants stays where nothing can come in its place", async (t) => {
  const store = memory();
  await load(store);
  const integrity = new Map([["config.json", "0".repeat(64)]]);
  const offline = t.mock.method(globalThis, "fetch", () => Promise.reject(new TypeError("Failed to fetch")));
  await assert.rejects(load(store, { integrity }), { code: "network" });
  offline.mock.restore();
  assert.deepEqual(await load(store, { allowRemote: false }), { used: "read", reason: null });
  await assert.rejects(load(store, { integrity }), { code: "wrong-hash" });
});

test("a context that may not have locks does without", async (t) => {
  const request = () => Promise.reject(new DOMException("Access to the Locks API is denied in this context.", "SecurityError"));
  browser(t, { locks: { request } });
  const store = memory();
  assert.equal((await load(store)).used, "written");
  assert.equal((await load(store)).used, "read");
});

test("what is no manifest of this version is none", async () => {
  const good = { version: 2, source: address, saved: "2026-11-21T00:00:00Z", files: [] };
  for (const manifest of [
    "", "null", "[]", "{", "<html>",
    { ...good, version: 1 },
    { ...good, commit: "main" },
    { ...good, source: "https://elsewhere.example/model" },
    { ...good, saved: "yesterday" },
    { ...good, files: {} },
    { ...good, files: [["config.json"]] },
    { ...good, files: [["config.json", { bytes: -0.5, xxh32: 1 }]] },
    { ...good, files: [["config.json", { bytes: 3, xxh32: "<img onerror=alert(1)>" }]] },
    { ...good, files: [["__proto__", { bytes: 3 }]] },
  ]) {
    const store = memory();
    const text = typeof manifest === "string" ? manifest : JSON.stringify(manifest);
    store.held.set(MANIFEST(), new TextEncoder().encode(text));
    assert.equal(await has(store, address), false, text);
    assert.equal((await load(store)).used, "written", text);
    assert.equal((await load(store)).used, "read", text);
  }
});

test("a manifest with any of its bytes changed is one, or none, and never an exception", async () => {
  const store = memory();
  await load(store);
  const manifest = store.held.get(MANIFEST());
  let refused = 0;
  for (let at = 0; at < manifest.length; at++) {
    for (const byte of [0, 34, 44, 57, 123, manifest[at] ^ 1, 255]) {
      const changed = manifest.slice();
      changed[at] = byte;
      store.held.set(MANIFEST(), changed);
      refused += (await has(store, address)) ? 0 : 1;
      for (const { source, bytes, files, saved } of await list(store)) {
        assert.ok(source === address && Number.isSafeInteger(bytes) && Number.isSafeInteger(files) && !Number.isNaN(saved.getTime()));
      }
    }
  }
  assert.ok(refused > manifest.length, "most bytes matter");
});

test("whatever operation of the store fails, the model loads, and nothing torn is ever used", async () => {
  for (const how of ["throw", "tear"]) {
    for (let nth = 1; ; nth++) {
      let armed = true;
      const store = memory((operation, kind) => {
        if (!armed || operation !== nth) return undefined;
        armed = false;
        if (how === "tear" && kind === "write") return "tear";
        throw new DOMException("there is no room", "QuotaExceededError");
      });
      const found = await load(store).catch((error) => ({ used: "failed", reason: error.message }));
      // A store that cannot even be read is as good as none.
      assert.notEqual(found.used, "failed", `${how} ${nth}: ${found.reason}`);
      if (found.used === "none") assert.match(found.reason, /no room/);
      if (armed) break;
      const again = await load(store);
      assert.equal(again.used, found.used === "none" ? "written" : "read", `${how} ${nth}`);
      assert.ok(nth < 40, "the failures come to an end");
    }
  }
});

test("whatever operation of the store fails when a kept model is loaded, the model loads, or says why not", async () => {
  for (let nth = 1; ; nth++) {
    let left = Infinity;
    const store = memory(() => {
      if (left-- === 1) throw new DOMException("it could not be read", "NotReadableError");
    });
    await load(store);
    left = nth;
    const found = await load(store);
    if (left > 0) break;
    left = Infinity;
    assert.ok(["read", "written"].includes(found.used), `${nth}: ${found.used}`);
    assert.equal((await load(store, { allowRemote: false })).used, "read", `${nth}`);
    left = nth;
    await load(store, { allowRemote: false }).catch((error) => assert.match(error.code, /truncated-file|network/, `${nth}: ${error}`));
    left = Infinity;
    assert.equal((await load(store)).used, "read", `${nth}: nothing is lost of it`);
    assert.ok(nth < 40, "the failures come to an end");
  }
});

test("a GPU that is given up before all has come does not keep the model from being kept", async () => {
  const store = memory();
  const crate = Object.assign(fakeCrate(), { hashes: true });
  crate.onPush = () => {
    crate.onPush = () => {};
    throw crateError("limit-exceeded");
  };
  assert.deepEqual(await load(store, { crate }), { used: "written", reason: null });
  assert.deepEqual(crate.created.map(({ device }) => device), ["auto", "wasm"]);
  assert.deepEqual(await load(store), { used: "read", reason: null });
});

test("a load that is given up leaves nothing that is used", async () => {
  const store = memory();
  const abort = new AbortController();
  const onEvent = ({ status, file }) => status === "progress" && file === "model.safetensors" && abort.abort();
  await assert.rejects(load(store, { signal: abort.signal, onEvent }), { name: "AbortError" });
  assert.equal(await has(store, address), false);
  assert.equal((await load(store)).used, "written");
});

test("a load does not wait for a store that takes its time, until the model works", async () => {
  const crate = fakeCrate();
  const working = new Promise((resolve) => (crate.onFinish = resolve));
  const store = memory();
  const { write } = store;
  store.write = async (...file) => (await working, write(...file));
  assert.equal((await load(store, { crate })).used, "written");
  assert.equal((await load(store, { allowRemote: false })).used, "read");
  // Nothing counts as kept before all of it is there.
  store.write = async (name, body) => {
    await new Promise((resolve) => setTimeout(resolve, 50));
    await write(name, body);
    if (name.endsWith(".safetensors")) throw new DOMException("there is no room", "QuotaExceededError");
  };
  await forget(store, address);
  assert.deepEqual(await load(store), { used: "none", reason: "there is no room" });
  assert.equal(await has(store, address), false);
});

test("only a file that was kept, and is whole, is not hashed again", async () => {
  const store = memory();
  const crate = fakeCrate();
  await load(store, { crate });
  await load(store, { crate });
  await load(undefined, { crate });
  assert.deepEqual(crate.begun.map(({ checked }) => checked), [false, true, false]);
});

test("a GPU that is given up when all has come downloads nothing twice", async () => {
  const store = memory();
  const { write } = store;
  store.write = async (...file) => (await new Promise((resolve) => setTimeout(resolve, 50)), write(...file));
  const crate = fakeCrate();
  crate.onFinish = () => {
    crate.onFinish = () => {};
    throw crateError("self-check-failed");
  };
  assert.equal((await load(store, { crate })).used, "written");
  assert.deepEqual(crate.created.map(({ device }) => device), ["auto", "wasm"]);
  assert.equal(asked.filter((path) => path === "model.safetensors").length, 1);
  assert.deepEqual(crate.begun.map(({ checked }) => checked), [false, false], "it may have been given up before it was checked");
  assert.equal((await load(store, { allowRemote: false })).used, "read");
});

test("chunks that are written over when they were taken: the Cache API has them as they were", async (t) => {
  const put = new Map();
  const cache = {
    async put(name, { body }) {
      const parts = [];
      for await (const part of body) {
        parts.push(part);
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
      put.set(name, new Uint8Array(await new Blob(parts).arrayBuffer()));
    },
  };
  const before = Object.getOwnPropertyDescriptor(globalThis, "caches");
  Object.defineProperty(globalThis, "caches", { value: { keys: async () => [], open: async () => cache }, configurable: true });
  t.after(() => (before ? Object.defineProperty(globalThis, "caches", before) : delete globalThis.caches));
  const { readable, writable } = new TransformStream();
  const written = cacheStore("kind ", 1).write("a/b", readable);
  const writer = writable.getWriter();
  const chunk = new Uint8Array(1000);
  for (let i = 0; i < 20; i++) await writer.write(chunk.fill(i));
  await writer.close();
  await written;
  const [bytes] = put.values();
  assert.deepEqual(bytes, Uint8Array.from({ length: 20_000 }, (_, at) => Math.floor(at / 1000)));
});

test("what the store keeps the browser does not keep a second time", async (t) => {
  const { mock } = t.mock.method(globalThis, "fetch");
  const caches = () => {
    const { calls } = mock;
    mock.resetCalls();
    return calls.map(({ arguments: [, init] }) => init.cache);
  };
  await load(memory());
  assert.deepEqual(new Set(caches()), new Set(["no-store"]));
  await load(memory(), { cache: false });
  assert.deepEqual(new Set(caches()), new Set(["default"]));
  await load(memory((_, kind) => {
    if (kind === "write") throw new DOMException("there is no room", "QuotaExceededError");
  }));
  assert.equal(caches().at(-1), "default");
});

test("without the network only what is kept loads", async () => {
  await assert.rejects(load(memory(), { allowRemote: false }), { code: "network" });
  assert.deepEqual(asked, []);
  await assert.rejects(load(undefined, { allowRemote: false }), { code: "network" });
  assert.deepEqual(await load(undefined), { used: "none", reason: "this context keeps no files: pages need https" });
  const store = memory();
  assert.deepEqual(await load(store, { cache: false }), { used: "none", reason: null });
  assert.equal(store.operations, 0);
});

test("a branch of the hub that moves never mixes files of two commits, and is asked for no more", async (t) => {
  const { fetch } = globalThis;
  t.after(() => void (globalThis.fetch = fetch));
  let questions = 0;
  let api = true;
  globalThis.fetch = (url, init) => {
    const { pathname, origin } = new URL(url);
    if (pathname.startsWith("/api/")) questions++;
    if (pathname.startsWith("/api/") && !api) return Promise.resolve(new Response("", { status: 404 }));
    return fetch(origin === "https://huggingface.co" ? new URL(pathname, address) : url, init);
  };
  const from = "org/name";
  const key = (commit, path) => `${encodeURIComponent(readSource(from, {}).url)}/${commit}/${encodeURIComponent(path)}`;
  const [first, second] = ["a".repeat(40), "b".repeat(40)];
  const store = memory();
  // The branch moves when half of the folder has come.
  onWeights = () => (head = second);
  assert.deepEqual(await load(store, { from }), { used: "written", reason: null });
  onWeights = () => {};
  assert.ok(asked.length > 3 && asked.every((path) => path.startsWith("a ")), `${asked}`);
  assert.equal(questions, 1);
  assert.deepEqual([...store.held.get(key(first, "model.safetensors"))], [...atCommit(content["model.safetensors"], first)]);
  assert.equal((await list(store))[0].commit, first);

  for (const allowRemote of [true, false]) {
    assert.deepEqual(await load(store, { from, allowRemote }), { used: "read", reason: null });
    assert.deepEqual([asked, questions], [[], 1], "the second load needs no network");
  }

  // What a load of the first commit left behind when its page was closed is of no use to one of the second.
  for (const name of store.held.keys()) if (name.endsWith("?manifest")) store.held.delete(name);
  assert.deepEqual(await load(store, { from }), { used: "written", reason: null });
  assert.ok(asked.every((path) => path.startsWith("b ")), `${asked}`);
  assert.equal((await list(store))[0].commit, second);
  assert.ok([...store.held.keys()].every((name) => !name.includes(first)), "nothing of the first commit stays");

  // A file that is wanted only now, for another task, comes from the commit that is kept, and is kept with the others.
  head = first;
  const manifest = [...store.held.keys()].find((name) => name.endsWith("?manifest"));
  const kept = JSON.parse(new TextDecoder().decode(store.held.get(manifest)));
  kept.files = kept.files.filter(([path]) => path !== "model.safetensors");
  store.held.set(manifest, new TextEncoder().encode(JSON.stringify(kept)));
  assert.deepEqual(await load(store, { from }), { used: "read", reason: null });
  assert.deepEqual(asked, ["b model.safetensors"]);
  assert.deepEqual(await load(store, { from }), { used: "read", reason: null });
  assert.deepEqual(asked, []);

  // Where the hub does not say which commit it is, nothing is read.
  head = "main";
  await assert.rejects(load(memory(), { from }), { code: "network" });
  assert.deepEqual(asked, []);
  // What has the hub's files but not its API is read as it is.
  api = false;
  assert.deepEqual(await load(memory(), { from }), { used: "written", reason: null });
  assert.ok(asked.length > 3 && asked.every((path) => path.startsWith("m ")), `${asked}`);
});
