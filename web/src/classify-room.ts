// The classify room, loaded when it is first shown: texts to sort, and what sorts them: the nearest example, a head that is trained on the
// examples, or the model's own head. Everything is recomputed a moment after the last change.

import type { Encoder, TrainedHead } from "embedlet";
import { announce, debounce, element, latest, meter } from "./dom.js";
import { plural } from "./format.js";

const PAUSE_MS = 300;
/** Labels of the model's own that are shown; some have hundreds. */
const OWN_LABELS = 5;

type Method = "nearest" | "trained" | "own";
/** What was found for each text, best first, and how to say what found it. */
interface Sorted { found: { label: string; score: number; example?: string }[][]; by: string }

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
  const method = element("select", { onchange: () => void run() },
    element("option", { value: "nearest" }, "the nearest example"),
    element("option", { value: "trained" }, "a head trained on the examples"),
    element("option", { value: "own" }, "the model's own labels"));
  const examples = element("div", {}, rows, add);
  room.replaceChildren(
    element("p", { class: "muted" }, "Give each label a few examples in your own words: every text below is sorted by them. A trained head "
      + "is worth it from eight examples a label. A model that was made to classify has labels of its own."),
    element("label", { class: "field-label" }, "Sort by ", method),
    examples, element("label", { class: "field-label", for: "to-classify" }, "Texts to sort, one per line"), texts, status, list);
  let encoder: Encoder | null = null;
  let head: { of: string; made: TrainedHead } | null = null;

  /** Why nothing can be sorted; empty where it can. */
  function missing(lines: string[], labels: Map<string, string[]>): string {
    if (encoder === null) return "The model is not loaded yet.";
    if (lines.length === 0) return "Write a text to sort.";
    if (method.value === "own") return encoder.info.task === "classify" ? ""
      : "This model has no labels of its own: load one that classifies, under Model.";
    if (labels.size < 2) return "Give at least two labels an example each.";
    const isShort = method.value === "trained" && [...labels.values()].some((list) => list.length < 2);
    return isShort ? "Training needs two examples or more of each label." : "";
  }

  const run = latest(async (signal) => {
    const labels = readLabels(rows);
    const lines = linesOf(texts.value);
    examples.hidden = method.value === "own";
    const why = missing(lines, labels);
    if (why !== "") {
      status.textContent = why;
      list.replaceChildren();
      return;
    }
    const { found, by } = await sorted(method.value as Method, lines, labels, signal);
    signal.throwIfAborted();
    status.textContent = `${plural(lines.length, "text")} sorted ${by}.`;
    list.replaceChildren(...found.map((scores, at) => show(lines[at]!, scores)));
    // Only where it is wanted: the first run happens while this room is not shown.
    if (list.offsetParent !== null) announce(`Sorted: ${found.map(([best]) => best!.label).join(", ")}`);
  }, failed);

  async function sorted(by: Method, lines: string[], labels: Map<string, string[]>, signal: AbortSignal): Promise<Sorted> {
    const model = encoder!;
    if (by === "nearest") {
      // `Object.fromEntries` makes own properties even of names such as "__proto__".
      return { found: await model.classify(lines, { labels: Object.fromEntries(labels), signal }), by: `to ${plural(labels.size, "label")}` };
    }
    if (by === "own") {
      const found = await model.classify(lines, { topK: OWN_LABELS, signal });
      return { found: found.map(({ scores }) => scores), by: `by the ${plural(model.info.labels.length, "label")} of the model` };
    }
    const of = JSON.stringify([...labels]);
    if (head?.of !== of) {
      status.textContent = "Training …";
      const learned = [...labels].flatMap(([label, list]) => list.map((text) => ({ text, label })));
      head = { of, made: await model.trainHead(learned, { signal }) };
    }
    const found = await head.made.classify(lines, { signal });
    const share = `${Math.round(100 * head.made.accuracy)} %`;
    return { found: found.map(({ scores }) => scores), by: `by a trained head; of examples that were kept from it, it got ${share} right` };
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

  void run();
  return {
    use(next: Encoder | null): void {
      if (next === encoder) return;
      encoder = next;
      head = null;
      void run();
    },
  };
}

function readLabels(rows: HTMLElement): Map<string, string[]> {
  const labels = new Map<string, string[]>();
  for (const row of rows.children) {
    const name = row.querySelector("input")!.value.trim();
    const examples = linesOf(row.querySelector("textarea")!.value);
    if (name !== "" && examples.length > 0) labels.set(name, [...(labels.get(name) ?? []), ...examples]);
  }
  return labels;
}

const linesOf = (text: string): string[] => text.split("\n").map((line) => line.trim()).filter(Boolean);

function show(text: string, scores: Sorted["found"][number]): HTMLElement {
  const best = scores[0]!;
  return element("li", { class: "prediction" },
    element("p", {}, element("strong", { class: "label" }, best.label), " ", text),
    element("ul", {}, ...scores.map(({ label, score }) => element("li", {},
      element("span", {}, label),
      meter(score, `${label}, for: ${text}`),
      element("span", { class: "figures" }, `${(100 * score).toFixed(0)} %`)))),
    ...(best.example === undefined ? [] : [element("p", { class: "muted source" }, `Nearest example: ${best.example}`)]));
}
