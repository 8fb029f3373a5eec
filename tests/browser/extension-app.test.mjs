// The extension of `web/extension` in Chromium, as it is built for it, with a tiny model: 500 bookmarks are added and found by meaning, the
// document that holds them and the browser itself die while they write, and the network is not there. What is found is held against an
// encoder and a plain product. What a user says to the browser (a permission, the menu of a page, the address bar) is said for him here.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { AxeBuilder } from "@axe-core/playwright";
import { bookmarks, closest } from "./bookmarks.mjs";
import { GOLDEN, kill, launchWith, proxy } from "./harness.mjs";
import { serve } from "./server.mjs";

const BUILD = fileURLToPath(new URL("../../web/extension/build.mjs", import.meta.url));
const COUNT = 500;
const SLOW = { timeout: 120_000 };

const marks = bookmarks(COUNT);

/** In the service worker: what listens to events that only a user's own hand brings about. */
const HEARD = `globalThis.heard = {};
  const events = { typed: chrome.omnibox.onInputChanged, entered: chrome.omnibox.onInputEntered, menu: chrome.contextMenus.onClicked };
  for (const [name, event] of Object.entries(events)) {
    const { addListener } = event;
    event.addListener = (listener) => (heard[name] = listener, addListener.call(event, listener));
  }`;
/** In the document that holds the pages: a write that does not end, the so-manieth from when it is told to. */
const FAULTS = `const channel = new BroadcastChannel("faults");
  let left = Infinity;
  channel.onmessage = ({ data }) => (left = data);
  const { close } = FileSystemWritableFileStream.prototype;
  FileSystemWritableFileStream.prototype.close = function () {
    if (--left > 0) return close.call(this);
    channel.postMessage("reached");
    return new Promise(() => {});
  };`;
/** In pages of the web: a connection as a page of the extension makes it. */
const CONTENT = `const port = chrome.runtime.connect({ name: "pages" });
  const state = (text) => (document.documentElement.dataset.state = text);
  port.onMessage.addListener(() => state("answered"));
  port.onDisconnect.addListener(() => state("refused"));`;

let folder;
before(() => (folder = mkdtempSync(join(tmpdir(), "embedlet-extension-app-"))));
after(() => rmSync(folder, { recursive: true, force: true }));

/** The extension with this model, as if the user had allowed what he may be asked for. */
function built(name, model) {
  const out = join(folder, name);
  execFileSync(process.execPath, [BUILD, "--model", model, "--out", out], { stdio: ["ignore", "ignore", "inherit"] });
  const extension = join(out, "chromium");
  const file = (path) => join(extension, path);
  const manifest = JSON.parse(readFileSync(file("manifest.json"), "utf8"));
  const { optional_permissions, optional_host_permissions, ...rest } = manifest;
  assert.deepEqual(optional_permissions, ["bookmarks", "history"]);
  const permissions = [...rest.permissions, ...optional_permissions];
  const content_scripts = [{ matches: ["http://127.0.0.1/*"], js: ["content.js"] }];
  writeFileSync(file("manifest.json"), JSON.stringify({ ...rest, permissions, host_permissions: optional_host_permissions, content_scripts }));
  writeFileSync(file("heard.js"), HEARD);
  writeFileSync(file("faults.js"), FAULTS);
  writeFileSync(file("content.js"), CONTENT);
  for (const [name, first] of [["background.js", "heard.js"], ["offscreen.js", "faults.js"]]) {
    writeFileSync(file(name), `import "./${first}";\n${readFileSync(file(name), "utf8")}`);
  }
  return extension;
}

/** Chromium with it, and the page that is its side panel. */
async function started(name, extension, flags) {
  const profile = join(folder, `${name}-profile`);
  const context = await launchWith(profile, extension, { flags });
  const [background] = context.serviceWorkers().length ? context.serviceWorkers() : [await context.waitForEvent("serviceworker")];
  const panel = await opened(context, background);
  return { context, background, panel, kill: () => kill(context, profile) };
}

async function opened(context, background, path = "panel.html") {
  const page = await context.newPage();
  await page.goto(new URL(path, background.url()).href);
  await page.getByText(/^Runs on the CPU/).waitFor();
  return page;
}

const kept = (panel) => panel.evaluate(() => Number.parseInt(document.getElementById("kept").textContent, 10));
/** In a tab behind others nothing is drawn. */
const keeps = (panel, count) =>
  panel.waitForFunction((count) => Number.parseInt(document.getElementById("kept").textContent, 10) === count, count, { polling: 50 });
const links = (panel) => panel.locator("#found a").evaluateAll((links) => links.map((link) => link.href));
const said = (panel, text) => panel.locator("#added", { hasText: text }).waitFor({ timeout: 60_000 });

