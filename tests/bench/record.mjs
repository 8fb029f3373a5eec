// The cells, and what becomes of a run: printed, kept as JSON, or written into docs/benchmarks.md.

import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { cpus, release, totalmem, type } from "node:os";
import { fileURLToPath } from "node:url";
import { tables } from "./report.mjs";

const at = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const json = (path) => JSON.parse(readFileSync(at(path), "utf8"));

/** The cells with their texts in `list`: words of the demo page's sample one after another, `more` of them each time. */
export function cells() {
  const words = json("web/sample.json").flatMap(({ text }) => text.split(/\s+/));
  return json("web/cells.json").map((cell) => {
    let from = 0;
    const list = Array.from({ length: cell.texts }, (_, i) => {
      const count = cell.words + i * cell.more;
      from += count;
      return words.slice(from - count, from).join(" ");
    });
    return { ...cell, list };
  });
}

const git = (...args) => execFileSync("git", args, { cwd: at("."), encoding: "utf8" }).trim();

/** Where and of what a result is. */
function circumstances() {
  const dirty = git("status", "--porcelain", "--untracked-files=no") ? " and changes" : "";
  return {
    date: new Date().toISOString().slice(0, 10),
    commit: git("rev-parse", "--short=12", "HEAD") + dirty,
    machine: `${cpus()[0].model}, ${cpus().length} logical cores, ${Math.round(totalmem() / 2 ** 30)} GiB`,
    system: `${type()} ${release()}`,
  };
}

/** Ends a run: `name` is the section of docs/benchmarks.md that it belongs to, `found.more` stands behind its tables. */
export function finish(name, found, { json: file, write }) {
  // What else a contender carries is of no use afterwards.
  const contenders = found.contenders.map(({ name, against, options, info, facts, results }) => ({ name, against, options, info, facts, results }));
  const result = { ...circumstances(), ...found, more: undefined, cells: found.cells.map(({ list, ...cell }) => cell), contenders };
  const adapter = contenders.map(({ info }) => info?.adapter).find(Boolean);
  const gpu = adapter && `GPU: ${[adapter.vendor, adapter.architecture, adapter.description].filter(Boolean).join(" ")}${adapter.software ? " (software)" : ""}`;
  const where = [result.date, `commit ${result.commit}`, result.machine, result.system, found.browser, gpu, found.note].filter(Boolean).join("; ");
  const text = [`${where}; ${found.rounds} rounds.`, tables(result), found.more].filter(Boolean).join("\n\n");
  console.log(`\n${text}`);
  if (file) writeFileSync(file, `${JSON.stringify(result, null, 1)}\n`);
  if (write) replace(at("docs/benchmarks.md"), name, text);
}

/** Puts `text` between the section's markers. */
function replace(path, name, text) {
  const [begin, end] = [`<!-- ${name} -->`, `<!-- end of ${name} -->`];
  const page = readFileSync(path, "utf8");
  const [from, to] = [page.indexOf(begin), page.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`${path} has no ${begin} … ${end}`);
  writeFileSync(path, `${page.slice(0, from + begin.length)}\n${text}\n${page.slice(to)}`);
}
