// Pictures of the page for the README. With EMBEDLET_PICTURES=1 they are taken anew, of the built page in Chromium on the processor
// (environment as in `page.test.mjs`); otherwise it is only looked whether those that the README shows are there.

import assert from "node:assert/strict";
import { readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { launch } from "./harness.mjs";
import { built, open, serve, state } from "./page-site.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
const folder = join(root, "docs/pictures");
const MOST_BYTES = 200_000;
/** Of the window, without the cards of facts beside it. */
const COLUMN = { x: 0, y: 0, width: 760, height: 760 };

/** What is done for each picture, once its tab is shown. */
const PICTURES = {
  search: async (page) => {
    await page.getByLabel("Say what you are looking for").fill("afraid of speaking in public");
    await page.waitForFunction(() => JSON.parse(document.getElementById("report").textContent).query.endsWith("public"));
  },
  classify: (page) => page.locator("#predictions > li").first().waitFor(),
  benchmark: async (page) => {
    // A GPU that is a processor is nothing to show.
    for (const name of ["WebGPU", "one long", "32 mixed", "16 long"]) await page.getByLabel(name).uncheck();
    await page.getByRole("button", { name: "Run" }).click();
    await page.getByRole("button", { name: "Copy as JSON" }).waitFor({ timeout: 120_000 });
    await page.locator("#room-bench fieldset").evaluate((shown) => scrollTo(0, shown.offsetTop - 20));
  },
  map: async (page) => {
    await page.getByRole("tab", { name: "Your texts" }).click();
    await page.getByRole("button", { name: "Add 2,000 words and what they mean" }).click();
    await page.waitForFunction(() => JSON.parse(document.getElementById("report").textContent).documents > 2000, null, { timeout: 60_000 });
    await page.getByRole("button", { name: "Remove Sample collection" }).click();
    await state(page, "ready", "error");
    await page.getByRole("tab", { name: "Map" }).click();
    await page.getByRole("combobox", { name: /^Projection/ }).selectOption("UMAP");
    await page.getByRole("combobox", { name: /^Colour by/ }).selectOption("label");
    await page.getByText("2,000 texts in 23 groups").waitFor({ timeout: 60_000 });
    await page.waitForFunction(() => performance.getEntriesByName(new URL("umap.js", document.baseURI).href).length > 0);
  },
};

test("pictures are taken", { skip: !process.env.EMBEDLET_PICTURES }, async () => {
  const browser = await launch();
  const site = await serve(built());
  const page = await open(browser, { viewport: { width: 1120, height: 760 }, colorScheme: "light", reducedMotion: "reduce" });
  try {
    await page.goto(`${site.url}?device=wasm`);
    await state(page, "ready", "error");
    for (const [name, prepare] of Object.entries(PICTURES)) {
      await page.getByRole("tab", { name, exact: false }).click();
      await page.evaluate(() => scrollTo(0, 0));
      await prepare(page);
      await page.mouse.move(0, 0);
      await page.evaluate(() => document.activeElement.blur());
      writeFileSync(join(folder, `${name}.png`), await page.screenshot({ clip: COLUMN }));
    }
    assert.deepEqual(page.complaints, []);
  } finally {
    await browser.close();
    await site.close();
  }
});

test("the README's pictures are there, and small", () => {
  const named = [...readFileSync(join(root, "README.md"), "utf8").matchAll(/!\[[^\]]+\]\(docs\/pictures\/([\w.-]+)\)/g)].map(([, name]) => name);
  assert.ok(named.length >= 2, "the README shows the page");
  const there = readdirSync(folder);
  assert.deepEqual([...there].sort(), Object.keys(PICTURES).map((name) => `${name}.png`).sort());
  assert.deepEqual(named.filter((name) => !there.includes(name)), []);
  for (const name of there) {
    const head = readFileSync(join(folder, name)).subarray(0, 8).toString("latin1");
    assert.ok(head === "\x89PNG\r\n\x1a\n" && statSync(join(folder, name)).size <= MOST_BYTES, `${name}: ${statSync(join(folder, name)).size} bytes`);
  }
});
