// Reads what the caller passed: checks it, so that mistakes are named here and not deep in the engine, and puts it into the
// form that is sent there.

import type { CollectionOptions, CollectionShape, SearchOptions } from "./collection.js";
import { COMMIT, type SourceSpec } from "./source.js";
import { EmbedletError, textOf } from "./errors.js";
import { hex } from "./sha256.js";
import type {
  CallOptions, ClassifyOptions, EmbedOptions, EncoderInfo, Example, Examples, FileBytes, Input, LoadOptions, ModelSource, TrainOptions,
} from "./types.js";

const HUB = "https://huggingface.co";
export const HUB_ID = /^(?!\.)[\w.-]+\/[\w.-]+$/;

export function invalid(message: string): EmbedletError {
  return new EmbedletError("invalid-argument", message);
}

/** Resolves an address as the page would. */
export function absolute(url: string | URL): string {
  const base = typeof document !== "undefined" ? document.baseURI : typeof location !== "undefined" ? location.href : undefined;
  try {
    return new URL(url, base).href;
  } catch (cause) {
    throw new EmbedletError("invalid-argument", `"${String(url)}" is no address of a model folder or file.`, { cause });
  }
}

export function readSource(source: ModelSource, { revision, headers }: LoadOptions): SourceSpec {
  const hub = typeof source === "string" && HUB_ID.test(source);
  if (revision !== undefined && !hub) throw invalid("`revision` is for models of the hub, named \"org/name\".");
  if (typeof source === "string" || source instanceof URL) {
    const at = encodeURIComponent(revision ?? "main");
    const spec = { kind: "url", url: hub ? `${HUB}/${source}/resolve/${at}` : absolute(source), headers: { ...headers } } as const;
    return hub && !COMMIT.test(at) ? { ...spec, newest: `${HUB}/api/models/${source}/revision/${at}?expand=sha` } : spec;
  }
  if (typeof source !== "object" || source === null) throw invalid("The model must be an address, a hub id, files, a directory handle or a map of bytes.");
  if (isDirectory(source)) return { kind: "directory", handle: source };
  if (isFiles(source)) return { kind: "files", files: byPath([...source]) };
  const entries: Iterable<[string, unknown]> = source instanceof Map ? source : Object.entries(source);
  const files = new Map<string, Uint8Array<ArrayBuffer> | Blob>();
  for (const [path, content] of entries) files.set(path, bytesOf(path, content));
  if (files.size === 0) throw invalid("The map of files is empty.");
  return { kind: "files", files };
}

export function isDirectory(source: object): source is FileSystemDirectoryHandle {
  return "kind" in source && source.kind === "directory" && "getFileHandle" in source;
}

function isFiles(source: object): source is readonly File[] | FileList {
  return Array.isArray(source) || (typeof FileList !== "undefined" && source instanceof FileList);
}

/** Picked files carry the path from the picked folder on; that folder's own name is left out. */
function byPath(list: readonly unknown[]): Map<string, Blob> {
  const files = new Map<string, Blob>();
  for (const file of list) {
    if (!(file instanceof File)) throw invalid("A list of files must hold File objects.");
    const path = file.webkitRelativePath ? file.webkitRelativePath.slice(file.webkitRelativePath.indexOf("/") + 1) : file.name;
    if (files.has(path)) throw invalid(`There are two files "${path}": pick the folder as a whole, so that files keep their paths.`);
    files.set(path, file);
  }
  if (files.size === 0) throw invalid("The list of files is empty.");
  return files;
}

/** A view is posted with all of the buffer behind it, so a part of a larger one is cut out first. What was posted before has no bytes left. */
function bytesOf(path: string, content: unknown): Uint8Array<ArrayBuffer> | Blob {
  if (content instanceof Blob) return content;
  try {
    if (content instanceof ArrayBuffer) return new Uint8Array(content);
    const { buffer, byteOffset, byteLength } = content as Exclude<FileBytes, Blob | ArrayBuffer>;
    const whole = buffer instanceof ArrayBuffer && byteLength === buffer.byteLength;
    if (ArrayBuffer.isView(content)) return whole ? new Uint8Array(buffer) : new Uint8Array(buffer, byteOffset, byteLength).slice();
  } catch {
    // It is named below.
  }
  throw invalid(`The content of "${path}" must be an ArrayBuffer, a view of one, or a Blob, and must be there still.`);
}

