// The package in WebKitGTK, which has Safari's engine and no WebGPU: every architecture on wasm, workers, the Cache API, and an index in
// memory, since this build has no private file system.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { everyArchitecture, pageSite, visit } from "./elsewhere.mjs";
import { isMissing, webkit } from "./webkit.mjs";

describe("WebKitGTK", { skip: isMissing() }, () => {
  let browser;
  let served;

  before(async () => {
    served = await pageSite();
    browser = await webkit();
  });
  after(async () => {
    await browser?.close();
    await served?.close();
  });

  async function open() {
    await browser.goto(served.page());
    return browser;
  }

  everyArchitecture("every architecture", open, "wasm");

  test("a model that is kept, an index in memory, an abort", { timeout: 300_000 }, async () => {
    await open();
    // A session under a driver keeps nothing on disk, and a cache as long as somebody has it open.
    await browser.evaluate(async () => void (window.kept = await caches.open("embedlet models 2")));
    for (const used of ["written", "read"]) {
      assert.deepEqual(await visit(browser, "auto", "memory"), { device: "wasm", used, ended: "AbortError", hits: 2 });
    }
  });
});
