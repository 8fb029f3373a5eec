// The panel: searches while one types, adds what one chooses and shows what is kept. It asks the browser for a permission when what it is
// for is wanted, and everything else of the document that holds the pages. `?query=` is searched for at once.

import { Client } from "./client.js";
import { bookmarks, history, pageOf } from "./collect.js";
import { MOST, type Found, type Page, type State } from "./protocol.js";
import { byId, debounce, element } from "../../src/dom.js";
import { isAbort } from "../../src/errors.js";
import { megabytes, plural } from "../../src/format.js";

const EVERY_PAGE = { origins: ["http://*/*", "https://*/*"] };

const input = byId("query", HTMLInputElement);
const status = byId("status", HTMLElement);
const found = byId("found", HTMLOListElement);
const added = byId("added", HTMLElement);
const bar = byId("work-bar", HTMLProgressElement);
const sure = byId("sure", HTMLDialogElement);
const adders = ["add-page", "add-bookmarks", "add-history"].map((id) => byId(id, HTMLButtonElement));

const client = new Client(show);
let searching = new AbortController();
let adding = new AbortController();

const textOf = (error: unknown) => (error instanceof Error ? error.message : String(error));
const onClick = (id: string, listener: () => void) => byId(id, HTMLButtonElement).addEventListener("click", listener);

byId("ask", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  void search();
});
input.addEventListener("input", debounce(250, () => void search()));
onClick("add-page", () => void add(async () => [await thisPage()]));
// The browser asks only as an answer to a click: nothing may be awaited before.
onClick("add-bookmarks", () => void add(allowed("bookmarks", bookmarks)));
onClick("add-history", () => void add(allowed("history", history)));
onClick("allow-all", () => void chrome.permissions.request(EVERY_PAGE).then((may) => (byId("allow", HTMLElement).hidden = may)));
onClick("cancel", () => adding.abort());
onClick("forget", () => {
  sure.returnValue = ""; // of the last time; Escape would leave it
  sure.showModal();
});
sure.addEventListener("close", () => {
  if (sure.returnValue === "yes") void client.ask({ kind: "clear" }).then(() => search(), (error) => (added.textContent = textOf(error)));
});

input.value = (new URLSearchParams(location.search).get("query") ?? "").slice(0, MOST.query);
void client.ask({ kind: "open" }).then(() => search(), (error) => (status.textContent = textOf(error)));

async function search(): Promise<void> {
  searching.abort();
  searching = new AbortController();
  const { signal } = searching;
  const query = input.value.trim();
  try {
    const list = query === "" ? [] : await client.ask({ kind: "search", query }, signal);
    signal.throwIfAborted();
    found.replaceChildren(...list.map(entry));
    status.textContent = query === "" ? "" : list.length === 0 ? "Nothing has been added yet." : `${plural(list.length, "page")}, best first`;
  } catch (error) {
    if (isAbort(error)) return;
    found.replaceChildren();
    status.textContent = textOf(error);
  }
}

function entry({ url, title, passage, origin }: Found): HTMLElement {
  const remove = element("button", { type: "button", "aria-label": `Remove ${title}` }, "Remove");
  const item = element("li", {},
    element("a", { href: url, target: "_blank", rel: "noreferrer" }, title),
    ...(origin === "page" && passage ? [element("p", {}, passage)] : []),
    element("div", { class: "muted" }, `${new URL(url).host}${origin === "page" ? "" : ` · ${origin}`}`, remove));
  remove.addEventListener("click", () => {
    client.ask({ kind: "remove", url }).then(() => {
      item.remove();
      status.textContent = `${title} was removed.`;
      input.focus(); // the button goes with its page
    }, (error) => (status.textContent = textOf(error)));
  });
  return item;
}

/** Adds what `collect` gives, so many at a time: what an abort or a failure leaves is there. */
async function add(collect: () => Promise<Page[]>): Promise<void> {
  adding = new AbortController();
  const { signal } = adding;
  let done = 0;
  busy(true);
  try {
    const pages = await collect();
    for (bar.max = Math.max(1, pages.length); done < pages.length; bar.value = done) {
      signal.throwIfAborted();
      const part = pages.slice(done, done + MOST.pages);
      await client.ask({ kind: "add", pages: part }, signal);
      done += part.length;
    }
    added.textContent = `${plural(done, "page")} added.`;
  } catch (error) {
    added.textContent = isAbort(error) ? `Cancelled: ${plural(done, "page")} added.` : textOf(error);
  } finally {
    busy(false);
  }
  await search();
}

function busy(isBusy: boolean): void {
  byId("work", HTMLElement).hidden = !isBusy;
  bar.removeAttribute("value");
  added.textContent = isBusy ? "Adding …" : added.textContent;
  for (const button of adders) button.disabled = isBusy;
}

/** Asks at once for a permission; gives what collects with it. */
function allowed(permission: string, collect: () => Promise<Page[]>): () => Promise<Page[]> {
  const asked = chrome.permissions.request({ permissions: [permission] });
  return async () => {
    if (!(await asked)) throw new Error(`Nothing was added: the browser does not allow the ${permission}.`);
    return collect();
  };
}

async function thisPage(): Promise<Page> {
  const [tab] = await chrome.tabs.query({ active: true, currentWindow: true });
  try {
    return await pageOf(tab!.id!);
  } catch (error) {
    byId("allow", HTMLElement).hidden = await chrome.permissions.contains(EVERY_PAGE);
    throw new Error(`This page was not added: ${textOf(error)}`);
  }
}

function show({ model, progress, note, kept }: State): void {
  const load = byId("load", HTMLProgressElement);
  load.hidden = model !== "loading";
  load.value = progress;
  const text = { absent: "", loading: "Loading the model …", ready: note, failed: `The model could not be loaded. ${note}` }[model];
  const line = byId("model", HTMLElement);
  // Said once, not at every step.
  if (line.textContent !== text) line.textContent = text;
  byId("kept", HTMLElement).textContent = kept ? `${plural(kept.documents, "page")}, ${megabytes(kept.bytes)}` : "";
  byId("forget", HTMLButtonElement).hidden = model !== "failed" && !kept?.documents;
}
