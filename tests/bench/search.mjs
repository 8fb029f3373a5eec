// `cargo xtask bench --search`: an index of 100,000 vectors, opened by a browser that has just started; and the scan of as many rows on
// one thread of the CPU, beside EdgeVec's flat index, Orama's vector search and a copy of the same bytes.
//
//   CHROME=<browser> node search.mjs --model FOLDER and the options of `cargo xtask help`

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { nearest } from "../browser/in-page.mjs";
import { launch, launchOn } from "../browser/harness.mjs";
import { serve } from "../browser/server.mjs";
import { mounts } from "./contenders.mjs";
import { collection } from "./page/search.mjs";
import { cells, finish } from "./record.mjs";
import { tables } from "./report.mjs";

const { values: options } = parseArgs({ options: {
  model: { type: "string" },
  contenders: { type: "string" },
  rounds: { type: "string", default: "7" },
  json: { type: "string" },
  write: { type: "boolean", default: false },
} });
const ROUNDS = Number(options.rounds);
const SHAPE = { count: 100_000, dimensions: 384, queries: 20 };
/** Searches are repeated for so many milliseconds. */
const TURN = 300;

/** Bytes of a row. */
const BYTES = { int8: SHAPE.dimensions + 4, float32: 4 * SHAPE.dimensions, binary: SHAPE.dimensions / 8 };
const ALL = [
  ...Object.keys(BYTES).map((precision) => ({ name: `embedlet ${precision}`, kind: "embedlet", options: { precision } })),
  { name: "EdgeVec flat, binary", kind: "edgevec", against: "embedlet binary" },
  { name: "Orama, float32", kind: "orama", against: "embedlet float32" },
  ...Object.entries(BYTES).map(([precision, bytes]) => ({ name: `copying the bytes of ${precision}`, kind: "copy", options: { bytes } })),
];
const SEARCH = "10 of 100,000";
const named = options.contenders?.split(",");
const contenders = ALL.filter(({ name }) => !named || named.some((part) => name.includes(part))).map((one) => ({ ...one, results: {}, facts: {} }));

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const served = await serve({
  ...mounts(options.model),
  "/tests/": at(".."),
  "/edgevec/": at("node_modules/edgevec"),
  "/orama/": at("node_modules/@orama/orama/dist/browser"),
});
served.routes.set("/", (_, response) => {
  response.writeHead(200, { "content-type": "text/html" });
  response.end('<!doctype html><html lang="en"><title>bench</title><link rel="icon" href="data:,">');
});

async function open(browser) {
  const page = await browser.newPage();
  page.setDefaultTimeout(0);
  await page.goto(served.url);
  await page.evaluate(async () => void (globalThis.bench = await import("/tests/bench/page/search.mjs")));
  return page;
}

/** The searches of each contender in a page of its own, in turn; and how many of the nearest they found. */
async function scans() {
  const browser = await launch({ webgpu: false });
  const { rows, queries } = collection(SHAPE);
  const expected = queries.map((query) => new Set(nearest(rows, query, 10)));
  try {
    for (const contender of contenders) {
      const { name, kind, options = {} } = contender;
      contender.page = await open(browser);
      const found = await contender.page.evaluate(([kind, options, shape]) => bench.open(kind, options, shape), [kind, options, SHAPE]);
      const right = found.map((rows, i) => rows?.filter((row) => expected[i].has(row)).length / 10);
      if (kind !== "copy") contender.facts["recall of the 10 nearest"] = (right.reduce((sum, part) => sum + part) / right.length).toFixed(3);
      contender.results[SEARCH] = { samples: [] };
      console.error(`${name}: filled`);
    }
    for (let round = 0; round < ROUNDS; round++) {
      for (let i = 0; i < contenders.length; i++) {
        const { name, page, results } = contenders[(i + round) % contenders.length];
        const ms = await page.evaluate((least) => bench.turn(least), TURN);
        results[SEARCH].samples.push(ms);
        console.error(`round ${round + 1} of ${ROUNDS}: ${name} ${ms.toFixed(2)} ms`);
      }
    }
    return `Chromium ${browser.version()}`;
  } finally {
    await browser.close();
  }
}

/** The same rows as an index on disk, and a new browser for each round. */
async function reopening() {
  const profile = mkdtempSync(join(tmpdir(), "embedlet-bench-"));
  const texts = cells().find(({ name }) => name === "32 short").list;
  const index = { name: "SearchIndex", results: {}, facts: {} };
  try {
    for (let round = 0; round <= ROUNDS; round++) {
      const context = await launchOn(profile);
      const page = await open(context);
      if (round === 0) {
        await page.evaluate(([shape, texts]) => bench.fill(shape, texts), [SHAPE, texts]);
        console.error("the index is filled");
      } else {
        const { times, bytes, segments } = await page.evaluate(([shape, texts]) => bench.reopen(shape, texts), [SHAPE, texts]);
        for (const [name, ms] of Object.entries(times)) (index.results[name] ??= { samples: [] }).samples.push(ms);
        index.facts = { "on disk, MB": (bytes / 1e6).toFixed(1), files: String(segments) };
        console.error(`round ${round} of ${ROUNDS}: ${JSON.stringify(times)}`);
      }
      await context.close();
    }
  } finally {
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  }
  return index;
}

try {
  const index = await reopening();
  const browser = await scans();
  const more = tables({ cells: Object.keys(index.results).map((name) => ({ name })), contenders: [index] });
  finish("search", { browser, rounds: ROUNDS, cells: [{ name: SEARCH }], contenders, index, more }, options);
} finally {
  await served.close();
}