/** Hexadecimal digests by path, and whether a file that has another is an error or only told of. */
export function readIntegrity(given: NonNullable<LoadOptions["integrity"]> = {}) {
  if (typeof given !== "object" || given === null) throw invalid("`integrity` must be an object from path to digest.");
  const { onFailure = "error", ...integrity } = given;
  oneOf("integrity.onFailure", onFailure, ["error", "warn"]);
  const digests = new Map<string, string>();
  for (const [path, text] of Object.entries(integrity)) {
    const base64 = /^sha256-([A-Za-z0-9+/]{43}=)$/.exec(String(text))?.[1];
    const digest = base64 ? hex(Uint8Array.from(atob(base64), (byte) => byte.charCodeAt(0))) : String(text).toLowerCase();
    if (!/^[0-9a-f]{64}$/.test(digest)) throw invalid(`integrity["${path}"] must be "sha256-<base64>" or 64 hexadecimal digits.`);
    digests.set(path, digest);
  }
  return { integrity: digests, isLenient: onFailure === "warn" };
}

const LOAD_OPTIONS = [
  "device", "precision", "threads", "task", "onProgress", "signal", "revision", "integrity", "cache", "allowRemote", "tune", "headers", "worker", "workerUrl", "wasmUrl",
  "wasmModule",
] as const satisfies (keyof LoadOptions)[];

export function checkLoadOptions(options: LoadOptions): void {
  checkNames("load", options, LOAD_OPTIONS);
  oneOf("device", options.device, ["auto", "webgpu", "wasm"]);
  oneOf("precision", options.precision, ["auto", "f32", "f16", "int8"]);
  for (const name of ["cache", "allowRemote", "tune"] as const) {
    if (options[name] !== undefined && typeof options[name] !== "boolean") throw invalid(`\`${name}\` must be true or false.`);
  }
  const { threads = 1, worker = true } = options;
  if (typeof worker !== "boolean" && typeof worker?.postMessage !== "function") throw invalid("`worker` must be true, false, or a Worker.");
  if (!isCount(threads) || threads > 16) throw invalid("`threads` must be a whole number from 1 to 16.");
  if (threads > 1 && worker !== true) throw invalid("`threads` are workers of the encoder's own: leave `worker` out.");
  oneOf("task", options.task, ["embed", "classify", "tag", "answer", "fill", "sparse", "multi", "uni-encoder"]);
}

const EMBED_OPTIONS = [
  "prompt", "promptName", "dimensions", "normalize", "pooling", "layers", "task", "attentionTemperature", "output", "ranges", "tokens",
  "overflow", "chunkPooling", "chunk", "signal", "onProgress",
] as const satisfies (keyof EmbedOptions)[];

/** Gives the options the crate reads. `kind` takes the model's prompt for queries or documents, where it has one. */
export function readEmbedOptions(options: EmbedOptions, info: EncoderInfo, kind?: "query" | "document"): object {
  checkNames("embed", options, EMBED_OPTIONS);
  const { prompt, promptName, dimensions, normalize, pooling, layers, task, attentionTemperature, tokens, overflow, chunkPooling, chunk } = options;
  if (prompt !== undefined && typeof prompt !== "string") throw invalid("`prompt` must be a string.");
  hasOne("prompt", promptName, Object.keys(info.prompts));
  hasOne("adapter", task, info.loraAdaptations);
  if (dimensions !== undefined && !isCount(dimensions)) throw invalid("`dimensions` must be a positive whole number.");
  if (attentionTemperature !== undefined && !Number.isFinite(attentionTemperature)) throw invalid("`attentionTemperature` must be a number.");
  oneOf("output", options.output, ["float32", "int8", "binary"]);
  if (options.ranges !== undefined && options.output !== "int8") throw invalid("`ranges` are for `output: \"int8\"`.");
  if (tokens !== undefined && typeof tokens !== "boolean") throw invalid("`tokens` must be true or false.");
  if ((tokens || chunkPooling === "none") && options.output !== undefined) throw invalid("`output` is for one vector a text.");
  if (layers !== undefined && !isCount(layers)) throw invalid("`layers` must be a positive whole number.");
  if (normalize !== undefined && typeof normalize !== "boolean") throw invalid("`normalize` must be true or false.");
  return { prompt, promptName, dimensions, normalize, pooling, layers, task, attentionTemperature, tokens, overflow, chunkPooling, chunk, kind };
}

