// What the contexts of the extension say to one another, and how each end reads it: nothing is as its type says until it was looked at.
// Messages are small and plain; texts go once, to be indexed, and passages come back.

import { EmbedletError } from "embedlet/extension";

/** The name of the ports. */
export const PORT = "pages";

/** Most characters of each, and most pages of one message. Who collects pages cuts them to this; longer addresses are left out. */
export const MOST = { address: 1000, title: 500, text: 100_000, query: 1000, passage: 400, pages: 100 };

const ORIGINS = ["page", "bookmark", "history"] as const;
export type Origin = (typeof ORIGINS)[number];

export interface Page {
  url: string;
  title: string;
  text: string;
  origin: Origin;
}

/** `open` loads the model before it is needed. */
export type Request =
  | { kind: "open" }
  | { kind: "search"; query: string }
  | { kind: "add"; pages: Page[] }
  | { kind: "remove"; url: string }
  | { kind: "clear" };

/** A page that was found, by its best passage. */
export interface Found {
  url: string;
  title: string;
  passage: string;
  origin: Origin;
}

/** What the panel shows of the document that holds the pages. */
export interface State {
  model: "absent" | "loading" | "ready" | "failed";
  /** Percent of the load. */
  progress: number;
  /** Where the model runs, or what went wrong. */
  note: string;
  /** What is kept; `null` while it is not known. */
  kept: { documents: number; bytes: number } | null;
}

/** To the document: a request by a number of the asker's, or the end of one. */
export type Asked = { id: number; request: Request } | { abort: number };
/** From it. */
export type Told = { id: number; found: Found[] } | { id: number; error: { code: string; message: string } } | { state: State };

/** One end of a connection. */
export interface Port {
  readonly name: string;
  readonly sender?: { id?: string; url?: string };
  readonly onMessage: ChromeEvent<(message: unknown) => void>;
  readonly onDisconnect: ChromeEvent<() => void>;
  postMessage(message: unknown): void;
  disconnect(): void;
}

/** Pages that a link may lead to: no scripts, no files. */
export function isAddress(value: unknown): value is string {
  return isText(value, MOST.address) && /^https?:\/\//.test(value) && URL.canParse(value);
}

export function readAsked(message: unknown): Asked {
  if (!isRecord(message)) throw malformed();
  if (isCount(message.abort)) return { abort: message.abort };
  if (!isCount(message.id)) throw malformed();
  return { id: message.id, request: readRequest(message.request) };
}

function readRequest(request: unknown): Request {
  if (!isRecord(request)) throw malformed();
  const { kind, query, pages, url } = request;
  if (kind === "open" || kind === "clear") return { kind };
  if (kind === "search" && isText(query, MOST.query)) return { kind, query };
  if (kind === "remove" && isAddress(url)) return { kind, url };
  if (kind === "add" && Array.isArray(pages) && pages.length <= MOST.pages && pages.every(isPage)) return { kind, pages };
  throw malformed();
}

export function readTold(message: unknown): Told {
  if (!isRecord(message)) throw malformed();
  const { id, found, error, state } = message;
  if (isState(state)) return { state };
  if (isCount(id) && Array.isArray(found) && found.every(isFound)) return { id, found };
  if (isCount(id) && isRecord(error) && typeof error.code === "string" && typeof error.message === "string") {
    return { id, error: { code: error.code, message: error.message } };
  }
  throw malformed();
}

function isPage(value: unknown): value is Page {
  return isNamed(value) && isText(value.text, MOST.text);
}

function isFound(value: unknown): value is Found {
  return isNamed(value) && isText(value.passage, MOST.passage);
}

function isNamed(value: unknown): value is Record<string, unknown> {
  return isRecord(value) && isAddress(value.url) && isText(value.title, MOST.title) && isOrigin(value.origin);
}

function isState(value: unknown): value is State {
  if (!isRecord(value) || !["absent", "loading", "ready", "failed"].includes(String(value.model))) return false;
  const { progress, note, kept } = value;
  const isKept = kept === null || (isRecord(kept) && isCount(kept.documents) && isCount(kept.bytes));
  return typeof progress === "number" && typeof note === "string" && isKept;
}

function isOrigin(value: unknown): value is Origin {
  return (ORIGINS as readonly unknown[]).includes(value);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isText(value: unknown, most: number): value is string {
  return typeof value === "string" && value.length <= most;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

function malformed(): EmbedletError {
  return new EmbedletError("invalid-argument", "A message that is none of this extension's.");
}
