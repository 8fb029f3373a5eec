// The page in Firefox and in WebKitGTK: it gets ready and finds.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { built, serve } from "../browser/page-site.mjs";
import { WEBGPU, firefox } from "./firefox.mjs";
import { isMissing, webkit } from "./webkit.mjs";

let site;

before(async () => {
  site = await serve(built());
});
after(() => site?.close());

async function finds(browser, device) {
  await browser.goto(`${site.url}?device=${device}&query=${encodeURIComponent("my bread came out heavy")}`);
  const report = JSON.parse(await browser.evaluate(async () => {
    const over = () => ["ready", "error"].includes(document.documentElement.dataset.state);
    while (!over()) await new Promise((resolve) => setTimeout(resolve, 50));
    return document.getElementById("report").textContent;
  }));
  assert.deepEqual([report.state, report.topHits?.[0].title], ["ready", "A dense loaf"]);
  return report.device;
}

test("in Firefox", { timeout: 300_000 }, async (t) => {
  const browser = await firefox(WEBGPU);
  t.after(browser.close);
  for (const device of ["wasm", "webgpu"]) assert.equal(await finds(browser, device), device);
});

test("in WebKitGTK", { timeout: 300_000, skip: isMissing() }, async (t) => {
  const browser = await webkit();
  t.after(browser.close);
  assert.equal(await finds(browser, "auto"), "wasm");
});
