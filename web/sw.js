// The service worker: keeps the page and the package (installed with the page, each file checked against its hash) and the
// files of a model under `./model/` (as they are first asked for), and answers from there, so that the page works offline
// after its first load. Requests for anything else, other origins above all, never pass through here.
//
// `build.mjs` fills in VERSION and FILES, the list of [path, "sha256-…"] with "" for the page itself, since some hosts redirect
// "index.html"; each version has its own cache. LATER are those of the files that wait until the page has its model,
// ASKED those of them that wait until they are asked for, and are stored then.

const scope = new URL("./", self.location.href);
const PREFIX = `embedlet ${scope.pathname} `; // caches belong to the origin, which may serve several such pages
const PAGE = `${PREFIX}page ${VERSION}`;
const MODELS = `${PREFIX}models`; // `src/offline.ts` looks for it, and deletes it, under this name

// One relaxed instruction: which of the package's two builds this engine runs, and so which it has no use for.
const RELAXED = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 0, 253, 15, 65, 0, 253, 15, 253, 128, 2, 11]);
const UNUSED = WebAssembly.validate(RELAXED) ? "embedlet/embedlet_bg.wasm" : "embedlet/embedlet_relaxed_bg.wasm";

self.addEventListener("install", (event) => {
  event.waitUntil((async () => {
    const cache = await caches.open(PAGE);
    // A deployment that is only half there fails the hash, and the version before stays.
    await cache.addAll(FILES.filter(([path]) => path !== UNUSED && !LATER.includes(path)).map(checked));
  })());
});

self.addEventListener("activate", (event) => {
  event.waitUntil((async () => {
    const names = await caches.keys();
    const old = names.filter((name) => name.startsWith(PREFIX) && name !== PAGE && name !== MODELS);
    await Promise.all(old.map((name) => caches.delete(name)));
    await self.clients.claim(); // the very first load must pass through here, or its model would not be stored
  })());
});

// The third message, "stay", asks for nothing: that it comes keeps the worker awake.
self.addEventListener("message", (event) => {
  if (event.data === "activate") event.waitUntil(self.skipWaiting());
  if (event.data === "rest") event.waitUntil(storeRest());
});

/** Stores what has waited. A file that does not come is asked for again at the next visit. */
async function storeRest() {
  const cache = await caches.open(PAGE);
  const stored = (await cache.keys()).map(({ url }) => url);
  const missing = FILES.filter(([path]) => LATER.includes(path) && !ASKED.includes(path) && !stored.includes(new URL(path, scope).href));
  await Promise.allSettled(missing.map((file) => cache.add(checked(file))));
}

const checked = ([path, integrity]) => new Request(new URL(path, scope), { integrity, cache: "no-cache" });

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  url.search = url.hash = "";
  if (!["GET", "HEAD"].includes(request.method) || request.headers.has("range") || !url.href.startsWith(scope.href)) return;
  const path = url.href.slice(scope.href.length).replace(/^index\.html$/, "");
  if (path.startsWith("model/")) event.respondWith(modelFile(url.href, request));
  else if (FILES.some(([known]) => known === path)) event.respondWith(pageFile(path, request));
});

async function pageFile(path, request) {
  const cache = await caches.open(PAGE);
  // Those that are not stored yet must be of this version all the same.
  const known = await cache.match(new URL(path, scope));
  if (known) return known;
  const response = await fetch(LATER.includes(path) ? checked(FILES.find(([known]) => known === path)) : request);
  if (ASKED.includes(path) && response.ok) cache.put(new URL(path, scope), response.clone()).catch(() => {}); // no room: it comes again
  return response;
}

/**
 * Cache first. A file not yet there is passed on as it arrives, and stored as it is passed on: the page sees every byte in
 * time, and a download that it gives up is neither continued nor kept. Absent files are remembered too, since a model folder
 * has optional ones and offline there is nobody to say "404". What the page finds to be wrong it deletes.
 */
async function modelFile(url, request) {
  const cache = await caches.open(MODELS);
  const known = await cache.match(url);
  if (known) return request.method === "HEAD" ? new Response(null, known) : known;

  const response = await fetch(request, { cache: "no-cache" });
  const { status, statusText } = response;
  if (request.method === "HEAD" || (status !== 200 && status !== 404) || !response.body) return response;
  const headers = new Headers(response.headers);
  if (headers.has("content-encoding")) {
    // The body is read decoded; the length in the header is that of the encoded one.
    headers.delete("content-encoding");
    headers.delete("content-length");
  }
  const { ahead, aside } = copy(response.body);
  // A refused copy (no room left, a download given up) costs nothing but the offline use.
  cache.put(url, new Response(aside, { status, statusText, headers })).catch(() => {});
  return new Response(ahead, { status, statusText, headers });
}

/** Two streams of one body, where `ahead` sets the pace and, cancelled, ends both. (`tee` would read on for the other.) */
function copy(body) {
  const reader = body.getReader();
  let store;
  const aside = new ReadableStream({ start: (controller) => void (store = controller), cancel: () => void (store = null) });
  const ahead = new ReadableStream({
    async pull(controller) {
      try {
        const { done, value } = await reader.read();
        if (done) {
          controller.close();
          store?.close();
        } else {
          store?.enqueue(value.slice());
          controller.enqueue(value);
        }
      } catch (error) {
        controller.error(error);
        store?.error(error);
      }
    },
    cancel(reason) {
      store?.error(reason);
      return reader.cancel(reason);
    },
  });
  return { ahead, aside };
}
