// What an index keeps: over storage that fails, shortens or tears any of its operations, over two tabs, and over files that somebody
// changed.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { sources } from "./bundle.mjs";
import { fakeEncoder, faultyStorage, random } from "./search-fakes.mjs";

const { EmbedletError, SearchIndex, commits, numbering } = sources;
const open = (storage, options = {}) => SearchIndex.open({ name: "notes", encoder: fakeEncoder(), storage, ...options });
const ids = (hits) => hits.map(({ id }) => id).sort();
const refused = (code) => (error) => error instanceof EmbedletError && error.code === code;

before(() => (commits.passages = 4));
after(() => (commits.passages = 256));

const documentsOf = (names, text = "boat") => [...names].map((id) => ({ id, text: `${text} ${id}`, metadata: { text } }));

/** What is there, looked at in every way: each document once, by its own text, and by its words. */
async function contents(index) {
  const hits = await index.search("boat", { topK: 1000 });
  assert.equal(new Set(ids(hits)).size, hits.length, "none twice");
  assert.equal(index.stats().documents, hits.length);
  return Object.fromEntries(hits.map(({ id, text, metadata }) => {
    assert.equal(text, `${metadata.text} ${id}`);
    return [id, metadata.text];
  }).sort());
}

/** A life of an index. Calls `committed` with what must be there from then on, and `unsure` with what may be. */
async function live(storage, note) {
  let index = await open(storage);
  const held = {};
  const step = async (work, changes) => {
    note.begin({ ...held }, changes);
    await work();
    for (const [id, text] of Object.entries(changes)) text === null ? delete held[id] : (held[id] = text);
    note.end({ ...held });
  };
  const of = (names, text) => Object.fromEntries([...names].map((id) => [id, text]));
  try {
    await step(() => index.add(documentsOf("abcdefghij")), of("abcdefghij", "boat"));
    await step(() => index.remove(["a", "b"]), of("ab", null));
    await step(() => index.update(documentsOf("cd", "bread")), of("cd", "bread"));
    await step(() => index.update({ id: "e", metadata: { text: "boat", more: 1 } }), {});
    await step(() => index.add(documentsOf("kl")), of("kl", "boat"));
    await step(() => index.compact(), {});
    index.close();
    index = await open(storage);
    await step(() => index.add(documentsOf("n")), of("n", "boat"));
    await step(() => index.migrate(fakeEncoder(), { precision: "binary", map: true }), {});
    await step(() => index.add(documentsOf("m")), of("m", "boat"));
    await index.export();
  } finally {
    index.close();
  }
}

/** Whether what was found is what was committed, with some, none or all of the changes that were under way. */
function agrees(found, { held, changes }) {
  for (const id of new Set([...Object.keys(found), ...Object.keys(held), ...Object.keys(changes)])) {
    const may = [held[id], ...(id in changes ? [changes[id] ?? undefined] : [])];
    assert.ok(may.includes(found[id]), `${id}: found ${found[id]}, may be ${may}`);
  }
}

async function operationsOfALife() {
  const storage = faultyStorage();
  await live(storage, { begin() {}, end() {} });
  return storage.operations;
}

for (const fault of ["throw", "tear", "short", "late", "crash"]) {
  test(`storage that meets "${fault}" at any of its operations has what was committed`, async () => {
    const operations = await operationsOfALife();
    assert.ok(operations > 100);
    let failed = 0;
    for (let n = 1; n <= operations; n++) {
      let crashed = false;
      const files = new Map();
      const storage = faultyStorage(files, (operation) => {
        if (fault === "crash" ? operation >= n : operation === n) {
          if (fault === "crash") {
            // The first is torn, and whoever ran is gone.
            if (crashed) throw new DOMException("gone", "InvalidStateError");
            crashed = true;
            return "tear";
          }
          if (fault === "throw") throw new DOMException("failed", "UnknownError");
          return fault;
        }
      });
      let note = { held: {}, changes: {} };
      try {
        await live(storage, { begin: (held, changes) => (note = { held, changes }), end: (held) => (note = { held, changes: {} }) });
      } catch (error) {
        const codes = ["storage-failed", "storage-full", "index-damaged"];
        assert.ok(error instanceof EmbedletError && codes.includes(error.code), `${n}: ${error.stack}`);
        failed++;
      }
      const precision = await precisionOf(files);
      const index = await open(faultyStorage(files), precision);
      agrees(await contents(index), note);
      // Whether a first commit was cut short, or was there and is damaged, nobody can tell.
      const none = Object.keys(note.held).length === 0;
      assert.ok(index.stats().lost === 0 && (none || index.stats().problem === null), `operation ${n}: ${index.stats().problem}`);
      // The index goes on, and nothing is left lying about.
      await index.add(documentsOf("xyz"));
      await index.migrate(fakeEncoder(), { precision: "float32" });
      assert.equal(Object.keys(await contents(index)).length, index.stats().documents);
      assert.equal(files.size, index.stats().segments + 1, `operation ${n}`);
    }
    if (fault !== "short") assert.ok(failed > operations / 2, `${failed} of ${operations}`);
  });
}

