// The document that holds the pages, which is the offscreen one or Firefox's background page: accepts ports of the extension's own
// contexts, and answers what they ask. What is done is library.ts's.

import { EmbedletError } from "embedlet";
import { here } from "./client.js";
import { Library } from "./library.js";
import { PORT, readAsked, type Found, type Port, type Request } from "./protocol.js";

/** Most requests of one context that have no answer yet. */
const MOST_WAITING = 64;

const ports = new Set<Port>();
const library = new Library(() => ports.forEach(showState));

chrome.runtime.onConnect.addListener((port) => {
  if (port.name !== PORT) return;
  // A content script has the extension's id too, but the address of its page.
  const { id, url } = port.sender ?? {};
  if (id !== chrome.runtime.id || !url?.startsWith(chrome.runtime.getURL(""))) return port.disconnect();
  accept(port);
});
here.accept = accept;

function accept(port: Port): void {
  const running = new Map<number, AbortController>();
  ports.add(port);
  // Pages that have come are added, whoever has gone meanwhile; nobody reads what a search would find.
  port.onDisconnect.addListener(() => ports.delete(port));
  port.onMessage.addListener((message) => {
    try {
      const asked = readAsked(message);
      if ("abort" in asked) return running.get(asked.abort)?.abort();
      const { id, request } = asked;
      if (running.has(id) || running.size >= MOST_WAITING) throw new RangeError("too many");
      const end = new AbortController();
      running.set(id, end);
      answer(request, end.signal)
        .then((found) => send(port, { id, found }), (error) => send(port, { id, error: plain(error) }))
        .finally(() => running.delete(id));
    } catch {
      // What comes from there is none of ours, or more than ours ever ask at once.
      ports.delete(port);
      for (const end of running.values()) end.abort();
      port.disconnect();
    }
  });
  showState(port);
}

async function answer(request: Request, signal: AbortSignal): Promise<Found[]> {
  if (request.kind === "search") return library.search(request.query, signal);
  if (request.kind === "add") await library.add(request.pages, signal);
  else if (request.kind === "remove") await library.remove(request.url);
  else await library[request.kind]();
  return [];
}

function plain(error: unknown): { code: string; message: string } {
  const { name, message } = error instanceof Error ? error : new Error(String(error));
  return { code: error instanceof EmbedletError ? error.code : name, message };
}

const showState = (port: Port): void => send(port, { state: library.state });

function send(port: Port, message: unknown): void {
  if (ports.has(port)) port.postMessage(message);
}
