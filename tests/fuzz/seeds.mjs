// Writes the seeds of stored.mjs: what the package itself keeps.

import { mkdirSync, writeFileSync } from "node:fs";
import { sources } from "../../pkg/test/bundle.mjs";
import { fakeEncoder } from "../../pkg/test/search-fakes.mjs";
import { ADDRESS, joined, PATH } from "./stored.mjs";

const { memoryStorage, SearchIndex, xxh32 } = sources;

function write(target, name, bytes) {
  const folder = new URL(`corpus/${target}/`, import.meta.url);
  mkdirSync(folder, { recursive: true });
  writeFileSync(new URL(name, folder), bytes);
}

const file = new TextEncoder().encode('{"model_type":"bert"}');
const kept = { bytes: file.length, xxh32: xxh32(file) };
const saved = "2026-11-22T00:00:00.000Z";
for (const [name, more] of [["address", {}], ["commit", { commit: "a".repeat(40) }]]) {
  const manifest = { version: 2, source: ADDRESS, saved, ...more, files: [[PATH, kept], ["modules.json", null]] };
  write("manifest", name, joined(new TextEncoder().encode(JSON.stringify(manifest)), file));
}

for (const precision of ["int8", "float32"]) {
  const files = new Map();
  const options = { name: "seed", encoder: fakeEncoder({ dimensions: 4 }), storage: memoryStorage(files), precision };
  const index = await SearchIndex.open(options);
  await index.add([
    { id: "a", text: "a boat of seven words, in two passages", metadata: { year: 2020, tags: ["x"] } },
    { id: "b", text: "another boat", metadata: { year: 2021 } },
    { id: "c", text: "bread", metadata: null },
  ]);
  await index.remove("c");
  index.close();
  const [manifest] = [...files.keys()].filter((one) => one.startsWith("manifest"));
  const [segment] = [...files.keys()].filter((one) => one.startsWith("segment"));
  const headers = await Promise.all([manifest, segment].map(async (name) => {
    const bytes = Buffer.from(await files.get(name).arrayBuffer());
    const end = 20 + bytes.readUInt32LE(8);
    return [bytes.subarray(20, end), bytes.subarray(end)];
  }));
  const header = JSON.parse(headers[0][0].toString());
  write("index", precision, joined(Buffer.from(JSON.stringify({ ...header, generation: 1 })), ...headers[1]));
}
