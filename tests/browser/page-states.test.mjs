// The page's own states, against an encoder that does as its script says (`page-scripted.mjs`): errors and the way out of them,
// hostile words from a model, a device lost in use, damaged files that must not stay stored, texts that cannot be kept. Needs no wasm
// and no model.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { appendFileSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { AxeBuilder } from "@axe-core/playwright";
import { launch } from "./harness.mjs";
import { open, report, serve, state } from "./page-site.mjs";
import { esbuild } from "./page-source.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const HOSTILE = '<img src=x onerror="alert(1)">';
const INFO = {
  architecture: "bert", dimensions: 384, maxTokens: 256, layers: 6, device: "webgpu", reason: null, precision: "f16",
  adapter: { vendor: "acme", architecture: "roadrunner-2", description: "", software: false },
  weightBytes: 45_000_000, dispatches: 44, pooling: ["mean"], normalized: true, similarity: "cosine", prompts: {},
  defaultPromptName: null, loraAdaptations: [], selfCheck: { kernels: 9, maxError: 3.1e-6, passed: true },
};

let browser;
let folder;
before(async () => {
  browser = await launch();
  folder = mkdtempSync(join(tmpdir(), "embedlet-page-"));
  mkdirSync(join(folder, "package"));
  mkdirSync(join(folder, "model"));
  await esbuild.build({ entryPoints: [join(here, "page-scripted.mjs")], bundle: true, format: "esm", outfile: join(folder, "package/index.js") });
  copyFileSync(join(here, "../../pkg/dist/search.js"), join(folder, "package/search.js"));
  copyFileSync(join(here, "page-scripted-worker.mjs"), join(folder, "package/worker.js"));
  for (const name of ["cluster.js", "embedlet_bg.wasm", "embedlet_relaxed_bg.wasm"]) writeFileSync(join(folder, "package", name), "");
  writeFileSync(join(folder, "model/model.safetensors"), Buffer.alloc(1_000_003, 7));
  build();
});
after(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true, force: true });
});

function build() {
  execFileSync(process.execPath, [join(here, "../../web/build.mjs"), "--package", join(folder, "package"), "--out", join(folder, "page")]);
}

function write(script) {
  writeFileSync(join(folder, "model/script.json"), JSON.stringify({ ...script, info: { ...INFO, ...script.info } }));
}

/** A page of its own profile and server whose encoder follows `script`. */
async function visit(script, body, parameters = "") {
  write(script);
  const site = await serve({ page: join(folder, "page"), model: join(folder, "model") });
  const page = await open(browser);
  try {
    await page.goto(site.url + parameters);
    await state(page, "ready", "error");
    await body(page, site);
    assert.deepEqual(page.complaints, []);
  } finally {
    await page.context().close();
    await site.close();
  }
}

const text = (page, id) => page.locator(`#${id}`).textContent();

test("the device card tells what the encoder found", () => visit({}, async (page) => {
  const rows = await page.locator("#device > div").evaluateAll((all) => all.map((row) => [...row.children].map((cell) => cell.textContent).join(": ")));
  assert.deepEqual(rows, ["Runs on: WebGPU", "Adapter: acme roadrunner-2", "Kind: hardware", "Precision: f16 stored, f32 summed",
    "Dispatches: 44 for a short text", "Weights: 45.0 MB", "Self-check: 9 kernels agree with the processor, to 3.1e-6",
    "Model: bert, 6 layers, 384 dimensions, 256 tokens"]);
  assert.match(await text(page, "load-bytes"), /^1,000,003 bytes$/);

  await page.getByRole("button", { name: "WebAssembly" }).click();
  await page.waitForFunction(() => JSON.parse(document.getElementById("report").textContent).device === "wasm");
  await state(page, "ready");
  assert.equal(await page.getByRole("button", { name: "WebAssembly" }).getAttribute("aria-pressed"), "true");
  assert.equal(await page.locator("#device > div", { hasText: "Adapter" }).count(), 0);
  assert.equal(await text(page, "loading-title"), "Ready on WebAssembly");
}));

test("hostile words of a model and its device are text", () => visit(
  { info: { architecture: HOSTILE, adapter: { vendor: HOSTILE, architecture: "", description: HOSTILE, software: true }, reason: HOSTILE } },
  async (page) => {
    assert.ok((await text(page, "device")).split(HOSTILE).length >= 4);
    assert.equal(await page.locator("#device img").count(), 0);
  },
  "?device=webgpu",
));

