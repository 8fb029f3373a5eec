// The texts room, loaded when it is first shown or something is dropped: paste, choose or drop texts, and see and remove what is in the
// collection. Files are read here and handed to `parse.ts`; the library embeds and keeps them.

import type { Document } from "./document.js";
import { element } from "./dom.js";
import type { Dropped } from "./drops.js";
import { count, megabytes, plural } from "./format.js";
import { GLOSSES, isOurs, type Library, type Progress, SAMPLE } from "./library.js";
import { FILE_TYPES, parse } from "./parse.js";

const MAX_FILE_BYTES = 20e6;

/** The page's own collections. `added` is always the same, so that what is there already is not embedded again. */
const COLLECTIONS = [
  { source: SAMPLE, file: "sample.json", added: 0, texts: 122, name: "notes about everyday things", about: ["What this page begins with."] },
  { source: GLOSSES, file: "glosses.json", added: 1, texts: 2000, name: "words and what they mean", about: [
    "Describe something and find its word. From WordNet 3.0, © 2006 Princeton University: ",
    element("a", { href: "glosses.license.txt" }, "its licence"), "."] },
];

export function textsRoom(room: HTMLElement, library: Library, actions: { failed(error: unknown): void; changed(): void }) {
  const paste = element("textarea", { id: "paste", rows: 6, "aria-describedby": "paste-help" });
  const accept = FILE_TYPES.join();
  const files = element("input", { id: "files", type: "file", multiple: true, accept, class: "visually-hidden", onchange: takeChosen });
  const status = element("p", { id: "texts-status", class: "status", role: "status" });
  const bar = element("progress", { id: "texts-bar", "aria-label": "Texts embedded", hidden: true });
  const collections = COLLECTIONS.map((one) => {
    const name = `${count(one.texts)} ${one.name}`;
    const add = element("button", { type: "button", class: "quiet", "aria-label": `Add ${name}`, onclick: () => takeOurs(one) }, "Add");
    const item = element("li", {}, element("div", {}, element("strong", {}, name), element("span", { class: "muted" }, ...one.about)), add);
    return { ...one, add, item };
  });
  const title = element("h2", { tabindex: -1 }, "In the collection");
  const kept = element("p", { id: "texts-kept", class: "muted" });
  const sources = element("ul", { id: "sources", class: "sources" });
  const forget = element("button", { type: "button", id: "forget-texts", class: "quiet",
    onclick: () => gone(() => library.forget(), "Your texts are forgotten.") }, "Forget my texts");
  room.replaceChildren(
    element("label", { class: "field-label", for: "paste" }, "Paste texts"), paste,
    element("p", { id: "paste-help", class: "muted" }, "Blank lines part one text from the next; without any, every line is a text."),
    element("div", { class: "buttons" }, element("button", { type: "button", id: "add-pasted", onclick: takePasted }, "Add these texts")),
    element("div", { id: "drop", class: "drop" },
      element("p", {}, element("strong", {}, "Drop files here"), ", or anywhere on the page"),
      element("label", { for: "files", class: "button quiet" }, "Choose files"), files,
      element("p", { class: "muted" }, `${FILE_TYPES.join(", ")}: read in this tab and sent nowhere`)),
    status, bar, element("h2", {}, "Collections to try"), element("ul", { id: "collections", class: "sources" }, ...collections.map(({ item }) => item)),
    title, kept, sources, forget);

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

  async function take(documents: Document[], name: string, added?: number): Promise<string> {
    if (documents.length === 0) return `${name}: no text in it.`;
    const taken = await library.replace(name, documents, added);
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

  /** Takes a collection of the page, or what of it is not there yet. */
  function takeOurs({ source, file, added }: (typeof COLLECTIONS)[number]): void {
    title.focus(); // the button that had the focus goes
    status.textContent = `${source}: loading …`;
    void change(async () => {
      let documents: Document[];
      try {
        const response = await fetch(file);
        if (!response.ok) throw new Error(`The server answered ${response.status}.`);
        documents = parse(await response.text(), file);
      } catch (error) {
        console.info("embedlet: a collection did not load.", error);
        return `${source}: did not load. Is there a network?`;
      }
      return take(documents, source, added);
    });
  }

  function update(): void {
    const groups = library.sources();
    for (const { source, texts, add } of collections) {
      add.disabled = !library.isOpen;
      add.hidden = (groups.get(source) ?? 0) >= texts;
    }
    kept.textContent = !library.isOpen ? "What is kept is shown once the model is loaded."
      : library.unkept === null ? "Kept in this browser as soon as it is embedded, and here again at the next visit."
      : `Here until this page is closed, as the browser does not keep it. ${library.unkept}`;
    forget.hidden = library.isOpen && [...groups.keys()].every(isOurs);
    sources.replaceChildren(...[...groups].map(([source, texts]) => element("li", {},
      element("div", {}, element("strong", {}, source), element("span", { class: "muted" }, plural(texts, "text"))),
      element("button", { type: "button", class: "quiet", "aria-label": `Remove ${source}`, disabled: !library.isOpen,
        onclick: () => gone(() => library.remove(source), `${source}: removed.`) }, "Remove"))));
    if (groups.size === 0) sources.append(element("li", { class: "muted" }, "Nothing yet."));
  }

  function gone(work: () => Promise<void>, said: string): void {
    paste.focus(); // the button that had the focus goes
    void change(async () => {
      await work();
      return said;
    });
  }

  function takePasted(): void {
    if (paste.value.trim() === "") {
      status.textContent = "There is no text to add yet.";
      paste.focus();
      return;
    }
    void takeText(paste.value, "Pasted text");
    paste.value = "";
  }

  function takeChosen(): void {
    const chosen = [...(files.files ?? [])];
    files.value = ""; // so that choosing the same file again is a change again
    void takeFiles(chosen);
  }

  update();
  return {
    use: update,
    update,

    /** Shows how far the texts are embedded; `null` where none is waiting. */
    progress(progress: Progress | null): void {
      bar.hidden = progress === null;
      if (progress === null) return;
      bar.max = progress.total;
      bar.value = progress.done;
    },

    /** Takes what was dropped on the page. */
    dropped: ({ files, text }: Dropped): void => void (files.length > 0 ? takeFiles(files) : takeText(text, "Dropped text")),
  };
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
