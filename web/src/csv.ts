// Reads comma-, semicolon- or tab-separated text into rows of cells (RFC 4180): quoted cells, doubled quotes, line breaks
// inside quotes, CR LF or LF. It guesses the separator and nothing else; what a column means is decided in `parse.ts`.
// Writes rows of like records with commas.

/** The separator that occurs most often outside quotes in the first line. */
function separatorOf(text: string): string {
  const counts = new Map([[",", 0], [";", 0], ["\t", 0]]);
  let quoted = false;
  for (const char of text) {
    if (char === '"') quoted = !quoted;
    else if (char === "\n" && !quoted) break;
    else if (!quoted && counts.has(char)) counts.set(char, counts.get(char)! + 1);
  }
  return [...counts].reduce((best, next) => (next[1] > best[1] ? next : best))[0];
}

export function parseCsv(text: string): string[][] {
  const separator = separatorOf(text);
  const rows: string[][] = [];
  let row: string[] = [];
  let cell = "";
  /** Whether the cell has no more than blanks so far. */
  let isBlank = true;
  let quoted = false;

  const endCell = () => {
    row.push(cell);
    [cell, isBlank] = ["", true];
  };
  const endRow = () => {
    endCell();
    if (row.some((value) => value.trim() !== "")) rows.push(row);
    row = [];
  };
  const add = (char: string) => {
    cell += char;
    isBlank &&= char.trim() === "";
  };

  for (let at = 0; at < text.length; at++) {
    const char = text[at]!;
    if (quoted) {
      if (char !== '"') add(char);
      else if (text[at + 1] === '"') add('"'), at++;
      else quoted = false;
    } else if (char === '"' && isBlank) (quoted = true), (cell = "");
    else if (char === separator) endCell();
    else if (char === "\n") endRow();
    else if (char !== "\r" || text[at + 1] !== "\n") add(char);
  }
  if (cell !== "" || row.length > 0) endRow();
  return rows;
}

/** Records of the same keys, which become the first row. */
export function toCsv(records: readonly Record<string, unknown>[]): string {
  const cell = (value: unknown) => (/[",;\t\r\n]|^\s|\s$/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
  return [Object.keys(records[0] ?? {}), ...records.map((record) => Object.values(record))].map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}
