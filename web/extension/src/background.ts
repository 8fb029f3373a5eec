// What the browser wakes: the button, the menu of a page and the address bar. It only hands on; a service worker may end at any time, and
// nothing here is kept over that.

import { Client } from "./client.js";
import { pageOf } from "./collect.js";
import { MOST } from "./protocol.js";

const MENU = "add this page";
const client = new Client();
let typing = new AbortController();

chrome.runtime.onInstalled.addListener(() => {
  chrome.contextMenus.create({ id: MENU, title: "Add this page to those found by meaning", contexts: ["page"] });
});
if (FIREFOX) chrome.action.onClicked.addListener(() => void chrome.sidebarAction.toggle());
else void chrome.sidePanel.setPanelBehavior({ openPanelOnActionClick: true });

chrome.contextMenus.onClicked.addListener(async ({ menuItemId }, tab) => {
  const tabId = tab?.id;
  if (menuItemId !== MENU || tabId === undefined) return;
  const show = (text: string, title: string) =>
    Promise.all([chrome.action.setBadgeText({ tabId, text }), chrome.action.setTitle({ tabId, title })]).catch(() => {
      // The tab has been closed.
    });
  await show("…", "Adding this page");
  try {
    await client.ask({ kind: "add", pages: [await pageOf(tabId)] });
    await show("✓", "This page was added");
  } catch (error) {
    await show("!", `This page was not added: ${error instanceof Error ? error.message : error}`);
  }
});

chrome.omnibox.setDefaultSuggestion({ description: "Find pages by what they mean" });
chrome.omnibox.onInputChanged.addListener(async (text, suggest) => {
  typing.abort();
  typing = new AbortController();
  try {
    const found = await client.ask({ kind: "search", query: text.slice(0, MOST.query) }, typing.signal);
    suggest(found.slice(0, 6).map(({ url, title }) => ({ content: url, description: asMarkup(title) })));
  } catch {
    // The address bar has no place for an error: the panel, which Enter opens, says it.
  }
});
chrome.omnibox.onInputEntered.addListener((text, disposition) => {
  const url = URL.canParse(text) && /^https?:/.test(text) ? text : `${chrome.runtime.getURL("panel.html")}?query=${encodeURIComponent(text)}`;
  if (disposition === "currentTab") void chrome.tabs.update({ url });
  else void chrome.tabs.create({ url, active: disposition === "newForegroundTab" });
});

/** Chromium reads descriptions as XML, Firefox as they are. */
function asMarkup(text: string): string {
  return FIREFOX ? text : text.replace(/[<>&"']/g, (char) => `&#${char.charCodeAt(0)};`);
}
