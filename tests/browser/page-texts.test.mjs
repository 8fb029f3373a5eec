// The texts of the page over visits, in Chromium, on the processor: what is kept, what another model makes of it, search by words too,
// that what is forgotten is gone, the storage card, and what it takes to install the page. Environment as in `page.test.mjs`.

import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { AxeBuilder } from "@axe-core/playwright";
import { GOLDEN } from "./harness.mjs";
import { report, state, visit } from "./page-site.mjs";

let visited;
let site;
let page;
before(async () => {
  visited = await visit({ count: 6 });
  ({ site, page } = visited);
});
after(async () => {
  await visited?.end();
  if (page) assert.deepEqual(page.complaints, []);
});

async function tab(name) {
  await page.getByRole("tab", { name }).click();
  if (name === "Your texts") await page.getByLabel("Paste texts").waitFor(); // its code comes now
}
const documents = (wanted) => page.waitForFunction((wanted) => {
  const { documents, state } = JSON.parse(document.getElementById("report").textContent);
  return documents === wanted && state === "ready";
}, wanted);

async function best(query) {
  await tab("Search");
  await page.getByLabel("Say what you are looking for").fill(query);
  await page.waitForFunction((query) => JSON.parse(document.getElementById("report").textContent).query === query, query);
  return (await report(page)).topHits[0];
}

async function reload() {
  await page.reload();
  await state(page, "ready", "error");
}

test("pasted texts are there again after a reload, and nothing is embedded anew", async () => {
  assert.deepEqual([(await report(page)).documents, (await report(page)).textsPerSecond > 0], [6, true]);
  await tab("Your texts");
  await page.getByLabel("Paste texts").fill("Pottery\n\nA kiln fires clay until it rings. The glaze melts.\n\nBees\n\nBeekeepers smoke the hive to calm it.");
  await page.getByRole("button", { name: "Add these texts" }).click();
  await documents(8);
  const found = await best("calm bees with smoke");
  assert.deepEqual([found.title, found.text], ["Bees", "Beekeepers smoke the hive to calm it."]);

  await reload();
  const seen = await report(page);
  assert.deepEqual([seen.documents, seen.textsPerSecond, seen.error], [8, null, null]);
  assert.deepEqual(await best("calm bees with smoke"), found);
  await tab("Your texts");
  assert.deepEqual(await page.locator("#sources strong").allTextContents(), ["Sample collection", "Pasted text 1"]);
  assert.match(await page.locator("#texts-kept").textContent(), /^Kept in this browser/);
  await page.getByLabel("Paste texts").fill("A second one.");
  await page.getByRole("button", { name: "Add these texts" }).click();
  await documents(9);
  assert.deepEqual(await page.locator("#sources strong").allTextContents(), ["Sample collection", "Pasted text 1", "Pasted text 2"]);
});

test("words too: a name that the model does not know is found by its letters", async () => {
  await tab("Your texts");
  await page.getByLabel("Paste texts").fill("Part XK-4417\n\nKeep it dry.");
  await page.getByRole("button", { name: "Add these texts" }).click();
  await documents(10);
  await best("XK-4417 or bees");
  assert.equal(await page.evaluate(() => performance.getEntriesByName(new URL("words.js", document.baseURI).href).length), 0);
  await page.getByLabel("Words of the query count too").check();
  await page.waitForFunction(() => JSON.parse(document.getElementById("report").textContent).topHits[0]?.score < 0.04);
  const { topHits } = await report(page);
  const titles = topHits.slice(0, 2).map(({ title }) => title).sort();
  assert.deepEqual(titles, ["Bees", "Part XK-4417"]);
  const bars = await page.locator("#hits meter").evaluateAll((all) => all.map(({ value }) => value));
  assert.ok(bars[0] === 1 && bars.at(-1) > 0 && bars.at(-1) < 1);
  await page.getByLabel("Words of the query count too").uncheck();
  await page.waitForFunction(() => JSON.parse(document.getElementById("report").textContent).topHits[0]?.score > 0.04);
});

test("another model embeds the kept texts anew, and so does the first when it is back", async () => {
  const held = (await report(page)).documents;
  await page.locator("#model-folder").setInputFiles(join(GOLDEN, "models/bert-mean"));
  await page.waitForFunction(() => JSON.parse(document.getElementById("report").textContent).info?.dimensions < 384);
  await state(page, "ready", "error");
  const other = await report(page);
  assert.deepEqual([other.error, other.documents], [null, held]);
  assert.ok((await best("calm bees with smoke")).score <= 1.0001);

  await reload(); // the page's own model again, and no trace of the other
  assert.deepEqual([(await report(page)).error, (await report(page)).documents], [null, held]);
  assert.equal((await best("calm bees with smoke")).title, "Bees");
});