/** A life ends with another precision than it began with; an index opens with either. */
async function precisionOf(files) {
  try {
    (await open(faultyStorage(files))).close();
    return {};
  } catch (error) {
    assert.equal(error.code, "index-mismatch");
    return { precision: "binary" };
  }
}

test("an add that finds no room rejects, and the index goes on with what was committed", async () => {
  let full = false;
  const files = new Map();
  const storage = faultyStorage(files, (_, kind) => (full && kind === "write" ? "tear" : undefined));
  const index = await open(storage);
  await index.add(documentsOf("abc"));
  full = true;
  await assert.rejects(index.add(documentsOf("def")), refused("storage-full"));
  assert.deepEqual(Object.keys(await contents(index)), ["a", "b", "c"]);
  assert.equal(files.size, 2, "what was torn is deleted");
  full = false;
  await index.add(documentsOf("def"));
  assert.deepEqual(Object.keys(await contents(index)), [..."abcdef"]);
});

test("two tabs: one writes at a time, and each sees what the other committed", async () => {
  const storage = faultyStorage();
  const [one, two] = [await open(storage.tab()), await open(storage.tab())];
  await one.add(documentsOf("abc"));
  assert.deepEqual(Object.keys(await contents(two)), ["a", "b", "c"]);
  await two.remove("b");
  await two.update(documentsOf("c", "bread"));
  assert.deepEqual(await contents(one), { a: "boat", c: "bread" });
  await Promise.all([one.add(documentsOf("defghijk")), two.add(documentsOf("lmnopqrs")), one.remove("a"), two.add(documentsOf("d", "bread"))]);
  assert.equal(Object.keys(await contents(one)).length, 17);
  assert.deepEqual(await contents(one), await contents(two));
  await one.compact();
  assert.deepEqual(await contents(two), await contents(one));
});

test("an index that is deleted and made again while another tab has it open", async (t) => {
  let time = 1_000_000;
  t.mock.method(numbering, "first", () => (time += 1000));
  for (const looks of [true, false]) {
    const storage = faultyStorage();
    const old = await open(storage.tab());
    await old.add(documentsOf("abx"));
    await old.remove("x");
    storage.files.clear();
    const made = await open(storage.tab());
    await made.add(documentsOf("abx"));
    await made.remove("a");
    if (looks) assert.deepEqual(Object.keys(await contents(old)), ["b", "x"]);
    await old.add(documentsOf("z", "bread"));
    for (const index of [old, made, await open(storage.tab())]) {
      assert.deepEqual(await contents(index), { b: "boat", x: "boat", z: "bread" });
      assert.deepEqual([index.stats().lost, index.stats().problem], [0, null]);
    }
  }
  const storage = faultyStorage();
  const old = await open(storage.tab());
  await old.add(documentsOf("a"));
  storage.files.clear();
  await (await open(storage.tab(), { encoder: fakeEncoder({ seed: 7 }) })).add(documentsOf("bc"));
  await assert.rejects(old.search("boat"), refused("index-mismatch"));
  await assert.rejects(old.add(documentsOf("z")), refused("index-mismatch"));
  assert.deepEqual(Object.keys(await contents(await open(storage.tab(), { encoder: fakeEncoder({ seed: 7 }) }))), ["b", "c"]);
});