test("an error is shown as text with its code and advice; another device is a way out of it", () => visit(
  { fail: { device: "wasm", code: "self-check-failed", message: `kernel ${HOSTILE} is off by 3.` } },
  async (page) => {
    assert.equal((await report(page)).state, "error");
    assert.deepEqual((await report(page)).error, { code: "self-check-failed", message: `kernel ${HOSTILE} is off by 3.` });
    assert.equal(await text(page, "loading-title"), "The model did not load");
    assert.equal(await text(page, "error-message"), `kernel ${HOSTILE} is off by 3.`);
    assert.match(await text(page, "error-advice"), /Choose WebAssembly under Device/);
    assert.equal(await text(page, "error-code"), "self-check-failed");
    const { violations } = await new AxeBuilder({ page }).analyze();
    assert.deepEqual(violations.map(({ id, nodes }) => `${id} ${nodes[0].html}`), []);

    await page.getByRole("button", { name: "WebAssembly" }).click();
    await state(page, "ready");
    assert.ok(!(await page.locator("#load-error").isVisible()));
    assert.equal((await report(page)).error, null);
  },
));

test("a device lost in use: the page says so, and trying again goes on", () => visit({ lostAfter: 3 }, async (page) => {
  assert.equal((await report(page)).error.code, "device-lost");
  assert.equal(await text(page, "loading-title"), "The encoder stopped");
  write({});
  // The files are not what failed, so they are still stored, and the script is one of them.
  await page.getByRole("button", { name: "Remove this page's model" }).click();
  await page.waitForFunction(() => document.getElementById("storage").textContent.includes("no model is"));
  await page.getByRole("button", { name: "Try again" }).click();
  await state(page, "ready");
  assert.equal((await report(page)).documents, 122);
}));

test("files that were found wrong do not stay stored", () => visit(
  { fail: { code: "wrong-hash", message: "model.safetensors is another file." } },
  async (page, site) => {
    assert.equal((await report(page)).error.code, "wrong-hash");
    write({});
    await page.getByRole("button", { name: "Try again" }).click();
    await state(page, "ready");
    assert.equal(site.sent.get("model/model.safetensors"), 2 * 1_000_003);
  },
));

test("a download that breaks off is not stored and can be tried again", async () => {
  write({});
  const site = await serve({ page: join(folder, "page"), model: join(folder, "model") });
  const page = await open(browser);
  try {
    site.cutAt = 300_000;
    await page.goto(site.url);
    await state(page, "error");
    assert.equal((await report(page)).error.code, "network");
    assert.match(await text(page, "error-advice"), /connection/);
    site.cutAt = Infinity;
    page.complaints = []; // Chromium itself reports the broken download
    await page.getByRole("button", { name: "Try again" }).click();
    await state(page, "ready");
    assert.deepEqual(page.complaints, []);
  } finally {
    await page.context().close();
    await site.close();
  }
});

test("a choice of device during a load gives that load up", async () => {
  write({});
  const site = await serve({ page: join(folder, "page"), model: join(folder, "model") });
  site.rate = 200_000;
  const page = await open(browser);
  try {
    await page.goto(site.url);
    await page.waitForFunction(() => document.getElementById("load-bar").value > 0);
    site.rate = Infinity;
    await page.getByRole("button", { name: "WebGPU" }).click();
    await state(page, "ready");
    assert.equal((await report(page)).device, "webgpu");
    assert.deepEqual(page.complaints, []);
  } finally {
    await page.context().close();
    await site.close();
  }
});

test("a newer version of the page is offered, and taken when the reader wants it", () => visit({}, async (page) => {
  const version = () => page.evaluate(async () => (await (await fetch("embedlet/index.js")).text()).includes("a newer version"));
  appendFileSync(join(folder, "package/index.js"), "// a newer version\n");
  build();
  await page.reload();
  await state(page, "ready");
  assert.equal(await version(), false, "one page must not mix two versions");
  await page.getByRole("button", { name: "Reload now" }).click();
  await page.waitForFunction(async () => (await caches.keys()).filter((name) => name.includes(" page ")).length === 1
    && document.getElementById("update").hidden);
  await state(page, "ready");
  assert.equal(await version(), true);
}));

