// The texts room: paste, choose or drop texts, and see and remove what is in the collection. Files are read here and handed
// to `parse.ts`; the library embeds and keeps them.

import { byId, element } from "./dom.js";
import { megabytes, plural } from "./format.js";
import { type Library, SAMPLE } from "./library.js";
import { type Document, FILE_TYPES, parse } from "./parse.js";

const MAX_FILE_BYTES = 20e6;

export function textsRoom(library: Library, actions: { failed(error: unknown): void; changed(): void }) {
  const paste = byId("paste", HTMLTextAreaElement);
  const files = byId("files", HTMLInputElement);
  const status = byId("texts-status", HTMLElement);
  const kept = byId("texts-kept", HTMLElement);
  const sources = byId("sources", HTMLUListElement);
  const count = byId("text-count", HTMLElement);
  const forget = byId("forget-texts", HTMLButtonElement);

  /** Does what changes the collection, and shows what came of it. */
  async function change(work: () => Promise<string>): Promise<void> {
    try {
      status.textContent = await work();
    } catch (error) {
      actions.failed(error);
    }
    update();
    actions.changed();
  }

  async function take(documents: Document[], name: string): Promise<string> {
    if (documents.length === 0) return `${name}: no text in it.`;
    const taken = await library.replace(name, documents);
    const left = documents.length - taken;
    return `${name}: ${plural(taken, "text")} added${left === 0 ? "" : `, ${plural(left, "text")} left out, as the collection is full`}.`;
  }

  /** Takes text that has no name of its own. */
  function takeText(text: string, kind: string): Promise<void> {
    const taken = library.sources();
    let number = 1;
    while (taken.has(`${kind} ${number}`)) number++;
    const name = `${kind} ${number}`;
    return change(() => take(parse(text, name), name));
  }

  async function takeFile(file: File): Promise<string> {
    const name = file.name.slice(-500);
    if (!FILE_TYPES.some((type) => name.toLowerCase().endsWith(type))) {
      return `${name}: not read; it should be one of ${FILE_TYPES.join(" ")}.`;
    }
    if (file.size > MAX_FILE_BYTES) return `${name}: not read; it is over ${megabytes(MAX_FILE_BYTES)}.`;
    let documents: Document[];
    try {
      documents = parse(decode(await file.arrayBuffer()), name);
    } catch (error) {
      return (error as Error).message;
    }
    return take(documents, name);
  }

  const takeFiles = (list: File[]) => change(async () => {
    const said: string[] = [];
    for (const file of list) said.push(await takeFile(file));
    return said.join("\n");
  });

  function update(): void {
    const groups = library.sources();
    count.textContent = String(library.size);
    kept.textContent = !library.isOpen ? "What is kept is shown once the model is loaded."
      : library.unkept === null ? "Kept in this browser as soon as it is embedded, and here again at the next visit."
      : `Here until this page is closed, as the browser does not keep it. ${library.unkept}`;
    forget.hidden = library.isOpen && ![...groups.keys()].some((source) => source !== SAMPLE);
    sources.replaceChildren(...[...groups].map(([source, texts]) => element("li", {},
      element("div", {}, element("strong", {}, source), element("span", { class: "muted" }, plural(texts, "text"))),
      element("button", { type: "button", class: "quiet", "aria-label": `Remove ${source}`, disabled: !library.isOpen,
        onclick: () => remove(source) }, "Remove"))));
    if (groups.size === 0) sources.append(element("li", { class: "muted" }, "Nothing yet."));
  }

  function remove(source: string): void {
    paste.focus(); // the button that had the focus goes
    void change(async () => {
      await library.remove(source);
      return `${source}: removed.`;
    });
  }

  byId("add-pasted", HTMLButtonElement).addEventListener("click", () => {
    if (paste.value.trim() === "") {
      status.textContent = "There is no text to add yet.";
      paste.focus();
      return;
    }
    void takeText(paste.value, "Pasted text");
    paste.value = "";
  });
  const forgetTexts = (all = false) => change(async () => {
    await library.forget(all);
    return "Your texts are forgotten.";
  });
  forget.addEventListener("click", () => {
    paste.focus(); // the button goes
    void forgetTexts();
  });

  files.addEventListener("change", () => {
    const chosen = [...(files.files ?? [])];
    files.value = ""; // so that choosing the same file again is a change again
    void takeFiles(chosen);
  });

  acceptDrops((list) => void takeFiles(list), (text) => void takeText(text, "Dropped text"));

  return { update, forget: forgetTexts };
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
