// Serves a built page under a sub-path, as GitHub Pages would, with a model folder at `model/`; and opens it in Chromium with
// everything recorded that a sound page never does. Unlike `server.mjs` it can be slowed, breaks off, and counts what it sent.

import assert from "node:assert/strict";
import { createReadStream, existsSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { dirname, extname, join, normalize } from "node:path";
import { Transform } from "node:stream";
import { fileURLToPath } from "node:url";
import { launch } from "./harness.mjs";

const DIST = process.env.EMBEDLET_PAGE ?? join(dirname(fileURLToPath(import.meta.url)), "../../web/dist");
const MODEL = process.env.EMBEDLET_PAGE_MODEL;

const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml",
  ".json": "application/json", ".wasm": "application/wasm", ".webmanifest": "application/manifest+json" };
const BASE = "/some/where/";

/**
 * `page` and `model` are folders, and `sample` and `glosses` are the page's collections, if not its own. Of what it gives, `rate` (bytes per
 * second of a model file) and `cutAt` (bytes of a file after which the connection ends) may be set while it runs; `sent` holds the bytes sent, by path; `requests` lists all that was asked for.
 */
export async function serve({ page, model, sample, glosses }) {
  const site = { rate: Infinity, cutAt: Infinity, sent: new Map(), requests: [] };
  const server = createServer((request, response) => {
    site.requests.push(request.url);
    const path = decodeURIComponent(new URL(request.url, "http://x").pathname);
    const other = { [`${BASE}sample.json`]: sample, [`${BASE}glosses.json`]: glosses }[path];
    if (other) return response.writeHead(200, { "content-type": TYPES[".json"] }).end(JSON.stringify(other));
    const inside = path.startsWith(BASE) ? normalize(path.slice(BASE.length)) : "..";
    const file = inside.startsWith("model/") ? join(model, inside.slice(6)) : join(page, inside === "." ? "index.html" : inside);
    if (inside.startsWith("..") || !existsSync(file) || !statSync(file).isFile()) return response.writeHead(404).end("not found");
    response.writeHead(200, {
      "content-type": TYPES[extname(file)] ?? "application/octet-stream",
      "content-length": statSync(file).size,
      "cache-control": "no-cache",
    });
    const counted = new Transform({
      transform(chunk, _, done) {
        site.sent.set(inside, (site.sent.get(inside) ?? 0) + chunk.length);
        if (site.sent.get(inside) > site.cutAt) return response.destroy();
        setTimeout(() => done(null, chunk), (1000 * chunk.length) / (inside.startsWith("model/") ? site.rate : Infinity));
      },
    });
    const stream = createReadStream(file).pipe(counted);
    stream.pipe(response);
    response.on("close", () => stream.unpipe(response));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  site.url = `http://127.0.0.1:${server.address().port}${BASE}`;
  site.close = async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  return site;
}

/** A fresh profile's page, with `page.complaints`: console errors, uncaught errors, and violations of its policy. */
export async function open(browser, options = {}) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.complaints = [];
  page.on("console", (message) => {
    // That an optional file of a model folder is absent is for the encoder to judge; Chromium reports it all the same.
    const absent = message.text().includes("404") && message.location().url.includes("/model/");
    if (message.type() === "error" && !absent) page.complaints.push(message.text());
  });
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  await page.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
  });
  return page;
}

/** The built page and the packed model, which what needs them cannot do without. */
export function built() {
  assert.ok(existsSync(join(DIST, "index.html")), `${DIST} holds no page: run \`cargo xtask build\``);
  assert.ok(MODEL && existsSync(join(MODEL, "embedlet.json")), "EMBEDLET_PAGE_MODEL must name a folder with all-MiniLM-L6-v2, packed");
  return { page: DIST, model: MODEL };
}

/**
 * A visit of the built page on the processor, when all is ready; with `count`, each of its collections is so many of its texts. `end` closes
 * what was opened.
 */
export async function visit({ count, query = "" } = {}) {
  const paths = built();
  const [sample, glosses] = ["sample.json", "glosses.json"]
    .map((file) => count && JSON.parse(readFileSync(join(paths.page, file), "utf8")).slice(0, count));
  const browser = await launch();
  const site = await serve({ ...paths, sample, glosses });
  const end = async () => {
    await browser.close();
    await site.close();
  };
  try {
    // Its service worker would refuse another sample.
    const page = await open(browser, sample && { serviceWorkers: "block" });
    await page.goto(`${site.url}?device=wasm${query}`);
    await state(page, "ready", "error");
    return { browser, site, page, sample, end };
  } catch (error) {
    await end();
    throw error;
  }
}

/** Waits for one of the page's states. WebGPU without a GPU is slow: the sample's 221 passages take it minutes. */
export const state = (page, ...wanted) => page.waitForFunction(
  (wanted) => wanted.includes(document.documentElement.dataset.state), wanted, { timeout: 600_000 });

export const report = async (page) => JSON.parse(await page.locator("#report").textContent());

/** Drops files on the page as a reader does. */
export async function drop(page, files) {
  const data = await page.evaluateHandle((files) => {
    const data = new DataTransfer();
    for (const { name, text } of files) data.items.add(new File([text], name));
    return data;
  }, files);
  await page.dispatchEvent("main", "drop", { dataTransfer: data });
}
