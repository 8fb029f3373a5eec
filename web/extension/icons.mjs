// Draws icons/ from the page's icon.svg, in the sizes and the format that browsers and stores want of an extension. Run by hand when the
// drawing changes: the result is committed, so that a build needs no browser.
//
//   CHROME=<browser> node icons.mjs

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { launch } from "../../tests/browser/harness.mjs";

const SIZES = [16, 32, 48, 128];
const svg = readFileSync(new URL("../icon.svg", import.meta.url), "utf8");
const folder = new URL("icons/", import.meta.url);
mkdirSync(folder, { recursive: true });

const browser = await launch({ webgpu: false });
try {
  const page = await browser.newPage();
  for (const size of SIZES) {
    await page.setViewportSize({ width: size, height: size });
    await page.setContent(`<style>body { margin: 0 } svg { display: block }</style>${svg.replace("<svg ", `<svg width="${size}" height="${size}" `)}`);
    writeFileSync(new URL(`${size}.png`, folder), await page.screenshot({ omitBackground: true }));
  }
} finally {
  await browser.close();
}
