// The page in Firefox: it gets ready and finds, on both devices.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { built, serve } from "../browser/page-site.mjs";
import { firefox } from "./firefox.mjs";

let browser;
let site;

before(async () => {
  site = await serve(built());
  browser = await firefox({ "dom.webgpu.enabled": true, "dom.webgpu.workers.enabled": true, "gfx.webgpu.ignore-blocklist": true });
});
after(async () => {
  await browser?.close();
  await site?.close();
});

for (const device of ["wasm", "webgpu"]) {
  test(`search on ${device}`, { timeout: 300_000 }, async () => {
    await browser.goto(`${site.url}?device=${device}&query=${encodeURIComponent("my bread came out heavy")}`);
    const report = JSON.parse(await browser.evaluate(async () => {
      const over = () => ["ready", "error"].includes(document.documentElement.dataset.state);
      while (!over()) await new Promise((resolve) => setTimeout(resolve, 50));
      return document.getElementById("report").textContent;
    }));
    assert.deepEqual([report.state, report.device, report.topHits?.[0].title], ["ready", device, "A dense loaf"]);
  });
}
