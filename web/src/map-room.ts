// The map room, loaded when it is first shown: every text as a point, near those of like meaning, coloured by cluster, by source or by
// label; beside it the same as a list. A line drawn around points selects them, a click opens one. It embeds nothing: vectors are the library's.

import type { Encoder } from "embedlet";
import { kMeans } from "embedlet/cluster";
import { toCsv } from "./csv.js";
import { type Document, originOf, titleOf } from "./document.js";
import { announce, element, latest } from "./dom.js";
import { count, plural } from "./format.js";
import type { Library } from "./library.js";
import { hue, mapCanvas } from "./map-canvas.js";
import { project, type Rows } from "./projection.js";
import { grouped, type Grouping, topics } from "./topics.js";

/** The collection as it is drawn. */
interface Drawn { documents: Document[]; places: Float32Array; groupings: Record<By, Grouping> }
/** A text as it is saved. */
type Row = Record<"title" | "text" | "source" | "label" | "x" | "y" | "cluster" | "topic", string | number>;

/** What texts are coloured by, and what the groups are then. */
const GROUPS = { cluster: "cluster", source: "source", label: "group" };
type By = keyof typeof GROUPS;

const COMPONENTS = "components";
const CHOICES = [2, 3, 4, 5, 6, 8, 10, 12, 16, 24];
/** Titles of a list that are shown; a page of thousands serves nobody. */
const LISTED = 200;