test("updates that overlap each keep what they leave out of what is there when they commit", async () => {
  const storage = faultyStorage();
  const encoder = fakeEncoder();
  const here = await open(storage.tab(), { encoder });
  for (const other of [here, await open(storage.tab())]) {
    /** What comes of an update to a document of which `meanwhile` is done while it is embedded. */
    const after = async (change, meanwhile) => {
      await here.add({ id: "a", text: "a boat", metadata: { v: 1 } });
      let calls = 0;
      encoder.onEmbed = () => (calls++ === 0 ? meanwhile() : undefined);
      await here.update({ id: "a", ...change });
      const [{ text, metadata }] = await here.get("a");
      return [text, metadata];
    };
    assert.deepEqual(await after({ text: "bread" }, () => other.update({ id: "a", metadata: { v: 2 } })), ["bread", { v: 2 }]);
    assert.deepEqual(await after({ text: "bread" }, () => other.update({ id: "a", text: "sugar" })), ["bread", { v: 1 }]);
    assert.deepEqual(await after({ text: "bread" }, () => other.add({ id: "a", text: "sugar" })), ["bread", null]);
    assert.deepEqual(await after({ text: "bread" }, () => other.compact()), ["bread", { v: 1 }]);
    await assert.rejects(after({ text: "bread" }, () => other.remove("a")), refused("invalid-argument"));
    assert.deepEqual(await here.get("a"), [undefined]);
  }
});

test("an update that keeps a text is given it wherever another tab has put it", async () => {
  const storage = faultyStorage();
  const encoder = fakeEncoder();
  const [one, two] = [await open(storage.tab(), { encoder }), await open(storage.tab())];
  await one.add(documentsOf("abc"));
  const { chunk } = encoder;
  encoder.chunk = async (...args) => {
    encoder.chunk = chunk;
    await two.compact();
    return chunk(...args);
  };
  await one.update([{ id: "a", text: "bread" }, { id: "b", vector: new Float32Array(16).fill(1) }]);
  assert.deepEqual((await two.get(["a", "b"])).map(({ text }) => text), ["bread", "boat b"]);
  assert.deepEqual([one.stats().lost, one.stats().problem], [0, null]);
});

test("an index that is compacted by another tab while it is opened, or searched", async () => {
  const files = new Map();
  const one = await open(faultyStorage(files));
  await one.add(documentsOf("abc"));
  await one.add(documentsOf("def"));
  for (const kind of ["list", "read"]) {
    for (let n = 1; n <= 6; n++) {
      let count = 0;
      const storage = faultyStorage(files, async (_, other) => {
        if (other === kind && ++count === n) await one.compact();
      });
      const two = await open(storage);
      assert.deepEqual(Object.keys(await contents(two)), [..."abcdef"], `${kind} ${n}`);
      assert.deepEqual([two.stats().lost, two.stats().problem], [0, null], `${kind} ${n}`);
    }
  }
});

test("the file of a commit that is there, and empty, until something else was read", async () => {
  for (let n = 1; n <= 12; n++) {
    for (const isOpen of [true, false]) {
      const files = new Map();
      let write = async () => {};
      const one = await open(faultyStorage(files, (_, kind) => kind === "write" ? write() : undefined));
      await one.add(documentsOf("abc"));
      let operation = async () => {};
      const storage = faultyStorage(files, () => operation());
      let two = isOpen ? await open(storage) : undefined;
      let release;
      const held = new Promise((resolve) => (release = resolve));
      let compacting;
      await new Promise((resolve) => {
        let writes = 0;
        write = async () => {
          if (++writes < 2) return;
          resolve();
          await held;
        };
        compacting = one.compact();
      });
      assert.equal([...files.values()].filter(({ size }) => size === 0).length, 1);
      let count = 0;
      operation = async () => {
        if (++count !== n) return;
        release();
        await compacting;
      };
      two ??= await open(storage);
      for (let search = 0; search < 3; search++) {
        assert.deepEqual(Object.keys(await contents(two)), ["a", "b", "c"], `${isOpen}, ${n}, ${search}`);
        assert.deepEqual([two.stats().lost, two.stats().problem], [0, null], `${isOpen}, ${n}, ${search}`);
      }
      release();
      await compacting;
      assert.deepEqual(Object.keys(await contents(two)), ["a", "b", "c"]);
      assert.deepEqual([two.stats().lost, two.stats().problem], [0, null]);
    }
  }
});

