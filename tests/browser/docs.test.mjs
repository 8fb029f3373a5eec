// The page of docs/guide-static.md as it stands, with its policy on every file and a tiny model, in Chromium: it answers, and it answers
// again without a network.

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
before(async () => {
  folder = mkdtempSync(join(tmpdir(), "embedlet-docs-"));
  for (const [, text] of GUIDE.matchAll(/^```(?:js|html) not-run[^\n]*\n([^]*?)^```$/gm)) {
    writeFileSync(join(folder, /^(?:\/\/|<!--) ([\w.]+)/.exec(text)[1]), text);
  }
  const mounts = { "/site/embedlet/": DIST, "/site/model/": join(GOLDEN, "models/bert-mean"), "/site/": folder };
  served = await serve(mounts, { "content-security-policy": POLICY });
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
