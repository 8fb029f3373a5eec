// The few helpers with which the widgets build elements. Strings only ever become text nodes or attribute values: nothing
// here, and nothing that uses it, parses markup.

import { isAbort } from "./errors.js";

type Properties = Record<string, string | number | boolean | ((event: Event) => void)>;

/** `element("button", { type: "button", onclick: … }, "Add")`: attributes by name, listeners by `on…`, children as given. */
export function element<Name extends keyof HTMLElementTagNameMap>(
  name: Name, properties: Properties = {}, ...children: (Node | string)[]
): HTMLElementTagNameMap[Name] {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (typeof value === "function") made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false) made.setAttribute(key, String(value));
  }
  made.append(...children);
  return made;
}

/** An element of `index.html`. The page cannot work without it, so a missing one is an error at once. */
export function byId<Kind extends HTMLElement>(id: string, kind: new () => Kind): Kind {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`index.html has no ${kind.name} #${id}`);
  return found;
}

/** A `<dl>` row. */
export function row(term: string, ...description: (Node | string)[]): HTMLElement {
  return element("div", {}, element("dt", {}, term), element("dd", {}, ...description));
}

/** A bar from 0 to 1; its number stands beside it. */
export function meter(value: number, label: string): HTMLElement {
  return element("meter", { min: 0, max: 1, value: value.toFixed(4), "aria-label": label });
}

/** Says something to screen readers, and to nobody else. */
export function announce(text: string): void {
  byId("announcer", HTMLElement).textContent = text;
}

/** Calls `run` once the calls have paused for `ms`. */
export function debounce(ms: number, run: () => void): () => void {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = window.setTimeout(run, ms);
  };
}

/**
 * Does `work` anew at every call, which gives up the one before. Errors of work that was given up are of no interest; others go to
 * `failed`.
 */
export function latest(work: (signal: AbortSignal) => Promise<void>, failed: (error: unknown) => void): () => Promise<void> {
  let abort = new AbortController();
  return async () => {
    abort.abort();
    abort = new AbortController();
    const { signal } = abort;
    try {
      await work(signal);
    } catch (error) {
      if (!signal.aborted && !isAbort(error)) failed(error);
    }
  };
}
