// A text of the page's, and how it is called. Pure functions.

/** `title` and `label` are empty where it has none. */
export interface Document { title: string; text: string; label: string; source: string }

/** What is longer names no group of texts. */
export const LONGEST_LABEL = 60;
/** What stands for the title of a text that has none. */
const BEGINNING = 80;

export const titleOf = ({ title, text }: Pick<Document, "title" | "text">): string =>
  title || (text.length <= BEGINNING ? text : `${text.slice(0, text.lastIndexOf(" ", BEGINNING) + 1 || BEGINNING).trimEnd()} …`);

/** What stands below the title, or below the source where there is no title. */
export const originOf = ({ title, label, source }: Document): string => [title && source, label].filter(Boolean).join(" · ");
