// Prints the size of every file a visitor of the page downloads before the model, raw, gzip and brotli, and their sum; and apart from
// them those that come after the model, which the sum leaves out.
// With --check it exits 1 when the brotli sum is above the budget. It builds nothing: run `cargo xtask build` first.
import { readFileSync, readdirSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { LATER } from "../web/later.mjs";

const BUDGET_BYTES = 610_000; // brotli; what transformers.js needs for the same page is 4.0 MB

const dist = fileURLToPath(new URL("../web/dist/", import.meta.url));
const rows = readdirSync(dist, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && !/\.(map|d\.ts)$/.test(entry.name))
  .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
  .map((path) => {
    const bytes = readFileSync(path);
    return [relative(dist, path), bytes.length, gzipSync(bytes, { level: 9 }).length, brotliCompressSync(bytes).length];
  })
  .sort((a, b) => b[3] - a[3])
  // A browser takes one of the two builds; the larger is counted.
  .filter((row, _, all) => !row[0].endsWith(".wasm") || row === all.find(([name]) => name.endsWith(".wasm")));
const isLater = ([name]) => LATER.includes(name);
const before = rows.filter((row) => !isLater(row));
before.push(["sum", ...[1, 2, 3].map((column) => before.reduce((sum, row) => sum + row[column], 0))]);

const kilobytes = (bytes) => `${(bytes / 1000).toFixed(1)} kB`.padStart(12);
for (const [heading, table] of [["before the model", before], ["after it", rows.filter(isLater)]]) {
  console.log(`\n${heading.padEnd(32)}${["raw", "gzip", "brotli"].map((name) => name.padStart(12)).join("")}`);
  for (const [name, ...sizes] of table) console.log(name.padEnd(32) + sizes.map(kilobytes).join(""));
}

const brotli = before.at(-1)[3];
if (process.argv.includes("--check") && brotli > BUDGET_BYTES) {
  console.error(`\nabove the budget of ${kilobytes(BUDGET_BYTES).trim()} brotli by ${kilobytes(brotli - BUDGET_BYTES).trim()}`);
  process.exit(1);
}