test("a commit that failed has used its number up: whoever saw it sees the next", async () => {
  const files = new Map();
  const two = await open(faultyStorage(files));
  let writes = 0;
  let isTorn = false;
  const one = await open(faultyStorage(files, async (_, kind) => {
    if (isTorn) await two.search("boat");
    isTorn = kind === "write" && ++writes === 4;
    return isTorn ? "tear" : undefined;
  }));
  await one.add(documentsOf("a"));
  await assert.rejects(one.add(documentsOf("b")), refused("storage-full"));
  await one.add(documentsOf("c"));
  assert.deepEqual(Object.keys(await contents(two)), ["a", "c"]);
});

test("a file whose name is a number that no counting comes to ends no counting", async () => {
  for (const number of [1e14 - 1, 1e14, 1e14 + 1, 1e15 - 1]) {
    for (const isFirst of [true, false]) {
      const storage = faultyStorage();
      if (!isFirst) await (await open(storage.tab())).add(documentsOf("ab"));
      const old = await open(storage.tab());
      storage.files.set(`manifest-${number}`, new Blob(["torn"]));
      await old.add(documentsOf("ab"));
      await old.add(documentsOf("c"));
      await old.remove("a");
      for (const index of [old, await open(storage.tab())]) assert.deepEqual(await contents(index), { b: "boat", c: "boat" }, `${number}`);
      assert.ok(!storage.files.has(`manifest-${number}`));
    }
  }
});

test("any calls in any order, in two tabs: both end with what was committed last", async () => {
  for (let seed = 1; seed <= 40; seed++) {
    const next = random(seed);
    const pick = (from) => from[Math.floor(next() * from.length)];
    const files = new Map();
    // A fault now and then, which may reject a call.
    const storage = faultyStorage(files, () => {
      const dice = next();
      if (dice < 0.01) throw new DOMException("failed", "UnknownError");
      return dice < 0.02 ? "late" : dice < 0.03 ? "tear" : undefined;
    });
    const tabs = [];
    for (let i = 0; i < 2; i++) tabs.push(await retried(() => open(storage.tab(), { rescore: seed % 2 === 0 })));
    // What each document may be: what was last, and everything that failed since.
    const may = new Map([..."abcdefgh"].map((id) => [id, new Set([undefined])]));
    for (let i = 0; i < 25; i++) {
      const index = pick(tabs);
      const id = pick("abcdefgh");
      const text = pick(["boat", "bread", "brake"]);
      const call = pick(["add", "add", "remove", "search", "compact", "both"]);
      const settle = async (work, value) => {
        try {
          await work();
          if (value !== null) may.set(id, new Set([value]));
        } catch (error) {
          assert.ok(error instanceof EmbedletError && error.code.startsWith("storage"), `seed ${seed}: ${error.stack}`);
          if (value !== null) may.get(id).add(value);
        }
      };
      if (call === "add") await settle(() => index.add(documentsOf(id, text)), text);
      if (call === "remove") await settle(() => index.remove(id), undefined);
      if (call === "compact") await settle(() => index.compact(), null);
      if (call === "search") await settle(() => contents(index), null);
      if (call === "both") await Promise.all([settle(() => tabs[0].search("bread"), null), settle(() => tabs[1].add(documentsOf(id, text)), text)]);
    }
    const reopened = await open(faultyStorage(files), { rescore: seed % 2 === 0 });
    const found = await contents(reopened);
    for (const [id, values] of may) assert.ok(values.has(found[id]), `seed ${seed}: ${id} is ${found[id]}, may be ${[...values]}`);
    for (const tab of tabs) assert.deepEqual(await retried(() => contents(tab)), found, `seed ${seed}`);
  }
});

async function retried(work) {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof EmbedletError && error.code.startsWith("storage"))) throw error;
    }
  }
}

/** An index of two segments, and its files as bytes. */
async function written() {
  const files = new Map();
  const index = await open(faultyStorage(files));
  await index.add(documentsOf("abc"));
  await index.add(documentsOf("def"));
  await index.remove("a");
  assert.equal(files.size, 3);
  return Promise.all([...files].map(async ([name, file]) => [name, new Uint8Array(await file.arrayBuffer())]));
}

