// The benchmark room, loaded when it is first shown: the cells of `cells.json` over this page's model, on WebGPU and on the
// processor in turn, with bars and the samples as JSON. It loads encoders of its own and lets go of them when it is done.

import { Encoder, type EncoderInfo } from "embedlet";
import cells from "../cells.json";
import { deviceName } from "./device-card.js";
import { announce, element } from "./dom.js";
import { isAbort, problemOf } from "./errors.js";
import { count, duration } from "./format.js";
import type { Choice } from "./model-card.js";
import { keeps } from "./offline.js";

type Device = EncoderInfo["device"];
type Cell = (typeof cells)[number];
/** As `cargo xtask bench --json` writes it. */
type Contender = { name: string; info?: Pick<EncoderInfo, "adapter" | "dispatches" | "precision">; error?: string; results: Record<string, { samples: number[] }> };

const DEVICES: Device[] = ["webgpu", "wasm"];
const ROUNDS = 7;
/** Milliseconds after which a device gets no more rounds of a cell. */
const BUDGET_MS = 5000;
/** A turn lasts at least so long: short calls are repeated. */
const TURN_MS = 100;

export async function benchRoom(room: HTMLElement, modelOf: () => Choice): Promise<void> {
  const words = ((await (await fetch("sample.json")).json()) as { text: string }[]).flatMap(({ text }) => text.split(/\s+/));
  let abort = new AbortController();

  const boxes = [...DEVICES.map((device) => box(device, deviceName(device))), ...cells.map(({ name }) => box(name, name))];
  const run = element("button", { type: "button", onclick: () => void measure() }, "Run");
  const stop = element("button", { type: "button", class: "quiet", onclick: () => abort.abort() }, "Stop");
  const copy = element("button", { type: "button", class: "quiet", onclick: () => void copied() }, "Copy as JSON");
  const bar = element("progress", { "aria-label": "Cells measured" });
  const status = element("p", { class: "status", role: "status" });
  const charts = element("ol", { class: "predictions", "aria-label": "Times; shorter bars are faster" });
  const json = element("textarea", { readonly: true, rows: 6, "aria-label": "Result as JSON", spellcheck: "false" });
  const results = element("div", {}, charts, element("div", { class: "buttons" }, copy), json);
  room.replaceChildren(
    element("p", { class: "muted" }, "How fast this model is on this device: on the graphics processor and on the processor, in turn. "
      + "Other work of the device counts against it. Nothing is sent anywhere."),
    element("fieldset", {}, element("legend", {}, "What to run"), ...boxes.map(({ label }) => label)),
    element("div", { class: "buttons" }, run, stop), bar, status, results);
  show(false);
  results.hidden = true;

  function show(running: boolean): void {
    // The button that had the focus may be the one to go.
    const had = document.activeElement === run || document.activeElement === stop;
    run.hidden = running;
    stop.hidden = bar.hidden = !running;
    if (had) (running ? stop : run).focus();
  }

  async function measure(): Promise<void> {
    const chosen = boxes.filter(({ input }) => input.checked).map(({ name }) => name);
    const devices = DEVICES.filter((device) => chosen.includes(device));
    const timed = cells.filter(({ name }) => chosen.includes(name));
    if (document.documentElement.dataset.state !== "ready") return say("Wait until the page's own texts are embedded.");
    if (devices.length === 0 || timed.length === 0) return say("Choose a device and some texts.");
    const model = modelOf();
    abort = new AbortController();
    const { signal } = abort;
    const encoders: { encoder: Encoder; contender: Contender }[] = [];
    const contenders: Contender[] = devices.map((device) => ({ name: `embedlet ${device}`, results: {} }));
    const found = { date: new Date().toISOString().slice(0, 10), browser: navigator.userAgent, cores: navigator.hardwareConcurrency,
      model: model.name, rounds: ROUNDS, cells: [] as (Cell & { tokens: number })[], contenders };
    bar.max = devices.length + timed.length * ROUNDS;
    bar.value = 0;
    charts.replaceChildren();
    results.hidden = true;
    show(true);
    try {
      for (const [at, device] of devices.entries()) {
        say(`Loading the model on ${deviceName(device)} …`);
        const contender = contenders[at]!;
        try {
          const start = performance.now();
          const encoder = await Encoder.load(model.source, { device, signal, cache: !keeps(model.source) });
          encoders.push({ encoder, contender });
          const load = performance.now() - start;
          await encoder.embed(textsOf(cells[0]!, words), { signal });
          const { adapter, dispatches, precision } = encoder.info;
          contender.info = { adapter, dispatches, precision };
          contender.results = { load: { samples: [load] }, "first vector": { samples: [performance.now() - start] } };
        } catch (error) {
          if (isAbort(error)) throw error;
          contender.error = problemOf(error).message;
        }
        bar.value++;
      }
      for (const name of ["load", "first vector"]) charts.append(chart(name, contenders));
      for (const cell of timed) {
        const tokens = await rounds(cell, encoders, signal);
        found.cells.push({ ...cell, tokens });
        charts.append(chart(cell.name, contenders, { ...cell, tokens }));
      }
      say(contenders.map(({ name, error }) => (error === undefined ? "" : `${name}: ${error}`)).filter(Boolean).join("\n") || "Done.");
    } catch (error) {
      say(isAbort(error) ? "Stopped." : problemOf(error).message);
    } finally {
      for (const { encoder } of encoders) encoder.dispose();
      show(false);
    }
    results.hidden = charts.childElementCount === 0;
    json.value = JSON.stringify(found, null, 1);
  }

  /** Measures a cell on every device in turn; gives the tokens of its texts. */
  async function rounds(cell: Cell, encoders: { encoder: Encoder; contender: Contender }[], signal: AbortSignal): Promise<number> {
    const texts = textsOf(cell, words);
    let tokens = 0;
    const spent = new Map<Encoder, number>();
    for (const { encoder, contender } of encoders) {
      say(`${cell.name} on ${deviceName(encoder.info.device)}: first call …`);
      // It is not timed: shaders and batches find their sizes.
      const vectors = await encoder.embed(texts, { signal });
      tokens = texts.reduce((sum, _, i) => sum + vectors.tokens(i), 0);
      contender.results[cell.name] = { samples: [] };
    }
    for (let round = 0; round < ROUNDS; round++, bar.value++) {
      for (const { encoder, contender } of encoders) {
        const before = spent.get(encoder) ?? 0;
        if (before > BUDGET_MS) continue;
        say(`${cell.name} on ${deviceName(encoder.info.device)}, round ${round + 1} of ${ROUNDS} …`);
        const start = performance.now();
        let calls = 0;
        do {
          await encoder.embed(texts, { signal });
          calls++;
        } while (performance.now() - start < TURN_MS);
        const took = performance.now() - start;
        spent.set(encoder, before + took);
        contender.results[cell.name]!.samples.push(took / calls);
      }
    }
    return tokens;
  }

  function say(text: string): void {
    status.textContent = text;
  }

  async function copied(): Promise<void> {
    try {
      await navigator.clipboard.writeText(json.value);
      announce("Copied");
      copy.textContent = "Copied";
    } catch {
      json.select(); // where the page may not write to the clipboard, a key does
    }
  }
}

