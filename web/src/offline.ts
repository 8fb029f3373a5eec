// The page's side of the service worker (`sw.js`): starts it, keeps it awake while a model comes through it, forgets stored
// models, and offers a newer version of the page. Where there is no service worker everything works, only not offline.

import { type CachedModel, Encoder } from "embedlet";

/** How long a load waits for the service worker on the first visit. A model that comes before it does is not stored. */
const START_MS = 4000;
/** Browsers stop a service worker that has had no event for 30 s, and with it the download that it passes on. */
const AWAKE_MS = 10_000;

/** The cache that `sw.js` fills under the same name. */
const MODELS = `embedlet ${new URL("./", document.baseURI).pathname} models`;

/** Whether the service worker keeps a model; others the package keeps. */
export function keeps(source: string | File[]): boolean {
  if (!workers || typeof source !== "string") return false;
  try {
    return new URL(source, document.baseURI).href.startsWith(new URL("./model/", document.baseURI).href);
  } catch {
    return false; // the reader's words may be no address
  }
}

const workers: ServiceWorkerContainer | undefined = navigator.serviceWorker;

/** Resolves when requests of this page go through the service worker, or when it is plain that they will not. */
export async function start(onUpdate: (apply: () => void) => void): Promise<void> {
  if (!workers) return;
  try {
    const registration = await workers.register(new URL("sw.js", document.baseURI));
    watch(registration, onUpdate);
    if (workers.controller) return;
    await new Promise<void>((resolve) => {
      workers.addEventListener("controllerchange", () => resolve(), { once: true });
      setTimeout(resolve, START_MS);
    });
  } catch (error) {
    console.info("embedlet: no service worker, so this page will not work offline.", error);
  }
}

/** A new version waits until the old page is gone, so that one page never mixes files of two versions. */
function watch(registration: ServiceWorkerRegistration, onUpdate: (apply: () => void) => void): void {
  const offer = () => {
    const { waiting } = registration;
    if (!waiting || !workers!.controller) return;
    onUpdate(() => {
      workers!.addEventListener("controllerchange", () => location.reload(), { once: true });
      waiting.postMessage("activate");
    });
  };
  offer();
  registration.addEventListener("updatefound", () => {
    registration.installing?.addEventListener("statechange", offer);
  });
}

/** Runs a load with the service worker kept awake. */
export async function awake<T>(load: Promise<T>): Promise<T> {
  const timer = setInterval(() => workers?.controller?.postMessage("stay"), AWAKE_MS);
  try {
    return await load;
  } finally {
    clearInterval(timer);
  }
}

/** Has the files stored that are not needed before the model. */
export function storeRest(): void {
  workers?.controller?.postMessage("rest");
}

/** Whether requests of this page go through the service worker. */
export const isServed = (): boolean => Boolean(workers?.controller);

/** Bytes of the model files that the service worker keeps; `null` where it has none. */
export async function servedBytes(): Promise<number | null> {
  if (!(await globalThis.caches?.has(MODELS))) return null;
  const cache = await caches.open(MODELS);
  const sizes = (await cache.keys()).map(async (request) => {
    const response = await cache.match(request);
    const told = Number(response?.headers.get("content-length"));
    return told > 0 ? told : ((await response?.blob())?.size ?? 0);
  });
  return (await Promise.all(sizes)).reduce((sum, bytes) => sum + bytes, 0);
}

/** The models that the package keeps. */
export async function models(): Promise<CachedModel[]> {
  return globalThis.caches === undefined ? [] : Encoder.cache.list();
}

/** Forgets the model that the service worker keeps: it cannot know whether its files are right. */
export async function forgetServed(): Promise<void> {
  await globalThis.caches?.delete(MODELS);
}
