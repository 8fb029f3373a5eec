// The little of the browser's interface to extensions that is used here, and what the build says. Types alone.

interface ChromeEvent<Listener> {
  addListener(listener: Listener): void;
}

interface Tab {
  id?: number;
}

interface ContextMenuClick {
  menuItemId: string | number;
}

interface BookmarkNode {
  title: string;
  url?: string;
  children?: BookmarkNode[];
}

interface Suggestion {
  content: string;
  description: string;
}

declare namespace chrome {
  const runtime: {
    readonly id: string;
    readonly onConnect: ChromeEvent<(port: import("./protocol.js").Port) => void>;
    readonly onInstalled: ChromeEvent<() => void>;
    connect(info: { name: string }): import("./protocol.js").Port;
    getURL(path: string): string;
  };
  const permissions: {
    contains(wanted: { permissions?: string[]; origins?: string[] }): Promise<boolean>;
    request(wanted: { permissions?: string[]; origins?: string[] }): Promise<boolean>;
  };
  const tabs: {
    query(filter: { active: true; currentWindow: true }): Promise<Tab[]>;
    create(options: { url: string; active: boolean }): Promise<Tab>;
    update(options: { url: string }): Promise<Tab>;
  };
  const scripting: {
    executeScript<A, R>(injection: { target: { tabId: number }; func: (argument: A) => R; args: [A] }): Promise<{ result?: R }[]>;
  };
  const contextMenus: {
    readonly onClicked: ChromeEvent<(click: ContextMenuClick, tab?: Tab) => void>;
    create(item: { id: string; title: string; contexts: string[] }): void;
  };
  const action: {
    readonly onClicked: ChromeEvent<(tab: Tab) => void>;
    setBadgeText(options: { tabId: number; text: string }): Promise<void>;
    setTitle(options: { tabId: number; title: string }): Promise<void>;
  };
  const omnibox: {
    readonly onInputChanged: ChromeEvent<(text: string, suggest: (suggestions: Suggestion[]) => void) => void>;
    readonly onInputEntered: ChromeEvent<(text: string, disposition: string) => void>;
    setDefaultSuggestion(suggestion: { description: string }): void;
  };
  /** In Chromium. */
  const sidePanel: { setPanelBehavior(behavior: { openPanelOnActionClick: boolean }): Promise<void> };
  /** In Firefox. */
  const sidebarAction: { toggle(): Promise<void> };
  /** With the optional permission of that name. */
  const bookmarks: { getTree(): Promise<BookmarkNode[]> };
  /** With the optional permission of that name. */
  const history: { search(query: { text: string; startTime: number; maxResults: number }): Promise<{ url?: string; title?: string }[]> };
}

/** Where the model comes from: a folder of the package, a hub id or an address. The build says it. */
declare const MODEL: { source: string; revision?: string; cache: boolean };
declare const FIREFOX: boolean;