test("the storage card has what is kept, and deletes it", async () => {
  const kept = () => page.getByRole("list", { name: "What is kept" }).locator("li");
  await page.getByLabel("Hub id, or address on this site").fill("./%6Dodel/"); // the page's model under another name, which the package keeps
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => JSON.parse(document.getElementById("report").textContent).model === "./%6Dodel/");
  await state(page, "ready", "error");
  await page.waitForFunction(() => document.querySelectorAll("#storage-card li").length === 2);
  const names = await kept().locator("strong").allTextContents();
  assert.deepEqual(names, [new URL("%6Dodel/", site.url).href, "the texts and their vectors"]);
  const [weights, texts] = await kept().locator(".muted").allTextContents();
  assert.match(weights, /^2\d\.\d MB$/);
  assert.match(texts, /^10 texts, [\d.]+ kB$/);
  assert.match(await page.locator("#storage-card").textContent(), /[\d.]+ MB in all, of [\d.]+ [MG]B that the browser allows\. The browser may delete it/);

  await page.getByRole("button", { name: "Ask the browser to keep it" }).click();
  await page.getByRole("button", { name: "The browser will not promise that" }).waitFor(); // without a head nobody is asked
  const { violations } = await new AxeBuilder({ page }).include("#storage-card").analyze();
  assert.deepEqual(violations.map(({ id, nodes }) => `${id} ${nodes[0].html}`), []);

  await page.getByRole("button", { name: `Remove ${names[0]}` }).press("Enter");
  await page.waitForFunction(() => document.querySelectorAll("#storage-card li").length === 1);
  assert.equal(await page.evaluate(async () => (await (await import("./embedlet/index.js")).Encoder.cache.list()).length), 0);
  assert.equal(await page.evaluate(() => document.activeElement.id), "storage-card");
});

test("a source that is removed, and all that is forgotten, is in no file any more", async () => {
  const holds = (words) => page.evaluate(async (words) => {
    const read = async (folder) => {
      for await (const entry of folder.values()) {
        if (entry.kind === "directory" ? await read(entry) : (await (await entry.getFile()).text()).includes(words)) return true;
      }
      return false;
    };
    return read(await navigator.storage.getDirectory());
  }, words);
  assert.deepEqual([await holds("fires clay"), await holds("A second one.")], [true, true]);
  await tab("Your texts");
  await page.getByRole("button", { name: "Remove Pasted text 2" }).click();
  await documents(9);
  assert.deepEqual([await holds("fires clay"), await holds("A second one.")], [true, false]);
  await page.getByRole("button", { name: "Forget my texts" }).click();
  await documents(6);
  assert.equal(await holds("fires clay"), false);
  assert.ok(!(await page.getByRole("button", { name: "Forget my texts" }).isVisible()));
  await page.getByRole("button", { name: "Remove the texts and their vectors" }).click();
  await documents(0);
  await page.waitForFunction(() => document.querySelectorAll("#storage-card li").length === 0);
  await reload(); // the sample is back
  assert.deepEqual([(await report(page)).documents, (await report(page)).textsPerSecond > 0], [6, true]);
});

test("the words come when they are asked for, say whose they are, and are searched; they are none of the reader's texts", async () => {
  const asked = () => site.requests.filter((path) => path.endsWith("glosses.json")).length;
  await tab("Your texts");
  assert.equal(asked(), 0);
  const licence = page.getByRole("link", { name: "its licence" });
  assert.match(await (await page.request.get(await licence.evaluate(({ href }) => href))).text(), /^This software and database.*Princeton University/s);
  const add = page.getByRole("button", { name: "Add 2,000 words and what they mean" });
  await add.press("Enter");
  await documents(12);
  assert.equal(asked(), 1);
  assert.match(await page.locator("#texts-status").textContent(), /^Words and what they mean: 6 texts added\.$/);
  assert.deepEqual(await page.locator("#sources strong").allTextContents(), ["Sample collection", "Words and what they mean"]);
  assert.ok(!(await page.locator("#texts-bar").isVisible()) && !(await page.getByRole("button", { name: "Forget my texts" }).isVisible()));
  const { violations } = await new AxeBuilder({ page }).include("#room-texts").analyze();
  assert.deepEqual(violations.map(({ id, nodes }) => `${id} ${nodes[0].html}`), []);
  assert.equal((await best("an African animal that eats termites")).title, "aardvark");
  assert.equal(await page.locator(".hit .source").first().textContent(), "Words and what they mean · animal");
  await tab("Your texts");
  await page.getByRole("button", { name: "Remove Words and what they mean" }).click();
  await documents(6);
});

test("the page can be installed", async () => {
  const devtools = await page.context().newCDPSession(page);
  const { errors, data, url } = await devtools.send("Page.getAppManifest");
  assert.deepEqual([errors, url], [[], new URL("manifest.webmanifest", site.url).href]);
  const { icons, start_url, scope, display } = JSON.parse(data);
  assert.deepEqual([new URL(start_url, url).href, new URL(scope, url).href, display], [site.url, site.url, "standalone"]);
  assert.deepEqual(icons.map(({ purpose }) => purpose), ["any", "maskable"]);
  for (const { src, type } of icons) {
    const response = await page.request.get(new URL(src, url).href);
    assert.deepEqual([response.status(), response.headers()["content-type"]], [200, type]);
  }
  const { installabilityErrors } = await devtools.send("Page.getInstallabilityErrors");
  // Chromium installs nothing from the kind of profile that tests have.
  assert.deepEqual(installabilityErrors.filter(({ errorId }) => errorId !== "in-incognito"), []);
});
