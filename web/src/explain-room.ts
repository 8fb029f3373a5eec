// The explain room, loaded when it is first shown: two texts, how alike they are, and what each word of the first does for that, by leaving
// it out. Marks are always beside numbers: colour alone says nothing here.

import type { Encoder, Explanation } from "embedlet";
import { announce, debounce, element, latest } from "./dom.js";

const PAUSE_MS = 400;
/** Every word is another reading of the text. */
const LONGEST = 1000;
/** Words of the list. */
const LISTED = 8;

export function explainRoom(room: HTMLElement, failed: (error: unknown) => void) {
  const later = debounce(PAUSE_MS, () => void run());
  const text = element("textarea", { id: "to-explain", rows: 3, maxlength: LONGEST, spellcheck: "false", oninput: later },
    "The courier left my parcel with a neighbour who is on holiday.");
  const other = element("textarea", { id: "explain-against", rows: 2, maxlength: LONGEST, spellcheck: "false", oninput: later },
    "Where is my delivery?");
  const status = element("p", { class: "muted status" });
  const marked = element("p", { class: "marked" });
  const words = element("ol", { class: "words", "aria-label": "Words that matter most" });
  room.replaceChildren(
    element("label", { class: "field-label", for: "to-explain" }, "Text to explain"), text,
    element("label", { class: "field-label", for: "explain-against" }, "Compared with"), other, status, marked, words,
    element("p", { class: "muted" }, "A word's number is what the similarity loses when the model reads the text without it."));
  let encoder: Encoder | null = null;

  const run = latest(async (signal) => {
    const [own, against] = [text.value.trim(), other.value.trim()];
    marked.replaceChildren();
    words.replaceChildren();
    if (encoder === null || own === "" || against === "") {
      status.textContent = encoder === null ? "The model is not loaded yet." : "Write two texts.";
      return;
    }
    status.textContent = "Reading …";
    const found = await encoder.explain(own, { against, unit: "word", signal });
    signal.throwIfAborted();
    show(own, found);
  }, failed);

  function show(own: string, { score, parts, truncated }: Explanation): void {
    status.textContent = `Similarity ${score.toFixed(3)}${truncated ? "; the text was cut to what the model reads" : ""}`;
    const most = Math.max(...parts.map((part) => Math.abs(part.score)), 1e-9);
    let at = 0;
    for (const part of parts) {
      const mark = element("span", { class: part.score < 0 ? "against" : "for" }, own.slice(part.start, part.end));
      mark.style.setProperty("--share", `${Math.round((100 * Math.abs(part.score)) / most)}%`);
      marked.append(own.slice(at, part.start), mark);
      at = part.end;
    }
    marked.append(own.slice(at));
    const best = [...parts].sort((a, b) => Math.abs(b.score) - Math.abs(a.score)).slice(0, LISTED);
    words.replaceChildren(...best.map((part) => element("li", {}, element("span", {}, own.slice(part.start, part.end)), " ",
      element("span", { class: "figures muted" }, `${part.score < 0 ? "−" : "+"}${Math.abs(part.score).toFixed(3)}`))));
    if (room.offsetParent !== null) announce(`${status.textContent}. Most: ${best[0] ? own.slice(best[0].start, best[0].end) : "none"}`);
  }

  void run();
  return {
    use(next: Encoder | null): void {
      if (next === encoder) return;
      encoder = next;
      void run();
    },
  };
}
