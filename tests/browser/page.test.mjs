// The built page (`web/dist`) with the real package and the real model, in headless Chromium, as its reader meets it.
//
// EMBEDLET_PAGE_MODEL: folder of all-MiniLM-L6-v2 as `cargo xtask demo` packs it.  EMBEDLET_PAGE: a page built elsewhere than `web/dist`.

import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { AxeBuilder } from "@axe-core/playwright";
import { launch } from "./harness.mjs";
import { built, drop, open, report, serve, state } from "./page-site.mjs";

const { page: dist, model } = built();
const WEIGHTS = statSync(join(model, "model.safetensors")).size;

let browser;
let site;
before(async () => {
  browser = await launch();
  site = await serve({ page: dist, model });
});
after(async () => {
  await browser?.close();
  await site?.close();
});

/** What every report of a page that is ready holds. */
function check(seen, device, documents = 122) {
  assert.equal(seen.error, null);
  assert.equal(seen.device, device);
  assert.equal(seen.documents, documents);
  assert.ok(seen.passages > 1.6 * documents);
  for (const figure of ["loadMs", "timeToFirstVectorMs", "textsPerSecond"]) assert.ok(seen[figure] > 0, figure);
  assert.ok(seen.timeToFirstVectorMs > seen.loadMs);
}

const hits = (page) => page.locator("#hits > li");
const tab = (page, name) => page.getByRole("tab", { name });

async function search(page, query) {
  await tab(page, "Search").click();
  await page.getByLabel("Say what you are looking for").fill(query);
  await page.waitForFunction((query) => JSON.parse(document.getElementById("report").textContent).query === query, query);
}

/** Does what adds texts, and waits until there are `documents` more and all are embedded. */
async function adds(page, documents, act) {
  const wanted = (await report(page)).documents + documents;
  await act();
  await page.waitForFunction((wanted) => JSON.parse(document.getElementById("report").textContent).documents === wanted, wanted);
  await state(page, "ready");
}

test("the page's model is the smallest that keeps its neighbours", () => {
  const { dtype, loss } = JSON.parse(readFileSync(join(model, "embedlet.json"), "utf8"));
  assert.ok(loss.top10Agreement >= 0.97 && WEIGHTS < 23.5e6, `${dtype}: ${loss.top10Agreement} at ${WEIGHTS} bytes`);
});

test("webgpu: loads, says what it is at, answers the address's query, reports", async () => {
  // A GPU that is a processor takes minutes for all 122.
  const sample = JSON.parse(readFileSync(join(dist, "sample.json"), "utf8")).slice(20, 40);
  const small = await serve({ page: dist, model, sample });
  // Its service worker would refuse another sample.
  const page = await open(browser, { serviceWorkers: "block" });
  const titles = [];
  await page.exposeFunction("titled", (title) => titles.push(title));
  await page.addInitScript(() => addEventListener("DOMContentLoaded", () => {
    const title = document.getElementById("loading-title");
    new MutationObserver(() => titled(title.textContent)).observe(title, { childList: true });
  }));
  try {
    await page.goto(`${small.url}?device=webgpu&query=my+bicycle+brakes+rub`);
    await state(page, "ready", "error");
    const seen = await report(page);
    check(seen, "webgpu", sample.length);
    assert.ok(titles.indexOf("Loading, 100 %") < titles.indexOf("Loaded, checking it") && titles.at(-1) === "Ready on WebGPU", `${titles}`);
    assert.ok(seen.dispatches > 0);
    assert.equal(seen.adapter.software, true);
    assert.equal(seen.query, "my bicycle brakes rub");
    assert.equal(seen.topHits[0].title, "Brakes that rub");
    assert.match(await page.locator("#device").textContent(), /Runs onWebGPU.*Adapter.*Self-check\d+ kernels? agree/s);
    assert.deepEqual(page.complaints, []);
  } finally {
    await page.context().close();
    await small.close();
  }
});