export function readTexts(texts: string | readonly string[]): string[] {
  const list = typeof texts === "string" ? [texts] : texts;
  if (!Array.isArray(list)) throw invalid("The texts must be a string or an array of strings.");
  const wrong = list.findIndex((text) => typeof text !== "string");
  if (wrong >= 0) throw invalid(`Text ${wrong} is not a string.`);
  return [...list]; // the call comes to its turn when the caller's array may have changed
}

/** Texts, or pairs of texts. */
export function readInputs(inputs: Input | readonly Input[]): Input[] {
  const list = (Array.isArray(inputs) ? inputs : [inputs]) as Input[];
  const fits = (input: Input) => typeof input === "string" || (typeof input?.text === "string" && typeof input.pair === "string");
  const wrong = list.findIndex((input) => !fits(input));
  if (wrong >= 0) throw invalid(`Input ${wrong} must be a string, or an object of two strings, \`text\` and \`pair\`.`);
  return list;
}

/**
 * A request as JSON that the crate reads. What JSON has no word for is not left to it: numbers that are none would be absent, and the
 * crate refuses halves of surrogate pairs, which its strings cannot hold.
 */
export function readRequest(request: object): string {
  try {
    return JSON.stringify(request, (name, value: unknown) => {
      if (typeof value === "number" && !Number.isFinite(value)) throw invalid(`\`${name}\` must be a number.`);
      return typeof value === "string" ? value.replace(/\p{Surrogate}/gu, "\ufffd") : value;
    });
  } catch (cause) {
    throw cause instanceof EmbedletError ? cause : new EmbedletError("invalid-argument", `An option is no value of JSON (${textOf(cause)}).`, { cause });
  }
}

/** The options of a task as the crate reads them, which checks their values. */
export function readTaskOptions<Options extends CallOptions>(method: string, options: Options, known: readonly (keyof Options & string)[]): Options {
  checkNames(method, options, [...known, "signal", "onProgress"]);
  const { signal: _signal, onProgress: _onProgress, ...rest } = options;
  return rest as Options;
}

/** The options of `classify` by examples, apart into what it needs itself and what it passes on to `embed`. */
export function readClassifyOptions(options: ClassifyOptions) {
  checkNames("classify", options, ["labels", "temperature", "topK", "prompt", "promptName", "signal", "onProgress"]);
  const { labels, temperature = 0.05, topK, ...embed } = options;
  if (typeof labels !== "object" || labels === null) throw invalid("`labels` must be an object from label to examples.");
  const examples = readExamples(labels);
  if (examples.length === 0) throw invalid("`labels` must have at least one label.");
  if (!Number.isFinite(temperature) || temperature <= 0) throw invalid("`temperature` must be a positive number.");
  if (topK !== undefined && !isCount(topK)) throw invalid("`topK` must be a positive whole number.");
  return { examples, temperature, topK, embed };
}

/** Texts and their labels, from a list or by label. */
export function readExamples(examples: Examples): Example[] {
  if (!Array.isArray(examples)) {
    return Object.entries((examples ?? {}) as Record<string, readonly string[]>).flatMap(([label, texts]) => {
      if (!Array.isArray(texts) || texts.length === 0) throw invalid(`Label "${label}" needs at least one example text.`);
      return readTexts(texts).map((text) => ({ text, label }));
    });
  }
  return Array.from(examples as readonly Example[], (example, i) => {
    const { text, label } = example ?? {};
    if (typeof text !== "string" || typeof label !== "string") throw invalid(`Example ${i} must be an object of two strings, \`text\` and \`label\`.`);
    return { text, label };
  });
}

/** The options of `trainHead`, apart into those of the training and those of `embed`. */
export function readTrainOptions(options: TrainOptions, info: EncoderInfo) {
  const embedding = EMBED_OPTIONS.filter((name) => !["output", "ranges", "tokens"].includes(name));
  checkNames("trainHead", options, ["method", "regularization", "folds", ...embedding]);
  const { method, regularization, folds, ...embed } = options;
  // JSON would make of other numbers none at all.
  if (regularization !== undefined && !Number.isFinite(regularization)) throw invalid("`regularization` must be a number.");
  if (folds !== undefined && !isCount(folds)) throw invalid("`folds` must be a positive whole number.");
  return { options: { method, regularization, folds }, embed: readEmbedOptions(embed, info) };
}

