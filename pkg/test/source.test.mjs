// Every kind of model source, and everything a server can do wrong, over the fake crate and a real HTTP server.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { sources } from "./bundle.mjs";
import { crateError, fakeCrate, files, WASM } from "./fake.mjs";

const { compile, EmbedletError, Engine, openSource, readSource, retry } = sources;

const rejects = (promise, code, pattern = /./) =>
  assert.rejects(promise, (error) => error instanceof EmbedletError && error.code === code && pattern.test(error.message));

/** A file that no model has. */
const NOWHERE = "embedlet-no-such-file.json";

let server;
let origin;
/** What the server does with a request, by path; the rest is 404. */
const routes = new Map();

before(async () => {
  server = createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://x");
    const answer = routes.get(pathname);
    if (answer) return answer(request, response);
    response.writeHead(404, { "content-type": "text/html" }).end("<h1>not found</h1>");
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  origin = `http://127.0.0.1:${server.address().port}`;
});

after(() => {
  server.closeAllConnections();
  server.close();
});

const give = (bytes, headers = {}) => (request, response) => {
  response.writeHead(200, { "content-length": bytes.byteLength, ...headers });
  response.end(request.method === "HEAD" ? undefined : bytes);
};
const html = give(new TextEncoder().encode("<!doctype html><title>App</title>"), { "content-type": "text/html; charset=utf-8" });

/** Serves a folder that the fake crate can load, with some paths answered otherwise. */
function host(folder, content, otherwise = {}) {
  for (const [path, bytes] of Object.entries(content)) routes.set(`/${folder}/${path}`, give(bytes));
  for (const [path, answer] of Object.entries(otherwise)) routes.set(`/${folder}/${path}`, answer);
  return `${origin}/${folder}`;
}

async function load(source, { signal, onEvent, crate = fakeCrate(), ...options } = {}) {
  const engine = new Engine(crate.createGlue);
  const { integrity = new Map() } = options;
  const request = { wasm: WASM, source: readSource(source, options), device: "auto", precision: "auto", integrity, cache: false, allowRemote: true };
  try {
    return await engine.load(request, { signal, onEvent });
  } catch (error) {
    assert.equal(crate.live.size, 0, "nothing half-loaded stays");
    throw error;
  }
}

const asFile = ([path, bytes], root) => {
  const file = new File([bytes], path.split("/").pop());
  return root === undefined ? file : Object.defineProperty(file, "webkitRelativePath", { value: `${root}/${path}` });
};

/** As much of a directory handle as is used. */
function directory(content) {
  const missing = () => {
    throw new DOMException("no such entry", "NotFoundError");
  };
  return {
    kind: "directory",
    async getDirectoryHandle(name) {
      const inside = Object.entries(content).filter(([path]) => path.startsWith(`${name}/`));
      if (inside.length === 0) missing();
      return directory(Object.fromEntries(inside.map(([path, bytes]) => [path.slice(name.length + 1), bytes])));
    },
    async getFileHandle(name) {
      if (!content[name]) missing();
      return { getFile: async () => asFile([name, content[name]]) };
    },
  };
}

const nested = () => files({ small: ["1_Pooling/config.json"], weights: { "model.safetensors": 2_200_000, "2_Dense/model.safetensors": 5 } });

test("reads every kind of source", async () => {
  const content = nested();
  const read = { "model.safetensors": { bytes: 2_200_000 }, "2_Dense/model.safetensors": { bytes: 5 } };
  for (const source of [
    content,
    new Map(Object.entries(content)),
    Object.fromEntries(Object.entries(content).map(([path, bytes]) => [path, new Blob([bytes])])),
    Object.fromEntries(Object.entries(content).map(([path, bytes]) => [path, bytes.buffer])),
    Object.entries(content).map((entry) => asFile(entry, "MiniLM")),
    directory(content),
    host("kinds", content),
    new URL(`${host("kinds", content)}/`),
  ]) {
    assert.deepEqual((await load(source)).info.read, read);
  }
});

test("cuts a view out of a larger buffer, so that posting it copies no more than the file", () => {
  const large = new Uint8Array(100).fill(7);
  const { files } = readSource({ "a.json": large.subarray(10, 20) }, {});
  assert.deepEqual([files.get("a.json").length, files.get("a.json").buffer.byteLength], [10, 10]);
});

