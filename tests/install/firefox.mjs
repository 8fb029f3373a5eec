// Firefox, driven by its own protocol, Marionette: a session of a new profile, without a head. Knows nothing of extensions but how to
// install one for as long as Firefox runs.

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";

const PREFERENCES = {
  "marionette.port": 0,
  "datareporting.policy.dataSubmissionEnabled": false,
  "toolkit.telemetry.reportingpolicy.firstRun": false,
  "app.update.enabled": false,
  "browser.shell.checkDefaultBrowser": false,
};
/** Preferences that switch WebGPU on, also in workers and on what is no hardware. */
export const WEBGPU = { "dom.webgpu.enabled": true, "dom.webgpu.workers.enabled": true, "gfx.webgpu.ignore-blocklist": true };
const START_MS = 60_000;

function executable() {
  const path = process.env.FIREFOX || "/usr/bin/firefox-esr";
  if (!existsSync(path)) throw new Error("There is no Firefox: install it, or name one in FIREFOX.");
  return path;
}

/** Starts it with these preferences besides. `send` asks for a command of Marionette and gives its result. */
export async function firefox(preferences = {}) {
  const profile = mkdtempSync(join(tmpdir(), "embedlet-firefox-"));
  const all = Object.entries({ ...PREFERENCES, ...preferences });
  writeFileSync(join(profile, "user.js"), all.map(([name, value]) => `user_pref("${name}", ${JSON.stringify(value)});`).join("\n"));
  // Without access to the system no page of an extension is opened.
  const options = ["--headless", "--marionette", "--remote-allow-system-access", "--no-remote", "--profile", profile];
  const child = spawn(executable(), options, { stdio: "ignore" });
  const ended = new Promise((resolve) => child.on("exit", resolve));
  let line;
  const close = async () => {
    line?.socket.destroy();
    child.kill("SIGKILL");
    await ended;
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    line = await marionette(join(profile, "MarionetteActivePort"));
    await line.send("WebDriver:NewSession", {});
    await line.send("WebDriver:SetTimeouts", { script: 120_000, pageLoad: 120_000 });
  } catch (error) {
    await close();
    throw error;
  }
  const { send } = line;
  /** Runs an asynchronous function in the page; what it is given and gives is JSON. */
  const evaluate = async (work, ...args) => {
    const script = `const given = [...arguments]; const done = given.pop();
      (${work})(...given).then((value) => done({ value }), (error) => done({ error: String(error) }));`;
    const { value: { value, error } } = await send("WebDriver:ExecuteAsyncScript", { script, args, sandbox: null });
    if (error) throw new Error(error);
    return value;
  };
  const find = async (selector) => Object.values((await send("WebDriver:FindElement", { using: "css selector", value: selector })).value)[0];
  return {
    send,
    evaluate,
    goto: (url) => send("WebDriver:Navigate", { url }),
    install: (path) => send("Addon:Install", { path, temporary: true }),
    click: async (selector) => send("WebDriver:ElementClick", { id: await find(selector) }),
    type: async (selector, text) => send("WebDriver:ElementSendKeys", { id: await find(selector), text }),
    close,
  };
}

/** A connection to the port that Firefox writes into this file. Messages are `LENGTH:JSON`. */
async function marionette(file) {
  for (const start = Date.now(); !existsSync(file) || readFileSync(file, "utf8") === ""; ) {
    if (Date.now() - start > START_MS) throw new Error("Firefox does not listen for Marionette.");
    await setTimeout(100);
  }
  const socket = connect(Number(readFileSync(file, "utf8")), "127.0.0.1");
  const waiting = new Map();
  let ready;
  const greeted = new Promise((resolve, reject) => {
    ready = resolve;
    socket.on("error", reject);
  });
  const gone = () => {
    for (const { reject } of waiting.values()) reject(new Error("Firefox has gone."));
    waiting.clear();
  };
  socket.on("close", gone);
  let data = Buffer.alloc(0);
  socket.on("data", (more) => {
    data = Buffer.concat([data, more]);
    for (;;) {
      const at = data.indexOf(":");
      const end = at + 1 + Number(data.subarray(0, at).toString());
      if (at < 0 || data.length < end) return;
      const message = JSON.parse(data.subarray(at + 1, end).toString());
      data = data.subarray(end);
      if (!Array.isArray(message)) ready();
      else answer(message);
    }
  });
  function answer([, id, error, result]) {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error) reject(new Error(`${error.error}: ${error.message}`));
    else resolve(result);
  }
  let asked = 0;
  const send = (name, parameters) => new Promise((resolve, reject) => {
    waiting.set(++asked, { resolve, reject });
    const text = JSON.stringify([0, asked, name, parameters]);
    socket.write(`${Buffer.byteLength(text)}:${text}`);
  });
  await greeted;
  return { socket, send };
}