export function mapRoom(room: HTMLElement, library: Library, failed: (error: unknown) => void) {
  let encoder: Encoder | null = null;
  let drawn: Drawn | null = null;
  let selection: number[] = [];

  const by = choice("Colour by", Object.keys(GROUPS), () => show());
  const clusters = choice("Clusters", ["automatic", ...CHOICES.map(String)], () => void draw());
  const projection = choice("Projection", [COMPONENTS, "UMAP"], () => void draw());
  const status = element("p", { class: "muted status", role: "status" });
  const canvas = mapCanvas({ open, select });
  const selected = element("section", { "aria-label": "Selected texts" });
  const groups = element("ul", { class: "map-groups", "aria-label": "The texts of the map, by group" });
  const save = (format: string, type: string, make: (rows: Row[]) => string) => element("button",
    { type: "button", class: "quiet", onclick: () => download(`map.${format.toLowerCase()}`, type, make(exported())) }, `Save as ${format}`);
  const shown = element("div", {},
    element("div", { class: "map-choices" }, by.label, clusters.label, projection.label),
    canvas.frame,
    element("p", { class: "muted" }, "Texts of like meaning lie near each other, as far as two directions can show it. "
      + "Click a point to read it; draw a line around points to select them."),
    selected, groups,
    element("div", { class: "buttons" },
      save("JSON", "application/json", (rows) => JSON.stringify(rows, null, 1)), save("CSV", "text/csv", toCsv)));
  const reader = element("dialog", { class: "card reader", "aria-labelledby": "reader-title" });
  reader.addEventListener("click", ({ target }) => {
    if (target === reader) reader.close(); // its backdrop
  });
  room.replaceChildren(status, shown, reader);
  shown.hidden = true;

  /** Draws the collection as it is now; what was being worked out for an earlier one is given up. */
  const draw = latest(async (signal) => {
    if (encoder === null) return showNone("The map is drawn once the texts are embedded.");
    if (library.size > 2) status.textContent = "Drawing …";
    const { documents, vectors } = await library.points(signal);
    if (documents.length < 3) return showNone("A map needs three texts or more: add some under “Your texts”.");
    const wanted = Number(clusters.select.value) || Math.round(Math.sqrt(documents.length / 2));
    const number = Math.max(2, Math.min(wanted, CHOICES.at(-1)!, documents.length));
    const places = await placed(vectors, signal);
    const { labels } = await kMeans(encoder, vectors, { clusters: number, signal });
    const names = await topics(documents, labels, number, signal);
    signal.throwIfAborted();
    drawn = { documents, places, groupings: {
      cluster: { labels, names },
      source: grouped(documents.map(({ source }) => source), "other sources"),
      label: grouped(documents.map(({ label }) => label), "others"),
    } };
    const byLabel = by.select.options[Object.keys(GROUPS).indexOf("label")]!;
    byLabel.hidden = byLabel.disabled = documents.every(({ label }) => label === "");
    if (byLabel.disabled && byLabel.selected) by.select.value = "cluster";
    shown.hidden = false;
    show();
  }, failed);

  function showNone(why: string): void {
    shown.hidden = true;
    status.textContent = why;
  }

  /** Where texts lie. The components that differ most are there at once; neighbours are kept better by UMAP, which takes its time. */
  async function placed(vectors: Rows, signal: AbortSignal): Promise<Float32Array> {
    const places = await project(vectors, signal);
    if (projection.select.value === COMPONENTS) return places;
    const { umap } = await import("./umap.js").catch((error) => {
      projection.select.value = COMPONENTS;
      console.info("embedlet: UMAP did not load.", error);
      return { umap: null };
    });
    if (!umap) return places;
    const onProgress = (share: number) => {
      const said = `Drawing, ${10 * Math.floor(10 * share)} %`; // not every little step, for it is read out
      if (!signal.aborted && status.textContent !== said) status.textContent = said;
    };
    return umap(encoder!, vectors, places, { signal, onProgress });
  }

  function show(): void {
    if (!drawn) return;
    const { documents, places, groupings } = drawn;
    const chosen = by.select.value as By;
    const { labels, names } = groupings[chosen];
    status.textContent = `${plural(documents.length, "text")} in ${plural(names.length, GROUPS[chosen])}`;
    canvas.show({ places, groups: labels, title: (point) => titleOf(documents[point]!) },
      `Map: ${status.textContent}. The list below has the same texts.`);
    groups.replaceChildren(...names.map((name, group) => {
      const members = [...documents.keys()].filter((at) => labels[at] === group);
      const swatch = element("span", { class: "swatch", "aria-hidden": "true" });
      swatch.style.setProperty("--hue", hue(group));
      const body = element("div", {});
      const details = element("details", { ontoggle: () => {
        if (body.childElementCount > 0) return;
        body.append(element("button", { type: "button", class: "quiet", onclick: () => select(members) }, "Select these"), ...titles(members));
      } }, element("summary", {}, swatch, `${name} `, element("span", { class: "muted figures" }, count(members.length))), body);
      return element("li", {}, details);
    }));
    select([]);
  }

  function titles(points: readonly number[]): HTMLElement[] {
    const { documents } = drawn!;
    const list = element("ul", { class: "titles" }, ...points.slice(0, LISTED).map((point) =>
      element("li", {}, element("button", { type: "button", class: "link", onclick: () => open(point) }, titleOf(documents[point]!)))));
    const more = points.length - LISTED;
    return more > 0 ? [list, element("p", { class: "muted" }, `and ${plural(more, "more", "more")}, which the saved files have`)] : [list];
  }

  function select(points: number[]): void {
    selection = points;
    canvas.mark(points);
    if (points.length === 0) return selected.replaceChildren();
    announce(`${plural(points.length, "text")} selected`);
    selected.replaceChildren(
      element("h2", {}, `${plural(points.length, "text")} selected`),
      element("button", { type: "button", class: "quiet", onclick: () => {
        select([]);
        by.select.focus(); // the button that had the focus is gone
      } }, "Select none"),
      ...titles(points));
  }

  function open(point: number): void {
    const document = drawn!.documents[point]!;
    const origin = originOf(document);
    reader.replaceChildren(
      element("h2", { id: "reader-title" }, document.title || document.source),
      ...(origin ? [element("p", { class: "muted source" }, origin)] : []),
      element("p", { class: "hit-text", tabindex: 0 }, document.text),
      element("button", { type: "button", onclick: () => reader.close() }, "Close"));
    reader.showModal();
  }

  /** The selected texts, or all where none is selected. */
  function exported(): Row[] {
    const { documents, places, groupings: { cluster: { labels, names } } } = drawn!;
    const points = selection.length > 0 ? selection : [...documents.keys()];
    return points.map((point) => {
      const { title, text, source, label } = documents[point]!;
      const cluster = labels[point]!;
      return { title, text, source, label, x: places[2 * point]!, y: places[2 * point + 1]!, cluster, topic: names[cluster]! };
    });
  }

  return {
    /** Draws with this encoder from now on; with none, nothing is drawn until there is one. */
    use(next: Encoder | null): void {
      encoder = next;
      drawn = null;
      if (reader.open) reader.close();
      void draw();
    },
  };
}

function choice(name: string, options: string[], changed: () => void) {
  const select = element("select", { onchange: changed }, ...options.map((option) => element("option", {}, option)));
  return { select, label: element("label", {}, `${name} `, select) };
}

/** Gives the reader a file. */
function download(name: string, type: string, content: string): void {
  const address = URL.createObjectURL(new Blob([content], { type }));
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000); // browsers read it after the click
}
