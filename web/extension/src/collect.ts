// Where pages come from: the text of a tab, and titles and addresses of bookmarks and history, cut to what a message takes. Asks for no
// permission, and fails without.

import { isAddress, MOST, type Origin, type Page } from "./protocol.js";

const DAY = 24 * 60 * 60 * 1000;
export const HISTORY = { days: 90, most: 10_000 };

/** The page of a tab, as it stands. Rejects where the extension may not read it. */
export async function pageOf(tabId: number): Promise<Page> {
  const [injected] = await chrome.scripting.executeScript({ target: { tabId }, func: read, args: [MOST.text] });
  // The page around the script is anybody's.
  const { url, title, text } = injected?.result ?? {};
  if (typeof url === "string" && url.length > MOST.address) throw new Error("Its address is too long to be kept.");
  if (!isAddress(url) || typeof title !== "string" || typeof text !== "string") throw new Error("This is not a page of the web.");
  return { url, title: title.trim().slice(0, MOST.title) || url.slice(0, MOST.title), text: text.slice(0, MOST.text), origin: "page" };
}

/** Runs in the page, alone: nothing of this file is there. */
function read(most: number): { url: string; title: string; text: string } {
  const main = document.querySelector<HTMLElement>("main, [role=main], article") ?? document.body;
  const text = main?.innerText.replace(/[^\S\n]+/g, " ").replace(/\s*\n\s*/g, "\n").trim().slice(0, most) ?? "";
  return { url: location.href.split("#")[0]!, title: document.title, text };
}

/** Those of one address, in several folders, are one. */
export async function bookmarks(): Promise<Page[]> {
  const pages = new Map<string, Page>();
  const nodes = await chrome.bookmarks.getTree();
  for (let node = nodes.pop(); node; node = nodes.pop()) {
    nodes.push(...(node.children ?? []));
    for (const page of named(node.url, node.title, "bookmark")) pages.set(page.url, page);
  }
  return [...pages.values()];
}

export async function history(): Promise<Page[]> {
  const visits = await chrome.history.search({ text: "", startTime: Date.now() - HISTORY.days * DAY, maxResults: HISTORY.most });
  return visits.flatMap(({ url, title }) => named(url, title, "history"));
}

/** What has no address of the web, such as a bookmarklet, or a very long one, is left out. The words of the address count. */
function named(url: string | undefined, title: string | undefined, origin: Origin): Page[] {
  if (!isAddress(url)) return [];
  const { hostname, pathname } = new URL(url);
  const words = `${hostname} ${pathname}`.replace(/%[0-9a-f]{2}|[^\p{L}\p{N}.]+/giu, " ").trim();
  return [{ url, title: (title?.trim() || url).slice(0, MOST.title), text: words, origin }];
}