async function search(panel, query) {
  await panel.getByLabel("Say what you are looking for").fill(query);
  await panel.locator("#found").evaluate((list) => list.replaceChildren());
  await panel.getByLabel("Say what you are looking for").press("Enter");
  await panel.locator("#found li").first().waitFor();
  return links(panel);
}

/** The bookmarks, of which a browser that is killed has not written all. */
async function makeBookmarks(panel) {
  await panel.evaluate(async (marks) => {
    const there = new Set((await chrome.bookmarks.search({})).map(({ url }) => url));
    for (const mark of marks) if (!there.has(mark.url)) await chrome.bookmarks.create(mark);
    await chrome.bookmarks.create({ title: "no page", url: "javascript:alert(1)" });
    await chrome.bookmarks.create({ title: "a long way", url: `https://long.example/${"x".repeat(1200)}` });
    const folder = await chrome.bookmarks.create({ title: "once more" });
    await chrome.bookmarks.create({ ...marks[3], parentId: folder.id });
  }, marks);
}

/** Starts to add all bookmarks; resolves in the middle of a write. */
async function addUntil(panel, write) {
  const reached = panel.evaluate((write) => new Promise((resolve) => {
    const channel = new BroadcastChannel("faults");
    channel.onmessage = resolve;
    channel.postMessage(write);
  }), write);
  await panel.getByRole("button", { name: "Bookmarks" }).click();
  await reached;
}

