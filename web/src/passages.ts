// Turns a dropped file or pasted text into documents, and each document into passages: the pieces that are embedded, given as
// ranges of the document so that the best one can be marked in place. Pure functions; nothing here touches the page.

import { parseCsv } from "./csv.js";

/** A piece of a document's text, `start` inclusive, `end` exclusive, in UTF-16 units. */
export interface Passage { start: number; end: number }
export interface Document { title: string; text: string; source: string; passages: Passage[] }

/** What a parser finds before the text is cut into passages. */
interface Found { title?: string; text: string }

/** A passage grows sentence by sentence up to this many characters: a thought or two, far below any token limit. */
const PASSAGE_LENGTH = 140;
/** A single sentence may be longer than that, until here; beyond, it is cut between words. */
const SENTENCE_LIMIT = 800;
/** A block up to this length, without end punctuation and before a block that is none, is that block's heading. */
const HEADING_LENGTH = 70;

const TEXT_FIELDS = ["text", "content", "body", "message", "passage", "sentence", "description", "abstract", "summary",
  "comment", "review", "question", "note", "answer", "quote"];
const TITLE_FIELDS = ["title", "name", "headline", "heading", "subject", "label", "id"];
const OTHER_FIELDS = ["date", "url", "category", "tags", "author", "lang", "language", "source"];

export const FILE_TYPES = [".txt", ".md", ".csv", ".json"];

/** The documents in a file's text, by its extension; pasted text counts as `.txt`. Throws a sentence for the reader. */
export function parse(text: string, name: string): Document[] {
  const clean = text.replace(/^\uFEFF/, "").replace(/\r\n?/g, "\n");
  const type = name.slice(name.lastIndexOf(".")).toLowerCase();
  const found = type === ".csv" ? fromCsv(clean)
    : type === ".json" ? fromJson(clean, name)
    : type === ".md" ? fromMarkdown(clean)
    : fromPlain(clean);
  return found.flatMap(({ title, text }) => {
    const trimmed = text.trim();
    return trimmed === "" ? [] : [{ title: title?.trim() ?? "", text: trimmed, source: name, passages: split(trimmed) }];
  });
}

/** Cuts a text into passages: whole sentences, gathered until they fill a passage. Every character but white space is in one. */
export function split(text: string): Passage[] {
  const pieces: Passage[] = [];
  for (const { segment, index } of new Intl.Segmenter(undefined, { granularity: "sentence" }).segment(text)) {
    for (let from = 0; from < segment.length;) {
      const to = cut(segment, from);
      const piece = trim(text, index + from, index + to);
      if (piece.end > piece.start) pieces.push(piece);
      from = to;
    }
  }
  const passages: Passage[] = [];
  for (const piece of pieces) {
    const last = passages.at(-1);
    if (last && piece.end - last.start <= PASSAGE_LENGTH) last.end = piece.end;
    else passages.push({ ...piece });
  }
  return passages;
}

/** Where the piece of a sentence that begins at `from` ends: at the sentence's end, or at the last space before the limit. */
function cut(sentence: string, from: number): number {
  if (sentence.length - from <= SENTENCE_LIMIT) return sentence.length;
  const space = sentence.lastIndexOf(" ", from + SENTENCE_LIMIT);
  if (space > from) return space + 1;
  // No space at all: never between the two halves of a surrogate pair.
  const to = from + SENTENCE_LIMIT;
  return /[\uD800-\uDBFF]/.test(sentence[to - 1]!) ? to - 1 : to;
}

function trim(text: string, start: number, end: number): Passage {
  const piece = text.slice(start, end);
  return { start: start + piece.length - piece.trimStart().length, end: start + piece.trimEnd().length };
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
    const heading = fenced ? null : /^#{1,6}\s+(.*?)\s*#*\s*$/.exec(line);
    if (heading) {
      end();
      title = heading[1];
    } else lines.push(line);
  }
  end();
  // A file without a single heading is plain text, so that its paragraphs are found one by one.
  return title === undefined ? fromPlain(text) : found;
}

/** A first row that holds a known field name is a header; the text is the column so named, else the one with most text. */
function fromCsv(text: string): Found[] {
  const rows = parseCsv(text);
  const first = (rows[0] ?? []).map((cell) => cell.trim().toLowerCase());
  const known = [...TEXT_FIELDS, ...TITLE_FIELDS, ...OTHER_FIELDS];
  const header = first.some((name) => known.includes(name)) ? first : [];
  const body = header.length > 0 ? rows.slice(1) : rows;

  const lengths: number[] = [];
  for (const row of body) row.forEach((cell, column) => (lengths[column] = (lengths[column] ?? 0) + cell.length));
  const named = TEXT_FIELDS.map((name) => header.indexOf(name)).find((column) => column >= 0);
  const textColumn = named ?? lengths.indexOf(Math.max(...lengths));
  const titleColumn = TITLE_FIELDS.map((name) => header.indexOf(name)).find((column) => column >= 0 && column !== textColumn);
  return body.map((row) => ({
    title: titleColumn === undefined ? undefined : row[titleColumn],
    text: row[textColumn] ?? "",
  }));
}

function fromJson(text: string, name: string): Found[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(`${name} is not valid JSON: ${(error as Error).message}`);
  }
  const found = fromValue(value);
  if (found.length === 0) {
    throw new Error(`${name} holds no text: an array of strings, or of objects with a field such as "text" or "content", is read.`);
  }
  return found;
}

/** A string, an array of anything read here, an object with a text field, or an object around such things. */
function fromValue(value: unknown, key?: string): Found[] {
  if (typeof value === "string") return [{ title: key, text: value }];
  if (Array.isArray(value)) return value.flatMap((item) => fromValue(item));
  if (typeof value !== "object" || value === null) return [];
  // Entries, not property reads: a file may well hold keys such as "__proto__" or "constructor".
  const entries = Object.entries(value);
  const field = (names: string[]) => names.flatMap((name) =>
    entries.filter(([key, item]) => key.toLowerCase() === name && typeof item === "string").map(([, item]) => item as string))[0];
  const text = field(TEXT_FIELDS);
  if (text !== undefined) return [{ title: field(TITLE_FIELDS) ?? key, text }];
  const inner = entries.filter(([, item]) => typeof item === "object" && item !== null);
  return inner.length > 0
    ? inner.flatMap(([key, item]) => fromValue(item, Array.isArray(item) ? undefined : key))
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
  return block.replace(/[ \t]*\n(?!\s*(?:[-*+•]|\d+[.)])\s)[ \t]*/g, " ");
}
