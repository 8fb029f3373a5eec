// The extension of `web/extension` as it is built for Firefox, before the linter of Firefox's store: no error and no warning.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import webExt from "web-ext";
import { GOLDEN } from "../browser/harness.mjs";

const BUILD = fileURLToPath(new URL("../../web/extension/build.mjs", import.meta.url));

for (const [from, model] of [["packed", join(GOLDEN, "models/bert-mean")], ["fetched", "org/name@main"]]) {
  test(`web-ext lint, with a model that is ${from}`, { timeout: 120_000 }, async (t) => {
    const out = mkdtempSync(join(tmpdir(), "embedlet-extension-lint-"));
    t.after(() => rmSync(out, { recursive: true, force: true }));
    execFileSync(process.execPath, [BUILD, "--model", model, "--out", out], { stdio: ["ignore", "ignore", "inherit"] });
    const sourceDir = join(out, "firefox");
    assert.equal(existsSync(join(sourceDir, "model/model.safetensors")), from === "packed");
    const { content_security_policy, permissions } = JSON.parse(readFileSync(join(sourceDir, "manifest.json"), "utf8"));
    const hosts = /connect-src ([^;]*)/.exec(content_security_policy.extension_pages)[1];
    assert.equal(hosts, from === "packed" ? "'self'" : "'self' https://huggingface.co https://*.huggingface.co https://*.hf.co");
    assert.deepEqual(permissions, ["activeTab", "scripting", "contextMenus", "unlimitedStorage"]);
    const { errors, warnings } = await webExt.cmd.lint({ sourceDir, artifactsDir: out, output: "none" }, { shouldExitProgram: false });
    assert.deepEqual([...errors, ...warnings].map(({ code, message, file }) => ({ code, message, file })), []);
  });
}
