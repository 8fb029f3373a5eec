// `cargo xtask bench --native`: `embedlet bench` and ONNX Runtime, one process after another, round after round.
//
//   node native.mjs --embedlet BINARY --model FOLDER [--peer-model FOLDER --python-cpu PYTHON --python-webgpu PYTHON] and options

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { compare } from "../browser/harness.mjs";
import { finish } from "./record.mjs";

const { values: options } = parseArgs({ options: {
  embedlet: { type: "string" },
  model: { type: "string" },
  "peer-model": { type: "string" },
  "python-cpu": { type: "string" },
  "python-webgpu": { type: "string" },
  only: { type: "string" },
  contenders: { type: "string" },
  rounds: { type: "string", default: "5" },
  threads: { type: "string", default: String(availableParallelism()) },
  json: { type: "string" },
  write: { type: "boolean", default: false },
} });
const ROUNDS = Number(options.rounds);
/** As in a browser: what computes in f32 has the same vectors. */
const SAME = 0.999;

const { embedlet, model, threads } = options;
const script = fileURLToPath(new URL("onnx.py", import.meta.url));
const ours = (device) => ({ name: `embedlet ${device}`, command: [embedlet, "bench", "--model", model, "--device", device, "--threads", threads] });
const theirs = (python, provider, file, dtype, against) => ({
  name: `onnxruntime ${provider} ${dtype}`,
  options: { dtype },
  against,
  command: python && [python, script, "--model", options["peer-model"], "--provider", provider, "--file", file, "--threads", threads],
});
// Of a GPU that is a CPU nobody asks without naming it.
const info = run([embedlet, "info", "--model", model]);
const hasGpu = info.status === 0 && JSON.parse(info.stdout).device === "gpu";
const named = ({ name }) => (options.contenders ? options.contenders.split(",").some((part) => name.includes(part)) : hasGpu || !/gpu/.test(name));
const contenders = [
  ours("cpu"),
  ours("gpu"),
  theirs(options["python-cpu"], "cpu", "model.onnx", "fp32", "embedlet cpu"),
  theirs(options["python-cpu"], "cpu", "model_quantized.onnx", "q8", "embedlet cpu"),
  theirs(options["python-webgpu"], "webgpu", "model.onnx", "fp32", "embedlet gpu"),
].filter((contender) => contender.command && named(contender)).map((contender) => ({ ...contender, results: {}, facts: {} }));

const folder = mkdtempSync(join(tmpdir(), "embedlet-bench-"));
const complaints = [];
const timed = ["load", "first vector"].map((name) => ({ name }));
let reference;
for (let round = 0; round < ROUNDS; round++) {
  for (let i = 0; i < contenders.length; i++) {
    const contender = contenders[(i + round) % contenders.length];
    if (contender.left) continue;
    const file = join(folder, "found.json");
    const { status, stdout, stderr } = run([...contender.command, "--rounds", "1", "--json", file, ...(options.only ? ["--only", options.only] : [])]);
    if (status !== 0) {
      contender.left = true;
      console.error(`${contender.name} is left out: ${stderr.trim().split("\n").at(-1)}`);
      continue;
    }
    take(contender, JSON.parse(readFileSync(file, "utf8")), stdout);
    console.error(`round ${round + 1} of ${ROUNDS}: ${contender.name}`);
  }
}
rmSync(folder, { recursive: true });
const stayed = contenders.filter(({ left }) => !left);
const more = stayed.flatMap(({ name, kernels }) => (kernels ? [`**${name}: where the time goes**\n\n${kernels}`] : [])).join("\n\n");
finish("native", { note: `${threads} threads`, rounds: ROUNDS, cells: timed, contenders: stayed, more }, options);
for (const complaint of complaints) console.error(`off: ${complaint}`);
process.exit(complaints.length === 0 ? 0 : 1);

function run([program, ...rest]) {
  const done = spawnSync(program, rest, { encoding: "utf8", maxBuffer: 1 << 28 });
  return done.error ? { status: 1, stderr: String(done.error) } : done;
}

/** Notes what a process found. */
function take(contender, found, printed) {
  const add = (name, ms) => (contender.results[name] ??= { samples: [] }).samples.push(ms);
  add("load", found.load);
  add("first vector", found.first);
  for (const { name, texts, tokens, samples: [ms] } of found.cells) {
    if (!timed.some((cell) => cell.name === name)) timed.push({ name, texts, tokens });
    add(name, ms);
  }
  reference ??= found.vector;
  const { minCosine } = compare(found.vector, reference, reference.length);
  contender.facts["cosine"] = minCosine.toFixed(6);
  if (contender.options?.dtype !== "q8" && minCosine < SAME) complaints.push(`${contender.name}: cosine ${minCosine}`);
  if (found.peaks) {
    contender.info = { device: found.device, peaks: found.peaks };
    contender.kernels = printed.trim();
  }
}