test("tells a hub id from an address", () => {
  const url = (source, options = {}) => readSource(source, options).url;
  assert.equal(url("org/name"), "https://huggingface.co/org/name/resolve/main");
  assert.equal(url("org/name.v2", { revision: "refs/pr/1" }), "https://huggingface.co/org/name.v2/resolve/refs%2Fpr%2F1");
  assert.equal(readSource("org/name", { revision: "v1" }).newest, "https://huggingface.co/api/models/org/name/revision/v1?expand=sha");
  assert.equal(readSource("org/name", { revision: "0123456789abcdef".repeat(3).slice(8) }).newest, undefined, "a commit is what it is");
  assert.equal(url("https://example.org/a/b/"), "https://example.org/a/b/");
  assert.throws(() => url("./models/x"), { code: "invalid-argument" }, "there is no page here to resolve it against");
  globalThis.location = { href: "https://example.org/app/index.html" };
  assert.equal(url("./models/x"), "https://example.org/app/models/x");
  assert.equal(url("/models/x"), "https://example.org/models/x");
  delete globalThis.location;
});

test("keeps a signed link's query and the caller's headers, and escapes names", async () => {
  let seen;
  routes.set("/signed/a%20b/c%23.json", (request, response) => {
    seen = [request.url, request.headers.authorization];
    response.end("{}");
  });
  const source = openSource({ kind: "url", url: `${origin}/signed?token=1`, headers: { Authorization: "Bearer x" } });
  assert.ok(await source.open("a b/c#.json"));
  assert.deepEqual(seen, ["/signed/a%20b/c%23.json?token=1", "Bearer x"]);
});

test("does not leave the folder", async () => {
  const source = openSource({ kind: "url", url: `${origin}/x`, headers: {} });
  for (const path of ["../secret", "a/../../b", "/etc", "a//b", "a\\b", "", "."]) await rejects(source.open(path), "invalid-file");
});

test("picked files with the same name need their folders", async () => {
  await rejects(load(["1/config.json", "2/config.json"].map((path) => asFile([path, new Uint8Array(1)]))), "invalid-argument", /config\.json/);
});

test("a missing file is named", async () => {
  const { "config.json": _, ...rest } = files();
  await rejects(load(host("no-config", rest)), "missing-file", /config\.json/);
  const { "model.safetensors": __, ...small } = files();
  await rejects(load(host("no-weights", small)), "missing-file", /model\.safetensors/);
});

test("HTML is named where a file must be, and is absence where it need not be", async () => {
  await rejects(load(host("html-config", files(), { "config.json": html })), "html-instead-of-file", /config\.json/);
  await rejects(load(host("html-weights", files(), { "model.safetensors": html })), "html-instead-of-file", /model\.safetensors/);
  await load(host("html-optional", files(), { "prompts.json": html, [NOWHERE]: html }));
});

test("a refusal is absence where a file need not be, as of buckets that may not be listed", async () => {
  const refuse = (status) => (_, response) => response.writeHead(status).end();
  await load(host("bucket", files(), { "prompts.json": refuse(403), [NOWHERE]: refuse(403) }));
  for (const path of ["config.json", "model.safetensors"]) await rejects(load(host(`bucket-${path}`, files(), { [path]: refuse(403) })), "network", /403.*headers/);
  await rejects(load(host("wants-a-key", files(), { "prompts.json": refuse(401) })), "network", /401.*headers/);
});

test("a connection that breaks, a refusal and a wrong length are errors, at once", async () => {
  const short = (announced) => (_, response) => {
    response.writeHead(200, { "content-length": announced });
    response.write(new Uint8Array(1000), () => response.destroy());
  };
  await rejects(load(host("broken", files(), { "model.safetensors": short(3_000_000) })), "network", /model\.safetensors/);
  await rejects(load(host("cut", files(), { "model.safetensors": give(new Uint8Array(1000)) })), "truncated-file");
  const refuse = (status) => (_, response) => response.writeHead(status).end();
  await rejects(load(host("refused", files(), { "config.json": refuse(401) })), "network", /headers/);
  await rejects(load(host("failing", files(), { "config.json": refuse(500) })), "network", /500/);
  await rejects(load("http://127.0.0.1:1/model"), "network", /CORS/);
});