/** The bytes of a head that was saved. */
export async function readHead(file: FileBytes): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = bytesOf("the head", file);
  return bytes instanceof Blob ? new Uint8Array(await bytes.arrayBuffer()) : bytes;
}

/** The options of `collection`, apart into what its rows have in common and how they come again. */
export function readCollectionOptions(options: CollectionOptions, info: EncoderInfo): [CollectionShape, CollectionOptions["restore"]] {
  checkNames("collection", options, ["dimensions", "precision", "similarity", "restore"]);
  const { dimensions = info.dimensions, precision = "float32", similarity = "cosine", restore } = options;
  if (!isCount(dimensions)) throw invalid("`dimensions` must be a positive whole number.");
  oneOf("precision", precision, ["float32", "int8", "binary"]);
  oneOf("similarity", similarity, ["cosine", "dot"]);
  if (restore !== undefined && typeof restore !== "function") throw invalid("`restore` must be a function.");
  return [{ dimensions: asWord(dimensions), precision, similarity }, restore];
}

/** The options of a search of a collection. */
export function readSearchOptions(options: SearchOptions): SearchOptions {
  if (typeof options !== "object" || options === null) throw invalid("search needs an object with `topK`.");
  checkNames("search", options, ["topK", "allowed", "signal"]);
  const { topK, allowed, signal } = options;
  if (!isCount(topK)) throw invalid("`topK` must be a positive whole number.");
  const bitmap = allowed === undefined ? {} : { allowed: readArray("search", allowed, Uint32Array) };
  return { topK: asWord(topK), ...bitmap, ...(signal && { signal }) };
}

/** Most bytes of an array that a call of a collection takes: more come in parts. */
const ARRAY_BYTES = 2 ** 30;

/**
 * An array of the caller's that a call of a collection takes: of whole rows of so many elements, and of so many rows where that is said.
 * Posted, a view takes all of the buffer behind it along, so a part of a larger one is cut out first.
 */
export function readArray<A extends Float32Array | Uint8Array | Uint32Array>(
  method: string,
  array: A,
  Class: new (length: number) => A,
  width = 1,
  rows?: number,
): A {
  if (!(array instanceof Class)) throw invalid(`${method} takes a ${Class.name}.`);
  if (array.length % width !== 0 || (rows !== undefined && array.length !== rows * width)) {
    throw invalid(`${method} takes ${rows === undefined ? "whole rows" : "one row"} of ${width} elements, not ${array.length} elements.`);
  }
  if (array.byteLength > ARRAY_BYTES) throw new EmbedletError("limit-exceeded", `${method} takes no more than ${ARRAY_BYTES} bytes at once: give them in parts.`);
  return array.byteLength === array.buffer.byteLength ? array : (array.slice() as A);
}

/** A count as the crate reads it, which has limits of its own far below. */
function asWord(count: number): number {
  return Math.min(count, 2 ** 32 - 1);
}

const isThere = <T>(value: T | null | undefined): value is T => value !== undefined && value !== null;

export function isCount(value: unknown): value is number {
  return Number.isInteger(value) && Number(value) > 0;
}

export function oneOf(name: string, value: unknown, allowed: readonly string[]): void {
  if (value !== undefined && !allowed.includes(value as string)) throw invalid(`\`${name}\` must be ${allowed.map((one) => `"${one}"`).join(" or ")}.`);
}

/** What a model has, it has by name. */
function hasOne(what: string, name: string | undefined, names: readonly string[]): void {
  if (name === undefined || names.includes(name)) return;
  throw invalid(`The model has no ${what} "${String(name)}"; it has ${names.map((one) => `"${one}"`).join(", ") || "none"}.`);
}

/** An option that is not known would otherwise be an option without effect. What all calls have is looked at here. */
export function checkNames(method: string, options: object, known: readonly string[]): void {
  if (typeof options !== "object" || options === null) throw invalid(`${method} takes its options as an object: ${known.join(", ")}.`);
  const unknown = Object.keys(options).find((name) => !known.includes(name));
  if (unknown !== undefined) throw invalid(`${method} has no option "${unknown}"; it has ${known.join(", ")}.`);
  const { signal, onProgress } = options as CallOptions;
  if (isThere(signal) && typeof signal.throwIfAborted !== "function") throw invalid("`signal` must be an AbortSignal.");
  if (isThere(onProgress) && typeof onProgress !== "function") throw invalid("`onProgress` must be a function.");
}
