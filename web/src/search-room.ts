// The search room: asks the library as the query is typed, and shows each hit with its score and its best passage marked. A newer
// query aborts the one before; texts that are still being embedded join the ranking as they come.

import { originOf } from "./document.js";
import { announce, byId, debounce, element, meter } from "./dom.js";
import { isAbort } from "./errors.js";
import { duration, plural } from "./format.js";
import type { Hit, Library } from "./library.js";

const HITS = 10;
const PAUSE_MS = 120;
/** Characters of a long document shown on either side of its best passage. */
const AROUND = 240;

const SUGGESTIONS = ["my dough would not rise", "afraid of speaking in public", "how do I get a refund", "how far away was that lightning",
  "the laptop takes forever"];

/** What was found for a query; with `words`, its scores are sums of reciprocal ranks. */
interface Answer { query: string; ms: number; hits: Hit[]; words: boolean }

export interface SearchReport { query: string; queryMs: number | null; topHits: { title: string; text: string; score: number }[] }

export function searchRoom(library: Library, actions: { failed(error: unknown): void; changed(): void }) {
  const input = byId("query", HTMLInputElement);
  const words = byId("words", HTMLInputElement);
  const status = byId("search-status", HTMLElement);
  const list = byId("hits", HTMLOListElement);
  let abort = new AbortController();
  let answer: Answer | null = null;
  let running = Promise.resolve();
  let isRunning = false;

  function run(): void {
    running = ask(true);
  }

  /** Answers the query as it stands, and says so to screen readers where the reader has asked. */
  async function ask(aloud: boolean): Promise<void> {
    abort.abort();
    abort = new AbortController();
    const { signal } = abort;
    const query = input.value.trim();
    isRunning = query !== "" && library.isOpen;
    if (!isRunning) return show(null);
    try {
      const hybrid = words.checked;
      const start = performance.now();
      const hits = await library.search(query, { limit: HITS, words: hybrid, signal });
      signal.throwIfAborted();
      show({ query, ms: performance.now() - start, hits, words: hybrid });
      const [best] = hits;
      if (aloud && best) announce(`${plural(hits.length, "text")} found. Best: ${best.document.title || excerpt(best).marked}`);
    } catch (error) {
      if (!signal.aborted && !isAbort(error)) actions.failed(error);
    } finally {
      if (signal === abort.signal) isRunning = false;
    }
  }

  function show(next: Answer | null): void {
    answer = next;
    status.textContent = answer
      ? `Best ${answer.hits.length} of ${plural(library.size, "text")}, in ${duration(answer.ms)}`
      : library.isMigrating ? "Your texts are embedded anew, for this model. They are searched when that is done."
      : !library.isOpen ? "The texts can be searched once the model is loaded."
      : library.size === 0 ? "The collection is empty: add something under “Your texts”."
      : `${plural(library.size, "text")} to search.`;
    list.replaceChildren(...(answer?.hits ?? []).map((hit) => item(hit, answer!)));
    actions.changed();
  }

  const later = debounce(PAUSE_MS, run);
  input.addEventListener("input", later);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter") run();
  });
  words.addEventListener("change", () => {
    void (async () => {
      try {
        if (words.checked) await library.loadWords();
      } catch {
        words.checked = false;
        status.textContent = "The search by words did not load. Is there a network?";
        return;
      }
      run();
    })();
  });
  byId("suggestions", HTMLElement).append(...SUGGESTIONS.map((text) =>
    element("button", { type: "button", class: "chip", onclick: () => {
      input.value = text;
      run();
    } }, text)));

  return {
    run,

    /** When the query at hand has been answered. */
    settled: () => running,

    /** Texts have come or gone. A query that is being answered sees them by itself, or the next call does. */
    refresh(): void {
      if (!isRunning) running = ask(false);
    },

    /** There is no index for now: what is shown is of the past. */
    clear(): void {
      abort.abort();
      show(null);
    },

    fill(text: string): void {
      input.value = text;
    },

    report(): SearchReport {
      const topHits = (answer?.hits ?? []).map((hit) => ({ title: hit.document.title, text: excerpt(hit).marked, score: hit.score }));
      return { query: answer?.query ?? "", queryMs: answer?.ms ?? null, topHits };
    },
  };
}

function item(hit: Hit, { hits, words }: Answer): HTMLElement {
  const { document, score } = hit;
  const { before, marked, after } = excerpt(hit);
  const name = document.title || document.source;
  const origin = originOf(document);
  return element("li", { class: "hit" },
    element("div", { class: "score" },
      element("span", { class: "figures" }, score.toFixed(words ? 3 : 2)),
      meter(words ? score / hits[0]!.score : share(score, hits), `Score of ${name}`)),
    element("div", { class: "hit-body" },
      element("h3", {}, name),
      element("p", { class: "hit-text" }, before, ...(marked === "" ? [] : [element("mark", {}, marked)]), after),
      ...(origin ? [element("p", { class: "muted source" }, origin)] : [])));
}

/** Cosines fill the bar as they are; scores of models that compare otherwise are set between the worst and the best hit. */
function share(score: number, hits: Hit[]): number {
  const best = hits[0]!.score;
  const worst = hits.at(-1)!.score;
  if (best <= 1 && worst >= -1) return Math.max(0, score);
  return best === worst ? 1 : 0.1 + (0.9 * (score - worst)) / (best - worst);
}

/** The best passage with what stands around it, cut between words where the document is long. */
function excerpt({ document: { text }, passage: { start, end } }: Hit) {
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
