// The compare room, loaded when it is first shown: a few texts, and how alike each is to each other, as a table.

import type { Encoder } from "embedlet";
import { announce, debounce, element, latest } from "./dom.js";
import { plural } from "./format.js";

const PAUSE_MS = 300;
/** Columns that a table can have and still be read. */
const MOST = 10;
const TEXTS = `The cat sleeps on the sofa.
A kitten naps on the couch.
The stock market fell sharply.
Share prices dropped today.`;

export function compareRoom(room: HTMLElement, failed: (error: unknown) => void) {
  const later = debounce(PAUSE_MS, () => void run());
  const texts = element("textarea", { id: "to-compare", rows: 5, spellcheck: "false", oninput: later }, TEXTS);
  const status = element("p", { class: "muted status" });
  const frame = element("div", { class: "scrolled", tabindex: 0, role: "region", "aria-label": "Similarities" });
  room.replaceChildren(element("label", { class: "field-label", for: "to-compare" }, "Texts to compare, one per line"), texts, status, frame);
  let encoder: Encoder | null = null;

  const run = latest(async (signal) => {
    const lines = texts.value.split("\n").map((line) => line.trim()).filter(Boolean);
    frame.hidden = encoder === null || lines.length < 2;
    if (encoder === null || frame.hidden) {
      status.textContent = encoder === null ? "The model is not loaded yet." : "Write two texts or more.";
      return;
    }
    const some = lines.slice(0, MOST);
    const vectors = await encoder.embed(some, { signal });
    signal.throwIfAborted();
    frame.replaceChildren(table(some, encoder.similarity(vectors, vectors)));
    status.textContent = `${plural(some.length, "text")} compared by ${encoder.info.similarity}`
      + (some.length < lines.length ? `; the first ${MOST} of ${lines.length}.` : ".");
    if (room.offsetParent !== null) announce(status.textContent);
  }, failed);

  void run();
  return {
    use(next: Encoder | null): void {
      if (next === encoder) return;
      encoder = next;
      void run();
    },
  };
}

/** Cells are the darker, the more alike their texts are, between the least and the most of the table. */
function table(texts: string[], scores: Float32Array): HTMLElement {
  const others = scores.filter((_, at) => at % (texts.length + 1) !== 0);
  const [least, most] = [Math.min(...others), Math.max(...others)];
  const head = element("tr", {}, element("td", {}), ...texts.map((text, at) => element("th", { scope: "col", title: text }, String(at + 1))));
  const rows = texts.map((text, row) => element("tr", {},
    element("th", { scope: "row" }, `${row + 1}  ${text}`),
    ...texts.map((_, column) => {
      const score = scores[row * texts.length + column]!;
      const cell = element("td", { class: "figures" }, score.toFixed(2));
      const share = most > least ? Math.max(0, Math.min(1, (score - least) / (most - least))) : 1;
      cell.style.setProperty("--share", row === column ? "0%" : `${Math.round(100 * share)}%`);
      return cell;
    })));
  return element("table", { class: "alike" }, element("thead", {}, head), element("tbody", {}, ...rows));
}