test("an unknown length is no error and gives no total", async () => {
  const events = [];
  const chunked = (_, response) => response.end(new Uint8Array(3_000_000));
  await load(host("chunked", files(), { "model.safetensors": (request, response) => {
    response.setHeader("transfer-encoding", "chunked");
    chunked(request, response);
  } }), { onEvent: (event) => events.push(event) });
  const weights = events.filter(({ file }) => file === "model.safetensors");
  assert.deepEqual(weights.find(({ status }) => status === "download").total, 0);
  assert.deepEqual(weights.at(-1), { status: "done", phase: "download", file: "model.safetensors", loaded: 3_000_000, total: 3_000_000, progress: 100 });
});

test("a load says what it is at, by where its files come from", async () => {
  const content = nested();
  const phases = async (source) => {
    const seen = [];
    let at;
    const crate = fakeCrate();
    crate.onCreate = () => seen.push("(plan)");
    crate.onPush = () => assert.ok(["download", "upload"].includes(at), at);
    crate.onFinish = () => seen.push("(finish)");
    const onEvent = ({ status, phase, file, loaded }) => {
      if (status === "phase") seen.push((at = phase));
      assert.equal(phase, at);
      assert.ok(status !== "phase" || (file === undefined && loaded >= 0));
    };
    await load(source, { crate, onEvent });
    return seen.join(" ");
  };
  assert.equal(await phases(host("phases", content)), "download verify download verify (plan) download verify compile check (finish)");
  assert.equal(await phases(content), "verify (plan) upload verify compile check (finish)");
});

const shards = (count) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`model-${i}.safetensors`, 200_000 + i]));

test("files of weights come side by side, four at a time", async () => {
  const content = files({ weights: shards(9) });
  const open = new Set();
  const held = [];
  let most = 0;
  const answer = (path) => (request, response) => {
    response.writeHead(200, { "content-length": content[path].byteLength });
    if (request.method === "HEAD") return response.end();
    open.add(path);
    most = Math.max(most, open.size);
    response.write(content[path].subarray(0, 1000));
    // None of the first four ends before all of them have begun.
    held.push(() => (open.delete(path), response.end(content[path].subarray(1000))));
    if (open.size === 4 || content[path].byteLength === 200_008) held.splice(0).forEach((end) => end());
  };
  const url = host("side", content, Object.fromEntries(Object.keys(shards(9)).map((path) => [path, answer(path)])));
  const { info } = await load(url);
  assert.equal(most, 4);
  for (const [path, bytes] of Object.entries(shards(9))) assert.equal(info.read[path].bytes, bytes);
});

test("nobody waits for the lengths of files, nor asks a busy server for them again", { timeout: 10_000 }, async () => {
  const content = files({ weights: shards(9) });
  for (const [name, answer] of [["silent", () => {}], ["busy", (_, response) => response.writeHead(503).end()]]) {
    const heads = [];
    const route = (path) => (request, response) => {
      if (request.method !== "HEAD") return give(content[path])(request, response);
      heads.push(path);
      return answer(request, response);
    };
    const events = [];
    const url = host(name, content, Object.fromEntries(Object.keys(shards(9)).map((path) => [path, route(path)])));
    await load(url, { onEvent: (event) => events.push(event) });
    assert.ok(heads.length <= 5 && new Set(heads).size === heads.length, `${name}: ${heads}`);
    assert.deepEqual(events.at(-1).status, "ready");
  }
});

test("where one of several files fails, the others are given up before anything is freed", async () => {
  const content = files({ weights: shards(6) });
  for (const at of [0, 3, 5]) {
    const crate = fakeCrate();
    crate.onPush = (path) => {
      if (path === `model-${at}.safetensors`) throw crateError("wrong-shape");
    };
    for (const source of [content, host("one-fails", content)]) {
      await assert.rejects(load(source, { crate }), { code: "wrong-shape" }, `${at}`);
      assert.equal(crate.live.size, 0);
      await new Promise((resolve) => setTimeout(resolve, 20));
      assert.equal(crate.misused, 0);
    }
    const closed = Object.fromEntries([`model-${at}.safetensors`].map((path) => [path, (_, response) => response.writeHead(404).end()]));
    await assert.rejects(load(host("one-lacks", content, closed), { crate: fakeCrate() }), { code: "missing-file" });
  }
});

