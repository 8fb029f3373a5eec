// docs/api/ is what the declarations say now.

import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { test } from "node:test";
import { OUT, reference } from "../docs.mjs";

test("the reference is that of these declarations: npm run docs writes it", async () => {
  const pages = await reference();
  assert.deepEqual((await readdir(OUT)).sort(), Object.keys(pages).sort());
  for (const [name, text] of Object.entries(pages)) assert.equal(await readFile(`${OUT}${name}`, "utf8"), text, `docs/api/${name} is not up to date`);
});
