// The page's map: its arithmetic in Node against known cases, and the room itself in Chromium, on the processor. Environment as in
// `page.test.mjs`.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { AxeBuilder } from "@axe-core/playwright";
import { drop, open, report, state, visit } from "./page-site.mjs";
import { load, SourceWorker } from "./page-source.mjs";

const { project } = await load("projection.ts");
const { umap } = await load("umap.ts");
globalThis.Worker = SourceWorker;
const { grouped, topics } = await load("topics.ts");
const { encloses } = await load("map-canvas.ts");
const { parseCsv } = await load("csv.ts");

const signal = new AbortController().signal;

test("principal components: the directions of most variance, in their order", async () => {
  // Rows are a mean, `a` along one direction, `b` along another at a right angle to it, and a little along a third.
  const count = 50;
  const a = Array.from({ length: count }, (_, i) => 9 * Math.cos((2 * Math.PI * i) / count));
  const b = Array.from({ length: count }, (_, i) => 4 * Math.sin((2 * Math.PI * i) / count));
  const c = Array.from({ length: count }, (_, i) => Math.cos((4 * Math.PI * i) / count));
  const rows = a.map((_, i) => [7 + 0.6 * a[i], -3 + b[i], 2 + 0.8 * a[i], 1 + c[i], 5]);
  const places = await project({ data: Float32Array.from(rows.flat()), dimensions: 5 }, signal);
  assert.equal(places.length, 2 * count);
  for (let i = 0; i < count; i++) {
    assert.ok(Math.abs(places[2 * i] - a[i]) < 1e-4 && Math.abs(places[2 * i + 1] - b[i]) < 1e-4, `row ${i}: ${places.slice(2 * i, 2 * i + 2)}`);
  }
  assert.deepEqual(await project({ data: Float32Array.from(rows.flat()), dimensions: 5 }, signal), places);
});

test("principal components: rows that differ in one direction or none, and a given-up call", async () => {
  const line = await project({ data: Float32Array.from([0, 0, 3, 4, -3, -4]), dimensions: 2 }, signal);
  assert.deepEqual([...line].map((value) => Math.round(1e5 * value) / 1e5 + 0), [0, 0, 5, 0, -5, 0]);
  assert.deepEqual([...(await project({ data: new Float32Array(12).fill(2), dimensions: 3 }, signal))], new Array(8).fill(0));
  await assert.rejects(project({ data: new Float32Array(12), dimensions: 3 }, AbortSignal.abort()), { name: "AbortError" });
});

test("UMAP: neighbours stay neighbours where two directions cannot show them; the same each time; a given-up call", async () => {
  // Eight groups around points at right angles to each other.
  const [groups, size, dimensions] = [8, 20, 16];
  let state = 7;
  const random = () => (state = (state * 48271) % 2147483647) / 2147483647 - 0.5;
  const rows = Array.from({ length: groups * size }, (_, i) => Array.from({ length: dimensions }, (_, c) => (c === i % groups ? 1 : 0) + 0.4 * random()));
  const data = Float32Array.from(rows.flatMap((row) => row.map((value) => value / Math.hypot(...row))));
  const dot = (a, b) => a.reduce((sum, value, c) => sum + value * b[c], 0);
  const rowsOf = ({ data }) => Array.from({ length: data.length / dimensions }, (_, i) => data.subarray(i * dimensions, (i + 1) * dimensions));
  const encoder = {
    async maxSim(some, all, { signal }) {
      signal.throwIfAborted();
      return Float32Array.from(rowsOf(some).flatMap((row) => rowsOf(all).map((other) => dot(row, other))));
    },
  };
  const nearestIsOfGroup = (places) => rows.filter((_, i) => {
    const distance = (j) => (j === i ? Infinity : Math.hypot(places[2 * i] - places[2 * j], places[2 * i + 1] - places[2 * j + 1]));
    return [...rows.keys()].reduce((best, j) => (distance(j) < distance(best) ? j : best), i === 0 ? 1 : 0) % groups === i % groups;
  }).length / rows.length;
  const components = await project({ data, dimensions }, signal);
  const shares = [];
  const draw = (signal, onProgress) => umap(encoder, { data, dimensions }, components, { signal, onProgress });
  const places = await draw(signal, (share) => shares.push(share));
  assert.ok(nearestIsOfGroup(components) < 0.9 && nearestIsOfGroup(places) > 0.95, `${nearestIsOfGroup(components)}, ${nearestIsOfGroup(places)}`);
  assert.ok(places.every(Number.isFinite) && shares.at(-1) === 1 && shares.every((share, i) => i === 0 || share > shares[i - 1]));
  assert.deepEqual(await draw(signal, () => {}), places);

  const abort = new AbortController();
  await assert.rejects(draw(abort.signal, (share) => share > 0.3 && abort.abort()), { name: "AbortError" });
  // Three points, two of them in one place.
  const few = await umap(encoder, { data: data.slice(0, 3 * dimensions).copyWithin(0, dimensions, 2 * dimensions), dimensions }, new Float32Array(6), { signal, onProgress() {} });
  assert.ok(few.length === 6 && few.every(Number.isFinite));
  const alike = await umap(encoder, { data: Float32Array.from({ length: 20 * dimensions }, (_, i) => data[i % dimensions]), dimensions }, new Float32Array(40), { signal, onProgress() {} });
  assert.ok(alike.every(Number.isFinite));
});

