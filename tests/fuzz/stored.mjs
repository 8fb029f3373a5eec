// What is fuzzed of the package: bytes that a browser's storage gives back. Each takes any bytes and must come back, with what may be
// believed or a typed error, and what it is a part of must work afterwards. `cargo xtask fuzz` runs them under Jazzer.js;
// pkg/test/stored.test.mjs runs them over the seeds in `corpus/`, which `node tests/fuzz/seeds.mjs` writes.

import assert from "node:assert/strict";
import { sources } from "../../pkg/test/bundle.mjs";
import { fakeEncoder } from "../../pkg/test/search-fakes.mjs";

const { EmbedletError, forget, frame, has, KeptSource, list, memoryStorage, SearchIndex, xxh32, Xxh32 } = sources;

/** Stands between two files in one input: it is in no UTF-8. */
const BETWEEN = 0xff;
export const ADDRESS = "https://example.com/model";
export const PATH = "config.json";
const MANIFEST = `${encodeURIComponent(ADDRESS)}/?manifest`;

/** The parts of a segment that are checked as a whole. */
const EAGER = ["entries", "records", "places", "rows"];

/** The manifest of a model that is kept, and a file of it. Tells whether the file was believed. */
export async function manifest(data) {
  const [json, file] = pieces(data, 2);
  const names = new Set([MANIFEST, `${encodeURIComponent(ADDRESS)}/${PATH}`]);
  const store = {
    read: async (name) => ({ size: undefined, chunks: (async function* () { yield name === MANIFEST ? json : file; })() }),
    write: async () => assert.fail("nothing is written"),
    delete: async (name) => void names.delete(name),
    names: async () => [...names],
  };
  const found = await list(store);
  assert.equal(found.length, Number(await has(store, ADDRESS)));
  for (const { source, bytes, files, saved, commit } of found) {
    assert.ok(source === ADDRESS && bytes >= 0 && files >= 0 && !Number.isNaN(saved.getTime()));
    assert.match(commit ?? "0".repeat(40), /^[0-9a-f]{40}$/);
  }
  const kept = await KeptSource.open(store, ADDRESS, undefined);
  const believed = await typed(async () => {
    const opened = await kept.open(PATH);
    if (!opened) return false;
    const sum = new Xxh32();
    for await (const chunk of opened.chunks) sum.add(chunk);
    assert.equal(sum.bytes, file.length);
    return true;
  });
  await forget(store, ADDRESS);
  assert.equal(names.size, 0);
  return believed === true;
}

/**
 * An index's manifest, a segment and what is behind it, with checksums that fit: who can change the one can change the other. Tells how
 * many documents were found.
 */
export async function index(data) {
  const [manifest, segment, body] = pieces(data, 3);
  const storage = memoryStorage(filesOf(manifest, segment, body));
  const opened = await typed(() => SearchIndex.open({ name: "fuzz", encoder: fakeEncoder({ dimensions: 4 }), storage }));
  if (!opened) return 0;
  const { length: found } = await opened.search("boat", { topK: 1000, filter: { year: { $gte: 0 } } });
  for await (const { text } of opened.documents()) assert.equal(typeof text, "string");
  await opened.add({ id: "of the target", text: "boat" });
  await opened.compact();
  assert.deepEqual((await opened.get(["of the target"])).map(({ text }) => text), ["boat"]);
  opened.close();
  return found;
}

function filesOf(manifest, segment, body) {
  const [header, of] = [parsed(manifest), parsed(segment)];
  if (!header) return new Map([["manifest-1", new Blob([manifest])]]);
  const files = new Map();
  if (of) {
    let at = 0;
    for (const part of EAGER) {
      const place = of.parts?.[part];
      if (!Array.isArray(place)) break;
      place[1] = xxh32(body.subarray(at, at + place[0]));
      at += place[0];
    }
    const { file, checksum } = frame(of, [body]);
    const named = header.segments?.[0];
    if (typeof named === "object" && named !== null) {
      Object.assign(named, { bytes: file.size, checksum });
      files.set(String(named.name), file);
    }
  }
  return files.set("manifest-1", frame(header).file);
}

/** JSON that is an object. */
function parsed(bytes) {
  try {
    const value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** The input apart; the last piece has the rest. */
function pieces(data, count) {
  const found = [];
  let rest = Uint8Array.from(data);
  while (found.length < count - 1) {
    const at = rest.indexOf(BETWEEN);
    const end = at < 0 ? rest.length : at;
    found.push(rest.slice(0, end));
    rest = rest.slice(end + 1);
  }
  return [...found, rest];
}

export const joined = (...parts) => Buffer.concat(parts.flatMap((part, i) => (i === 0 ? [part] : [[BETWEEN], part])).map((part) => Buffer.from(part)));

/** What `work` gives, or undefined where it refuses. */
async function typed(work) {
  try {
    return await work();
  } catch (error) {
    assert.ok(error instanceof EmbedletError && error.message.length < 2000, error.stack);
    return undefined;
  }
}
