// The search room: embeds the query as it is typed, ranks the library against it, and shows each hit with its score and its
// best passage marked. A newer query aborts the one before; texts that are still being embedded join the ranking as they come.

import type { Embeddings, Encoder } from "embedlet";
import { announce, byId, debounce, element } from "./dom.js";
import { isAbort } from "./errors.js";
import { duration, plural } from "./format.js";
import type { Hit, Library } from "./library.js";
import type { Passage } from "./passages.js";

const HITS = 10;
const PAUSE_MS = 120;
/** Characters of a long document shown on either side of its best passage. */
const AROUND = 240;

const SUGGESTIONS = ["my dough would not rise", "afraid of speaking in public", "how do I get a refund", "how far away was that lightning",
  "the laptop takes forever"];

export interface SearchReport { query: string; queryMs: number | null; topHits: { title: string; text: string; score: number }[] }

export function searchRoom(library: Library, actions: { failed(error: unknown): void; changed(): void }) {
  const input = byId("query", HTMLInputElement);
  const status = byId("search-status", HTMLElement);
  const list = byId("hits", HTMLOListElement);
  let encoder: Encoder | null = null;
  let abort = new AbortController();
  let query: { text: string; vector: Embeddings; ms: number } | null = null;
  let hits: Hit[] = [];
  let running = Promise.resolve();

  function run(): void {
    running = ask();
  }

  async function ask(): Promise<void> {
    abort.abort();
    abort = new AbortController();
    const { signal } = abort;
    const text = input.value.trim();
    if (text === "" || encoder === null) {
      query = null;
      rank();
      return;
    }
    const start = performance.now();
    try {
      const vector = await encoder.embedQuery(text, { signal });
      signal.throwIfAborted();
      query = { text, vector, ms: performance.now() - start };
    } catch (error) {
      if (!isAbort(error)) actions.failed(error);
      return;
    }
    rank();
    const [best] = hits;
    if (best) announce(`${plural(hits.length, "text")} found. Best: ${best.document.title || excerpt(best).marked}`);
  }

  /** Ranks the library against the query at hand and shows the result. */
  function rank(): void {
    hits = query ? library.search(query.vector, HITS) : [];
    status.textContent = query
      ? `Best ${hits.length} of ${plural(library.documents.length, "text")}, in ${duration(query.ms)}`
      : library.documents.length === 0 ? "The collection is empty: add something under “Your texts”."
      : `${plural(library.documents.length, "text")} to search${encoder === null ? ", once the model is loaded" : ""}.`;
    list.replaceChildren(...hits.map(show));
    actions.changed();
  }

  const later = debounce(PAUSE_MS, run);
  input.addEventListener("input", later);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter") run();
  });
  byId("suggestions", HTMLElement).append(...SUGGESTIONS.map((text) =>
    element("button", { type: "button", class: "chip", onclick: () => {
      input.value = text;
      run();
    } }, text)));

  return {
    run,
    rank,

    /** When the query at hand has been answered. */
    settled: () => running,

    /** Takes the encoder of later queries; `null` while one loads. */
    use(next: Encoder | null): void {
      encoder = next;
      abort.abort();
      query = null;
      rank();
    },

    fill(text: string): void {
      input.value = text;
    },

    report(): SearchReport {
      const topHits = hits.map((hit) => ({ title: hit.document.title, text: excerpt(hit).marked, score: hit.score }));
      return { query: query?.text ?? "", queryMs: query?.ms ?? null, topHits };
    },
  };
}

function show(hit: Hit, _: number, hits: Hit[]): HTMLElement {
  const { document: { title, source }, score } = hit;
  const { before, marked, after } = excerpt(hit);
  const name = title || source;
  return element("li", { class: "hit" },
    element("div", { class: "score" },
      element("span", { class: "figures" }, score.toFixed(2)),
      meter(share(score, hits), `Score of ${name}`)),
    element("div", { class: "hit-body" },
      element("h3", {}, name),
      element("p", { class: "hit-text" }, before, element("mark", {}, marked), after),
      ...(title ? [element("p", { class: "muted source" }, source)] : [])));
}

/** A bar from 0 to 1; its number stands beside it. */
export function meter(value: number, label: string): HTMLElement {
  return element("meter", { min: 0, max: 1, value: value.toFixed(4), "aria-label": label });
}

/** Cosines fill the bar as they are; scores of models that compare otherwise are set between the worst and the best hit. */
function share(score: number, hits: Hit[]): number {
  const best = hits[0]!.score;
  const worst = hits.at(-1)!.score;
  if (best <= 1 && worst >= -1) return Math.max(0, score);
  return best === worst ? 1 : 0.1 + (0.9 * (score - worst)) / (best - worst);
}

/** The best passage with what stands around it, cut between words where the document is long. */
export function excerpt({ document: { text }, passage }: { document: { text: string }; passage: Passage }) {
  const { start, end } = passage;
  let from = Math.max(0, start - AROUND);
  let to = Math.min(text.length, end + AROUND);
  if (from > 0) from = Math.min(start, text.indexOf(" ", from) + 1 || start);
  if (to < text.length) to = Math.max(end, text.lastIndexOf(" ", to));
  return {
    before: (from > 0 ? "… " : "") + text.slice(from, start),
    marked: text.slice(start, end),
    after: text.slice(end, to) + (to < text.length ? " …" : ""),
  };
}
