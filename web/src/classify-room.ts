// The classify room, loaded when it is first shown: rows of a label and its examples, texts to sort, and the predictions with the example that decided.
// Everything is recomputed a moment after the last change.

import type { Encoder, LabelScore } from "embedlet";
import { announce, debounce, element, meter } from "./dom.js";
import { isAbort } from "./errors.js";
import { plural } from "./format.js";

const PAUSE_MS = 300;

const EXAMPLES: [label: string, examples: string][] = [
  ["Delivery", "Where is my parcel?\nThe courier left it at the wrong house."],
  ["Refund", "I would like my money back.\nYou charged me twice."],
  ["Fault", "The screen stays black when I switch it on.\nIt keeps crashing after the update."],
];
const TEXTS = `My order was meant to come on Monday and nobody rang the bell.
The app freezes each time I open a photo.
Please reverse the payment, I never asked for a subscription.`;

export function classifyRoom(room: HTMLElement, failed: (error: unknown) => void) {
  const rows = element("div", { id: "labels", class: "labels" });
  const add = element("button", { type: "button", id: "add-label", class: "quiet", onclick: () => addLabel().focus() }, "Add a label");
  const texts = element("textarea", { id: "to-classify", rows: 5, spellcheck: "false" }, TEXTS);
  const status = element("p", { id: "classify-status", class: "muted status" });
  const list = element("ol", { id: "predictions", class: "predictions", "aria-label": "Predictions" });
  room.replaceChildren(
    element("p", { class: "muted" }, "Give each label a few examples in your own words. Every text below is sorted to the label whose "
      + "examples come nearest; there is nothing to train."),
    rows, add, element("label", { class: "field-label", for: "to-classify" }, "Texts to sort, one per line"), texts, status, list);
  let encoder: Encoder | null = null;
  let abort = new AbortController();

  async function run(): Promise<void> {
    abort.abort();
    abort = new AbortController();
    const { signal } = abort;
    const labels = readLabels(rows);
    const lines = linesOf(texts.value);
    if (encoder === null || lines.length === 0 || Object.keys(labels).length < 2) {
      status.textContent = encoder === null ? "The model is not loaded yet."
        : lines.length === 0 ? "Write a text to sort." : "Give at least two labels an example each.";
      list.replaceChildren();
      return;
    }
    try {
      const predictions = await encoder.classify(lines, { labels, signal });
      signal.throwIfAborted();
      status.textContent = `${plural(lines.length, "text")} sorted to ${plural(Object.keys(labels).length, "label")}.`;
      list.replaceChildren(...predictions.map((scores, at) => show(lines[at]!, scores)));
      // Only where it is wanted: the first run happens while this room is not shown.
      if (list.offsetParent !== null) announce(`Sorted: ${predictions.map(([best]) => best!.label).join(", ")}`);
    } catch (error) {
      if (!isAbort(error)) failed(error);
    }
  }

  const later = debounce(PAUSE_MS, () => void run());

  function addLabel(label = "", examples = ""): HTMLElement {
    const name = element("input", { type: "text", value: label, autocomplete: "off", maxlength: 80, oninput: later });
    const remove = element("button", { type: "button", class: "quiet", onclick: () => {
      row.remove();
      add.focus();
      later();
    } }, "Remove");
    const called = () => remove.setAttribute("aria-label", `Remove label ${name.value || "without a name"}`);
    name.addEventListener("input", called);
    called();
    const row = element("div", { class: "label-row" },
      element("label", {}, element("span", {}, "Label"), name),
      element("label", {}, element("span", {}, "Examples, one per line"),
        element("textarea", { rows: 3, spellcheck: "false", oninput: later }, examples)),
      remove);
    rows.append(row);
    return name;
  }

  for (const [label, examples] of EXAMPLES) addLabel(label, examples);
  texts.addEventListener("input", later);

  return {
    use(next: Encoder | null): void {
      encoder = next;
      void run();
    },
  };
}

/** `Object.fromEntries` makes own properties even of names such as "__proto__". */
function readLabels(rows: HTMLElement): Record<string, string[]> {
  const labels = new Map<string, string[]>();
  for (const row of rows.children) {
    const name = row.querySelector("input")!.value.trim();
    const examples = linesOf(row.querySelector("textarea")!.value);
    if (name !== "" && examples.length > 0) labels.set(name, [...(labels.get(name) ?? []), ...examples]);
  }
  return Object.fromEntries(labels);
}

const linesOf = (text: string): string[] => text.split("\n").map((line) => line.trim()).filter(Boolean);

function show(text: string, scores: LabelScore[]): HTMLElement {
  const best = scores[0]!;
  return element("li", { class: "prediction" },
    element("p", {}, element("strong", { class: "label" }, best.label), " ", text),
    element("ul", {}, ...scores.map(({ label, score }) => element("li", {},
      element("span", {}, label),
      meter(score, `${label}, for: ${text}`),
      element("span", { class: "figures" }, `${(100 * score).toFixed(0)} %`)))),
    element("p", { class: "muted source" }, `Nearest example: ${best.example}`));
}