function box(name: string, text: string) {
  const input = element("input", { type: "checkbox", checked: true });
  return { name, input, label: element("label", { class: "check" }, input, ` ${text}`) };
}

/** Words of the sample one after another, `more` of them each time. */
function textsOf(cell: Cell, words: string[]): string[] {
  let from = 0;
  return Array.from({ length: cell.texts }, (_, i) => words.slice(from, (from += cell.words + i * cell.more)).join(" "));
}

const median = (values: number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
};

/** A bar for every device: as long as the median, with a line from the lowest to the highest. */
function chart(name: string, contenders: Contender[], work?: { texts: number; tokens: number }): HTMLElement {
  const measured = contenders.flatMap(({ name: contender, results }) => {
    const samples = results[name]?.samples ?? [];
    return samples.length === 0 ? [] : [{ contender, samples, ms: median(samples) }];
  });
  const longest = Math.max(...measured.flatMap(({ samples }) => samples));
  const rows = measured.map(({ contender, samples, ms }) => {
    const [lowest, highest] = [Math.min(...samples), Math.max(...samples)];
    const x = (value: number) => (100 * value) / longest;
    const said = `${contender}: ${duration(ms)}, from ${duration(lowest)} to ${duration(highest)}`;
    const picture = svg("svg", { class: "bar", viewBox: "0 0 100 10", preserveAspectRatio: "none", role: "img", "aria-label": said },
      svg("rect", { x: 0, y: 0, width: x(ms), height: 10 }),
      svg("path", { d: `M${x(lowest)} 5H${x(highest)}` }));
    const rate = work ? `, ${count(Math.round((1000 * work.texts) / ms))} texts/s` : "";
    return element("li", {}, element("span", {}, contender.replace("embedlet ", "")), picture, element("span", { class: "figures" }, duration(ms) + rate));
  });
  const size = work ? `, ${count(work.tokens)} tokens` : "";
  return element("li", { class: "prediction times" }, element("h3", {}, `${name}${size}`), element("ul", {}, ...rows));
}

function svg(name: string, attributes: Record<string, string | number>, ...children: Node[]): SVGElement {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  made.append(...children);
  return made;
}
