// Models that are kept between visits: over a store that fails, shortens or damages what it is given.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { sources } from "./bundle.mjs";
import { crateError, fakeCrate, files, WASM } from "./fake.mjs";

const { Engine, forget, has, list, readSource } = sources;
const WEIGHTS = 300_000;
const content = files({ small: ["1_Pooling/config.json"], weights: { "model.safetensors": WEIGHTS } });

let server;
let address;
/** Paths asked for since the last load began. */
let asked = [];

before(async () => {
  server = createServer((request, response) => {
    const path = new URL(request.url, "http://x").pathname.slice("/model/".length);
    asked.push(path);
    const bytes = content[path];
    if (!bytes) return response.writeHead(404).end();
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

async function load(store, { signal, onEvent, crate = Object.assign(fakeCrate(), { hashes: true }), ...options } = {}) {
  asked = [];
  const engine = new Engine(crate.createGlue, store);
  const source = readSource(address, {});
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
  assert.deepEqual(await load(store), { used: "written", reason: null });
  assert.ok(asked.includes("prompts.json") && asked.includes("model.safetensors"));
  for (let visit = 0; visit < 3; visit++) {
    assert.deepEqual(await load(store, { allowRemote: visit < 2 }), { used: "read", reason: null });
    assert.deepEqual(asked, []);
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

test("files are hashed when they are read the first time, and only then", async () => {
  const store = memory();
  const expected = async () => {
    let read;
    const crate = Object.assign(fakeCrate(), { hashes: true });
    const glue = crate.createGlue();
    const begin = glue.Loader.prototype.begin;
    glue.Loader.prototype.begin = function (path, sha256) {
      read = sha256;
      begin.call(this, path, sha256);
    };
    await load(store, { crate: { ...crate, createGlue: () => glue } });
    return read;
  };
  assert.equal(await expected(), "", "while it comes from the network");
  assert.match(await expected(), /^[0-9a-f]{64}$/, "on the first reading");
  assert.equal(await expected(), undefined, "later");
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
    assert.equal((await load(store)).used, "read", what);
    assert.deepEqual(asked, [], what);

    change(store.held);
    if (what.startsWith("a byte")) continue; // It was read once: its size is right.
    await assert.rejects(load(store, { allowRemote: false }), what);
    assert.equal(store.held.size, 0, `${what}: what is damaged does not stay`);
  }
});

test("what is no manifest of this version is none", async () => {
  const good = { version: 1, source: address, saved: "2026-11-21T00:00:00Z", verified: true, files: [] };
  for (const manifest of [
    "", "null", "[]", "{", "<html>",
    { ...good, version: 2 },
    { ...good, source: "https://elsewhere.example/model" },
    { ...good, saved: "yesterday" },
    { ...good, files: {} },
    { ...good, files: [["config.json"]] },
    { ...good, files: [["config.json", { bytes: -0.5, sha256: "0".repeat(64) }]] },
    { ...good, files: [["config.json", { bytes: 3, sha256: "<img onerror=alert(1)>" }]] },
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

test("without the network only what is kept loads", async () => {
  await assert.rejects(load(memory(), { allowRemote: false }), { code: "network" });
  assert.deepEqual(asked, []);
  await assert.rejects(load(undefined, { allowRemote: false }), { code: "network" });
  assert.deepEqual(await load(undefined), { used: "none", reason: "this context has no Cache API" });
  const store = memory();
  assert.deepEqual(await load(store, { cache: false }), { used: "none", reason: null });
  assert.equal(store.operations, 0);
});
