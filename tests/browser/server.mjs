// A static server for tests: folders under paths, whole files with exact lengths. A test may answer any path itself.

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join } from "node:path";

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".css": "text/css",
  ".json": "application/json",
  ".wasm": "application/wasm",
};

/**
 * Serves each folder of `mounts` under its path, such as `{ "/pkg/": "/somewhere/pkg/dist" }`, on a free port of 127.0.0.1,
 * with `headers` beside its own. `routes` of the result maps a path to `(request, response) => void`, which then answers instead;
 * `requests` lists the paths that were asked for, `sent` the bytes of the files that were answered with.
 */
export async function serve(mounts, headers = {}) {
  const routes = new Map();
  const requests = [];
  const sent = [];
  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url, "http://x").pathname);
    requests.push(path);
    const route = routes.get(path);
    if (route) return route(request, response);
    const file = await find(mounts, path);
    if (!file) return response.writeHead(404, { "content-type": "text/plain" }).end("not found");
    const type = TYPES[extname(file.path)] ?? "application/octet-stream";
    response.writeHead(200, { "content-type": type, "content-length": file.size, "cache-control": "no-cache", ...headers });
    if (request.method === "HEAD") return response.end();
    sent.push({ path, bytes: file.size });
    createReadStream(file.path).pipe(response);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    routes,
    requests,
    sent,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function find(mounts, path) {
  for (const [prefix, folder] of Object.entries(mounts)) {
    const rest = path.slice(prefix.length);
    if (!path.startsWith(prefix) || rest.split("/").includes("..")) continue;
    const file = join(folder, path.endsWith("/") ? `${rest}index.html` : rest);
    const found = await stat(file).catch(() => undefined);
    if (found?.isFile()) return { path: file, size: found.size };
  }
  return undefined;
}
