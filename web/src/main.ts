// The page: reads its address, loads the encoder, and ties the widgets together. What each widget shows is in its own file.
//
// Address: ?model=  folder address or hub id, default "./model/"      ?device=  auto, webgpu or wasm
//          ?precision=  auto, f32, f16 or int8                          ?query=  searched for as soon as the texts are embedded
// A program that drives the page waits for `data-state` of the root element ("loading", "indexing", then "ready", "error" or
// "cancelled") and reads the JSON in `#report`.

import { Encoder } from "embedlet";
import { type Device, deviceCard, deviceName, isDevice } from "./device-card.js";
import { byId, row } from "./dom.js";
import { acceptDrops } from "./drops.js";
import { isAbort, type Problem, problemOf } from "./errors.js";
import { count, duration } from "./format.js";
import { type Added, Library, type Progress, SAMPLE } from "./library.js";
import { loadPanel } from "./load-panel.js";
import { type Choice, isPrecision, modelCard, type Precision } from "./model-card.js";
import * as offline from "./offline.js";
import { allowOwnScripts } from "./policy.js";
import { searchRoom } from "./search-room.js";
import type { storageCard } from "./storage-card.js";
import { tabs } from "./tabs.js";
import type { textsRoom } from "./texts-room.js";

type State = "loading" | "indexing" | "ready" | "error" | "cancelled";

/** A room is given the encoder when all texts are embedded, and again when there are others; `null` while there is none. */
interface Room { use(encoder: Encoder | null): void }

/** Those whose code comes when they are first shown. */
const ROOMS: Record<string, (panel: HTMLElement) => Promise<Room | void>> = {
  "room-classify": async (panel) => (await import("./classify-room.js")).classifyRoom(panel, fail),
  "room-compare": async (panel) => (await import("./compare-room.js")).compareRoom(panel, fail),
  "room-explain": async (panel) => (await import("./explain-room.js")).explainRoom(panel, fail),
  "room-texts": async (panel) => {
    const { textsRoom } = await import("./texts-room.js");
    return (texts = textsRoom(panel, library, { failed: fail, changed: () => void index() }));
  },
  "room-map": async (panel) => (await import("./map-room.js")).mapRoom(panel, library, fail),
  "room-bench": async (panel) => (await import("./bench.js")).benchRoom(panel, () => model),
};

const address = new URLSearchParams(location.search);
const named = address.get("model") ?? "./model/";
let model: Choice = { source: named, name: named };
const wanted = { device: address.get("device"), precision: address.get("precision") };
let device: Device = isDevice(wanted.device) ? wanted.device : "auto";
let precision: Precision = isPrecision(wanted.precision) ? wanted.precision : "auto";

let encoder: Encoder | null = null;
let abort = new AbortController();
let state: State = "loading";
let problem: Problem | null = null;
const rooms: Room[] = [];
const filled = new Map<string, Promise<void>>();
let texts: ReturnType<typeof textsRoom> | null = null;
let storage: ReturnType<typeof storageCard> | null = null;
let sampled: Promise<void> | null = null;
const timings: { loadMs: number | null; timeToFirstVectorMs: number | null; textsPerSecond: number | null } =
  { loadMs: null, timeToFirstVectorMs: null, textsPerSecond: null };

allowOwnScripts();
const panel = loadPanel({ cancel: () => abort.abort(), retry: () => void load() });
const card = deviceCard((chosen) => {
  device = chosen;
  void load();
});
const picker = modelCard((chosen) => {
  model = chosen;
  void load();
}, (chosen) => {
  precision = chosen;
  void load();
});
const library = new Library(indexed);
const search = searchRoom(library, { failed: fail, changed: report });
tabs(document.querySelector<HTMLElement>("[role=tablist]")!, (panel) => void fill(panel));
acceptDrops((dropped) => void fill(byId("room-texts", HTMLElement)).then(() => texts?.dropped(dropped)));

search.fill(address.get("query") ?? "");
const served = offline.start(offerUpdate);
void load();

/** Adds the sample where nothing is kept; where it is, what was not embedded of it. */
async function sample(): Promise<void> {
  if (library.passages > 0 && !library.sources().has(SAMPLE)) return;
  try {
    await library.replace(SAMPLE, (await (await fetch("sample.json")).json()) as Added[], 0);
  } catch (error) {
    console.warn("embedlet: the sample collection did not load", error);
  }
}

