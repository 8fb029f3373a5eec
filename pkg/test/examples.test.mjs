// The examples of the documentation, run as they stand in Node over the built package and tiny models in place of the hub's, and read by
// the compiler as strictly as it can. What an example prints is a number, a text or a list: never what is not there.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { after, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { format, promisify } from "node:util";
import { transform } from "esbuild";
import { blocksOf, pages } from "./examples.mjs";
import "./hub.mjs";
import "./origin.mjs";

// The libraries under the names that they are installed by here. LangChain's store in memory is the one of its core.
const LIBRARIES = [
  [[
    '{ MemoryVectorStore } from "@langchain/classic/vectorstores/memory"',
    '{ FakeVectorStore as MemoryVectorStore } from "@langchain/core/utils/testing"',
  ]],
  [['from "ai"', 'from "ai-6"'], ['from "ai"', 'from "ai-7"']],
];
/** What an example must print, where more can be said than that it does. */
const PRINTED = {
  "README.md: In a page": /^wasm /m,
  "pkg/README.md: Use": /^Float32Array\(2\)/m,
  "pkg/README.md: Collections": /^(Refunds|The museum).+\. -?[\d.]+$/m,
  "pkg/README.md: Search": /id: 'a7'/,
  "pkg/README.md: Duplicates and clusters": /^-?[\d.]+ \d 4$/m,
  "pkg/README.md: AI SDK": /^\[ -?[\d.]+, -?[\d.]+ \] [1-9]\d*$/m,
  "pkg/README.md: LangChain": /pageContent: '.+\.'/,
  "pkg/README.md: OpenAI": /^\] [1-9]\d*$/m,
};
/** How many blocks of a page are not run here; each of them says why. */
const NOT_RUN = { "docs/extension.md": 5, "docs/guide-static.md": 3, "pkg/README.md": 2 };

const SCRIPTS = ["js", "ts"];
const all = (await pages()).flatMap(blocksOf);
const reasonOf = ({ info }) => /^not-run="(.+)"$/.exec(info)?.[1];

/** Blocks that go on where another ended, as one. */
function scriptsOf(blocks) {
  const scripts = [];
  for (const block of blocks.filter(({ lang, info }) => SCRIPTS.includes(lang) && !info.startsWith("not-run"))) {
    const { path, heading, line, lang, info, code } = block;
    const before = scripts.at(-1);
    if (info === "continued" && before?.path === path) before.code += code;
    else scripts.push({ path, name: `${path}: ${heading}`, line, lang, code });
  }
  return scripts.flatMap((script) => {
    const ways = LIBRARIES.find(([[name]]) => script.code.includes(name)) ?? [undefined];
    return ways.map((way) => (way ? { ...script, code: script.code.replace(...way), here: way[1] } : script));
  });
}

// Inside the package, so that its own name leads to it.
const folder = await mkdtemp(fileURLToPath(new URL(".examples-", import.meta.url)));
after(() => rm(folder, { recursive: true, force: true }));
globalThis.AI_SDK_LOG_WARNINGS = false;

const scripts = scriptsOf(all);

for (const [at, { name, line, lang, code, here = "" }] of scripts.entries()) {
  test(`${name}, line ${line} ${here}`, async (t) => {
    const file = `${folder}/${at}.mjs`;
    await writeFile(file, lang === "ts" ? (await transform(code, { loader: "ts" })).code : code);
    const printed = [];
    t.mock.method(console, "log", (...values) => void printed.push(format(...values)));
    await import(pathToFileURL(file));
    const text = printed.join("\n");
    if (PRINTED[name]) return assert.match(text, PRINTED[name]);
    assert.doesNotMatch(text, /\b(undefined|NaN)\b/);
    if (code.includes("console.log(")) assert.notEqual(text, "");
  });
}

test("the examples are typed", async () => {
  await Promise.all(scripts.map(({ code }, at) => writeFile(`${folder}/${at}.ts`, `export {};\n${code}`)));
  const libraries = "es2023,esnext.disposable,dom,dom.iterable,dom.asynciterable";
  const options = ["--ignoreConfig", "--noEmit", "--strict", "--skipLibCheck", "--types", ""];
  const target = ["--target", "es2022", "--lib", libraries, "--module", "esnext", "--moduleResolution", "bundler"];
  const cwd = fileURLToPath(new URL("..", import.meta.url));
  const tsc = ["node_modules/typescript/bin/tsc", ...options, ...target, ...scripts.map((_, at) => `${folder}/${at}.ts`)];
  await promisify(execFile)(process.execPath, tsc, { cwd }).catch(({ stdout }) => {
    assert.fail(stdout.replace(/[^\n]*?(\d+)\.ts\((\d+),/g, (_, at, line) => `${scripts[at].name}, ${line - 2} lines below ${scripts[at].line} (`));
  });
});

test("an example that is not run says why, and is written in its language", async () => {
  const kept = all.filter(({ lang, info }) => [...SCRIPTS, "html"].includes(lang) && (lang === "html" || info.startsWith("not-run")));
  const found = {};
  for (const { path, line, lang, info, code } of kept) {
    assert.ok(reasonOf({ info }), `${path}:${line} is not run and must say why: not-run="…"`);
    if (lang !== "html") await transform(code, { loader: lang, format: "esm" });
    found[path] = (found[path] ?? 0) + 1;
  }
  assert.deepEqual(found, NOT_RUN);
});

test("what is JSON can be read", () => {
  for (const { path, line, code } of all.filter(({ lang }) => lang === "json")) assert.doesNotThrow(() => JSON.parse(code), `${path}:${line}`);
});

test("what stands behind a language is known", () => {
  for (const { path, line, lang, info } of all.filter(({ info }) => info !== "")) {
    assert.ok(info === "continued" || reasonOf({ info }), `${path}:${line} has "${lang} ${info}"`);
  }
});
