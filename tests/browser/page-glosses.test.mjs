// The page's second collection as it lies in the repository, without a browser: 2,000 words and what WordNet says of them.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { ASKED, LATER } from "../../web/later.mjs";
import { load } from "./page-source.mjs";

const web = join(dirname(fileURLToPath(import.meta.url)), "../../web");
const read = (file) => readFileSync(join(web, file), "utf8");
const all = JSON.parse(read("glosses.json"));

test("2,000 words, each once, each with a sentence of its own and a kind", () => {
  assert.equal(all.length, 2000);
  for (const one of all) {
    assert.deepEqual(Object.keys(one), ["title", "text", "kind"]);
    assert.match(one.title, /^[a-z][a-z -]+$/);
    assert.match(one.text, /^[A-Z0-9].*[^\s;:,.]\.$/);
    assert.ok(one.text.length >= 20 && one.text.length <= 200, `${one.title}: ${one.text.length} characters`);
  }
  for (const key of ["title", "text"]) assert.equal(new Set(all.map((one) => one[key])).size, 2000, key);
});

test("the words are those of the list, by kind, and many kinds have many", () => {
  const lines = read("glosses.txt").trim().split("\n");
  const listed = lines.flatMap((line, at) => (at % 2 ? [] : lines[at + 1].split(" ").map((entry) => `${line.split(" ")[0]} ${entry.split(":")[0].replaceAll("_", " ")}`)));
  assert.deepEqual(all.map(({ title, kind }) => `${kind} ${title}`), listed);
  const counts = [...new Set(all.map(({ kind }) => kind))].map((kind) => all.filter((one) => one.kind === kind).length);
  assert.ok(counts.length >= 20 && Math.max(...counts) <= 500 && Math.min(...counts) >= 5, `${counts}`);
});

test("the page counts its collections as they are, and fetches the second with its licence only when it is wanted", async () => {
  const room = read("src/texts-room.ts");
  for (const file of ["sample.json", "glosses.json"]) {
    assert.equal(Number(new RegExp(`file: "${file}", .*texts: (\\d+)`).exec(room)[1]), JSON.parse(read(file)).length, file);
  }
  assert.ok(ASKED.length === 2 && ASKED.every((file) => LATER.includes(file) && read(file).length > 1000));
  assert.match(read("glosses.license.txt"), /WordNet 3\.0 Copyright 2006 by Princeton University/);
  const { parse } = await load("parse.ts");
  assert.deepEqual(parse(read("glosses.json"), "glosses.json").slice(0, 5).map(({ title, text }) => [title, text]), all.slice(0, 5).map(({ title, text }) => [title, text]));
});
