// What the tests of the package share: the built package on a server, Chromium, and the golden files.
// Nothing here can be missing: a test without its model or its browser fails and says what it needs.

import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, readlinkSync } from "node:fs";
import { createServer, request as httpRequest } from "node:http";
import { join } from "node:path";
import { after, before } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { serve } from "./server.mjs";

const at = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
export const DIST = at("pkg/dist");
export const GOLDEN = at("tests/golden");
export const DEVICES = ["wasm", "webgpu"];
/** SwiftShader computes on this machine's few cores: some tests take minutes there. */
export const SLOW = { timeout: 1_200_000 };
/** Whether a device is given every case: SwiftShader, a second for each, only where EMBEDLET_TEST_ALL asks for it. */
export const whole = (device) => device === "wasm" || process.env.EMBEDLET_TEST_ALL !== undefined;

/** The folder of all-MiniLM-L6-v2. */
export function modelFolder() {
  const folder = process.env.EMBEDLET_MODEL;
  if (folder && existsSync(join(folder, "model.safetensors"))) return folder;
  throw new Error("EMBEDLET_MODEL must name the folder of all-MiniLM-L6-v2: `cargo xtask test` obtains it.");
}

/** Of the tests of a file that has called {@link start}: Chromium, and a {@link site}. */
export let browser;
export let served;

/** Starts them before the tests, for which `prepare` does the rest, and ends them afterwards. */
export function start({ model = false, webgpu = true, headers = {} } = {}, prepare = async () => {}) {
  before(async () => {
    served = await site({ model, headers });
    browser = await launch({ webgpu });
    await prepare();
  });
  after(async () => {
    await browser?.close();
    await served?.close();
  });
}

/** A server with the package at /pkg/, the golden files at /golden/, MiniLM at /model/, and an empty page at /, with more `headers`. */
export async function site({ model = false, headers = {} } = {}) {
  if (!existsSync(join(DIST, "index.js"))) throw new Error("pkg/dist is not built: run `cargo xtask build`.");
  const mounts = { "/pkg/": DIST, "/golden/": GOLDEN, "/tests/": at("tests/browser") };
  if (model) mounts["/model/"] = modelFolder();
  const served = await serve(mounts, headers);
  served.routes.set("/", (_, response) => {
    response.writeHead(200, { "content-type": "text/html", ...headers });
    response.end('<!doctype html><html lang="en"><title>test</title><link rel="icon" href="data:,">');
  });
  return served;
}

const FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run"];

function executable() {
  const path = process.env.CHROME || "/usr/bin/chromium";
  if (!existsSync(path)) throw new Error("There is no Chromium: install it, or name one in CHROME.");
  return path;
}

/** Chromium without a head. WebGPU there is SwiftShader, and only behind a flag. */
export function launch({ webgpu = true, flags = [] } = {}) {
  return chromium.launch({ executablePath: executable(), args: [...FLAGS, ...flags, ...(webgpu ? ["--enable-unsafe-webgpu"] : [])] });
}

/** The same with a profile on disk, where what a site keeps stays. */
export function launchOn(profile, { flags = [] } = {}) {
  return chromium.launchPersistentContext(profile, { executablePath: executable(), args: [...FLAGS, ...flags] });
}

/** The same with an extension, which only a profile on disk can have. */
export function launchWith(profile, extension, { flags = [] } = {}) {
  return launchOn(profile, { flags: [`--disable-extensions-except=${extension}`, `--load-extension=${extension}`, ...flags] });
}

/** Kills the browser of a profile in the middle of whatever it does: all of its processes, at once. */
export async function kill(context, profile) {
  const closed = new Promise((resolve) => context.on("close", resolve));
  const lines = execFileSync("ps", ["-A", "-o", "pid=,ppid="], { encoding: "utf8" }).trim().split("\n");
  const processes = lines.map((line) => line.trim().split(/\s+/).map(Number));
  // The lock of a profile is a link to the host and the process that have it.
  const tree = [Number(readlinkSync(join(profile, "SingletonLock")).split("-").at(-1))];
  for (const parent of tree) tree.push(...processes.filter(([, of]) => of === parent).map(([pid]) => pid));
  for (const pid of tree) signal(pid, "SIGKILL");
  await closed;
  // Before the last of them is gone, the next browser could find files in use.
  while (tree.some((pid) => signal(pid, 0))) await new Promise((resolve) => setTimeout(resolve, 20));
}

