// The page's model card in Chromium, on the processor: another address, a folder of the reader's, precisions, and the way back from a
// model that is none. Environment as in `page.test.mjs`.

import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { AxeBuilder } from "@axe-core/playwright";
import { GOLDEN } from "./harness.mjs";
import { built, report, state, visit } from "./page-site.mjs";

const { model } = built();

let visited;
let page;
let site;
before(async () => {
  visited = await visit({ query: "&query=hungry+tomato" });
  ({ page, site } = visited);
});
after(() => visited?.end());

const name = () => page.getByLabel("Hub id, or address on this site");

/** Does what loads a model, and waits for what became of it. */
async function loads(act) {
  // A load that fails at once is over before anybody sees that it began.
  await page.evaluate(() => (document.documentElement.dataset.state = "as before"));
  await act();
  await state(page, "ready", "error");
  return report(page);
}

const modelBytes = () => site.sent.get("model/model.safetensors");

test("the page's model keeps 97 of 100 neighbours, over a thousand texts that its rounding has not seen", () => {
  const { loss } = JSON.parse(readFileSync(join(model, "embedlet.json"), "utf8"));
  assert.equal(loss.texts, 1000);
  assert.ok(loss.top10Agreement >= 0.97, `${loss.top10Agreement}`);
});

test("an address that has no model says so; what is stored of another stays; the way back is the same card", async () => {
  assert.equal(await name().inputValue(), "./model/");
  await name().fill("./nothing/");
  const failed = await loads(() => page.keyboard.press("Enter"));
  assert.equal(failed.model, "./nothing/");
  assert.equal(failed.error.code, "missing-file");
  assert.match(await page.locator("#error-advice").textContent(), /choose another one under Model/);
  page.complaints = []; // Chromium itself reports every 404

  await name().fill("https://[");
  assert.equal((await loads(() => page.keyboard.press("Enter"))).error.code, "invalid-argument");

  await name().fill("./model/");
  const found = await loads(() => page.getByRole("button", { name: "Load", exact: true }).click());
  assert.deepEqual([found.error, found.topHits[0].title], [null, "Tomato leaves turning yellow"]);
  assert.equal(modelBytes(), statSync(join(model, "model.safetensors")).size, "it was downloaded once");
});

test("a precision is taken, and shown; a model that has no kernel for it is refused with a way out", async () => {
  const whole = (await report(page)).topHits[0].score;
  const rounded = await loads(() => page.getByLabel("Precision").selectOption("int8"));
  assert.deepEqual([rounded.error, rounded.info.precision], [null, "int8"]);
  assert.match(await page.locator("#device").textContent(), /Precisionint8/);
  assert.notEqual(rounded.topHits[0].score, whole);
  assert.ok(Math.abs(rounded.topHits[0].score - whole) < 0.05);

  const onGpu = await loads(() => page.getByRole("button", { name: "WebGPU" }).click());
  assert.deepEqual([onGpu.error, onGpu.info.device, onGpu.info.precision], [null, "webgpu", "int8"]);
  assert.ok(Math.abs(onGpu.topHits[0].score - whole) < 0.05);
  const refused = await loads(() => page.locator("#model-folder").setInputFiles(join(GOLDEN, "architectures/nomic-moe-1")));
  assert.equal(refused.error.code, "unsupported-option");
  assert.match(await page.locator("#error-advice").textContent(), /another model or precision under Model/);
  assert.equal((await loads(() => page.getByRole("button", { name: "WebAssembly" }).click())).error, null);
  await loads(() => page.getByLabel("Precision").selectOption("auto"));
  await name().fill("./model/");
  const exact = await loads(() => page.getByRole("button", { name: "Load", exact: true }).click());
  assert.equal(exact.topHits[0].score, whole);
});

test("a folder is read where it lies", async () => {
  const asked = site.requests.length;
  const read = await loads(() => page.locator("#model-folder").setInputFiles(model));
  assert.equal(read.error, null);
  assert.match(read.model, /^folder .+/);
  assert.equal(await name().inputValue(), read.model);
  assert.equal(read.topHits[0].title, "Tomato leaves turning yellow");
  assert.deepEqual(site.requests.slice(asked).filter((path) => path.includes("/model/")), []);
});

test("a model that was made to classify sorts by its own labels", async () => {
  const read = await loads(() => page.locator("#model-folder").setInputFiles(join(GOLDEN, "tasks/bert-labels")));
  assert.deepEqual([read.error, read.info.task], [null, "classify"]);
  await page.getByRole("tab", { name: "Classify" }).click();
  await page.getByLabel("Sort by").selectOption("the model's own labels");
  await page.getByLabel("Texts to sort, one per line").fill("a dog");
  await page.waitForFunction(() => document.getElementById("classify-status").textContent.startsWith("1 text sorted by the"));
  const labels = await page.locator("#predictions li span:first-child").allTextContents();
  assert.ok(labels.length > 1 && labels.every((label) => read.info.labels.includes(label)), `${labels}`);
  assert.ok(!(await page.getByRole("button", { name: "Add a label" }).isVisible()));
  await page.getByRole("tab", { name: "Search" }).click();
});

test("axe finds nothing, and the page complained of nothing", async () => {
  const { violations } = await new AxeBuilder({ page }).analyze();
  assert.deepEqual(violations.map(({ id, nodes }) => `${id} ${nodes[0].html}`), []);
  assert.deepEqual(page.complaints, []);
});
