// The extension of `web/extension` in Firefox, as a temporary add-on, with a tiny model: its background page answers, the page that is its
// sidebar asks for the permission for bookmarks, adds them and finds them, on the CPU, and finds them again when it is opened anew. The page
// is in a tab and Firefox grants permissions without a question, as its preference says; what its own buttons do is not tested.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { bookmarks, closest } from "../browser/bookmarks.mjs";
import { GOLDEN } from "../browser/harness.mjs";
import { firefox } from "./firefox.mjs";

const BUILD = fileURLToPath(new URL("../../web/extension/build.mjs", import.meta.url));
/** Where the extension is, which Firefox would draw by chance. */
const HOST = "11111111-2222-4333-8444-555555555555";
const marks = bookmarks(40);

/** Runs in the page: waits until the text of an element is as it should be. */
async function says(selector, pattern) {
  const text = () => document.querySelector(selector).innerText;
  for (const start = Date.now(); !new RegExp(pattern).test(text()); ) {
    if (Date.now() - start > 60_000) throw new Error(`${selector} says "${text()}", not ${pattern}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

test("the extension in Firefox", { timeout: 600_000 }, async (t) => {
  const out = mkdtempSync(join(tmpdir(), "embedlet-extension-firefox-"));
  t.after(() => rmSync(out, { recursive: true, force: true }));
  execFileSync(process.execPath, [BUILD, "--model", join(GOLDEN, "models/bert-mean"), "--out", out], { stdio: ["ignore", "ignore", "inherit"] });
  const extension = join(out, "firefox");
  const { id } = JSON.parse(readFileSync(join(extension, "manifest.json"), "utf8")).browser_specific_settings.gecko;
  const browser = await firefox({
    "extensions.webextensions.uuids": JSON.stringify({ [id]: HOST }),
    "extensions.webextOptionalPermissionPrompts": false,
  });
  t.after(browser.close);
  assert.equal((await browser.install(extension)).value, id);

  const open = async () => {
    await browser.goto(`moz-extension://${HOST}/panel.html`);
    await browser.evaluate(says, "#model", "^Runs on the CPU");
  };
  const search = async (query) => {
    await browser.evaluate(async (query) => {
      document.getElementById("found").replaceChildren();
      document.getElementById("query").value = query;
    }, query);
    await browser.type("#query", "\uE007");
    await browser.evaluate(says, "#found", ".");
    return browser.evaluate(async () => [...document.querySelectorAll("#found a")].map(({ href }) => href));
  };
  await open();
  assert.ok(await browser.evaluate(async () => "Worker" in (await chrome.runtime.getBackgroundPage())), "the background is a document");
  const contains = (permission) => browser.evaluate(async (permission) => chrome.permissions.contains({ permissions: [permission] }), permission);
  assert.equal(await contains("bookmarks"), false);
  // Those that a new Firefox has.
  await browser.click("#add-bookmarks");
  await browser.evaluate(says, "#added", "added\\.$");
  assert.deepEqual([await contains("bookmarks"), await contains("history")], [true, false]);
  const before = await browser.evaluate(async () => Number.parseInt(document.getElementById("added").innerText, 10));
  await browser.evaluate(async (marks) => {
    for (const mark of marks) await chrome.bookmarks.create(mark);
  }, marks);
  await browser.click("#add-bookmarks");
  const kept = `^${before + marks.length} pages`;
  await browser.evaluate(says, "#kept", kept);
  const query = marks[17].title;
  const list = await browser.evaluate(async () => (await chrome.bookmarks.search({})).filter(({ url }) => /^https?:/.test(url)));
  const expected = (await browser.evaluate(closest, { query, list })).slice(0, 5);
  assert.deepEqual((await search(query)).slice(0, 5), expected);
  await open();
  await browser.evaluate(says, "#kept", kept);
  assert.deepEqual((await search(query)).slice(0, 5), expected);
});
