// The page of docs/guide-static.md as it stands, with its policy on every file and a tiny model, in Chromium: it answers, it answers again
// without a network, and what goes wrong shows as the guides say.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { DIST, GOLDEN, launch } from "./harness.mjs";
import { serve } from "./server.mjs";

const GUIDE = readFileSync(new URL("../../docs/guide-static.md", import.meta.url), "utf8");
const [, POLICY] = /^ {4}(default-src .*)$/m.exec(GUIDE);

let folder;
let served;
let browser;
/** The site, with its policy or another. */
const host = (policy = POLICY) => {
  const mounts = { "/site/embedlet/": DIST, "/site/model/": join(GOLDEN, "models/bert-mean"), "/site/": folder };
  return serve(mounts, { "content-security-policy": policy });
};

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "embedlet-docs-"));
  for (const [, text] of GUIDE.matchAll(/^```(?:js|html) not-run[^\n]*\n([^]*?)^```$/gm)) {
    writeFileSync(join(folder, /^(?:\/\/|<!--) ([\w.]+)/.exec(text)[1]), text);
  }
  served = await host();
  browser = await launch({ webgpu: false });
});
after(async () => {
  await browser?.close();
  await served?.close();
  rmSync(folder, { recursive: true, force: true });
});

test("the page of the guide finds a text, and finds it without a network", { timeout: 60_000 }, async () => {
  const page = await browser.newPage();
  const faults = [];
  page.on("pageerror", (error) => faults.push(error.message));
  page.on("console", (message) => message.type() === "error" && faults.push(message.text()));
  const ask = async () => {
    await page.locator("input:enabled").fill("How do I get my money back?");
    await page.locator("input").blur();
    await page.waitForFunction(() => document.querySelector("output").value !== "");
    return page.locator("output").evaluate((output) => output.value);
  };
  await page.goto(`${served.url}/site/`);
  const first = await ask();
  assert.match(first, /^(Refunds|The museum|Parcels) .*\.$/);
  assert.deepEqual(faults.filter((text) => !text.includes("404") && !text.includes("favicon")), []);
  await page.evaluate(() => navigator.serviceWorker.ready);
  // From here on there is no server.
  await served.close();
  await page.reload();
  assert.equal(await ask(), first);
  await page.close();
});

/** Runs in a page of the site: the code of what a load rejects with. */
async function codeOf(source) {
  const { Encoder } = await import(new URL("./embedlet/index.js", location.href));
  return Encoder.load(source, { device: "wasm", cache: false }).then(() => "none", ({ code }) => code);
}

const page404 = (_, response) => response.writeHead(404).end();
const pageHtml = (_, response) => response.writeHead(200, { "content-type": "text/html" }).end("<!doctype html><title>all</title>");

/** What the guides say of faults. Without EMBEDLET_TEST_ALL only that there is none. */
const FAULTS = [
  ["no fault", "none", {}],
  ["no file where the folder should be", "missing-file", { source: "./models/" }],
  ["a page for every address", "html-instead-of-file", { routes: { "/site/model/config.json": pageHtml } }],
  ["weights that were left out", "missing-file", { routes: { "/site/model/model.safetensors": page404 } }],
  ["a policy without WebAssembly", "wasm-load", { policy: POLICY.replace(" 'wasm-unsafe-eval'", "") }],
  ["a policy without the model's host", "network", { source: "https://model.invalid/minilm/" }],
  ["an address that reads as a name of the hub", "network", { source: "models/minilm" }],
  ["no worker.js", "wasm-load", { routes: { "/site/embedlet/worker.js": page404 } }],
  ["no wasm", "wasm-load", { routes: { "/site/embedlet/embedlet_bg.wasm": page404, "/site/embedlet/embedlet_relaxed_bg.wasm": page404 } }],
];

for (const [fault, expected, { policy, routes = {}, source = "./model/" }] of FAULTS.slice(0, process.env.EMBEDLET_TEST_ALL ? undefined : 1)) {
  test(`${fault}: ${expected}`, { timeout: 60_000 }, async () => {
    const site = await host(policy);
    for (const [path, route] of Object.entries(routes)) site.routes.set(path, route);
    site.routes.set("/site/blank", (_, response) => {
      response.writeHead(200, { "content-type": "text/html", "content-security-policy": policy ?? POLICY }).end("<!doctype html><title>blank</title>");
    });
    const page = await browser.newPage();
    try {
      await page.goto(`${site.url}/site/blank`);
      assert.equal(await page.evaluate(codeOf, source), expected);
    } finally {
      await page.close();
      await site.close();
    }
  });
}