test("clusters are named by words of their titles that others lack", async () => {
  const named = (title, text) => ({ title, text, source: "", passages: [] });
  const documents = [
    named("The bread oven", "Bread rises in the oven."), named("Rye bread", "The bread is dark."), named("", "The bread of yesterday"),
    named("The moon", "The moon pulls at the sea."), named("A full moon", "At night the moon is full."), named("Constructor", "The moon again."),
  ];
  const names = await topics(documents, [0, 0, 0, 1, 1, 1], 3, signal);
  assert.match(names[0], /^bread, /);
  assert.match(names[1], /^moon, /);
  assert.ok(!/\bthe\b/.test(names.join()), `${names}`);
  assert.equal(names[2], "Cluster 3");
  assert.deepEqual(await topics([named("One two", "one two"), named("One", "one")], [0, 0], 1, signal), ["one, two"]);
  const long = Array.from({ length: 60 }, (_, i) => named(i < 30 ? "Rye" : "Sea", `word${i} `.repeat(6000)));
  const labels = long.map(({ title }) => Number(title === "Sea"));
  assert.deepEqual(await topics(long, labels, 2, signal), ["Cluster 1", "Cluster 2"]); // half of all texts: too common
  await assert.rejects(topics(long, labels, 2, AbortSignal.abort()), { name: "AbortError" });
});

test("groups of sources and labels: the largest first, the empty and the rare in the last", () => {
  const { labels, names } = grouped(["b", "a", "", "a"], "others");
  assert.deepEqual([names, [...labels]], [["a", "b", "others"], [1, 0, 2, 0]]);
  assert.deepEqual(grouped(["a", "others"], "others").names, ["a", "others"]);
  assert.deepEqual(grouped(["__proto__", ""], "rest").names, ["__proto__", "rest"]);
  const fifty = Array.from({ length: 50 }, (_, i) => `${i}`);
  assert.deepEqual(grouped(fifty, "others").names, fifty);
  const many = grouped([...fifty, "50", "50"], "others");
  assert.deepEqual([many.names.length, many.names[0], many.names[1], many.names[49]], [50, "50", "0", "others"]);
  assert.deepEqual([...many.labels.slice(46)], [47, 48, 49, 49, 0, 0]);
  assert.deepEqual(grouped([], "others").names, []);
});

test("what a line encloses", () => {
  const bay = [[0, 0], [10, 0], [10, 10], [5, 2], [0, 10]].map(([x, y]) => ({ x, y }));
  const inside = (x, y) => encloses(bay, { x, y });
  assert.deepEqual([inside(1, 5), inside(9, 5), inside(5, 1), inside(5, 5), inside(-1, 5), inside(11, 1)], [true, true, true, false, false, false]);
});

