// WebKitGTK, which has Safari's engine, driven by WebDriver: a session on a display of its own. Knows nothing of what is tested.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { setTimeout } from "node:timers/promises";

const DRIVER = process.env.WEBKIT_DRIVER || "/usr/bin/WebKitWebDriver";
const START_MS = 30_000;

/** Why there is none here, or false. */
export const isMissing = () => !existsSync(DRIVER) && "There is no WebKitGTK: install its driver and Xvfb, or name one in WEBKIT_DRIVER.";

/** Starts it. `evaluate` runs an asynchronous function in the page; what it is given and gives is JSON. */
export async function webkit() {
  const started = [];
  const start = (program, options, settings) => {
    const child = spawn(program, options, settings);
    const ended = new Promise((resolve) => child.on("exit", resolve).on("error", resolve));
    started.push(async () => {
      child.kill("SIGKILL");
      await ended;
    });
    return child;
  };
  const close = async () => {
    for (const end of started.reverse()) await end();
  };
  try {
    const screen = start("Xvfb", ["-displayfd", "1", "-screen", "0", "1280x1000x24"], { stdio: ["ignore", "pipe", "ignore"] });
    const display = await new Promise((resolve, reject) => {
      screen.stdout.once("data", (number) => resolve(`:${String(number).trim()}`));
      screen.on("exit", () => reject(new Error("Xvfb does not start.")));
      screen.on("error", reject);
    });
    const port = await freePort();
    start(DRIVER, [`--port=${port}`], { stdio: "ignore", env: { ...process.env, DISPLAY: display } });
    const ask = async (method, path, body) => {
      const response = await fetch(`http://127.0.0.1:${port}${path}`, { method, ...(body && { body: JSON.stringify(body) }) });
      const { value } = await response.json();
      if (!response.ok) throw new Error(value.message);
      return value;
    };
    for (const end = Date.now() + START_MS; !(await ask("GET", "/status").then(() => true, () => false)); await setTimeout(100)) {
      if (Date.now() > end) throw new Error("WebKitGTK's driver does not answer.");
    }
    const { sessionId } = await ask("POST", "/session", { capabilities: {} });
    const session = `/session/${sessionId}`;
    // It ends the browser.
    started.push(() => ask("DELETE", session).catch(() => {}));
    await ask("POST", `${session}/timeouts`, { script: 120_000, pageLoad: 120_000 });
    const evaluate = async (work, ...args) => {
      const script = `const given = [...arguments]; const done = given.pop();
        (${work})(...given).then((value) => done({ value }), (error) => done({ error: String(error) }));`;
      const { value, error } = await ask("POST", `${session}/execute/async`, { script, args });
      if (error) throw new Error(error);
      return value;
    };
    return { evaluate, goto: (url) => ask("POST", `${session}/url`, { url }), close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}
