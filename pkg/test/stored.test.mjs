// The seeds of the fuzzers of stored bytes, whole and damaged: tests/fuzz/stored.mjs says what must hold.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import * as targets from "../../tests/fuzz/stored.mjs";

for (const name of ["manifest", "index"]) {
  test(`${name}: what was written is believed; cut, doubled or with bytes changed it comes back`, async () => {
    const folder = new URL(`../../tests/fuzz/corpus/${name}/`, import.meta.url);
    const seeds = readdirSync(folder);
    assert.ok(seeds.length > 1, "no seeds");
    for (const seed of seeds) {
      const bytes = readFileSync(new URL(seed, folder));
      const believed = await targets[name](bytes);
      // Others are what a fuzzer broke once.
      assert.ok(believed || seed.startsWith("found"), `${seed} is of another format: node tests/fuzz/seeds.mjs`);
      const cut = Array.from({ length: 16 }, (_, n) => bytes.subarray(0, (bytes.length * n) >> 4));
      const changed = Array.from({ length: 128 }, (_, n) => {
        const at = ((bytes.length * n) >> 7) + (n % 5);
        return bytes.map((byte, i) => (i === at ? byte ^ (1 << (n % 8)) : byte));
      });
      for (const data of [Buffer.concat([bytes, bytes]), ...cut, ...changed]) await targets[name](data);
    }
  });
}
