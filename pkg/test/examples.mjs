// The examples of a Markdown page: its fenced blocks, by what stands behind the language.
//  - `js`, `ts`: a module, which the tests run;
//  - `js continued`: goes on where the block before it ended;
//  - `js not-run="why"`: must be JavaScript all the same; `html not-run="why"` too says why.

import { readdir, readFile } from "node:fs/promises";

export const ROOT = new URL("../../", import.meta.url);

/** Every page of the documentation that is written by hand, by its path. */
export async function pages() {
  const docs = (await readdir(new URL("docs/", ROOT))).filter((name) => name.endsWith(".md")).map((name) => `docs/${name}`);
  const paths = ["README.md", "CHANGELOG.md", "pkg/README.md", "web/extension/README.md", ...docs];
  return Promise.all(paths.map(async (path) => ({ path, text: await readFile(new URL(path, ROOT), "utf8") })));
}

/** The fenced blocks of a page. */
export function blocksOf({ path, text }) {
  const blocks = [];
  let heading = "";
  let open;
  for (const [at, line] of text.split("\n").entries()) {
    const fence = /^```(\w*) ?(.*)$/.exec(line);
    if (open && line === "```") {
      blocks.push(open);
      open = undefined;
    } else if (open) open.code += `${line}\n`;
    else if (fence) open = { path, heading, line: at + 1, lang: fence[1], info: fence[2], code: "" };
    else heading = /^#+ (.*)$/.exec(line)?.[1] ?? heading;
  }
  if (open) throw new Error(`${path}:${open.line} has no end`);
  return blocks;
}