describe("one visit, on the processor", () => {
  let page;
  before(async () => {
    page = await open(browser);
    await page.goto(site.url);
    await state(page, "ready", "error");
  });
  after(async () => {
    assert.deepEqual(page.complaints, []);
    await page.context().close();
  });

  test("auto leaves a software adapter and says why; figures are shown", async () => {
    const seen = await report(page);
    check(seen, "wasm");
    assert.ok(seen.reason.length > 10);
    assert.match(await page.locator("#device").textContent(), /Runs onWebAssemblyNot on WebGPU/);
    assert.match(await page.locator("#timings").textContent(), /Load[\d.]+ m?s.*texts\/s/);
    assert.match(await page.locator("#load-bytes").textContent(), /^[\d,]+ bytes$/);
  });

  test("search as it is typed: order, bars, the best passage marked in its text", async () => {
    await search(page, "which yellowing leaves mean hungry tomato plants");
    const first = hits(page).first();
    assert.equal(await first.locator("h3").textContent(), "Tomato leaves turning yellow");
    assert.match(await first.locator("mark").textContent(), /^When the lowest leaves/);
    assert.match(await first.locator(".hit-text").textContent(), /back to green\.$/);
    const bars = await hits(page).locator("meter").evaluateAll((all) => all.map((bar) => bar.value));
    assert.equal(bars.length, 10);
    assert.deepEqual(bars, [...bars].sort((a, b) => b - a));
    assert.ok(Math.abs(Number(await first.locator(".figures").textContent()) - bars[0]) < 0.006);

    await page.getByLabel("Say what you are looking for").fill("");
    await page.waitForFunction(() => document.querySelectorAll("#hits > li").length === 0);
  });

  test("typing fast leaves the last query's answer", async () => {
    await page.getByLabel("Say what you are looking for").pressSequentially("why is the sky blue and the evening red", { delay: 30 });
    await page.waitForFunction(() => JSON.parse(document.getElementById("report").textContent).query.endsWith("evening red"));
    assert.equal(await hits(page).first().locator("h3").textContent(), "Why the sky is blue");
  });

  test("dropped .csv and .json are indexed and found; what cannot be read says so", async () => {
    await adds(page, 3, () => drop(page, [
      { name: "notes.csv", text: 'title,text\nHarpsichord,"A harpsichord plucks its strings, so touch cannot make it ""louder""."\nOboe,"The oboe gives the orchestra its A."\n' },
      { name: "facts.json", text: '[{"title": "Glaciers", "text": "A glacier is a river of ice that creeps downhill."}]' },
    ]));
    await search(page, "which instrument plucks its strings");
    assert.equal(await hits(page).first().locator("h3").textContent(), "Harpsichord");
    assert.equal(await hits(page).first().locator(".source").textContent(), "notes.csv");
    await search(page, "ice that creeps like a river");
    assert.equal(await hits(page).first().locator("h3").textContent(), "Glaciers");

    await drop(page, [{ name: "broken.json", text: "{" }, { name: "photo.png", text: "x" }]);
    await page.waitForFunction(() => document.getElementById("texts-status")?.textContent.includes("photo.png"));
    assert.match(await page.locator("#texts-status").textContent(), /broken\.json is not valid JSON.*\nphoto\.png: not read/s);
  });

  test("pasted texts, and removing them", async () => {
    await tab(page, "Your texts").click();
    await page.getByLabel("Paste texts").fill("Beekeepers smoke the hive to calm it.\n\nA kiln fires clay until it rings.");
    await adds(page, 2, () => page.getByRole("button", { name: "Add these texts" }).click());
    await search(page, "a kiln for clay pots");
    assert.match(await hits(page).first().locator("mark").textContent(), /^A kiln/);
    await tab(page, "Your texts").click();
    await adds(page, -2, () => page.getByRole("button", { name: "Remove Pasted text 1" }).click());
    assert.ok(!(await page.locator("#hits").textContent()).includes("kiln"));
  });

  test("classify by labels of one's own", async () => {
    await tab(page, "Classify").click();
    const predicted = page.locator("#predictions .label");
    await predicted.first().waitFor();
    assert.deepEqual(await predicted.allTextContents(), ["Delivery", "Fault", "Refund"]);

    await page.getByRole("button", { name: "Add a label" }).click();
    await page.keyboard.type("__proto__");
    await page.keyboard.press("Tab");
    await page.keyboard.type("Do you have this in red?\nIs it sold in a larger size?");
    await page.getByLabel("Texts to sort, one per line").fill("Can I buy the green one in small?");
    await page.waitForFunction(() => document.querySelector("#predictions .label")?.textContent === "__proto__");
    const shares = await page.locator("#predictions meter").evaluateAll((all) => all.map((bar) => bar.value));
    assert.equal(shares.length, 4);
    assert.ok(Math.abs(shares.reduce((sum, share) => sum + share) - 1) < 0.01);
    assert.match(await page.locator("#predictions .source").textContent(), /^Nearest example: (Do you have|Is it sold)/);
  });

  test("classify by a head that is trained on the examples; by the model's own labels only where it has some", async () => {
    await page.getByRole("button", { name: "Remove label __proto__" }).click();
    await page.getByLabel("Texts to sort, one per line").fill("My parcel has not come.\nI want my money back.");
    const status = (words) => page.waitForFunction((words) => document.getElementById("classify-status").textContent.includes(words), words);
    await page.getByLabel("Sort by").selectOption("a head trained on the examples");
    await status("2 texts sorted by a trained head");
    assert.match(await page.locator("#classify-status").textContent(), /it got \d+ % right/);
    assert.deepEqual(await page.locator("#predictions .label").allTextContents(), ["Delivery", "Refund"]);
    assert.equal(await page.locator("#predictions .source").count(), 0);
    await page.getByLabel("Examples, one per line").first().fill("Only one");
    await status("two examples or more");
    await page.getByLabel("Examples, one per line").first().fill("Where is my parcel?\nThe courier left it at the wrong house.");
    await page.getByLabel("Sort by").selectOption("the model's own labels");
    await status("This model has no labels of its own");
    await page.getByLabel("Sort by").selectOption("the nearest example");
    await status("2 texts sorted to 3 labels");
  });

  test("compare: a table of similarities", async () => {
    await tab(page, "Compare").click();
    await page.getByLabel("Texts to compare, one per line").fill("A red car\n<b>A crimson automobile</b>\nBoiled potatoes");
    await page.waitForFunction(() => document.querySelectorAll("#room-compare tbody tr").length === 3);
    const rows = await page.locator("#room-compare tbody tr").evaluateAll((all) => all.map((row) => [...row.cells].map((cell) => cell.textContent)));
    assert.equal(rows[1][0], "2  <b>A crimson automobile</b>");
    const scores = rows.map(([, ...cells]) => cells.map(Number));
    assert.deepEqual([0, 1, 2].map((i) => scores[i][i]), [1, 1, 1]);
    assert.ok(scores[0][1] === scores[1][0] && scores[0][1] > 0.4 && scores[0][1] > scores[0][2] + 0.2, `${scores}`);
  });

  test("explain: the words that make two texts alike", async () => {
    await tab(page, "Explain").click();
    await page.getByLabel("Text to explain").fill("We went there by <i>bicycle</i> on Tuesday.");
    await page.getByLabel("Compared with").fill("cycling");
    const words = page.getByRole("list", { name: "Words that matter most" }).locator("li");
    await page.waitForFunction(() => document.querySelector("#room-explain .marked").textContent.includes("bicycle")
      && document.querySelector("#room-explain .words li"));
    assert.match(await words.first().textContent(), /bicycle.* \+0\.\d{3}$/);
    assert.equal(await page.locator("#room-explain .marked").textContent(), "We went there by <i>bicycle</i> on Tuesday.");
    assert.equal(await page.locator("#room-explain i").count(), 0);
  });

  test("the benchmark runs what is chosen, shows it, gives its samples, and can be stopped", async () => {
    await tab(page, "Benchmark").click();
    const run = page.getByRole("button", { name: "Run" });
    await run.waitFor();
    assert.deepEqual(await page.locator("#room-bench label").allTextContents(),
      [" WebGPU", " WebAssembly", " one short", " one long", " 32 short", " 32 mixed", " 16 long"]);
    for (const name of ["WebGPU", "one long", "32 short", "32 mixed", "16 long"]) await page.getByLabel(name).uncheck();
    await run.click();
    await page.getByRole("button", { name: "Copy as JSON" }).waitFor();
    const found = JSON.parse(await page.getByLabel("Result as JSON").inputValue());
    assert.deepEqual(found.cells.map(({ name, tokens }) => [name, tokens]), [["one short", 16]]);
    const [{ name, info, results }] = found.contenders;
    assert.deepEqual([name, info.adapter, found.contenders.length], ["embedlet wasm", null, 1]);
    assert.deepEqual(Object.keys(results), ["load", "first vector", "one short"]);
    assert.ok(results["one short"].samples.length === 7 && results["one short"].samples.every((ms) => ms > 0));
    assert.match(await page.locator("#room-bench svg").last().getAttribute("aria-label"), /^embedlet wasm: .* ms, from .* to /);

    await page.getByLabel("16 long").check();
    await run.click();
    await page.getByRole("button", { name: "Stop" }).click();
    await page.waitForFunction(() => document.querySelector("#room-bench [role=status]").textContent === "Stopped.");
  });

  test("text is text", async () => {
    const hostile = '<img src=x onerror="document.title=1"><script>document.title=2</script>';
    await drop(page, [
      { name: `${hostile.replaceAll("/", "")}.json`, text: JSON.stringify([{ title: hostile, text: `${hostile} an unusual text about heraldry` }]) },
    ]);
    await page.waitForFunction(() => document.getElementById("texts-status").textContent.includes("1 text added"));
    await state(page, "ready");
    await search(page, `heraldry ${hostile}`);
    assert.equal(await hits(page).first().locator("h3").textContent(), hostile);
    await tab(page, "Classify").click();
    await page.getByLabel("Label", { exact: true }).first().fill(hostile);
    await page.getByLabel("Texts to sort, one per line").fill(hostile);
    await page.waitForFunction((hostile) => [...document.querySelectorAll("#predictions li span")].some((span) => span.textContent === hostile), hostile);
    assert.equal(await page.locator("main img, main script, aside img").count(), 0);
    assert.match(await page.title(), /^embedlet/);
  });

  test("everything can be done with the keyboard, and the focus is seen", async () => {
    const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.textContent);
    const press = async (...keys) => {
      for (const key of keys) await page.keyboard.press(key);
    };
    await tab(page, "Search").click();
    await page.getByLabel("Say what you are looking for").fill("");
    await page.evaluate(() => document.querySelector(".skip").focus());
    await press("Enter", "Tab"); // the link to the texts, then the first thing there
    assert.equal(await focused(), "tab-search");
    assert.notEqual(await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle), "none");

    await press("Tab");
    assert.equal(await focused(), "query");
    await page.keyboard.type("bats listen for an echo");
    await page.waitForFunction(() => document.querySelector("#hits h3")?.textContent === "How bats see with sound");
    assert.match(await page.locator("#announcer").textContent(), /^10 texts found\. Best: How bats see with sound$/);

    await press("Shift+Tab", "ArrowLeft");
    assert.equal(await focused(), "tab-bench");
    await press("Home", "End", "ArrowLeft");
    assert.equal(await focused(), "tab-texts");
    await press("Tab");
    assert.equal(await focused(), "paste");
    await page.keyboard.type("Moths that hear a bat drop to the ground.");
    await adds(page, 1, () => press("Tab", "Enter"));
    await press("Tab");
    assert.equal(await focused(), "files");
    await press("Shift+Tab", "Shift+Tab", "Shift+Tab", "ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowLeft");
    assert.equal(await focused(), "tab-classify");
    assert.ok(await page.locator("#room-classify").isVisible());
  });

  for (const colorScheme of ["light", "dark"]) {
    for (const width of [1280, 360]) {
      test(`axe finds nothing, nothing is cut off: ${colorScheme}, ${width} wide`, async () => {
        await page.emulateMedia({ colorScheme });
        await page.setViewportSize({ width, height: 900 });
        await search(page, "how to sleep well");
        for (const name of ["Search", "Classify", "Compare", "Explain", "Your texts", "Benchmark"]) {
          await tab(page, name).click();
          if (name === "Classify") await page.locator("#predictions > li").first().waitFor();
          if (name === "Compare") await page.locator("#room-compare table").waitFor();
          if (name === "Explain") await page.locator("#room-explain ol > li").first().waitFor();
          const { violations } = await new AxeBuilder({ page }).analyze();
          assert.deepEqual(violations.map(({ id, impact, nodes }) => `${name}: ${impact} ${id} ${nodes[0].html}`), []);
          const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
          assert.ok(overflow <= 0, `${name} is ${overflow} px wider than the window`);
        }
      });
    }
  }

  test("the page's policy stops markup and foreign scripts", async () => {
    assert.deepEqual(page.complaints, []);
    const refused = await page.evaluate(() => [
      () => (document.body.innerHTML = "<b>x</b>"),
      () => new Worker("https://example.org/x.js"),
      () => new Worker("main.js"),
    ].map((act) => {
      try {
        act();
        return "let through";
      } catch (error) {
        return error.name;
      }
    }));
    assert.deepEqual(refused, ["TypeError", "TypeError", "TypeError"]);
    await page.waitForTimeout(1000); // complaints come by way of the console
    assert.ok(page.complaints.splice(0).some((line) => line.startsWith("policy: require-trusted-types-for")));
  });
});