describe("the room", () => {
  let visited;
  let browser;
  let site;
  let page;
  let sample;
  before(async () => {
    visited = await visit({ count: 30 });
    ({ browser, site, page, sample } = visited);
  });
  after(async () => {
    await visited?.end();
    if (page) assert.deepEqual(page.complaints, []);
  });

  const map = () => page.locator(".map canvas");
  const says = (words) => page.waitForFunction((words) => document.querySelector("#room-map [role=status]")?.textContent === words, words);
  const selected = () => page.getByLabel("Selected texts");

  async function saved(format) {
    const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: `Save as ${format}` }).click()]);
    assert.equal(file.suggestedFilename(), `map.${format.toLowerCase()}`);
    return readFileSync(await file.path(), "utf8");
  }

  /** Draws a line around a part of the map, in shares of its width and height. */
  async function around(left, top, right, bottom) {
    await map().scrollIntoViewIfNeeded();
    const { x, y, width, height } = await map().boundingBox();
    const corners = [[left, top], [right, top], [right, bottom], [left, bottom]].map(([across, down]) => [x + across * width, y + down * height]);
    await page.mouse.move(...corners[0]);
    await page.mouse.down();
    for (const corner of corners) await page.mouse.move(...corner, { steps: 4 });
    await page.mouse.up();
  }

  /** A place on the map, in pixels of the window, where a point is. */
  const aPoint = () => map().evaluate((canvas) => {
    const { data, width } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    for (let at = 3; at < data.length; at += 4) {
      const pixel = (at - 3) / 4;
      const below = at + 8 * width; // two rows on: no longer the rim
      if (!data[at] || !data[below]) continue;
      const { left, top } = canvas.getBoundingClientRect();
      return [left + (pixel % width) / devicePixelRatio, top + (Math.floor(pixel / width) + 2) / devicePixelRatio];
    }
  });

  test("its code comes when it is shown; every text is in one cluster, near its like", async () => {
    assert.equal(await page.evaluate(() => performance.getEntriesByName(new URL("map-room.js", document.baseURI).href).length), 0);
    await page.getByRole("tab", { name: "Map" }).click();
    await says("30 texts in 4 clusters");
    const rows = JSON.parse(await saved("JSON"));
    assert.deepEqual(rows.map(({ title, text }) => ({ title, text })), sample);
    const at = (title) => rows.find((row) => row.title === title);
    const distance = (a, b) => Math.hypot(at(a).x - at(b).x, at(a).y - at(b).y);
    assert.ok(distance("Why stars twinkle", "Shooting stars") < distance("Why stars twinkle", "Cast iron care"));
    assert.equal(at("Why stars twinkle").cluster, at("Shooting stars").cluster);
    assert.equal(new Set(rows.map(({ cluster }) => cluster)).size, 4);
    assert.match(await map().getAttribute("aria-label"), /^Map: 30 texts in 4 clusters\. The list below/);

    const [head, ...cells] = parseCsv(await saved("CSV"));
    assert.deepEqual(head, Object.keys(rows[0]));
    assert.deepEqual(cells, rows.map((row) => Object.values(row).map(String)));
  });

  test("the pointer shows a title, a click opens the text", async () => {
    await map().scrollIntoViewIfNeeded();
    const place = await aPoint();
    await page.mouse.move(...place);
    const title = await page.locator(".map-tip").textContent();
    assert.ok(await page.locator(".map-tip").isVisible());
    await page.mouse.click(...place);
    const { text } = sample.find((one) => one.title === title);
    assert.equal(await page.getByRole("dialog", { name: title }).locator(".hit-text").textContent(), text);
    await page.keyboard.press("Escape");
    await page.mouse.move(0, 0);
    assert.ok(!(await page.locator(".map-tip").isVisible()) && !(await page.getByRole("dialog").isVisible()));
  });

  test("a line around points selects and lists them, and they alone are saved", async () => {
    await around(0.01, 0.01, 0.99, 0.99);
    assert.match(await selected().textContent(), /^30 texts selected/);
    await around(0.01, 0.01, 0.5, 0.99);
    const rows = JSON.parse(await saved("JSON"));
    assert.ok(rows.length > 3 && rows.length < 27);
    assert.deepEqual(await selected().locator("li").allTextContents(), rows.map(({ title }) => title));
    await page.getByRole("button", { name: "Select none" }).click();
    const others = JSON.parse(await saved("JSON")).filter(({ title }) => !rows.some((row) => row.title === title));
    assert.equal(others.length + rows.length, 30);
    assert.ok(Math.max(...rows.map(({ x }) => x)) < Math.min(...others.map(({ x }) => x)));
  });

  test("the list has all of it for the keyboard", async () => {
    const groups = page.locator(".map-groups > li");
    for (let group = 0; group < 4; group++) {
      await groups.nth(group).locator("summary").focus();
      await page.keyboard.press("Enter");
    }
    await page.waitForFunction(() => document.querySelectorAll(".map-groups .titles").length === 4);
    const titles = await page.locator(".map-groups .titles li").allTextContents();
    assert.deepEqual(titles.sort(), sample.map(({ title }) => title).sort());

    const first = groups.first().locator(".titles button").first();
    const title = await first.textContent();
    await first.focus();
    await page.keyboard.press("Enter");
    await page.getByRole("dialog", { name: title }).waitFor();
    await page.keyboard.press("Escape");
    assert.equal(await page.evaluate(() => document.activeElement.textContent), title);

    await groups.first().getByRole("button", { name: "Select these" }).press("Enter");
    const count = await groups.first().locator(".titles li").count();
    assert.match(await selected().textContent(), new RegExp(`^${count} texts? selected`));
  });

  test("UMAP is loaded when it is chosen, draws the same texts, and the components come back as they were", async () => {
    const chosen = () => page.getByRole("combobox", { name: /^Projection/ });
    const loads = () => page.evaluate(() => performance.getEntriesByName(new URL("umap.js", document.baseURI).href).length);
    await page.getByRole("button", { name: "Select none" }).click();
    const components = await saved("JSON");
    assert.equal(await loads(), 0);
    await chosen().selectOption("UMAP");
    await says("30 texts in 4 clusters");
    assert.equal(await loads(), 1);
    const [before, rows] = [components, await saved("JSON")].map((text) => JSON.parse(text));
    assert.deepEqual(rows.map(({ title }) => title), before.map(({ title }) => title));
    assert.ok(rows.every(({ x, y }, i) => Number.isFinite(x + y) && x !== before[i].x));
    const near = (all, a, b) => Math.hypot(all.find(({ title }) => title === a).x - all.find(({ title }) => title === b).x,
      all.find(({ title }) => title === a).y - all.find(({ title }) => title === b).y);
    assert.ok(near(rows, "Why stars twinkle", "Shooting stars") < near(rows, "Why stars twinkle", "Cast iron care"));
    await chosen().selectOption("components");
    await says("30 texts in 4 clusters");
    assert.equal(await saved("JSON"), components);
  });

  test("as many clusters as wanted; colours by source; texts that come are drawn too", async () => {
    await page.getByRole("combobox", { name: /^Clusters/ }).selectOption("6");
    await says("30 texts in 6 clusters");
    await page.getByRole("tab", { name: "Your texts" }).click();
    const pasted = ['<b onclick="x">The tide</b>', "A spring tide follows the full moon.", "An ebb", "Boats lie on the mud."];
    await page.getByLabel("Paste texts").fill(pasted.join("\n\n"));
    await page.getByRole("button", { name: "Add these texts" }).click();
    await page.getByRole("tab", { name: "Map" }).click();
    await says(`${(await report(page)).documents} texts in 6 clusters`);
    await page.getByRole("combobox", { name: /^Colour by/ }).selectOption("source");
    await says(`${(await report(page)).documents} texts in 2 sources`);
    const names = await page.locator(".map-groups summary").allTextContents();
    assert.deepEqual(names, ["Sample collection 30", `Pasted text 1 ${(await report(page)).documents - 30}`]);
    await page.locator(".map-groups summary", { hasText: "Pasted text 1" }).click();
    await page.locator(".map-groups .titles").waitFor();
    assert.ok((await page.locator(".map-groups .titles").allTextContents()).join().includes('<b onclick="x">'));
    assert.equal(await page.locator("#room-map b").count(), 0);
  });

  test("colours by label where a text has one; hits and texts say theirs", async () => {
    const byLabel = page.getByRole("combobox", { name: /^Colour by/ }).locator("option", { hasText: "label" });
    assert.ok(await byLabel.evaluate(({ disabled, hidden }) => disabled && hidden));
    await page.getByRole("tab", { name: "Your texts" }).click();
    await drop(page, [{ name: "boats.json", text: JSON.stringify([
      { title: "Yawl", text: "A boat with two masts.", label: "boat" }, { title: "Ketch", text: "A boat with two masts too.", label: "boat" },
      { title: "Caisson", text: "A box that is sunk to build below water.", label: "<i>box</i>" }]) }]);
    await page.getByRole("tab", { name: "Map" }).click();
    const count = (await report(page)).documents;
    await says(`${count} texts in 3 sources`);
    await page.getByRole("combobox", { name: /^Colour by/ }).selectOption("label");
    await says(`${count} texts in 3 groups`);
    assert.deepEqual(await page.locator(".map-groups summary").allTextContents(), ["boat 2", "<i>box</i> 1", `others ${count - 3}`]);
    const rows = JSON.parse(await saved("JSON"));
    assert.deepEqual(rows.filter(({ label }) => label !== "").map(({ title, label }) => [title, label]),
      [["Yawl", "boat"], ["Ketch", "boat"], ["Caisson", "<i>box</i>"]]);
    await page.locator(".map-groups summary", { hasText: "box" }).click();
    await page.getByRole("button", { name: "Caisson" }).click();
    assert.equal(await page.getByRole("dialog", { name: "Caisson" }).locator(".source").textContent(), "boats.json · <i>box</i>");
    await page.keyboard.press("Escape");

    await page.getByRole("tab", { name: "Your texts" }).click();
    await page.getByRole("button", { name: "Remove boats.json" }).click();
    await page.getByRole("tab", { name: "Map" }).click();
    await says(`${count - 3} texts in 6 clusters`);
    assert.ok(await byLabel.evaluate(({ disabled, hidden }) => disabled && hidden));
  });

  for (const [colorScheme, width] of [["light", 1280], ["dark", 360]]) {
    test(`axe finds nothing, nothing is cut off: ${colorScheme}, ${width} wide`, async () => {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width, height: 900 });
      await page.locator(".map-groups details").first().evaluate((details) => (details.open = true));
      const { violations } = await new AxeBuilder({ page }).analyze();
      assert.deepEqual(violations.map(({ id, impact, nodes }) => `${impact} ${id} ${nodes[0].html}`), []);
      assert.ok((await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)) <= 0);
      await page.locator(".map-groups .titles button").first().click();
      const inDialog = await new AxeBuilder({ page }).include("dialog").analyze();
      assert.deepEqual(inDialog.violations.map(({ id, nodes }) => `${id} ${nodes[0].html}`), []);
      await page.getByRole("button", { name: "Close" }).click();
    });
  }

  test("a map of the same texts is the same; of two texts there is none", async () => {
    const draw = async () => {
      const fresh = await open(browser, { serviceWorkers: "block" });
      await fresh.goto(`${site.url}?device=wasm`);
      await fresh.getByRole("tab", { name: "Map" }).click();
      await state(fresh, "ready", "error");
      await fresh.getByRole("button", { name: "Save as JSON" }).waitFor();
      const [file] = await Promise.all([fresh.waitForEvent("download"), fresh.getByRole("button", { name: "Save as JSON" }).click()]);
      const content = readFileSync(await file.path(), "utf8");
      await fresh.getByRole("tab", { name: "Your texts" }).click();
      await fresh.getByRole("button", { name: "Remove Sample collection" }).click();
      await fresh.getByRole("tab", { name: "Map" }).click();
      await fresh.getByText("A map needs three texts or more").waitFor();
      assert.deepEqual(fresh.complaints, []);
      await fresh.context().close();
      return content;
    };
    assert.equal(await draw(), await draw());
  });

  test("where another tab has removed the texts there is no map, and nothing is lost", async () => {
    const other = await page.context().newPage();
    await other.goto(`${site.url}?device=wasm`);
    await state(other, "ready", "error");
    await other.getByRole("tab", { name: "Your texts" }).click();
    await other.getByRole("button", { name: "Remove Sample collection" }).click();
    await other.getByRole("button", { name: "Forget my texts" }).click();
    await other.waitForFunction(() => JSON.parse(document.getElementById("report").textContent).documents < 3);
    await page.getByRole("combobox", { name: /^Clusters/ }).selectOption("4");
    await page.getByText("A map needs three texts or more").waitFor();
    assert.equal(await page.evaluate(() => document.documentElement.dataset.state), "ready");
    await other.close();
  });
});
