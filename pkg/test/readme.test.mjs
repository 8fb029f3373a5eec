// The examples of the READMEs, run as they stand in Node over the built package and a tiny model in place of the hub's.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const PKG = fileURLToPath(new URL("..", import.meta.url));

// The libraries under the names that they are installed by here. LangChain's store in memory is the one of its core.
const STORE = ['{ MemoryVectorStore } from "@langchain/classic/vectorstores/memory"', '{ FakeVectorStore as MemoryVectorStore } from "@langchain/core/utils/testing"'];
const EXAMPLES = [
  ["../README.md", "In a page", /^wasm /m],
  ["README.md", "Use", /^Float32Array\(2\)/m],
  ["README.md", "Duplicates and clusters", /^-?[\d.]+ \d 4$/m],
  ["README.md", "AI SDK", /^\[ -?[\d.]+, -?[\d.]+ \] [1-9]\d*$/m, ['from "ai"', 'from "ai-6"']],
  ["README.md", "AI SDK", /^\[ -?[\d.]+, -?[\d.]+ \] [1-9]\d*$/m, ['from "ai"', 'from "ai-7"']],
  ["README.md", "LangChain", /pageContent: '.+\.'/, STORE],
  ["README.md", "OpenAI", /^\] [1-9]\d*$/m],
];

for (const [path, heading, expected, [name, here] = []] of EXAMPLES) {
  test(`${path}: ${heading}${here ? `, ${here}` : ""}`, async () => {
    const [, section] = (await readFile(new URL(`../${path}`, import.meta.url), "utf8")).split(`\n## ${heading}\n`);
    const [, example] = /^```js\n(.*?)^```$/ms.exec(section.split("\n## ")[0]);
    assert.ok(!name || example.includes(name), name);
    const code = name ? example.replace(name, here) : example;
    const { stdout } = await promisify(execFile)(process.execPath, ["--import", "./test/hub.mjs", "--input-type=module", "--eval", code], { cwd: PKG });
    assert.match(stdout, expected);
  });
}
