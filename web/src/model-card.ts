// The model card: which model is loaded, and in which precision. Reads the reader's choice; loads nothing.

import { byId } from "./dom.js";

export type Precision = "auto" | "f32" | "f16" | "int8";

/** A model, and what it is called. */
export interface Choice { source: string | File[]; name: string }

const PRECISIONS: unknown[] = ["auto", "f32", "f16", "int8"] satisfies Precision[];
export const isPrecision = (value: unknown): value is Precision => PRECISIONS.includes(value);

export function modelCard(choose: (choice: Choice) => void, choosePrecision: (precision: Precision) => void) {
  const name = byId("model-name", HTMLInputElement);
  const folder = byId("model-folder", HTMLInputElement);
  const precision = byId("precision", HTMLSelectElement);

  byId("model-form", HTMLFormElement).addEventListener("submit", (event) => {
    event.preventDefault();
    const source = name.value.trim();
    if (source !== "") choose({ source, name: source });
  });
  folder.addEventListener("change", () => {
    const files = [...(folder.files ?? [])];
    folder.value = ""; // so that choosing the same folder again is a change again
    if (files.length > 0) choose({ source: files, name: `folder ${files[0]!.webkitRelativePath.split("/")[0]}` });
  });
  precision.addEventListener("change", () => {
    if (isPrecision(precision.value)) choosePrecision(precision.value);
  });

  return {
    chosen(choice: Choice, value: Precision): void {
      name.value = choice.name;
      precision.value = value;
    },
  };
}
