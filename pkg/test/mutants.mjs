// Whether the tests of the faults can fail: each line takes the handling of one out, and the test that is named must then fail, or end
// in no time. `node test/mutants.mjs [part of a name]`; a part of `cargo xtask test --all`, since it runs them fifty times.

import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** What is handled, the test, the file of `src`, what stands there and what takes its place. */
const MUTANTS = [
  ["a lost engine is replaced", "supervisor", "supervisor.ts", "if (!isLoss(error, session.supervised)) throw error;", "throw error;"],
  ["an answer of an engine that is gone is not believed", "supervisor", "supervisor.ts", "if (session === this.#session) {\n          this.#restarts = 0;", "{\n          this.#restarts = 0;"],
  ["a call that crashes every engine rejects the second time", "supervisor", "supervisor.ts", "if (call.losses > 1) throw this.#failure;", ""],
  ["it is the first call that lost the engine", "supervisor", "supervisor.ts", "if (!lanes.has(call.lane)) call.losses++;", ""],
  ["after two restarts the encoder stops", "supervisor", "supervisor.ts", "if (this.#restarts < restarts.delays.length) return;", "if (this.#restarts < 50) return;"],
  ["a restart that ends too late is ended", "supervisor", "supervisor.ts", "if (signal.aborted) session.end(signal.reason);", ""],
  ["a page that lost its GPU twice does without", "supervisor", "supervisor.ts", "if (this.#restarts === restarts.delays.length) this.#giveUpGpu();", ""],
  ["a network that is gone counts against nobody", "supervisor", "supervisor.ts", "this.#restarts--;\n", ""],
  ["a trap gives the instance up", "supervisor", "instance.ts", "for (const reject of this.#pending) reject(this.crashed);", ""],
  ["a trap in a task is heard of", "encoder", "instance.ts", "task();\n      } catch (error) {\n        instance.crash(error);", "task();\n      } catch (error) {\n        throw error;"],
  ["an instance that crashed is not used again", "encoder", "instance.ts", "if (this.crashed) throw this.crashed;", ""],
  ["an instance that crashed is not freed into", "encoder", "instance.ts", "if (!object || this.crashed) return;", "if (!object) return;"],
  ["calls run in turn", "encoder", "engine.ts", "const turn = entry.last.then(() => {", "const turn = Promise.resolve().then(() => {"],
  ["an abort ends a call between its steps", "encoder", "engine.ts", "      check();\n        }\n", "        }\n"],
  ["a model is freed when its last call has ended", "encoder", "engine.ts", "if (--entry.calls === 0 && entry.disposed) entry.instance.free(entry.object);", "--entry.calls;"],
  ["an abort during a load leaves nothing", "encoder", "load.ts", "instance.free(loader);\n    }\n  }", "}\n  }"],
  ["a GPU that does not do is given up for the CPU", "encoder", "load.ts", 'if (device !== "auto" || ', "if (true || "],
  ["files that are read on are left before anything is freed", "source", "load.ts", "await Promise.allSettled(lanes);", ""],
  ["a load is aborted while its worker starts", "connect", "encoder.ts", "await abortable(connecting, signal)", "await connecting"],
  ["a worker that started too late is ended", "connect", "encoder.ts", "connecting.then((late) => late.end(givenUp, undefined), () => {});", ""],
  ["a caller's worker may fail of itself", "connect", "connect.ts", "const until = isShared ? { signal: greeted.signal } : {};", "const until = {};"],
  ["a worker that is not embedlet's is not waited for", "connect", "connect.ts", "const timer = setTimeout(silent, greeting.ms);", "const timer = 0; void silent;"],
  ["a caller's worker may be tried again", "connect", "connect.ts", "remote.catch(() => borrowed.delete(worker));", ""],
  ["messages of others pass by", "connect", "rpc.ts", "if (!isRequest(data)) return;", ""],
  ["answers of others pass by", "connect", "rpc.ts", "isReply(data) && this.#receive(data)", "this.#receive(data as Reply)"],
  ["a worker beside the first is done without", "pool", "pool.ts", "if (!isLoss(error)) throw error;", "throw error;"],
  ["what fails in one place is given up in all", "pool", "pool.ts", "abort.abort();\n          return undefined;", "return undefined;"],
  ["an error names the text of the call", "pool", "pool.ts", "failure ??= { error: ofCall(error, share) };", "failure ??= { error };"],
  ["a model that has not answered is not tuned", "tuning", "engine.ts", "tuning?.answered);", "tuning);"],
  ["what runs is not disturbed by tuning", "tuning", "engine.ts", "if (busy || !entry)", "if (!entry)"],
  ["a model that is gone is asked for no choice", "tuning", "engine.ts", "if (entry.disposed) return true;", ""],
  ["an error ends tuning", "tuning", "engine.ts", "catch {\n      entry.tuning = undefined;", "catch {"],
  ["a choice of any length is not read", "tuning", "tuning.ts", "> MOST_BYTES) return undefined;", "> MOST_BYTES) bytes = 0;"],
  ["a store that fails gives no choice", "tuning", "tuning.ts", "} catch {\n    return undefined;", "} catch (error) {\n    throw error;"],
  ["a store that fails does not hold a load up", "cache", "cache.ts", "this.store.write(name, readable)).catch(fail);", "this.store.write(name, readable));"],
  ["a store that is slow does not hold a load up", "cache", "cache.ts", "if (!isAhead) await Promise.race", "await Promise.race"],
  ["what is kept is whole before it counts", "cache", "cache.ts", "await Promise.all(this.#written.values());\n    try {", "try {"],
  ["what has come is not fetched for the CPU again", "cache", "cache.ts", "if (kept && written && this.failure === undefined)", "if (false)"],
  ["what has come is whole before it is read again", "cache", "cache.ts", "await written;\n    if (kept", "if (kept"],
  ["what is kept on a page is as it came", "cache", "stores.ts", "controller.enqueue(value.slice());", "controller.enqueue(value);"],
  ["what could not be kept whole is not kept", "cache", "cache.ts", "if (this.failure !== undefined) throw this.failure;", ""],
  ["the length of what is kept is looked at", "cache", "cache.ts", "if (sum.bytes !== kept.bytes)", "if (false)"],
  ["the checksum of what is kept is looked at", "cache", "cache.ts", "if (sum.digest() !== kept.xxh32)", "if (false)"],
  ["a manifest is looked at", "cache", "cache.ts", "return good && pinned && !Number.isNaN(Date.parse(manifest.saved)) ? manifest : undefined;", "return manifest;"],
  ["a load that was cut short leaves nothing that is used", "cache", "kept.ts", "await kept.commit();\n      const used", "const used"],
  ["damage is fetched again", "cache", "kept.ts", "if (!allowRemote || !kept.used || !(error instanceof EmbedletError)) throw error;", "throw error;"],
  ["what is no damage leaves what is kept", "cache", "kept.ts", "if (isSound && !kept.failed) throw error;", ""],
  ["damage is mended by one tab", "cache", "kept.ts", "await alone(address, signal, () => attempt(first));", "await attempt(first);"],
  ["what was kept stays where nothing can be added", "cache", "cache.ts", "await Promise.allSettled(kept ? deleted : ", "await Promise.allSettled(false ? deleted : "],
  ["what another tab kept stays", "cache", "cache.ts", "const kept = others ?? this.#manifest;", "const kept = this.#manifest;"],
  ["a file that comes later is of the commit that is kept", "cache", "cache.ts", "await this.#pin(this.remote, signal);\n    return this.remote.size", "return this.remote.size"],
  ["locks that are denied are done without", "cache", "cache.ts", "if (isAlone || signal?.aborted) throw error;", "throw error;"],
  ["texts are read when a call is made", "encoder", "arguments.ts", "return [...list];", "return list;"],
  ["two commits of a branch do not mix", "cache", "cache.ts", "if (!this.#changed) return;", "if (!this.#changed) return;\n    this.#commit = undefined;"],
  ["a download that breaks off goes on", "source", "source.ts", "if (version === undefined || delay === undefined) throw error;", "throw error;"],
  ["a file that changed is not put together", "source", "source.ts", "if (changed) throw new EmbedletError(", "if (false) throw new EmbedletError("],
  ["what comes twice of a file is left out", "source", "source.ts", "skip = received - start;", "skip = 0;"],
  ["an index that is closed meanwhile has no view", "search", "search/core.ts", "const newest = await this.store.newest();\n      this.#check();\n      if (view && newest === before?.generation) return view;", "if (view && (await this.store.newest()) === before?.generation) return this.#view!;"],
  ["a load that is given up is undone before its worker ends", "connect", "encoder.ts", "if (connection.worker) setTimeout(end, undoing.ms);\n      else end();", "end();"],
  ["a worker that does not undo a load is ended", "connect", "encoder.ts", "if (connection.worker) setTimeout(end, undoing.ms);\n      else end();", ""],
  ["what loads have left over goes", "cache", "kept.ts", "void sweep(store).catch(() => {}); // nobody waits for it", ""],
  ["what somebody loads is not left over", "cache", "cache.ts", "if (lock && ", "if ("],
  ["what was deleted meanwhile is not kept", "cache", "cache.ts", "await this.#find();", ""],
  ["a page in the place of a file is kept as absence", "cache", "load.ts", "this.context.source.lacks?.(path);", ""],
  ["a refusal may be absence", "source", "source.ts", "response.status === 403 ? PerhapsAbsent", "response.status === 1 ? PerhapsAbsent"],
  ["nobody waits for the lengths of files", "source", "load.ts", "void this.#sizes(", "await this.#sizes("],
  ["an absurd number is not counted on from", "search-storage", "search/store.ts", "number <= Math.max(last, FAR)", "number > 0"],
  ["paths stay in the folder", "source", "source.ts", 'segment === ".." || ', ""],
];

