// The storage card, loaded after the model: what this origin keeps, each with a way to delete it, how much that is in all, and whether
// the browser may delete it. It keeps nothing itself.

import { Encoder } from "embedlet";
import { announce, byId, element } from "./dom.js";
import { megabytes, plural } from "./format.js";
import type { Library } from "./library.js";
import * as offline from "./offline.js";

/** Something that is kept. */
interface Kept { name: string; bytes: number; about?: string; remove(): Promise<unknown> }

/** `forget` forgets all texts. */
export function storageCard(library: Library, forget: () => Promise<void>) {
  const card = byId("storage-card", HTMLElement);
  const status = byId("storage", HTMLElement);
  const list = element("ul", { class: "sources", "aria-label": "What is kept" });
  const room = element("p", { class: "muted" });
  const persist = element("button", { type: "button", class: "quiet", onclick: () => void ask() }, "Ask the browser to keep it");
  status.after(list, room, persist);
  let turn = Promise.resolve();

  async function show(): Promise<void> {
    const [served, models, estimate, isPersisted] = await Promise.all([
      offline.servedBytes(), offline.models(), navigator.storage?.estimate?.(), navigator.storage?.persisted?.(),
    ]);
    const kept: Kept[] = [
      ...(served === null ? [] : [{ name: "this page's model", bytes: served, remove: offline.forgetServed }]),
      ...models.map(({ source, bytes }) => ({ name: source, bytes, remove: () => Encoder.cache.delete(source) })),
      ...(library.bytes === 0 ? [] : [{
        name: "the texts and their vectors", bytes: library.bytes, about: plural(library.size, "text"), remove: forget,
      }]),
    ];
    const hasModel = served !== null || models.length > 0;
    status.textContent = !offline.isServed() ? "The browser stores nothing for this page, so it needs its network."
      : hasModel ? "The page and its model are stored in this browser, and work without a network."
      : "The page is stored in this browser, but no model is: loading one needs a network.";
    list.replaceChildren(...kept.map(item));
    const { usage = 0, quota = 0 } = estimate ?? {};
    room.hidden = estimate === undefined;
    room.textContent = `${megabytes(usage)} in all, of ${megabytes(quota)} that the browser allows. `
      + (isPersisted ? "It stays until you remove it." : "The browser may delete it when the disk is full.");
    persist.hidden = isPersisted !== false;
  }

  function item({ name, bytes, about, remove }: Kept): HTMLElement {
    return element("li", {},
      element("div", {}, element("strong", {}, name), element("span", { class: "muted" }, `${about ? `${about}, ` : ""}${megabytes(bytes)}`)),
      element("button", { type: "button", class: "quiet", "aria-label": `Remove ${name}`, onclick: () => {
        card.focus(); // the button goes
        void act(remove, `Removed: ${name}`);
      } }, "Remove"));
  }

  async function act(work: () => Promise<unknown>, done: string): Promise<void> {
    try {
      await work();
      announce(done);
    } catch (error) {
      status.textContent = (error as Error).message;
      return;
    }
    await update();
  }

  async function ask(): Promise<void> {
    const isKept = await Encoder.cache.persist();
    await update();
    if (isKept) return card.focus(); // the button is gone
    persist.textContent = "The browser will not promise that";
    announce(persist.textContent);
  }

  /** Shows what is kept now. One at a time, so that the last look is what stays. */
  function update(): Promise<void> {
    turn = turn.then(show).catch((error) => {
      status.textContent = `What is kept could not be read: ${(error as Error).message}`;
    });
    return turn;
  }

  return { update };
}