/** Opens damaged files and uses them: nothing may be there that was not written, and the index must work afterwards. */
async function survives(files, what) {
  const storage = faultyStorage(new Map(files.map(([name, bytes]) => [name, new Blob([bytes])])));
  let index;
  try {
    index = await open(storage);
  } catch (error) {
    assert.ok(error instanceof EmbedletError && ["index-version", "index-mismatch"].includes(error.code), `${what}: ${error.stack}`);
    return "refused";
  }
  const found = await contents(index);
  for (const [id, text] of Object.entries(found)) assert.ok("bcdef".includes(id) && text === "boat", `${what}: ${id}`);
  const { lost, problem } = index.stats();
  const missing = 5 - Object.keys(found).length;
  assert.ok(missing === 0 || lost === missing || problem !== null, `${what}: ${missing} missing, ${lost} lost, ${problem}`);
  await index.add(documentsOf("bcdef"));
  assert.deepEqual(Object.keys(await contents(index)), [..."bcdef"], what);
  const reopened = await open(storage);
  assert.deepEqual([Object.keys(await contents(reopened)).length, reopened.stats().lost], [5, 0], what);
  return missing;
}

test("any byte that is changed: found, what is left is used, and what is lost can be added again", async () => {
  const files = await written();
  const results = new Set();
  for (const [name, bytes] of files) {
    for (let at = 0; at < bytes.length; at += at < 40 ? 1 : 7) {
      const flipped = bytes.with(at, bytes[at] ^ (1 << (at % 8)));
      const changed = files.map(([other, content]) => [other, other === name ? flipped : content]);
      results.add(await survives(changed, `${name} at ${at}`));
    }
  }
  // What a removed document had, one document by its text or vector, a segment, all by the manifest.
  assert.deepEqual([...results].sort(), [0, 1, 2, 3, 5]);
});

test("files that are too short, too long, empty or gone", async () => {
  const files = await written();
  for (const [name, bytes] of files) {
    const other = (content) => files.map(([one, own]) => [one, one === name ? content : own]);
    for (let length = 0; length < bytes.length; length += 13) {
      assert.notEqual(await survives(other(bytes.slice(0, length)), `${name} cut at ${length}`), 0);
    }
    assert.notEqual(await survives(other(new Uint8Array([...bytes, 0])), `${name} longer`), 0);
    assert.notEqual(await survives(files.filter(([one]) => one !== name), `${name} gone`), 0);
  }
});

/** A file with another header, and checksums that fit. */
function forged(bytes, change) {
  const view = new DataView(bytes.buffer);
  const length = view.getUint32(8, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(20, 20 + length)));
  const version = change(header) ?? 1;
  const json = new TextEncoder().encode(typeof header.raw === "string" ? header.raw : JSON.stringify(header));
  const frame = new Uint8Array(20);
  frame.set(bytes.subarray(0, 4));
  const words = new DataView(frame.buffer);
  words.setUint32(4, version, true);
  words.setUint32(8, json.length, true);
  words.setUint32(12, sources.xxh32(json), true);
  words.setUint32(16, sources.xxh32(frame.slice(0, 16)), true);
  return new Uint8Array([...frame, ...json, ...bytes.subarray(20 + length)]);
}

test("absurd numbers, with checksums that fit", async () => {
  const files = await written();
  const [manifest, segment] = ["manifest", "segment"].map((kind) => files.find(([name]) => name.startsWith(kind))[0]);
  const manifests = [
    (header) => (header.generation = 1e300),
    (header) => (header.made.dimensions = 2 ** 40),
    (header) => (header.made.dimensions = -1),
    (header) => (header.made.rowBytes = 1),
    (header) => (header.made.probe = null),
    (header) => (header.made.prompts = [1]),
    (header) => (header.made = null),
    (header) => (header.segments = {}),
    (header) => (header.segments[0].bytes = Number.MAX_SAFE_INTEGER),
    (header) => (header.segments[0].documents = 1e9),
    (header) => (header.segments[0].removed = "AAAA".repeat(1000)),
    (header) => (header.segments[0].removed = "?"),
    (header) => (header.segments[0].name = "../../secret"),
    (header) => (header.segments[0] = null),
    (header) => header.segments.push(header.segments[0]),
    (header) => (header.next = { made: header.made, segments: 7 }),
    (header) => (header.raw = "[".repeat(100_000)),
    (header) => (header.raw = "null"),
    (header) => (header.kind = "segment"),
  ];
  const segments = [
    (header) => (header.documents = 2 ** 32),
    (header) => (header.passages = 2 ** 52),
    (header) => (header.documents = -1),
    (header) => (header.dimensions = 1),
    (header) => (header.parts.rows[0] = 2 ** 50),
    (header) => (header.parts.texts = [-5]),
    (header) => (header.parts = null),
    (header) => (header.parts.records = "x"),
    (header) => ([header.parts.records, header.parts.places] = [header.parts.places, header.parts.records]),
  ];
  for (const [name, changes] of [[manifest, manifests], [segment, segments]]) {
    for (const change of changes) {
      const bytes = forged(files.find(([one]) => one === name)[1], (header) => void change(header));
      let list = files.map(([one, content]) => [one, one === name ? bytes : content]);
      // A segment is known by its manifest, which whoever forges the one can forge too.
      if (name === segment) list = renamed(list, name, bytes);
      assert.notEqual(await survives(list, String(change)), 0);
    }
  }
});