test("texts that cannot be kept are searched all the same, outlive a change of device, and the reader is told", async () => {
  write({});
  const site = await serve({ page: join(folder, "page"), model: join(folder, "model") });
  const page = await open(browser);
  await page.addInitScript(() => (StorageManager.prototype.getDirectory = () => Promise.reject(new DOMException("not here", "SecurityError"))));
  try {
    await page.goto(site.url);
    await state(page, "ready", "error");
    await page.getByRole("tab", { name: "Your texts" }).click();
    assert.match(await text(page, "texts-kept"), /^Here until this page is closed.*not here/);
    await page.getByLabel("Paste texts").fill("A kiln fires clay until it rings.");
    await page.getByRole("button", { name: "Add these texts" }).click();
    await page.waitForFunction(() => JSON.parse(document.getElementById("report").textContent).documents === 123);
    await page.getByRole("button", { name: "WebAssembly" }).click();
    await page.waitForFunction(() => JSON.parse(document.getElementById("report").textContent).device === "wasm");
    await state(page, "ready");
    assert.equal((await report(page)).passages, 123);
    await page.getByRole("button", { name: "Forget my texts" }).click();
    await page.waitForFunction(() => JSON.parse(document.getElementById("report").textContent).passages === 122);
    assert.equal(await text(page, "text-count"), "122");
    assert.deepEqual(page.complaints, []);
  } finally {
    await page.context().close();
    await site.close();
  }
});

test("storage that is full is no fault of the model: the page says so, and trying again goes on", () => visit({}, async (page) => {
  await page.evaluate(() => {
    const { createWritable } = FileSystemFileHandle.prototype;
    FileSystemFileHandle.prototype.createWritable = async () => {
      FileSystemFileHandle.prototype.createWritable = createWritable;
      throw new DOMException("no room", "QuotaExceededError");
    };
  });
  await page.getByRole("tab", { name: "Your texts" }).click();
  await page.getByLabel("Paste texts").fill("A kiln fires clay until it rings.");
  await page.getByRole("button", { name: "Add these texts" }).click();
  await state(page, "error");
  assert.equal((await report(page)).error.code, "storage-full");
  assert.equal(await text(page, "loading-title"), "The texts cannot be kept");
  await page.getByRole("button", { name: "Try again" }).click();
  await state(page, "ready");
  assert.equal((await report(page)).documents, 123);
}));

test("a collection of the page is stored once it was asked for, shows how far it is, can be removed meanwhile, and goes on where it was", () => visit({}, async (page, site) => {
  const add = page.getByRole("button", { name: "Add 2,000 words and what they mean" });
  const documents = async () => (await report(page)).documents;
  const stored = () => page.evaluate(async () => (await caches.match("glosses.json")) !== undefined);
  await page.waitForFunction(async () => (await caches.match("map-room.js")) !== undefined);
  await page.getByRole("tab", { name: "Your texts" }).click();
  await add.waitFor();
  assert.deepEqual([await stored(), site.sent.has("glosses.json")], [false, false]);
  assert.equal(await page.getByRole("button", { name: "Add 122 notes about everyday things" }).count(), 0);
  await add.click();
  await page.waitForFunction(() => document.getElementById("texts-bar").value > 300);
  assert.ok((await documents()) === 2122 && (await page.locator("#texts-bar").isVisible()) && !(await add.isVisible()));
  await page.getByRole("button", { name: "Remove Words and what they mean" }).click();
  await state(page, "ready");
  assert.deepEqual([await documents(), (await report(page)).passages, await stored()], [122, 122, true]);

  const { length } = site.requests;
  await add.click();
  await page.waitForFunction(() => document.getElementById("texts-bar").value > 300);
  await page.reload(); // what was embedded is kept
  await state(page, "ready");
  const kept = await documents();
  assert.ok(kept > 300 && kept < 2122, `${kept}`);
  await page.getByRole("tab", { name: "Your texts" }).click();
  await add.click();
  await page.waitForFunction(() => JSON.parse(document.getElementById("report").textContent).passages === 2122, undefined, { timeout: 120_000 });
  await state(page, "ready");
  assert.deepEqual(site.requests.slice(length).filter((path) => path.endsWith("glosses.json")), []);
}));
