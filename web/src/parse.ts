// Turns a dropped file or pasted text into documents. Pure functions; nothing here touches the page, and nothing is embedded.

import { parseCsv } from "./csv.js";
import { type Document, LONGEST_LABEL } from "./document.js";

/** What a parser finds. */
interface Found { title?: string; text: string; label?: string }

/** Longer texts become several, so that each is embedded, and kept, in one go. */
const LONGEST = 50_000;
/** A block up to this length, without end punctuation and before a block that is none, is that block's heading. */
const HEADING_LENGTH = 70;

const TEXT_FIELDS = ["text", "content", "body", "message", "passage", "sentence", "description", "abstract", "summary",
  "comment", "review", "question", "note", "answer", "quote"];
const TITLE_FIELDS = ["title", "name", "headline", "heading", "subject", "id"];
const LABEL_FIELDS = ["label", "category", "class", "kind", "genre", "topic", "section"];
const OTHER_FIELDS = ["date", "url", "tags", "author", "lang", "language", "source"];

/** How deep texts may lie in JSON. */
const NESTED = 100;

export const FILE_TYPES = [".txt", ".md", ".csv", ".json"];

/** The documents in a file's text, by its extension; pasted text counts as `.txt`. Throws a sentence for the reader. */
export function parse(text: string, name: string): Document[] {
  const clean = text.replace(/^\uFEFF/, "").replace(/\r\n?/g, "\n");
  const type = name.slice(name.lastIndexOf(".")).toLowerCase();
  const found = type === ".csv" ? fromCsv(clean)
    : type === ".json" ? fromJson(clean, name)
    : type === ".md" ? fromMarkdown(clean)
    : fromPlain(clean);
  return found.flatMap(({ title, text, label }) => {
    const own = { title: title?.trim() ?? "", label: label?.trim() ?? "", source: name };
    if (own.label.length > LONGEST_LABEL) own.label = "";
    return parts(text).map((text) => ({ ...own, text }));
  });
}

/** A text, or as many as it takes, cut between lines or else between words. */
function parts(text: string): string[] {
  const found: string[] = [];
  for (let rest = text.trim(); rest !== "";) {
    const to = rest.length <= LONGEST ? rest.length : cut(rest);
    found.push(rest.slice(0, to).trimEnd());
    rest = rest.slice(to).trimStart();
  }
  return found;
}

function cut(text: string): number {
  for (const blank of ["\n", " "]) {
    const at = text.lastIndexOf(blank, LONGEST);
    if (at > LONGEST / 2) return at;
  }
  // No blank at all: never between the two halves of a surrogate pair.
  return /[\uD800-\uDBFF]/.test(text[LONGEST - 1]!) ? LONGEST - 1 : LONGEST;
}

/** Blocks between blank lines; where there are none, one text per line, unless the lines are one hard-wrapped paragraph. */
function fromPlain(text: string): Found[] {
  const blocks = text.split(/\n\s*\n/).map((block) => block.trim()).filter(Boolean);
  if (blocks.length === 1) {
    const lines = blocks[0]!.split("\n").map((line) => line.trim()).filter(Boolean);
    return isWrapped(lines) ? [{ text: unwrap(blocks[0]!) }] : lines.map((line) => ({ text: line }));
  }
  const found: Found[] = [];
  let title: string | undefined;
  blocks.forEach((block, at) => {
    const next = blocks[at + 1];
    if (isHeading(block) && next !== undefined && !isHeading(next)) {
      title = block;
      return;
    }
    found.push({ title, text: unwrap(block) });
    title = undefined;
  });
  return found;
}

