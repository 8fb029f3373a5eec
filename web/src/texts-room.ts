// The texts room: paste, choose or drop texts, and see and remove what is in the collection. Files are read here and handed
// to `passages.ts`; the library embeds them.

import { byId, element } from "./dom.js";
import { megabytes, plural } from "./format.js";
import type { Library } from "./library.js";
import { type Document, FILE_TYPES, parse } from "./passages.js";

const MAX_FILE_BYTES = 20e6;

export function textsRoom(library: Library, changed: () => void) {
  const paste = byId("paste", HTMLTextAreaElement);
  const files = byId("files", HTMLInputElement);
  const status = byId("texts-status", HTMLElement);
  const sources = byId("sources", HTMLUListElement);
  const count = byId("text-count", HTMLElement);
  let pasted = 0;

  function take(documents: Document[], name: string): string {
    if (documents.length === 0) return `${name}: no text in it.`;
    const taken = library.add(documents);
    const left = documents.length - taken;
    return `${name}: ${plural(taken, "text")} added${left === 0 ? "" : `, ${plural(left, "text")} left out, as the collection is full`}.`;
  }

  async function takeFile(file: File): Promise<string> {
    if (!FILE_TYPES.some((type) => file.name.toLowerCase().endsWith(type))) {
      return `${file.name}: not read; it should be one of ${FILE_TYPES.join(" ")}.`;
    }
    if (file.size > MAX_FILE_BYTES) return `${file.name}: not read; it is over ${megabytes(MAX_FILE_BYTES)}.`;
    try {
      const documents = parse(decode(await file.arrayBuffer()), file.name);
      library.remove(file.name); // the same file again takes the place of the first
      return take(documents, file.name);
    } catch (error) {
      return (error as Error).message;
    }
  }

  async function takeFiles(list: Iterable<File>): Promise<void> {
    const said: string[] = [];
    for (const file of list) said.push(await takeFile(file));
    status.textContent = said.join("\n");
    update();
    changed();
  }

  function update(): void {
    count.textContent = String(library.documents.length);
    const groups = bySource(library.documents);
    sources.replaceChildren(...[...groups].map(([source, documents]) => element("li", {},
      element("div", {},
        element("strong", {}, source),
        element("span", { class: "muted" }, `${plural(documents.length, "text")}, ${plural(documents.reduce((sum, { passages }) => sum + passages.length, 0), "passage")}`)),
      element("button", { type: "button", class: "quiet", "aria-label": `Remove ${source}`, onclick: () => remove(source) }, "Remove"))));
    if (groups.size === 0) sources.append(element("li", { class: "muted" }, "Nothing yet."));
  }

  function remove(source: string): void {
    library.remove(source);
    status.textContent = `${source}: removed.`;
    update();
    paste.focus(); // the button that had the focus is gone
    changed();
  }

  byId("add-pasted", HTMLButtonElement).addEventListener("click", () => {
    if (paste.value.trim() === "") {
      status.textContent = "There is no text to add yet.";
      paste.focus();
      return;
    }
    const name = `Pasted text ${++pasted}`;
    status.textContent = take(parse(paste.value, name), name);
    paste.value = "";
    update();
    changed();
  });

  files.addEventListener("change", () => {
    const chosen = [...(files.files ?? [])];
    files.value = ""; // so that choosing the same file again is a change again
    void takeFiles(chosen);
  });

  acceptDrops((list) => void takeFiles(list), (text) => {
    const name = `Dropped text ${++pasted}`;
    status.textContent = take(parse(text, name), name);
    update();
    changed();
  });

  return { update };
}

/** Files and text may be dropped anywhere on the page, except text over a field, where the browser puts it in. */
function acceptDrops(takeFiles: (files: File[]) => void, takeText: (text: string) => void): void {
  const zone = byId("drop", HTMLElement);
  const intoField = (event: DragEvent) =>
    (event.target as Element).matches?.("input, textarea") && !event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (intoField(event)) return;
    event.preventDefault();
    zone.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) zone.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    zone.classList.remove("over");
    const data = event.dataTransfer;
    if (!data || intoField(event)) return;
    event.preventDefault();
    const text = data.getData("text/plain");
    if (data.files.length > 0) takeFiles([...data.files]);
    else if (text.trim() !== "") takeText(text);
  });
}

/** UTF-8, UTF-16 by its mark (as Excel saves), and what is neither as the old Western code page. */
function decode(bytes: ArrayBuffer): string {
  const [first, second] = new Uint8Array(bytes);
  if (first === 0xff && second === 0xfe) return new TextDecoder("utf-16le").decode(bytes);
  if (first === 0xfe && second === 0xff) return new TextDecoder("utf-16be").decode(bytes);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return new TextDecoder("windows-1252").decode(bytes);
  }
}

function bySource(documents: readonly Document[]): Map<string, Document[]> {
  const groups = new Map<string, Document[]>();
  for (const document of documents) groups.set(document.source, [...(groups.get(document.source) ?? []), document]);
  return groups;
}