test("a load can be cancelled, which stops the download, and tried again", async () => {
  const slow = await serve({ page: dist, model });
  slow.rate = WEIGHTS / 20;
  const sent = () => slow.sent.get("model/model.safetensors");
  const page = await open(browser);
  try {
    await page.goto(`${slow.url}?device=wasm`);
    await page.waitForFunction(() => document.getElementById("load-bar").value > 0 && document.getElementById("load-bar").max > 1e6);
    while (!sent()) await page.waitForTimeout(50);
    assert.match(await page.locator("#loading-title").textContent(), /^Loading, \d+ %$/);
    assert.match(await page.locator("#load-bytes").textContent(), /^[\d,]+ of [\d,]+ bytes$/);
    await page.getByRole("button", { name: "Cancel" }).click();
    await state(page, "cancelled");
    assert.equal(await page.evaluate(() => document.activeElement.id), "retry");
    await page.waitForTimeout(1000);
    const then = sent();
    await page.waitForTimeout(1500);
    assert.equal(sent(), then, "bytes went on being sent after the cancel");
    assert.ok(then < WEIGHTS);

    slow.rate = Infinity;
    await page.getByRole("button", { name: "Try again" }).click();
    await state(page, "indexing", "ready", "error");
    assert.equal((await report(page)).error, null);
    assert.deepEqual(page.complaints, []);
  } finally {
    await page.context().close();
    await slow.close();
  }
});