/** Runs a test over a copy of the sources in which `change` was made. Tells whether it passed. */
function passes(test, change = () => {}) {
  const copy = mkdtempSync(join(tmpdir(), "mutant-"));
  try {
    for (const part of ["src", "test", "package.json", "tsconfig.json"]) cpSync(join(own, part), join(copy, part), { recursive: true });
    symlinkSync(join(own, "node_modules"), join(copy, "node_modules"));
    change(join(copy, "src"));
    return spawnSync(process.execPath, ["--test", `test/${test}.test.mjs`], { cwd: copy, timeout: 60_000 }).status === 0;
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}

const own = fileURLToPath(new URL("..", import.meta.url));
const wanted = process.argv[2] ?? "";
const chosen = MUTANTS.filter(([name]) => name.includes(wanted));
for (const test of new Set(chosen.map(([, test]) => test))) if (!passes(test)) throw new Error(`${test}.test.mjs fails as it is`);
const survived = [];
for (const [name, test, file, from, to] of chosen) {
  const passed = passes(test, (src) => {
    const path = join(src, file);
    const text = readFileSync(path, "utf8");
    if (text.split(from).length !== 2) throw new Error(`${file} has not one ${JSON.stringify(from)}`);
    writeFileSync(path, text.replace(from, () => to));
  });
  console.log(`${passed ? "SURVIVED" : "seen    "}  ${name} (${test})`);
  if (passed) survived.push(name);
}
if (survived.length > 0) {
  console.log(`\n${survived.length} of what is handled could be taken out without a test that fails.`);
  process.exitCode = 1;
}
