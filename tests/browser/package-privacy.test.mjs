// Nothing is asked of any network after a load, whatever is asked of the encoder: seen from a proxy that all of the browser's traffic
// goes through, and from what the browser tells of its page and workers. What would be asked is seen, and without a network all works.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { extname, join } from "node:path";
import { after, before, test } from "node:test";
import { DIST, launch, open, proxy, site } from "./harness.mjs";

let served;
let browser;
let watched;
let log;

before(async () => {
  served = await site();
  served.routes.set("/service.js", (_, response) => {
    response.writeHead(200, { "content-type": "text/javascript" });
    response.end(`onmessage = ({ ports }) => fetch("http://service.invalid/").catch(() => ports[0].postMessage(0))`);
  });
  watched = await proxy(served);
  log = watched.log;
  browser = await launch({ flags: watched.flags });
});
after(async () => {
  await browser?.close();
  watched?.close();
  await served?.close();
});

/** Runs in the page: loads a model for each of these tasks. */
async function load(device) {
  const at = (path, options) => embedlet.Encoder.load(new URL(`/golden/${path}`, location.href), { device, ...options });
  globalThis.encoders = {
    plain: await at("models/bert-mean"),
    labels: await at("tasks/bert-labels"),
    cross: await at("tasks/bert-cross"),
    entities: await at("tasks/bert-entities"),
    colbert: await at("tasks/colbert"),
  };
}

/** Runs in the page: a text, as a secret would be, is given to every kind of call. */
async function use(secret) {
  const { plain, labels, cross, entities, colbert } = encoders;
  const texts = [secret, `${secret} and the boats`, "the birds"];
  const documents = await plain.embedDocuments(texts);
  const found = plain.similarity(await plain.embedQuery(secret), documents);
  const examples = ["boats", "harbour", "birds", "wings"].map((text, i) => ({ text: `the ${text}`, label: i < 2 ? "sea" : "sky" }));
  const head = await plain.trainHead(examples, { method: "centroids" });
  const multi = await colbert.embedMulti(texts);
  return [
    [...documents.data], [...found], await head.classify(secret),
    await plain.classify(secret, { labels: { sea: ["the boats"], sky: ["the birds"] } }),
    await plain.chunk(secret.repeat(50), { size: 20 }), await plain.tokenize(secret), await plain.explain(secret, { against: "the boats" }),
    await labels.classify(secret), await cross.rerank(secret, texts), await entities.tag(secret), [...(await colbert.maxSim(multi, multi))],
  ];
}

test("of Chromium's own hosts, the package names none", () => {
  const files = readdirSync(DIST, { recursive: true }).filter((name) => extname(name));
  assert.ok(files.length > 10);
  for (const file of files) assert.doesNotMatch(readFileSync(join(DIST, file), "latin1"), /(google|googleapis|gstatic|gvt1)\.com/, file);
});

for (const device of ["wasm", "webgpu"]) {
  test(`no request after the load, on ${device}`, { timeout: 300_000 }, async () => {
    const page = await open(browser, served);
    await page.evaluate(async () => {
      await navigator.serviceWorker.register("/service.js");
      await navigator.serviceWorker.ready;
    });
    /** What the browser tells of requests of the page, its workers and its service workers, and of sockets. */
    const told = [];
    page.context().on("request", (request) => told.push(request.url()));
    page.on("websocket", (socket) => told.push(socket.url()));
    await page.evaluate(load, device);
    assert.ok(log.some((url) => url.endsWith("/golden/models/bert-mean/model.safetensors")));
    assert.ok(told.some((url) => url.endsWith("/golden/models/bert-mean/model.safetensors")), "of the worker too");
    log.length = told.length = 0;
    const first = await page.evaluate(use, "a secret of mine");
    await page.waitForTimeout(500);
    assert.deepEqual([log, told], [[], []]);

    const seen = await page.evaluate(async () => {
      const script = `fetch("http://worker.invalid/").catch(() => postMessage(0))`;
      const worker = new Worker(URL.createObjectURL(new Blob([script])));
      const { active } = await navigator.serviceWorker.ready;
      const { port1, port2 } = new MessageChannel();
      active.postMessage(0, [port2]);
      const outcomes = await Promise.allSettled([
        new Promise((resolve) => (port1.onmessage = resolve)),
        fetch("http://page.invalid/"),
        new Promise((resolve) => (worker.onmessage = resolve)),
        new Promise((resolve) => (new WebSocket("ws://socket.invalid/").onerror = resolve)),
        new Promise((resolve) => (Object.assign(new Image(), { src: "https://image.invalid/" }).onerror = resolve)),
      ]);
      navigator.sendBeacon("http://beacon.invalid/");
      return outcomes.length;
    });
    assert.equal(seen, 5);
    await page.waitForTimeout(500);
    const sees = (list, host) => assert.ok(list.some((url) => url.includes(`${host}.invalid`)), `${host} among ${list}`);
    for (const host of ["service", "worker", "page", "socket", "image", "beacon"]) sees(log, host);
    for (const host of ["service", "worker", "page", "socket", "image"]) sees(told, host);

    await page.context().setOffline(true);
    assert.deepEqual(await page.evaluate(use, "a secret of mine"), first);
    await page.context().setOffline(false);
    await page.close();
  });
}
