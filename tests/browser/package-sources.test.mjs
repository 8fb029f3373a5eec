// Where models come from in a browser besides plain servers: an extension's own package, picked files, a directory handle. Node has
// no such things, or only in part.

import assert from "node:assert/strict";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { DIST, GOLDEN, browser, launchWith, open, served, start } from "./harness.mjs";

const MODEL = join(GOLDEN, "models/bert-mean");

let expected;
start({ webgpu: false }, async () => {
  const page = await open(browser, served);
  expected = await page.evaluate(embedded, "/golden/models/bert-mean/");
  await page.close();
});

/** Runs in the page: the vector of a text by a model that is loaded from `source`, and what the load told. */
async function embedded(source) {
  const events = [];
  const encoder = await embedlet.Encoder.load(source, { device: "wasm", onProgress: (event) => events.push(event) });
  const vector = [...(await encoder.embed("the boats")).row(0)];
  encoder.dispose();
  const weights = events.findLast(({ status, file }) => status === "done" && file === "model.safetensors").loaded;
  return { vector, weights, cache: encoder.info.cache };
}

test("an extension reads a model out of its own package, and keeps it", { timeout: 60_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), "embedlet-extension-"));
  const extension = join(folder, "extension");
  mkdirSync(extension);
  cpSync(DIST, join(extension, "pkg"), { recursive: true });
  cpSync(MODEL, join(extension, "model"), { recursive: true });
  writeFileSync(join(extension, "background.js"), "");
  writeFileSync(join(extension, "page.html"), "<!doctype html><title>extension</title>");
  writeFileSync(join(extension, "manifest.json"), JSON.stringify({
    manifest_version: 3, name: "test", version: "1", background: { service_worker: "background.js" },
    content_security_policy: { extension_pages: "script-src 'self' 'wasm-unsafe-eval'; object-src 'self'" },
  }));
  const context = await launchWith(join(folder, "profile"), extension);
  try {
    const [background] = context.serviceWorkers().length ? context.serviceWorkers() : [await context.waitForEvent("serviceworker")];
    const page = await context.newPage();
    await page.goto(new URL("/page.html", background.url()).href);
    // Neither lengths nor ranges are known there.
    const answer = await page.evaluate(async () => {
      const { status, headers } = await fetch("/model/model.safetensors", { headers: { Range: "bytes=100-" } });
      return [status, headers.get("content-length"), headers.get("content-range")];
    });
    assert.deepEqual(answer, [200, null, null]);
    await page.evaluate(async () => void (globalThis.embedlet = await import("/pkg/index.js")));
    const first = await page.evaluate(embedded, "/model/");
    assert.deepEqual(first, { ...expected, cache: { used: "written", reason: null } });
    assert.deepEqual((await page.evaluate(embedded, "/model/")).cache, { used: "read", reason: null });
  } finally {
    await context.close();
    rmSync(folder, { recursive: true, force: true });
  }
});

test("the files of a picked folder", async () => {
  const page = await open(browser, served);
  await page.evaluate(() => document.body.append(Object.assign(document.createElement("input"), { type: "file", webkitdirectory: true })));
  await page.locator("input").setInputFiles(MODEL);
  const found = await page.evaluate(`(${embedded})(document.querySelector("input").files)`);
  assert.deepEqual(found, { ...expected, cache: { used: "none", reason: null } });
  await page.close();
});

test("a directory handle, which the worker reads", async () => {
  const page = await open(browser, served);
  const found = await page.evaluate(`(async () => {
    const root = await navigator.storage.getDirectory();
    const model = await root.getDirectoryHandle("model", { create: true });
    for (const [path, bytes] of Object.entries(await helpers.folder("bert-mean"))) {
      const parts = path.split("/");
      let folder = model;
      for (const part of parts.slice(0, -1)) folder = await folder.getDirectoryHandle(part, { create: true });
      const file = await (await folder.getFileHandle(parts.at(-1), { create: true })).createWritable();
      await file.write(bytes);
      await file.close();
    }
    const found = await (${embedded})(model);
    await root.removeEntry("model", { recursive: true });
    return found;
  })()`);
  assert.deepEqual(found, { ...expected, cache: { used: "none", reason: null } });
  await page.close();
});