test("500 bookmarks, deaths in the middle of a write, no network", SLOW, async (t) => {
  const served = await serve({});
  t.after(() => served.close());
  served.routes.set("/page", (_, response) => response.writeHead(200, { "content-type": "text/html" }).end(
    "<!doctype html><title>A museum</title><nav>Menu</nav><main><h1>Hours</h1><p>The museum opens at nine.</p></main>"));
  const watched = await proxy(served);
  t.after(() => watched.close());
  const extension = built("packed", join(GOLDEN, "models/bert-mean"));
  const start = () => started("packed", extension, watched.flags);
  const QUERY = marks[217].title;
  let app = await start();
  t.after(() => app.context.close().catch(() => {}));

  await t.test("the browser is killed while it writes: what was committed is there", async () => {
    await makeBookmarks(app.panel);
    await addUntil(app.panel, 5);
    await app.kill();
    app = await start();
    const count = await kept(app.panel);
    assert.ok(count > 0 && count < COUNT && count % 100 === 0, `${count} are kept`);
    assert.equal((await search(app.panel, QUERY)).length, 20);
  });

  await t.test("the document is closed while it writes: it is made again, and all are added", async () => {
    await makeBookmarks(app.panel);
    await addUntil(app.panel, 3);
    assert.ok(await kept(app.panel) < COUNT);
    await app.panel.evaluate(() => chrome.offscreen.closeDocument());
    await said(app.panel, `${COUNT} pages added.`);
    assert.equal(await kept(app.panel), COUNT);
  });

  await t.test("after a new start, the closest are found, and a page in many forms once", async () => {
    await app.context.close();
    app = await start();
    assert.equal(await kept(app.panel), COUNT);
    const expected = await app.panel.evaluate(closest, { query: QUERY, list: marks });
    // The scan is of integers: farther down, what is nearly as close may be missing.
    assert.deepEqual((await search(app.panel, QUERY)).slice(0, 5), expected.slice(0, 5));
    await app.panel.evaluate((url) => chrome.history.addUrl({ url }), marks[217].url);
    await app.panel.getByRole("button", { name: "History" }).click();
    await said(app.panel, /pages? added\.$/);
    assert.ok(await kept(app.panel) > COUNT);
    const found = await search(app.panel, QUERY);
    assert.equal(new Set(found).size, found.length);
  });

  await t.test("the address bar", async () => {
    const { background, context } = app;
    const suggestions = await background.evaluate((text) => new Promise((resolve) => heard.typed(text, resolve)), QUERY);
    assert.deepEqual(suggestions.map(({ content }) => content), (await links(app.panel)).slice(0, 6));
    const entered = background.evaluate((text) => heard.entered(text, "newForegroundTab"), QUERY);
    const [page] = await Promise.all([context.waitForEvent("page"), entered]);
    await page.locator("#found li").first().waitFor();
    assert.deepEqual(await links(page), await links(app.panel));
    await page.close();
  });

  await t.test("what is no message of the extension's, and pages of the web, are refused", async () => {
    const { panel, context } = app;
    const answers = await panel.evaluate(() => {
      const page = { url: "https://a.example/", title: "", text: "", origin: "page" };
      const ask = (request) => ({ id: 0, request });
      const messages = [
        null, [], { id: -1, request: { kind: "open" } }, ask({ kind: "constructor" }), ask({ kind: "search", query: "a".repeat(2000) }),
        ...[{ url: "javascript:alert(1)" }, { origin: "elsewhere" }, { text: 1 }].map((change) => ask({ kind: "add", pages: [{ ...page, ...change }] })),
        ask({ kind: "add", pages: Array(101).fill(page) }),
      ];
      return Promise.all(messages.map((message) => new Promise((resolve) => {
        const port = chrome.runtime.connect({ name: "pages" });
        port.onMessage.addListener((told) => "id" in told && resolve("answered"));
        port.onDisconnect.addListener(() => resolve("refused"));
        port.postMessage(message);
      })));
    });
    assert.deepEqual(answers, Array(9).fill("refused"));
    const site = await context.newPage();
    await site.goto(`${served.url}/page`);
    await site.locator("html[data-state=refused]").waitFor({ state: "attached" });
    await site.close();
    assert.ok((await search(panel, QUERY)).length > 0);
  });

  await t.test("the panel is accessible, in light and dark", async () => {
    for (const colorScheme of ["light", "dark"]) {
      await app.panel.emulateMedia({ colorScheme });
      const { violations } = await new AxeBuilder({ page: app.panel }).setLegacyMode().analyze();
      assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]), []);
    }
  });

  await t.test("nothing is left when all is forgotten", async () => {
    const { panel } = app;
    await panel.getByRole("button", { name: "Forget all pages" }).click();
    await panel.getByRole("button", { name: "Keep them" }).click();
    assert.ok(await kept(panel) >= COUNT);
    await panel.getByRole("button", { name: "Forget all pages" }).click();
    await panel.getByRole("button", { name: "Forget", exact: true }).click();
    await panel.getByText("0 pages, 0.0 kB").waitFor();
    await panel.getByText("Nothing has been added yet.").waitFor();
    // Whoever searches afterwards opens an index that is empty: one file, its manifest.
    const files = await panel.evaluate(async () => {
      let folder = await navigator.storage.getDirectory();
      for (const name of ["embedlet-index", "pages"]) folder = await folder.getDirectoryHandle(name);
      return Array.fromAsync(folder.keys());
    });
    assert.ok(files.every((name) => name.startsWith("manifest-")), `${files}`);
  });

  await t.test("the text of a page is added, by its menu and by the panel, and removed", async () => {
    const { background, context, panel } = app;
    const before = await kept(panel);
    const site = await context.newPage();
    await site.goto(`${served.url}/page#hours`);
    const badge = await background.evaluate(async () => {
      const [tab] = await chrome.tabs.query({ active: true });
      await heard.menu({ menuItemId: "add this page" }, tab);
      return chrome.action.getBadgeText({ tabId: tab.id });
    });
    assert.equal(badge, "✓");
    await keeps(panel, before + 1);
    await panel.evaluate(() => document.getElementById("add-page").click());
    await said(panel, "1 page added.");
    await keeps(panel, before + 1);
    assert.equal((await search(panel, "When does it open?"))[0], `${served.url}/page`);
    await panel.getByRole("button", { name: "Forget all pages" }).click(); // it was answered with yes before
    await panel.keyboard.press("Escape");
    assert.equal((await search(panel, "When does it open?"))[0], `${served.url}/page`);
    assert.equal(await kept(panel), before + 1);
    const passage = await panel.locator("#found li p").first().textContent();
    assert.ok(passage.length > 5 && "Hours\nThe museum opens at nine.".includes(passage), passage);
    await panel.getByRole("button", { name: "Remove A museum" }).click();
    await panel.getByText("A museum was removed.").waitFor();
    await keeps(panel, before);
    await panel.bringToFront();
    await panel.getByRole("button", { name: "This page" }).click();
    await said(panel, /^This page was not added: /);
    await site.goto(`${served.url}/page?${"x".repeat(1200)}`);
    const long = await background.evaluate(async () => {
      const [tab] = await chrome.tabs.query({ url: "*://*/page?*" });
      await heard.menu({ menuItemId: "add this page" }, tab);
      return chrome.action.getBadgeText({ tabId: tab.id });
    });
    assert.notEqual(long, "✓");
  });

  assert.ok(watched.log.length > 0, "requests are seen");
  assert.deepEqual(watched.log.filter((url) => !url.startsWith(`${served.url}/page`) && url !== `${served.url}/favicon.ico`), []);
});

test("a model that was fetched once is there without its server", SLOW, async (t) => {
  const served = await serve({ "/model/": join(GOLDEN, "models/bert-mean") }, { "access-control-allow-origin": "*" });
  const extension = built("fetched", `${served.url}/model/`);
  let app = await started("fetched", extension, []);
  t.after(() => app.context.close());
  assert.ok(served.requests.includes("/model/model.safetensors"));
  await app.panel.evaluate((mark) => chrome.bookmarks.create(mark), marks[0]);
  await app.panel.getByRole("button", { name: "Bookmarks" }).click();
  await said(app.panel, "1 page added.");
  await app.context.close();
  await served.close();
  app = await started("fetched", extension, []);
  assert.equal((await search(app.panel, "boats"))[0], marks[0].url);
});
