// `cargo xtask bench`: embedlet and transformers.js in one headless Chromium, over the same texts. Every contender has a page
// of its own, and so a process; they are measured in turn, round after round, so that what else the machine does meets all.
//
//   CHROME=<browser> node run.mjs --model FOLDER [--peer-model FOLDER] and the options of `cargo xtask help`

import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { compare } from "../browser/harness.mjs";
import { serve } from "../browser/server.mjs";
import { choose, mounts } from "./contenders.mjs";
import { cells, finish } from "./record.mjs";

const { values: options } = parseArgs({ options: {
  model: { type: "string" },
  "peer-model": { type: "string" },
  "packed-model": { type: "string" },
  only: { type: "string" },
  contenders: { type: "string" },
  rounds: { type: "string", default: "7" },
  budget: { type: "string", default: "20" },
  limit: { type: "string", default: "120" },
  json: { type: "string" },
  write: { type: "boolean", default: false },
  "browser-flags": { type: "string", default: "" },
} });
const ROUNDS = Number(options.rounds);
/** Milliseconds that a contender may spend on a cell before its rounds end, and that a call may take before it is given up. */
const [BUDGET, LIMIT] = [1000 * Number(options.budget), 1000 * Number(options.limit)];
/** A turn lasts at least so long: short calls are repeated. */
const TURN = 100;
/** The least cosine between what others compute in f32 and what embedlet does. */
const SAME = 0.999;
/** Peers have threads only in pages that are isolated; and what was loaded may be kept. */
const HEADERS = {
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-embedder-policy": "require-corp",
  "cache-control": "max-age=86400, immutable",
};

const peerModel = options["peer-model"];
if (!peerModel) console.error("transformers.js is left out: --peer-model (or EMBEDLET_PEER_MODEL) names its ONNX files.");
const contenders = choose(options.contenders?.split(","), peerModel).map((contender) => ({ ...contender, results: {}, facts: {} }));
if (contenders.length === 0) throw new Error(`no contender is called ${options.contenders}`);
const only = options.only?.split(",").map((name) => name.replaceAll("-", " "));
const unknown = only?.find((name) => name !== "load" && !cells().some((cell) => cell.name === name));
if (unknown) throw new Error(`there is no cell called ${unknown}`);
const wanted = (name) => !only || only.includes(name);
const timed = cells().filter(({ name }) => wanted(name));
const [{ list: [SHORT] }] = cells();
const visited = wanted("load") ? ["cold", "warm"].flatMap((visit) => [`load, ${visit}`, `first vector, ${visit}`].map((name) => ({ name }))) : [];
const complaints = [];
let system;

const profile = mkdtempSync(join(tmpdir(), "embedlet-bench-"));
// A profile on disk has the caches that a visitor's browser has.
const context = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROME || "/usr/bin/chromium",
  args: ["--no-sandbox", "--enable-unsafe-webgpu", ...options["browser-flags"].split(" ").filter(Boolean)],
});
try {
  system = await context.browser().newBrowserCDPSession();
  for (const contender of contenders) await enter(contender);
  if (visited.length > 0) await visits();
  for (const cell of timed) await measure(cell);
  for (const contender of contenders) await weigh(contender);
  finish("browser", { browser: `Chromium ${context.browser().version()}`, rounds: ROUNDS, cells: [...visited, ...timed], contenders }, options);
} finally {
  await context.close();
  rmSync(profile, { recursive: true, force: true });
}
for (const complaint of complaints) console.error(`off: ${complaint}`);
process.exit(complaints.length === 0 ? 0 : 1);

/** A server of its own is an origin of its own: nothing of it is in a cache yet. */
async function site({ packed }) {
  const served = await serve(mounts((packed && options["packed-model"]) || options.model, peerModel), HEADERS);
  served.routes.set("/", (_, response) => {
    response.writeHead(200, { ...HEADERS, "content-type": "text/html" });
    response.end('<!doctype html><html lang="en"><title>bench</title><link rel="icon" href="data:,">');
  });
  return served;
}

async function open(served) {
  const page = await context.newPage();
  page.setDefaultTimeout(0);
  await page.goto(served.url);
  await page.evaluate(async () => void (globalThis.bench = await import("/bench/contender.mjs")));
  return page;
}

function begin(page, { kind, options }) {
  return within(page.evaluate(([kind, options, text]) => bench.open(kind, options, text), [kind, options, SHORT]));
}

/** What a promise gives, or `undefined` once the limit is over. */
async function within(promise) {
  let timer;
  const over = new Promise((resolve) => (timer = setTimeout(resolve, LIMIT)));
  try {
    return await Promise.race([promise, over]);
  } finally {
    clearTimeout(timer);
    promise.catch(() => {}); // of a page that is closed because it took too long
  }
}