test("after one load the page asks for nothing, works without its server, and the network sees the model once", async () => {
  const brief = await serve({ page: dist, model });
  const page = await open(browser);
  try {
    await page.goto(`${brief.url}?device=wasm`);
    await page.waitForFunction(() => document.getElementById("storage").textContent.includes("work without a network"));
    await page.reload();
    await state(page, "indexing", "ready", "error");
    assert.equal(brief.sent.get("model/model.safetensors"), WEIGHTS);

    await state(page, "ready", "error");
    await page.waitForFunction(async () => (await caches.match("map-room.js")) !== undefined);
    brief.requests.length = 0;
    await search(page, "a secret of mine");
    await tab(page, "Classify").click();
    await page.getByLabel("Texts to sort, one per line").fill("another secret");
    await page.waitForFunction(() => document.querySelectorAll("#predictions > li").length === 1);
    await tab(page, "Your texts").click();
    await page.getByLabel("Paste texts").fill("A third one.");
    await adds(page, 1, () => page.getByRole("button", { name: "Add these texts" }).click());
    // The browser itself looks for a newer service worker, at a time of its own after a visit.
    assert.deepEqual(brief.requests.filter((path) => !path.endsWith("/sw.js")), []);

    await brief.close();
    await page.context().setOffline(true);
    await page.goto(`${brief.url}?device=wasm&query=why+does+the+same+side+of+the+moon+face+us`);
    await state(page, "ready", "error");
    const seen = await report(page);
    assert.equal(seen.error, null);
    assert.equal(seen.topHits[0].title, "The same face of the Moon");
    await tab(page, "Map").click();
    await page.getByRole("img", { name: /^Map: 12\d texts/ }).waitFor();
    assert.deepEqual(page.complaints, []);

    await page.getByRole("button", { name: "Remove this page's model" }).click();
    await page.waitForFunction(() => document.getElementById("storage").textContent.includes("no model is"));
  } finally {
    await page.context().close();
    await brief.close().catch(() => {});
  }
});
