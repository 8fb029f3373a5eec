// The package in Firefox: every architecture on WebGPU with the kernels of software and those of hardware, since Firefox has a compiler of
// WGSL and limits of its own; and what keeps files. On Linux WebGPU is behind a preference, and without a GPU the system's Vulkan in software
// plays one.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { compare } from "../browser/harness.mjs";
import { everyArchitecture, pageSite, team, vectorsOf, visit } from "./elsewhere.mjs";
import { WEBGPU, firefox } from "./firefox.mjs";

let browser;
let served;

before(async () => {
  served = await pageSite();
  browser = await firefox(WEBGPU);
});
after(async () => {
  await browser?.close();
  await served?.close();
});

async function open(query) {
  await browser.goto(served.page(query));
  return browser;
}

for (const [kernels, query, software] of [["software", "", true], ["hardware", "?hardware", false]]) {
  everyArchitecture(`every architecture with the kernels of ${kernels}`, () => open(query), "webgpu", (adapter) => assert.equal(adapter.software, software));
}

test("matrices in halves and in integers", { timeout: 300_000 }, async () => {
  await open("?hardware");
  for (const [name, precision, held, least] of [
    ["packed/modernbert-q4", "auto", "packed", 0.99999],
    ["architectures/modernbert-1", "f16", "f16", 0.9999],
    ["architectures/modernbert-1", "int8", "int8", 0.99],
  ]) {
    const floats = await vectorsOf(browser, name, { device: "webgpu", precision: "f32" });
    const found = await vectorsOf(browser, name, { device: "webgpu", precision });
    assert.equal(found.held, held);
    const { minCosine } = compare(found.data, floats.data, floats.dimensions);
    assert.ok(minCosine > least, `${precision}: cosine ${minCosine}`);
  }
});

test("threads that share one memory, where a page is isolated", { timeout: 120_000 }, async () => {
  const isolated = await pageSite({ "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" });
  try {
    await browser.goto(isolated.page());
    assert.deepEqual(await team(browser, 2), { shared: 1, same: true });
  } finally {
    await isolated.close();
  }
  await open();
  assert.deepEqual(await team(browser, 2), { shared: 0, same: true });
});

test("a model and an index that stay, on both devices", { timeout: 300_000 }, async () => {
  for (const [device, used] of [["wasm", "written"], ["webgpu", "read"], ["wasm", "read"]]) {
    await open();
    assert.deepEqual(await visit(browser, device, "opfs"), { device, used, ended: "AbortError", hits: 2 });
  }
});