/** One document for each heading, with all that stands under it. */
function fromMarkdown(text: string): Found[] {
  const found: Found[] = [];
  let title: string | undefined;
  let lines: string[] = [];
  let fenced = false;
  const end = () => {
    const body = lines.join("\n").split(/\n\s*\n/).map((block) => unwrap(block.trim())).filter(Boolean).join("\n\n");
    if (body !== "") found.push({ title, text: body });
    lines = [];
  };
  for (const line of text.split("\n")) {
    if (/^\s*(```|~~~)/.test(line)) fenced = !fenced;
    const heading = fenced ? undefined : headingOf(line);
    if (heading !== undefined) {
      end();
      title = heading;
    } else lines.push(line);
  }
  end();
  // A file without a single heading is plain text, so that its paragraphs are found one by one.
  return title === undefined ? fromPlain(text) : found;
}

/** What stands behind one to six `#`, without those that may close it. No expression: those that say it go through blanks many times over. */
function headingOf(line: string): string | undefined {
  const own = /^#{1,6}(?=\s)/.exec(line);
  if (!own) return undefined;
  const text = line.slice(own[0].length).trim();
  let to = text.length;
  while (text[to - 1] === "#") to--;
  return text.slice(0, to).trimEnd();
}

/** A first row that holds a known field name is a header; the text is the column so named, else the one with most text. */
function fromCsv(text: string): Found[] {
  const rows = parseCsv(text);
  const first = (rows[0] ?? []).map((cell) => cell.trim().toLowerCase());
  const known = [...TEXT_FIELDS, ...TITLE_FIELDS, ...LABEL_FIELDS, ...OTHER_FIELDS];
  const header = first.some((name) => known.includes(name)) ? first : [];
  const body = header.length > 0 ? rows.slice(1) : rows;

  const lengths: number[] = [];
  for (const row of body) row.forEach((cell, column) => (lengths[column] = (lengths[column] ?? 0) + cell.length));
  const named = TEXT_FIELDS.map((name) => header.indexOf(name)).find((column) => column >= 0);
  const textColumn = named ?? lengths.indexOf(lengths.reduce((most, length) => Math.max(most, length), 0));
  const other = (names: string[]) => names.map((name) => header.indexOf(name)).find((column) => column >= 0 && column !== textColumn) ?? -1;
  const [titleColumn, labelColumn] = [other(TITLE_FIELDS), other(LABEL_FIELDS)];
  return body.map((row) => ({ title: row[titleColumn], text: row[textColumn] ?? "", label: row[labelColumn] }));
}

function fromJson(text: string, name: string): Found[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(`${name} is not valid JSON: ${(error as Error).message}`);
  }
  const found = fromValue(value, NESTED);
  if (found.length === 0) {
    throw new Error(`${name} holds no text: an array of strings, or of objects with a field such as "text" or "content", is read.`);
  }
  return found;
}

/** A string, an array of anything read here, an object with a text field, or an object around such things, `depth` deep at most. */
function fromValue(value: unknown, depth: number, key?: string): Found[] {
  if (typeof value === "string") return [{ title: key, text: value }];
  if (typeof value !== "object" || value === null || depth === 0) return [];
  if (Array.isArray(value)) return value.flatMap((item) => fromValue(item, depth - 1));
  // Entries, not property reads: a file may well hold keys such as "__proto__" or "constructor".
  const entries = Object.entries(value);
  const field = (names: string[], types = ["string"]) => names.flatMap((name) =>
    entries.filter(([key, item]) => key.toLowerCase() === name && types.includes(typeof item)).map(([, item]) => String(item)))[0];
  const text = field(TEXT_FIELDS);
  if (text !== undefined) return [{ title: field(TITLE_FIELDS) ?? key, text, label: field(LABEL_FIELDS, ["string", "number", "boolean"]) }];
  const inner = entries.filter(([, item]) => typeof item === "object" && item !== null);
  return inner.length > 0
    ? inner.flatMap(([key, item]) => fromValue(item, depth - 1, Array.isArray(item) ? undefined : key))
    : entries.flatMap(([key, item]) => (typeof item === "string" ? [{ title: key, text: item }] : []));
}

function isHeading(block: string): boolean {
  return block.length <= HEADING_LENGTH && !block.includes("\n") && !/[.!?…:;,"”)。！？]$/u.test(block);
}

/** Lines of one paragraph broken at a column: long, of like length, mostly not ending a sentence. */
function isWrapped(lines: string[]): boolean {
  const full = lines.slice(0, -1);
  if (full.length < 2) return false;
  const long = full.filter((line) => line.length >= 50 && line.length <= 110).length;
  const open = full.filter((line) => !/[.!?…"”]$/u.test(line)).length;
  return long >= 0.8 * full.length && open > full.length / 2;
}

/** Joins the lines of a paragraph; list items keep their own lines. */
function unwrap(block: string): string {
  const isItem = (line: string) => /^\s*(?:[-*+•]|\d+[.)])\s/.test(line);
  const [first, ...rest] = block.split("\n").map((line) => line.trimEnd());
  return [first, ...rest.map((line) => (isItem(line) ? `\n${line}` : ` ${line.trimStart()}`))].join("");
}