test("weights begin to come while the loader is made", { timeout: 10_000 }, async () => {
  const crate = fakeCrate();
  const content = files();
  const asked = new Promise((resolve) => {
    host("ahead", content, { "model.safetensors": (_, response) => (resolve(), response.writeHead(200).end(content["model.safetensors"])) });
  });
  crate.onCreate = () => asked;
  await load(`${origin}/ahead`, { crate });
  // A model that is refused takes none of them: its download ends.
  const refusing = Object.assign(fakeCrate(), { onCreate: () => Promise.reject(crateError("unsupported-option")) });
  const closed = new Promise((resolve) => {
    host("refused", content, { "model.safetensors": (request, response) => {
      request.on("close", resolve);
      response.writeHead(200).write(new Uint8Array(1000));
    } });
  });
  await rejects(load(`${origin}/refused`, { crate: refusing }), "unsupported-option");
  await closed;
});

test("an abort stops the download", async () => {
  const abort = new AbortController();
  const closed = new Promise((resolve) => {
    host("endless", files(), { "model.safetensors": (request, response) => {
      response.writeHead(200, { "content-length": 3_000_000 });
      response.write(new Uint8Array(1000));
      request.on("close", resolve);
    } });
  });
  const onEvent = ({ status, file }) => status === "progress" && file === "model.safetensors" && abort.abort(new Error("enough"));
  await assert.rejects(load(`${origin}/endless`, { signal: abort.signal, onEvent }), { message: "enough" });
  await closed;
});

/** Gives a file with a tag, and breaks off after each of `parts` bytes; `ranges` are what was asked for. */
function breaking(bytes, parts, { tag = () => '"1"', honest = true, off = 0 } = {}) {
  const ranges = [];
  const answer = (request, response) => {
    const { range } = request.headers;
    ranges.push(range);
    const from = range && honest ? Number(/^bytes=(\d+)-$/.exec(range)[1]) + off : 0;
    const partial = from > 0 ? { "content-range": `bytes ${from}-${bytes.length - 1}/${bytes.length}` } : {};
    response.writeHead(from > 0 ? 206 : 200, { "content-length": bytes.length - from, etag: tag(ranges.length), ...partial });
    const part = parts.shift();
    if (part === undefined) return response.end(bytes.subarray(from));
    response.write(bytes.subarray(from, from + part), () => setTimeout(() => response.destroy(), 20));
  };
  return { answer, ranges };
}

test("a download that breaks off goes on behind what has come, or says that it cannot", async (t) => {
  const { delays } = retry;
  t.after(() => void (retry.delays = delays));
  retry.delays = [5, 5, 5];
  const weights = Uint8Array.from({ length: 300_000 }, (_, index) => index % 251);
  const content = { ...files({ weights: { "model.safetensors": weights.length } }), "model.safetensors": weights };
  const read = async (options, parts) => {
    const { answer, ranges } = breaking(weights, parts, options);
    const crate = Object.assign(fakeCrate(), { hashes: true });
    const url = host("breaking", content, { "model.safetensors": answer });
    const integrity = new Map([["model.safetensors", createHash("sha256").update(weights).digest("hex")]]);
    const loaded = await load(url, { crate, integrity }).then(() => "loaded", (error) => error.message);
    return { loaded, ranges };
  };
  const twice = await read({}, [100_000, 50_000]);
  assert.equal(twice.loaded, "loaded");
  assert.deepEqual(twice.ranges.slice(1).map((range) => /^bytes=\d+-$/.test(range)), [true, true]);
  assert.equal((await read({ honest: false }, [100_000, 150_000])).loaded, "loaded", "a server that knows no ranges");
  assert.equal((await read({ off: -7000 }, [100_000])).loaded, "loaded", "a range that begins before what was asked for");
  assert.match((await read({ off: 7000 }, [100_000])).loaded, /broke off/, "or behind it");
  assert.equal((await read({}, [9, 9, 9, 9, 9, 9, 9])).loaded, "loaded", "what comes starts the count anew");
  const stuck = await read({}, [50_000, 0, 0, 0, 0, 0]);
  assert.match(stuck.loaded, /broke off/);
  assert.equal(stuck.ranges.length, 4);
  assert.match((await read({ tag: (nth) => `"${nth}"` }, [100_000])).loaded, /changed while it was read/);
  const unnamed = await read({ tag: () => 'W/"1"' }, [100_000]);
  assert.match(unnamed.loaded, /broke off/);
  assert.equal(unnamed.ranges.length, 1, "it might be another file by now");
});

