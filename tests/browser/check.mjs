// `cargo xtask demo --check`: runs the page as a visitor would, in headless Chromium on WebGPU, and prints what it reports.
// Exits 1 if anything is off. What the page's parts do one by one is tested in *.test.mjs; this is the whole of it, once.
//
//   CHROME=<browser> node check.mjs <address of the page> [--default-model]

import { chromium } from "playwright-core";

/** Searches in the page's sample collection, and what all-MiniLM-L6-v2 finds first, by a wide margin. */
const SEARCHES = [
  ["my bread came out heavy", "A dense loaf"],
  ["bike wheel keeps touching the brake", "Brakes that rub"],
  ["immunisation and the immune system", "How vaccines teach"],
];
/** 7 for each of the 6 layers, and 2. */
const MOST_DISPATCHES = 44;
/** For a load of 23 MB and some 200 texts on a GPU that is a CPU. */
const READY_MS = 300_000;
const SEARCH_MS = 30_000;

const [address, option] = process.argv.slice(2);
const isDefault = option === "--default-model";
const off = [];
const expect = (holds, complaint) => holds || off.push(complaint);

// Without the flag headless Chromium has no WebGPU on a machine without a GPU.
const browser = await chromium.launch({ executablePath: process.env.CHROME, args: ["--enable-unsafe-webgpu"] });
try {
  const page = await browser.newPage();
  page.on("pageerror", (error) => off.push(`uncaught: ${error.message}`));
  page.on("console", (message) => {
    // A model folder has optional files, and Chromium reports each that is absent.
    const absent = new URL(message.location().url || address).pathname.includes("/model/") && message.text().includes("404");
    if (message.type() === "error" && !absent) off.push(`console: ${message.text()}`);
  });
  const report = async () => JSON.parse((await page.locator("#report").textContent()) || "{}");

  const url = new URL(address);
  url.searchParams.set("device", "webgpu");
  url.searchParams.set("query", SEARCHES[0][0]);
  await page.goto(url.href);
  await page.locator("html:is([data-state=ready], [data-state=error])").waitFor({ state: "attached", timeout: READY_MS });

  const { state, error, device, adapter, dispatches, loadMs, timeToFirstVectorMs, textsPerSecond, info, passages } = await report();
  if (state === "ready") {
    const name = [adapter?.vendor, adapter?.architecture, adapter?.description].filter(Boolean).join(" ");
    print("device", device);
    print("adapter", `${name || "unnamed"}${adapter?.software ? " (software)" : ""}`);
    print("precision", info.precision);
    print("dispatches", `${dispatches} a batch`);
    print("load", `${loadMs.toFixed(0)} ms`);
    print("first vector", `${timeToFirstVectorMs.toFixed(0)} ms`);
    print("throughput", `${textsPerSecond.toFixed(1)} texts/s over ${passages} passages`);
    expect(device === "webgpu", `the page ran on ${device}, not on webgpu`);
    expect(info.selfCheck?.passed === true, `the self-check did not pass: ${JSON.stringify(info.selfCheck)}`);
    expect(dispatches > 0 && (!isDefault || dispatches <= MOST_DISPATCHES), `${dispatches} dispatches, at most ${MOST_DISPATCHES} are planned`);
    expect(textsPerSecond > 0 && timeToFirstVectorMs >= loadMs, "the timings make no sense");
    for (const [query, best] of SEARCHES) check(query, best, await search(query));
  } else {
    off.push(`the page ended in state ${state}: ${error?.code}: ${error?.message}`);
  }

  /** Types a query as a visitor does and waits for its hits. */
  async function search(query) {
    await page.locator("#query").fill(query);
    for (const end = Date.now() + SEARCH_MS; Date.now() < end; await page.waitForTimeout(50)) {
      const { query: answered, topHits } = await report();
      if (answered === query) return topHits;
    }
    return [];
  }
} catch (error) {
  off.push(error.message);
} finally {
  await browser.close();
}

for (const complaint of off) console.error(`off: ${complaint}`);
process.exit(off.length === 0 ? 0 : 1);

function print(name, value) {
  console.log(`${name.padEnd(14)}${value}`);
}

function check(query, best, hits) {
  print("\nsearch", query);
  for (const { title, text, score } of hits.slice(0, 3)) console.log(`  ${score.toFixed(4)}  ${title}: ${text}`);
  expect(hits.length > 0, `no hits for “${query}”`);
  expect(hits.every(({ score }, at) => Number.isFinite(score) && (at === 0 || score <= hits[at - 1].score)), `scores out of order for “${query}”`);
  if (isDefault && hits.length > 0) expect(hits[0].title === best, `“${query}” found “${hits[0].title}” first, not “${best}”`);
}