function renamed(files, name, bytes) {
  const checksum = new DataView(bytes.buffer).getUint32(12, true);
  return files.map(([one, content]) => [one, !one.startsWith("manifest") ? content : forged(content, (header) => {
    for (const segment of header.segments) if (segment.name === name) Object.assign(segment, { bytes: bytes.length, checksum });
  })]);
}

test("a newer format is refused and left alone", async () => {
  const files = await written();
  const newer = new Map(files.map(([name, bytes]) => [name, new Blob([name.startsWith("manifest") ? forged(bytes, () => 2) : bytes])]));
  const storage = faultyStorage(newer);
  await assert.rejects(open(storage), (error) => error.code === "index-version" && /update/.test(error.message));
  assert.equal(newer.size, 3);
});

test("files that are gone while the index is open", async () => {
  const files = new Map();
  const index = await open(faultyStorage(files));
  await index.add(documentsOf("abc"));
  await index.add(documentsOf("def"));
  const segments = [...files.keys()].filter((name) => name.startsWith("segment"));
  files.delete(segments[0]);
  const left = Object.keys(await contents(index));
  assert.equal(left.length, 3);
  assert.equal(index.stats().lost, 3);
  await index.add(documentsOf("abcdef"));
  assert.deepEqual(Object.keys(await contents(index)), [..."abcdef"]);

  // A commit finds out too, before any search.
  files.delete([...files.keys()].find((name) => name.startsWith("segment")));
  await index.compact();
  assert.equal((await index.search("boat", { topK: 9 })).length, index.stats().documents);
  await index.add(documentsOf("abcdef"));
  assert.equal((await index.search("boat", { topK: 9 })).length, 6);

  // One that has lost its end: its texts cannot be copied.
  await index.add(documentsOf("g"));
  const [name] = [...files.keys()].filter((one) => one.startsWith("segment"));
  files.set(name, files.get(name).slice(0, files.get(name).size - 1));
  await index.compact();
  await index.add(documentsOf("abcdefg"));
  assert.deepEqual(Object.keys(await contents(index)), [..."abcdefg"]);
  assert.deepEqual(Object.keys(await contents(await open(faultyStorage(files)))), [..."abcdefg"]);

  files.clear();
  await assert.rejects(index.search("boat"), refused("index-damaged"));
  assert.deepEqual(await index.search("boat"), []);
  assert.match(index.stats().problem, /gone/);
  await index.add(documentsOf("ab"));
  assert.deepEqual(Object.keys(await contents(await open(faultyStorage(files)))), ["a", "b"]);
});

test("an exported file that was changed is refused as a whole, or where it is read", async () => {
  const index = await open("memory");
  await index.add(documentsOf("abc"));
  const bytes = new Uint8Array(await (await index.export()).arrayBuffer());
  for (let at = 0; at < bytes.length; at += at < 40 ? 1 : 5) {
    const storage = bytes.with(at, bytes[at] ^ 4);
    const copy = await open(storage).catch((error) => error);
    if (copy instanceof Error) {
      assert.ok(["index-damaged"].includes(copy.code), `${at}: ${copy.stack}`);
      continue;
    }
    const found = Object.keys(await contents(copy));
    assert.equal(found.length + copy.stats().lost, 3, `at ${at}`);
    assert.ok(found.length < 3, `at ${at}`);
  }
});