test("a server that has no time now is asked again, and an abort ends the waiting", async (t) => {
  const { delays } = retry;
  t.after(() => void (retry.delays = delays));
  retry.delays = [5, 5, 5];
  let asked = 0;
  const busy = (times, then) => (request, response) => {
    if (++asked <= times) return response.writeHead(503).end();
    return then(request, response);
  };
  const content = files();
  const url = host("busy", content, { "config.json": busy(3, give(content["config.json"])) });
  assert.ok(await load(url));
  assert.equal(asked, 4);
  asked = 0;
  routes.set("/busy/config.json", busy(9, give(content["config.json"])));
  await rejects(load(url), "network", /HTTP 503/);
  assert.equal(asked, 4);
  retry.delays = [60_000];
  const abort = new AbortController();
  setTimeout(() => abort.abort(new Error("enough")), 50);
  await assert.rejects(load(url, { signal: abort.signal }), { message: "enough" });
});

test("a load that fails stops its download", async () => {
  const crate = fakeCrate();
  crate.onPush = () => {
    throw crateError("missing-tensor");
  };
  const closed = new Promise((resolve) => {
    host("useless", files(), { "model.safetensors": (request, response) => {
      response.writeHead(200, { "content-length": 3_000_000 });
      response.write(new Uint8Array(1000));
      response.on("close", resolve);
    } });
  });
  await rejects(load(`${origin}/useless`, { crate }), "missing-tensor");
  await closed;
});

test("a load that fails stops its other downloads too", { timeout: 10_000 }, async () => {
  const closed = new Promise((resolve) => {
    host("several", files(), {
      "config.json": (_, response) => response.writeHead(401).end(),
      "prompts.json": (_, response) => {
        response.writeHead(200, { "content-length": 3_000_000 });
        response.write(new Uint8Array(1000));
        response.on("close", resolve);
      },
    });
  });
  await rejects(load(`${origin}/several`), "network", /401/);
  await closed;
});

test("the next file of weights is asked for before the one that is read has ended", { timeout: 10_000 }, async () => {
  const content = files({ weights: { "a.safetensors": 3_000_000, "b.safetensors": 5 } });
  let asked;
  const second = new Promise((resolve) => (asked = resolve));
  const url = host("ahead", content, {
    "a.safetensors": async (request, response) => {
      response.writeHead(200, { "content-length": 3_000_000 });
      if (request.method === "HEAD") return response.end();
      response.write(content["a.safetensors"].subarray(0, 2_000_000));
      await second;
      response.end(content["a.safetensors"].subarray(2_000_000));
    },
    "b.safetensors": (request, response) => {
      if (request.method === "GET") asked();
      give(content["b.safetensors"])(request, response);
    },
  });
  const { info } = await load(url);
  assert.deepEqual(info.read, { "a.safetensors": { bytes: 3_000_000 }, "b.safetensors": { bytes: 5 } });
});

test("an abort stops a load from memory, whose chunks never wait", async () => {
  const abort = new AbortController();
  const loading = load(files({ weights: { "model.safetensors": 64 << 20 } }), {
    signal: abort.signal,
    onEvent: ({ status, file }) => status === "download" && file === "model.safetensors" && setTimeout(() => abort.abort()),
  });
  await assert.rejects(loading, { name: "AbortError" });
});

test("the wasm's own file: each mistake of set-up is named", async () => {
  routes.set("/html.wasm", html);
  routes.set("/typed.wasm", give(WASM, { "content-type": "application/wasm" }));
  routes.set("/more.wasm", give(WASM, { "content-type": "application/wasm; charset=utf-8" }));
  routes.set("/untyped.wasm", give(WASM));
  routes.set("/damaged.wasm", give(WASM.subarray(0, 5), { "content-type": "application/wasm" }));
  for (const good of ["typed", "more", "untyped"]) assert.ok((await compile(`${origin}/${good}.wasm`)) instanceof WebAssembly.Module);
  await rejects(compile(`${origin}/html.wasm`), "wasm-load", /optimizeDeps: \{ exclude: \['embedlet'\] \}/);
  await rejects(compile(`${origin}/absent.wasm`), "wasm-load", /wasmUrl/);
  await rejects(compile(`${origin}/damaged.wasm`), "wasm-load", /damaged\.wasm/);
  await rejects(compile(new Uint8Array(3)), "wasm-load", /embedlet_bg\.wasm/);
});
