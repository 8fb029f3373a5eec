// What the documentation names is there: the reference is that of the declarations, links lead somewhere, and the command line has the
// verbs and options that it is shown with.

import assert from "node:assert/strict";
import { readdir, readFile, stat } from "node:fs/promises";
import { test } from "node:test";
import { OUT, reference } from "../docs.mjs";
import { blocksOf, pages, ROOT } from "./examples.mjs";

const written = await pages();
const references = (await readdir(OUT)).sort();
const all = [...written];
for (const name of references) all.push({ path: `docs/api/${name}`, text: await readFile(`${OUT}${name}`, "utf8") });
const texts = new Map(all.map(({ path, text }) => [path, text]));

test("the reference is that of these declarations: npm run docs writes it", async () => {
  const expected = await reference();
  assert.deepEqual(references, Object.keys(expected).sort());
  for (const [name, text] of Object.entries(expected)) {
    const found = texts.get(`docs/api/${name}`).split("\n");
    const stale = text.split("\n").findIndex((line, at) => line !== found[at]);
    assert.ok(stale < 0 && found.length === text.split("\n").length, `docs/api/${name} is not up to date from line ${stale + 1} on`);
  }
});

const withoutBlocks = (text) => text.replace(/^```.*?^```$/gms, "");
/** A page without its code, in which what looks like a link is none. */
const prose = (text) => withoutBlocks(text).replace(/^ {4}.*$/gm, "").replace(/`[^`\n]*`/g, (code) => code.replace(/[[\]()]/g, " "));

/** What a page can be asked for behind a `#`, as GitHub names its headings. */
function anchorsOf(text) {
  const counts = new Map();
  return prose(text).split("\n").flatMap((line) => {
    const heading = /^#+ (.*)$/.exec(line)?.[1];
    if (heading === undefined) return [];
    const slug = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, "$1").toLowerCase().replace(/[^\p{L}\p{N}\-_ ]/gu, "").replaceAll(" ", "-");
    const before = counts.get(slug) ?? 0;
    counts.set(slug, before + 1);
    return [before === 0 ? slug : `${slug}-${before}`];
  });
}

test("links of the repository lead somewhere", async () => {
  let found = 0;
  for (const { path, text } of all) {
    for (const [link, target] of prose(text).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(target)) continue;
      found++;
      const url = new URL(target, new URL(path, ROOT));
      const to = decodeURIComponent(url.pathname.slice(ROOT.pathname.length));
      assert.ok(await stat(new URL(to, ROOT)).catch(() => undefined), `${path}: ${link} leads to no file`);
      if (url.hash === "") continue;
      assert.ok(texts.has(to), `${path}: ${link} leads into a page that is not one of the documentation`);
      assert.ok(anchorsOf(texts.get(to)).includes(decodeURIComponent(url.hash.slice(1))), `${path}: ${link} leads to no heading`);
    }
  }
  assert.ok(found > 0);
});

test("command lines are those of the command line", async () => {
  const source = await readFile(new URL("crate/arguments.rs", ROOT), "utf8");
  const files = (await readdir(new URL("crate/", ROOT), { recursive: true })).filter((name) => name.endsWith(".rs"));
  const sources = await Promise.all(files.map((name) => readFile(new URL(`crate/${name}`, ROOT), "utf8")));
  const helpOf = (text) => /const HELP: &str = "\\\n(.*?)\n";/s.exec(text)?.[1] ?? "";
  const verbs = new Set([...helpOf(source).split("\nverbs\n")[1].split("\n\n")[0].matchAll(/^ {4}([a-z-]+)/gm)].map(([, verb]) => verb));
  // A verb may have a help of its own.
  const options = new Set(["--help", ...sources.flatMap((text) => helpOf(text).match(/--[a-z][a-z-]*/g) ?? [])]);
  const kebab = (name) => name.trim().replace(/(?<=.)[A-Z]/g, "-$&").toLowerCase();
  const only = new Map([...source.matchAll(/\("(--[a-z-]+)", &\[([\w, ]+)\]\)/g)].map(([, option, names]) => [option, names.split(",").map(kebab)]));
  const parsed = new Set(/pub enum Verb \{(.*?)\}/s.exec(source)[1].split(",").map(kebab));
  let found = 0;
  for (const { path, text } of written) {
    const shell = blocksOf({ path, text }).filter(({ lang }) => ["", "sh", "bash"].includes(lang)).map(({ code }) => code.replace(/^/gm, "    "));
    const code = [withoutBlocks(text), ...shell].join("\n").replace(/\\\n/g, " ");
    const lines = [...code.matchAll(/(?:^ {4,}|`)embedlet ([^`\n]*)/gm)].map(([, line]) => line);
    for (const line of lines) {
      const [first, ...rest] = line.split(/\s+/);
      if (first === "--help" || first === "VERB") continue;
      found++;
      const asked = first.split("|");
      for (const verb of asked) assert.ok(verbs.has(verb), `${path}: \`embedlet ${line}\` has the verb ${verb}`);
      for (const [option] of rest.join(" ").split(/ [#>]/)[0].matchAll(/--[a-z][a-z-]*/g)) {
        assert.ok(options.has(option), `${path}: \`embedlet ${line}\` has the option ${option}`);
        const takers = only.get(option) ?? asked;
        assert.ok(asked.every((verb) => takers.includes(verb) || !parsed.has(verb)), `${path}: \`embedlet ${line}\`: ${option} is for ${takers}`);
      }
    }
  }
  assert.ok(found > 5);
  assert.ok(verbs.size > 10 && only.size > 30);
});

test("the guide says of every error what to do", async () => {
  const types = await readFile(new URL("pkg/src/types.ts", ROOT), "utf8");
  const codes = types.split("export type ErrorCode =")[1].split(";")[0].match(/(?<=")[a-z-]+(?=")/g);
  const rows = texts.get("docs/guide-web.md").split("\n").filter((line) => line.startsWith("| `")).map((line) => line.split("|")[1]);
  const told = rows.flatMap((cell) => cell.match(/(?<=`)[a-z-]+(?=`)/g) ?? []);
  assert.ok(codes.length > 30);
  for (const code of codes) assert.ok(told.includes(code), `docs/guide-web.md says nothing of ${code}`);
});
