// The page's reading of files, without a browser: what becomes a document.

import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./page-source.mjs";

const { parse } = await load("parse.ts");
const { parseCsv, toCsv } = await load("csv.ts");

const found = (text, name) => parse(text, name).map(({ title, text }) => (title === "" ? text : [title, text]));

test("csv: quotes, separators, line ends, empty rows", () => {
  const cases = [
    ["a,b\nc,d", [["a", "b"], ["c", "d"]]],
    ['"a, b","say ""hi"""\r\n"two\nlines",x\r\n', [["a, b", 'say "hi"'], ["two\nlines", "x"]]],
    ["a;b;c,d\n1;2;3", [["a", "b", "c,d"], ["1", "2", "3"]]],
    ["a\tb\n\n \t \n1\t2", [["a", "b"], ["1", "2"]]],
    ['"open to the end, and on', [["open to the end, and on"]]],
    ['5" pipe,ok', [['5" pipe', "ok"]]],
    ["a,\n,b", [["a", ""], ["", "b"]]],
    ["", []],
  ];
  for (const [text, rows] of cases) assert.deepEqual(parseCsv(text), rows, JSON.stringify(text));
});

test("csv: what is written is read again", () => {
  const records = [{ title: 'say "hi", twice', text: "two\r\nlines\n", x: -0.5 }, { title: "", text: " edges ", x: 1e-7 }, { title: "a;b", text: "ä\t😀", x: 3 }];
  assert.deepEqual(parseCsv(toCsv(records)), [["title", "text", "x"], ...records.map((record) => Object.values(record).map(String))]);
  assert.deepEqual(parseCsv(toCsv([])), []);
});

test("what each kind of file holds", () => {
  const cases = [
    ["x.txt", "one\ntwo\r\nthree", ["one", "two", "three"]],
    ["x.txt", "A first block\nthat goes on.\n\n\nA second.", ["A first block that goes on.", "A second."]],
    ["x.txt", "Bread\n\nIt rises slowly, for an hour.\n\nSoup\n\nIt boils quickly.", [["Bread", "It rises slowly, for an hour."], ["Soup", "It boils quickly."]]],
    ["x.txt", "milk\n\nbread\n\neggs", ["milk", "bread", "eggs"]],
    ["x.txt", "The first line of a paragraph that was broken at a\nfixed column goes on here and then once more goes on\nuntil it ends.",
      ["The first line of a paragraph that was broken at a fixed column goes on here and then once more goes on until it ends."]],
    ["x.txt", "\uFEFF  \n ", []],
    ["x.md", "before\n\n# One #\ntext\nmore\n\n- a\n- b\n\n## Two\n```\n# no heading\n```", ["before", ["One", "text more\n\n- a\n- b"], ["Two", "``` # no heading ```"]]],
    ["x.md", "#no heading\n\n####### nor this\n\n## a # b ## \nbelow", ["#no heading\n\n####### nor this", ["a # b", "below"]]],
    ["x.md", "# One\nfirst  \n  second\n  - an item\n    goes on\n 2) two", [["One", "first second\n  - an item goes on\n 2) two"]]],
    ["x.csv", "id,Title,Text\n1,Bread,It rises.\n2,,Soup", [["Bread", "It rises."], "Soup"]],
    ["x.csv", "7,The longest column is the text,x\n8,So this too,y", ["The longest column is the text", "So this too"]],
    ["x.json", '["a", "b", 3, null, ""]', ["a", "b"]],
    ["x.json", '{"data": {"items": [{"title": "T", "text": "a"}, {"content": "b", "id": 4}]}}', [["T", "a"], "b"]],
    ["x.json", '{"__proto__": "a", "constructor": "b"}', [["__proto__", "a"], ["constructor", "b"]]],
    ["x.JSON", '"alone"', ["alone"]],
  ];
  for (const [name, text, documents] of cases) assert.deepEqual(found(text, name), documents, text);
});

test("what texts are labelled with", () => {
  const labels = (text, name) => parse(text, name).map(({ title, label }) => [title, label]);
  const cases = [
    ["x.json", '[{"text": "a", "title": "A", "kind": " animal "}, {"text": "b", "label": 1}, {"text": "c", "Category": "x", "label": false}, {"text": "d"}]',
      [["A", "animal"], ["", "1"], ["", "false"], ["", ""]]],
    ["x.json", `[{"text": "a", "label": {"x": "y"}}, {"text": "b", "label": "${"long ".repeat(13)}"}]`, [["", ""], ["", ""]]],
    ["x.csv", "kind,text,name\nanimal,It barks.,dog\n,It is a stone.,stone", [["dog", "animal"], ["stone", ""]]],
    ["x.csv", "label;text\n3;good", [["", "3"]]],
    ["x.csv", "label,sum\nthe only words,1", [["", ""]]], // its column is the text
    ["x.txt", "label", [["", ""]]],
  ];
  for (const [name, text, found] of cases) assert.deepEqual(labels(text, name), found, text);
  const parts = parse(JSON.stringify([{ text: "word ".repeat(25_000), label: "L" }]), "x.json");
  assert.deepEqual(parts.map(({ label }) => label), ["L", "L", "L"]);
});

test("files of no sense are read in no time", () => {
  const blanks = " ".repeat(20_000);
  assert.deepEqual(found(`# a${blanks}b ##\ntext`, "x.md"), [[`a${blanks}b`, "text"]]);
  assert.deepEqual(found(`a${blanks}b${blanks}\nc\n\nd`, "x.txt"), [`a${blanks}b c`, "d"]);
  assert.deepEqual(found(`a${blanks}\nb\n\nc`, "x.txt"), ["a b", "c"]);
  assert.deepEqual(found(`${"#".repeat(40_000)} a`, "x.md"), [`${"#".repeat(40_000)} a`]);
  assert.deepEqual(found(`x${'"'.repeat(40_000)}`, "x.csv"), [`x${'"'.repeat(40_000)}`]);
  assert.deepEqual(found(`${",".repeat(300_000)}word`, "x.csv"), ["word"]);
  assert.throws(() => parse(`${"[".repeat(5000)}"deep"${"]".repeat(5000)}`, "x.json"), /x\.json holds no text/);
});

test("a file that holds nothing says why", () => {
  assert.throws(() => parse("{", "x.json"), /x\.json is not valid JSON/);
  assert.throws(() => parse('[{"price": 3}]', "x.json"), /x\.json holds no text/);
});

test("long texts become several: nothing lost, none too long, no character torn", () => {
  const sentence = "This one is of a middling length, as they mostly are. ";
  for (const text of [sentence.repeat(5000), `${sentence}\n`.repeat(3000), "x".repeat(120_001), `a${"😀".repeat(60_000)}`]) {
    const parts = parse(JSON.stringify([{ title: "T", text }]), "x.json");
    assert.ok(parts.length >= 3);
    for (const { title, text: part } of parts) assert.ok(title === "T" && part.length > 0 && part.length <= 50_000 && (part.isWellFormed?.() ?? true));
    assert.equal(parts.map(({ text }) => text).join("").replace(/\s/g, ""), text.replace(/\s/g, ""));
  }
});