/** Tells whether there was such a process. */
function signal(pid, signal) {
  try {
    return process.kill(pid, signal);
  } catch (error) {
    if (error.code === "ESRCH") return false;
    throw error;
  }
}

/** Hosts that Chromium asks on its own, whenever it likes. */
const CHROMIUMS = /^(http:\/\/)?[a-z-]+\.(google|googleapis|gstatic|gvt1)\.com(:443$|\/)/;

/**
 * A proxy for all of a browser's traffic, which with its `flags` goes through it. `log` has every request, to whatever host, but for
 * Chromium's own; only those of `served` are let through.
 */
export async function proxy(served) {
  const log = [];
  const server = createServer((request, response) => {
    if (!CHROMIUMS.test(request.url)) log.push(request.url);
    if (!request.url.startsWith(served.url)) return response.writeHead(502).end();
    const onward = httpRequest(request.url, { method: request.method, headers: request.headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    request.pipe(onward);
  });
  // What is encrypted, and web sockets, go through a tunnel.
  server.on("connect", (request, socket) => {
    if (!CHROMIUMS.test(request.url)) log.push(request.url);
    socket.destroy();
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const flags = [`--proxy-server=http://127.0.0.1:${server.address().port}`, "--proxy-bypass-list=<-loopback>"];
  return { log, flags, close: () => server.close() };
}

/** Runs in a page, before its scripts: `buffers` are those of the GPU that nobody has destroyed. */
export function watchBuffers() {
  globalThis.buffers = new Set();
  const { createBuffer } = GPUDevice.prototype;
  const { destroy } = GPUBuffer.prototype;
  GPUDevice.prototype.createBuffer = function (...given) {
    const buffer = createBuffer.apply(this, given);
    buffers.add(buffer);
    return buffer;
  };
  GPUBuffer.prototype.destroy = function () {
    buffers.delete(this);
    destroy.call(this);
  };
}

/** A page of `served` with the helpers of in-page.mjs as `helpers` and the package as `embedlet`. */
export async function open(browser, served, { init } = {}) {
  const page = await browser.newPage();
  page.setDefaultTimeout(0);
  for (const script of [init ?? []].flat()) await page.addInitScript(script);
  await page.goto(served.url);
  await page.evaluate(async () => {
    globalThis.embedlet = await import("/pkg/index.js");
    globalThis.helpers = await import("/tests/in-page.mjs");
  });
  return page;
}

/** The tensors of a safetensors file as typed arrays. Reads F32, I32 and I64, which is what the golden files hold. */
export function tensors(path) {
  const file = readFileSync(join(GOLDEN, path));
  const start = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.subarray(8, start).toString());
  const kinds = { F32: Float32Array, I32: Int32Array, I64: BigInt64Array };
  const read = ([name, { dtype, shape, data_offsets: [from, to] }]) => {
    const bytes = file.buffer.slice(file.byteOffset + start + from, file.byteOffset + start + to);
    return [name, { shape, data: new kinds[dtype](bytes) }];
  };
  return Object.fromEntries(Object.entries(header).filter(([name]) => name !== "__metadata__").map(read));
}

export const golden = (path) => JSON.parse(readFileSync(join(GOLDEN, path), "utf8"));

/** The mean of the rows of a matrix. */
export function mean({ shape: [rows, columns], data }) {
  return Array.from({ length: columns }, (_, column) => {
    let sum = 0;
    for (let row = 0; row < rows; row++) sum += data[row * columns + column];
    return sum / rows;
  });
}

/** The largest difference and the smallest cosine, row by row. */
export function compare(found, expected, dimensions) {
  if (found.length !== expected.length) throw new Error(`${found.length} numbers, expected ${expected.length}`);
  let maxAbs = 0;
  let minCosine = Infinity;
  for (let start = 0; start < found.length; start += dimensions) {
    let [dot, own, other] = [0, 0, 0];
    for (let i = start; i < start + dimensions; i++) {
      // A NaN must not slip through a comparison.
      const difference = Math.abs(found[i] - expected[i]);
      maxAbs = difference <= maxAbs ? maxAbs : difference;
      dot += found[i] * expected[i];
      own += found[i] ** 2;
      other += expected[i] ** 2;
    }
    const cosine = dot / Math.sqrt(own * other);
    minCosine = cosine >= minCosine ? minCosine : cosine;
  }
  return { maxAbs, minCosine };
}