/** Calls `turn` of each contender round after round; it gives milliseconds by the names of results, or nothing: give up. */
async function rounds(title, turn) {
  const spent = new Map(contenders.map((contender) => [contender, 0]));
  for (let round = 0; round < ROUNDS; round++) {
    // Another one begins each time, so that nobody always follows the same neighbour.
    for (let i = 0; i < contenders.length; i++) {
      const contender = contenders[(i + round) % contenders.length];
      if (spent.get(contender) > BUDGET) continue;
      const start = performance.now();
      const times = await turn(contender);
      spent.set(contender, times ? spent.get(contender) + performance.now() - start : Infinity);
      for (const [name, ms] of Object.entries(times ?? {})) (contender.results[name] ??= { samples: [] }).samples.push(ms);
      const said = times ? Object.values(times).map((ms) => ms.toFixed(1)).join(", ") : `more than ${LIMIT}`;
      console.error(`${title}, round ${round + 1} of ${ROUNDS}: ${contender.name} ${said} ms`);
    }
  }
  for (const { results } of contenders) for (const result of Object.values(results)) if (result.samples?.length < ROUNDS) result.fewer = true;
}

/** Loads in fresh pages: the first visit finds its caches empty, the second what the first left there. */
async function visits() {
  await rounds("load", async (contender) => {
    const served = await site(contender);
    try {
      const times = {};
      for (const visit of ["cold", "warm"]) {
        const page = await open(served);
        const took = await begin(page, contender);
        await page.close();
        if (!took) return undefined;
        Object.assign(times, { [`load, ${visit}`]: took.load, [`first vector, ${visit}`]: took.first });
      }
      return times;
    } finally {
      await served.close();
    }
  });
}

/** Opens a contender's page to stay, and notes what that took beside time. */
async function enter(contender) {
  contender.served ??= await site(contender);
  contender.page = await open(contender.served);
  const before = await processes();
  const took = await begin(contender.page, contender);
  if (!took) throw new Error(`${contender.name} had no vector after ${LIMIT / 1000} s`);
  const after = await processes();
  const earlier = ({ id }) => before.find((process) => process.id === id) ?? { cpuTime: 0, now: 0 };
  // Nobody else has anything to do: the page's process is the one that worked.
  const busy = (process) => process.cpuTime - earlier(process).cpuTime;
  const page = after.filter(({ type }) => type === "renderer").sort((a, b) => busy(b) - busy(a))[0];
  const gpu = after.find(({ type }) => type === "GPU");
  contender.process = page.id;
  contender.page.once("close", () => (contender.page = undefined));

  const { facts } = contender;
  const bytes = (model) => contender.served.sent.filter(({ path }) => path.includes("/model/") === model).reduce((sum, { bytes }) => sum + bytes, 0);
  facts["library, MB"] ??= megabytes(bytes(false));
  facts["model, MB"] ??= megabytes(bytes(true));
  facts["empty tab, MB"] ??= megabytes(earlier(page).now);
  if (contender.options.device === "webgpu" && gpu) facts["GPU process grew, MB"] ??= megabytes(gpu.now - earlier(gpu).now);
  const { adapter, dispatches } = took.info;
  if (adapter) contender.info ??= { adapter, dispatches };
  console.error(`${contender.name}: ready`);
}

async function measure(cell) {
  let reference;
  for (const contender of contenders) {
    const found = await attempt(contender, cell, (page) => page.evaluate((texts) => bench.vectors(texts), cell.list));
    if (!found) continue;
    if (found.tokens) cell.tokens ??= found.tokens.reduce((sum, count) => sum + count);
    reference ??= found.data;
    const { minCosine } = compare(found.data, reference, found.data.length / cell.texts);
    contender.cosine = Math.min(contender.cosine ?? 1, minCosine);
    contender.facts["least cosine"] = contender.cosine.toFixed(6);
    const exact = contender.options.dtype !== "q8" && contender.options.precision !== "int8";
    if (exact && minCosine < SAME) complaints.push(`${contender.name}, ${cell.name}: cosine ${minCosine} to ${contenders[0].name}`);
  }
  await rounds(cell.name, async (contender) => {
    if (contender.results[cell.name]?.over) return undefined;
    const ms = await attempt(contender, cell, (page) => page.evaluate(([texts, least]) => bench.turn(texts, least), [cell.list, TURN]));
    return ms && { [cell.name]: ms };
  });
}

/** What `call` gives of a contender's page; a call that takes too long is noted, and ends the page. */
async function attempt(contender, cell, call) {
  if (!contender.page) await enter(contender);
  const found = await within(call(contender.page));
  if (found !== undefined) return found;
  await weigh(contender);
  await contender.page.close();
  contender.results[cell.name] = { over: LIMIT };
  return undefined;
}

/** Notes the most memory that a page's process ever held. */
async function weigh(contender) {
  const { peak } = (await processes()).find(({ id }) => id === contender.process) ?? {};
  contender.peak = Math.max(contender.peak ?? 0, peak);
  contender.facts["peak of the tab, MB"] = megabytes(contender.peak);
}

/** Chromium's processes: `{ type, id, cpuTime }`, with the memory that each holds now and held at most where the system tells it. */
async function processes() {
  const { processInfo } = await system.send("SystemInfo.getProcessInfo");
  return processInfo.map((process) => {
    const path = `/proc/${process.id}/status`;
    const status = existsSync(path) ? readFileSync(path, "utf8") : "";
    const bytes = (field) => 1024 * Number(new RegExp(`^${field}:\\s*(\\d+) kB`, "m").exec(status)?.[1] ?? NaN);
    return { ...process, now: bytes("VmRSS"), peak: bytes("VmHWM") };
  });
}

function megabytes(bytes) {
  return Number.isFinite(bytes) ? (bytes / 1e6).toFixed(1) : "";
}