/** Loads the encoder anew, on the device that is chosen; a load under way is given up. */
async function load(): Promise<void> {
  abort.abort();
  abort = new AbortController();
  const { signal } = abort;
  drop();
  problem = null;
  Object.assign(timings, { loadMs: null, timeToFirstVectorMs: null, textsPerSecond: null });
  enter("loading");
  card.chosen(device);
  picker.chosen(model, precision);
  card.empty("loading …");
  panel.begin();
  try {
    await served;
    signal.throwIfAborted();
    const start = performance.now();
    const options = { device, precision, signal, cache: !offline.keeps(model.source), onProgress: panel.progress };
    const next = await offline.awake(Encoder.load(model.source, options));
    timings.loadMs = performance.now() - start;
    try {
      await next.embedQuery("first vector", { signal });
      timings.timeToFirstVectorMs = performance.now() - start;
      signal.throwIfAborted();
    } catch (error) {
      next.dispose();
      throw error;
    }
    encoder = next;
  } catch (error) {
    if (signal !== abort.signal) return; // another load has taken over
    if (!isAbort(error)) return fail(error);
    enter("cancelled");
    card.empty("not loaded");
    return panel.cancelled();
  }
  panel.done(timings.loadMs, deviceName(encoder.info.device));
  card.show(encoder.info);
  offline.storeRest();
  enter("indexing");
  try {
    await library.open(encoder);
    await (sampled ??= sample());
    signal.throwIfAborted();
    search.run(); // queues before the texts: it is answered anew as they come
    await index();
  } catch (error) {
    if (!signal.aborted) fail(error);
  }
}

/** Fills a room whose code comes only now. Where it does not come, showing the room again is another try. */
function fill(panel: HTMLElement): Promise<void> {
  const make = ROOMS[panel.id];
  const filling = filled.get(panel.id) ?? (make ? made(panel, make) : Promise.resolve());
  filled.set(panel.id, filling);
  return filling;
}

async function made(panel: HTMLElement, make: (panel: HTMLElement) => Promise<Room | void>): Promise<void> {
  panel.textContent = "Loading …";
  try {
    const room = await make(panel);
    if (!room) return;
    rooms.push(room);
    room.use(state === "ready" ? encoder : null);
  } catch (error) {
    filled.delete(panel.id);
    panel.textContent = `This part of the page did not load: ${problemOf(error).message}`;
  }
}

/** Lets go of the encoder, if there is one, and of what was made with it. */
function drop(): void {
  library.close();
  search.clear();
  for (const room of rooms) room.use(null);
  encoder?.dispose();
  encoder = null;
}

async function index(): Promise<void> {
  const { signal } = abort;
  texts?.update();
  search.refresh();
  if (encoder === null || !library.isOpen) return;
  enter("indexing");
  try {
    await library.index();
    await search.settled();
    signal.throwIfAborted();
    enter("ready");
    void showStored(); // the browser counts a stored file some time after it is written
    for (const room of rooms) room.use(encoder);
  } catch (error) {
    if (!signal.aborted) fail(error);
  }
}

function indexed({ done, total, textsPerSecond }: Progress): void {
  timings.textsPerSecond = textsPerSecond;
  const bar = byId("index-bar", HTMLProgressElement);
  bar.max = total;
  bar.value = done;
  texts?.progress({ done, total, textsPerSecond });
  search.refresh();
}

function fail(error: unknown): void {
  if (state === "error") return; // several calls may fail of one cause; the first says why
  const loaded = encoder !== null;
  problem = problemOf(error);
  const isOfTexts = /^(storage|index)-/.test(problem.code);
  console.info("embedlet:", error);
  drop();
  enter("error");
  card.empty("not loaded");
  panel.failed(problem, isOfTexts ? "The texts cannot be kept" : loaded ? "The encoder stopped" : "The model did not load");
  const isWrong = !loaded && problem.aboutFiles && offline.keeps(model.source);
  void (isWrong ? offline.forgetServed() : Promise.resolve()).then(showStored);
}

function enter(next: State): void {
  state = next;
  document.documentElement.dataset.state = next;
  byId("index-bar", HTMLElement).hidden = next !== "indexing";
  if (next !== "indexing") texts?.progress(null);
  report();
}

function offerUpdate(apply: () => void): void {
  byId("update", HTMLElement).hidden = false;
  byId("update-now", HTMLButtonElement).onclick = apply;
}

/** Shows what is kept. Where the card's code did not come, the next call is another try. */
async function showStored(): Promise<void> {
  try {
    const { storageCard } = await import("./storage-card.js");
    await (storage ??= storageCard(library, () => library.forget(true).then(index))).update();
  } catch (error) {
    console.info("embedlet: the storage card did not load.", error);
  }
}

/** Writes the timings, and what a program that drives the page wants to know. */
function report(): void {
  const { query, queryMs, topHits } = search.report();
  const { loadMs, timeToFirstVectorMs, textsPerSecond } = timings;
  const shown = (value: number | null, as: (value: number) => string) => (value === null ? "–" : as(value));
  byId("timings", HTMLElement).replaceChildren(
    row("Load", shown(loadMs, duration)),
    row("To first vector", shown(timeToFirstVectorMs, duration)),
    row("Embedding", shown(textsPerSecond, (value) => `${count(Math.round(value))} texts/s`)),
    row("Last query", shown(queryMs, duration)),
  );
  byId("text-count", HTMLElement).textContent = String(library.size);
  const info = encoder?.info ?? null;
  byId("report", HTMLElement).textContent = JSON.stringify({
    state, model: model.name, device: info?.device ?? null, adapter: info?.adapter ?? null, reason: info?.reason ?? null,
    dispatches: info?.dispatches ?? null, loadMs, timeToFirstVectorMs, textsPerSecond, queryMs,
    documents: library.size, passages: library.passages, query, topHits,
    error: problem && { code: problem.code, message: problem.message }, info,
  });
}
