// What becomes of calls when their engine crashes, loses its device or does not come back: on this thread, where the engine starts a
// new instance, and in workers, where there is a new one.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { encoderOver, sources } from "./bundle.mjs";
import { crateError, fakeCrate, files, WASM } from "./fake.mjs";

const { EmbedletError, Engine, Remote, restarts, serve, Supervisor } = sources;
beforeEach(() => Object.assign(restarts, { delays: [0, 0], lost: undefined }));

const rejects = (promise, code, message = /./) =>
  assert.rejects(promise, (error) => error instanceof EmbedletError && error.code === code && message.test(error.message));
const turn = (ms = 1) => new Promise((resolve) => setTimeout(resolve, ms));
const forever = new Promise(() => {});

async function until(condition, what = "what was waited for came") {
  for (let left = 2000; !condition(); left--) {
    assert.ok(left > 0, what);
    await turn();
  }
}

/** Where engines are. `onStep` and `onCreate` are of every crate there, those to come included. */
function placeOf(alive) {
  const starts = () => place.crates.reduce((sum, { created }) => sum + created.length, 0);
  const place = { onStep: () => {}, onCreate: () => {}, crates: [], starts };
  place.crate = () => {
    const crate = fakeCrate();
    crate.onStep = (text) => (alive(crate) ? place.onStep(text, crate) : forever);
    crate.onCreate = () => place.onCreate(crate.created.at(-1), crate);
    place.crates.push(crate);
    return crate;
  };
  return place;
}

function onThisThread() {
  const place = placeOf(() => true);
  const crate = place.crate();
  const engine = new Engine(crate.createGlue);
  const end = (_, model) => model && engine.dispose(model);
  return Object.assign(place, {
    connect: async () => ({ host: engine, wasm: WASM, end }),
    /** The memory of an instance that traps is gone, with all that was in it. */
    gone: () => crate.live.clear(),
    engine: () => engine,
    left: () => crate.live.size,
  });
}

function inWorkers() {
  const alive = new Map();
  const place = placeOf((crate) => alive.has(crate));
  return Object.assign(place, {
    async connect() {
      const crate = place.crate();
      const engine = new Engine(crate.createGlue);
      const { port1, port2 } = new MessageChannel();
      serve(port2, engine);
      const host = new Remote(port1);
      for (const port of [port1, port2]) port.start();
      alive.set(crate, { engine, host });
      const end = (reason) => {
        alive.delete(crate);
        port1.close();
        host.fail(reason);
      };
      return { host, wasm: WASM, worker: true, end };
    },
    gone() {},
    engine: (crate) => alive.get(crate)?.engine,
    host: (crate) => alive.get(crate)?.host,
    left: () => alive.size,
  });
}

/** Runs a test in both places. */
function both(name, run) {
  for (const [where, made] of [["on this thread", onThisThread], ["in workers", inWorkers]]) {
    test(`${name}, ${where}`, { timeout: 60_000 }, async () => {
      const place = made();
      await run(encoderOver(place.connect), place);
    });
  }
}

/** Ways of an engine to go, as a step of `crate` meets them. */
const FAULTS = {
  trap(place) {
    place.gone();
    throw new WebAssembly.RuntimeError("unreachable");
  },
  glue(place) {
    place.gone();
    throw new Error("recursive use of an object detected");
  },
  /** The panic of a task: its promise stays pending, the trap comes out of the event loop. */
  task(place, crate) {
    setTimeout(() => {
      place.gone();
      place.engine(crate)?.crash(new WebAssembly.RuntimeError("unreachable"));
    });
    return forever;
  },
  device() {
    throw crateError("device-lost", "the GPU device was lost");
  },
};

/** What the browser reports of a worker, which may be none of the engine's doing. */
function worker(place, crate) {
  setTimeout(() => place.host(crate)?.fail(new EmbedletError("runtime-crashed", "embedlet's worker failed")));
  return forever;
}

const faultsOf = (place) => (place.host ? { ...FAULTS, worker } : FAULTS);

/** Runs `fault` at the first `times` steps of `text`. */
function failing(place, text, fault, times = Infinity) {
  place.onStep = (at, crate) => (at === text && times-- > 0 ? fault(place, crate) : undefined);
}

both("calls are answered by the next engine, each its own", async (Encoder, place) => {
  const encoder = await Encoder.load(files());
  const head = await encoder.trainHead({ a: ["x", "y"] });
  const seen = [];
  let starts = 1;
  for (const [name, fault] of Object.entries(faultsOf(place))) {
    failing(place, "boom", fault, 1);
    const { info } = encoder;
    const onProgress = ({ done }) => seen.push(done);
    const calls = [encoder.embed(["a", "boom", "bcd"], { onProgress }), encoder.embed("ef"), encoder.tokenize("xyz"), head.classify("t")];
    const [first, second, tokens, [asked]] = await Promise.all(calls);
    assert.deepEqual([...first.data], [1, 97, 4, 98, 3, 98], name);
    assert.deepEqual([...second.data], [2, 101], name);
    assert.deepEqual([tokens.ids, asked.head], [[3], [2]], name);
    assert.equal(place.starts(), ++starts, name);
    assert.notEqual(encoder.info, info, "what runs now is described");
    assert.deepEqual(seen.splice(0), [1, 1, 2, 3], name);
  }
  encoder.dispose();
  await until(() => place.left() === 0);
});

both("a call that does it twice is refused, and those behind it are not", async (Encoder, place) => {
  const encoder = await Encoder.load(files());
  for (const [name, fault] of Object.entries(faultsOf(place))) {
    failing(place, "boom", fault);
    const calls = [encoder.embed("boom"), encoder.embed("ab"), encoder.embed(["c", "d"])];
    await rejects(calls[0], name === "device" ? "device-lost" : "runtime-crashed");
    assert.deepEqual((await Promise.all(calls.slice(1))).map(({ data }) => [...data]), [[2, 97], [1, 99, 1, 100]], name);
  }
  encoder.dispose();
  await until(() => place.left() === 0);
});

both("a search that takes the engine down does not end the encoder with the calls that run beside it", async (Encoder, place) => {
  const encoder = await Encoder.load(files());
  const collection = await encoder.collection({ restore: async () => {} });
  let done = 0;
  place.onStep = async () => {
    await turn(5);
    done++;
  };
  place.onCreate = (_, crate) => (crate.onCollect = (kind) => kind === "search" && FAULTS.trap(place));
  for (const crate of place.crates) place.onCreate(undefined, crate);
  const busy = encoder.embed(Array(100).fill("text")).catch(({ code }) => code);
  await until(() => done > 0);
  await rejects(collection.search(new Float32Array(2), { topK: 1 }), "runtime-crashed");
  await busy;
  place.onStep = () => {};
  assert.equal((await encoder.embed("text")).count, 1);
  encoder.dispose();
  await until(() => place.left() === 0);
});

both("an encoder that only fails stops, says so, and leaves nothing", async (Encoder, place) => {
  const encoder = await Encoder.load(files());
  place.onStep = (_, crate) => FAULTS.trap(place, crate);
  await rejects(encoder.embed("a"), "runtime-crashed", /unreachable/);
  const calls = [encoder.embed("b"), encoder.embed("c")];
  for (const call of calls) await rejects(call, "runtime-crashed", /2 restarts.*reload the page/);
  const starts = place.starts();
  await rejects(encoder.embed("d"), "runtime-crashed", /reload the page/);
  assert.deepEqual([place.starts(), place.left()], [starts, 0]);
  encoder.dispose();
  await rejects(encoder.embed("d"), "runtime-crashed", /reload the page/);
});

both("answers in between start the count anew", async (Encoder, place) => {
  const encoder = await Encoder.load(files());
  for (let loss = 0; loss < 6; loss++) {
    failing(place, "boom", FAULTS.trap);
    await rejects(encoder.embed("boom"), "runtime-crashed");
    assert.equal((await encoder.embed("a")).count, 1);
  }
  encoder.dispose();
});

/** Holds every load until `open` is called. */
function held(place) {
  let open;
  const opened = new Promise((resolve) => (open = resolve));
  let reached = false;
  place.onCreate = () => ((reached = true), opened);
  return { open, reached: () => until(() => reached, "a load began") };
}

both("an abort during a restart rejects at once; the others are answered", async (Encoder, place) => {
  const encoder = await Encoder.load(files());
  failing(place, "boom", FAULTS.device, 1);
  const load = held(place);
  const abort = new AbortController();
  const aborted = encoder.embed("boom", { signal: abort.signal });
  const other = encoder.embed("ab");
  await load.reached();
  abort.abort(new Error("enough"));
  await assert.rejects(aborted, { message: "enough" });
  load.open();
  assert.deepEqual([...(await other).data], [2, 97]);
  encoder.dispose();
  await until(() => place.left() === 0);
});

both("an abort for the reason of another call's loss is no loss", async (Encoder, place) => {
  const encoder = await Encoder.load(files());
  const reason = new EmbedletError("device-lost", "elsewhere");
  place.onStep = () => turn(5);
  const abort = new AbortController();
  const aborted = encoder.embed(["a", "b"], { signal: abort.signal });
  await turn();
  abort.abort(reason);
  await assert.rejects(aborted, (error) => error === reason);
  await encoder.embed("a");
  assert.equal(place.starts(), 1);
  encoder.dispose();
});

both("a dispose during a restart ends it", async (Encoder, place) => {
  for (const moment of ["waiting", "loading"]) {
    place.onCreate = () => {};
    restarts.delays = [0, 0];
    const encoder = await Encoder.load(files());
    const starts = place.starts();
    failing(place, "boom", FAULTS.device, 1);
    const load = held(place);
    if (moment === "waiting") restarts.delays = [1e6, 0];
    const calls = [encoder.embed("boom"), encoder.embed("a")].map((call) => rejects(call, "disposed"));
    if (moment === "loading") await load.reached();
    else await turn(20);
    encoder.dispose();
    await Promise.all(calls);
    load.open();
    await until(() => place.left() === 0, moment);
    assert.equal(place.starts(), starts + (moment === "loading" ? 1 : 0), moment);
  }
});

both("a model that does not come again is asked for again by the next call; a device that does not, twice", async (Encoder, place) => {
  const encoder = await Encoder.load(files(), { device: "webgpu" });
  const unless = (code) => () => {
    if (code) throw crateError(code, "it is not there");
  };
  failing(place, "boom", FAULTS.device, 2);
  place.onCreate = unless("network");
  for (let call = 0; call < 4; call++) await rejects(encoder.embed("boom"), "network");
  place.onCreate = unless();
  assert.equal((await encoder.embed("boom")).count, 1);
  failing(place, "boom", FAULTS.device);
  place.onCreate = unless("no-adapter");
  await rejects(encoder.embed("boom"), "no-adapter", /reload the page/);
  place.onCreate = unless();
  await rejects(encoder.embed("a"), "no-adapter", /reload the page/);
  assert.equal(place.left(), 0);
});

both("with auto, a GPU that is lost twice in a row is given up for the CPU", async (Encoder, place) => {
  place.onCreate = (options, crate) => (crate.device = options.device === "wasm" ? "wasm" : "webgpu");
  place.onStep = (_, crate) => {
    if (crate.device === "webgpu") throw crateError("device-lost", "the GPU device was lost");
  };
  const encoder = await Encoder.load(files());
  assert.equal(encoder.info.device, "webgpu");
  const calls = [encoder.embed("a"), encoder.embed("bcd")];
  await rejects(calls[0], "device-lost");
  assert.deepEqual([...(await calls[1]).data], [3, 98]);
  const reason = "the GPU device was lost (reload the page to have the GPU again)";
  assert.deepEqual([encoder.info.device, encoder.info.reason], ["wasm", reason]);
  encoder.dispose();
  // The page goes on without it.
  const next = await Encoder.load(files());
  assert.deepEqual([next.info.device, next.info.reason], ["wasm", reason]);
  next.dispose();
  // Where no GPU was to be exchanged, none is.
  const named = await Encoder.load(files(), { device: "webgpu" });
  const refused = [named.embed("a"), named.embed("b")];
  await rejects(refused[0], "device-lost");
  await rejects(refused[1], "device-lost", /reload the page/);
});

test("what an engine says after it was lost is not believed", async () => {
  const info = {};
  const answers = [];
  const session = (name) => ({ host: { embed: () => new Promise((...settle) => answers.push([name, ...settle])) }, model: 1, info, end() {} });
  const supervisor = new Supervisor(async () => session("new"), session("old"));
  const ask = () => supervisor.ask(undefined, ({ host }) => host.embed());
  const calls = [ask(), ask(), ask()];
  const [[, , lose], [, late], [, , refuse]] = answers.splice(0);
  lose(new EmbedletError("device-lost", "gone"));
  await turn();
  late("of the old");
  refuse(new EmbedletError("non-finite", "of the old"));
  await until(() => answers.length === 3);
  for (const [i, [name, answer]] of answers.entries()) answer(`${name} ${i}`);
  assert.deepEqual(await Promise.all(calls), ["new 0", "new 1", "new 2"]);
});

test("a session that comes when all has ended is ended too", async () => {
  const reason = new EmbedletError("disposed", "enough");
  const ended = [];
  const lost = () => Promise.reject(new EmbedletError("device-lost", "gone"));
  const session = (name) => ({ host: { embed: lost }, model: 1, info: {}, end: (reason) => ended.push([name, reason.code]) });
  const supervisor = new Supervisor(async () => {
    queueMicrotask(() => supervisor.end(reason));
    return session("new");
  }, session("old"));
  await rejects(supervisor.ask(undefined, ({ host }) => host.embed()), "disposed");
  assert.deepEqual(ended, [["old", "device-lost"], ["new", "disposed"]]);
});

both("a restart is by the options of the load, whatever became of the object", async (_, place) => {
  const seen = [];
  const Encoder = encoderOver((given) => (seen.push(given.wasmUrl), place.connect()));
  const options = { wasmUrl: "one" };
  const encoder = await Encoder.load(files(), options);
  options.wasmUrl = "two";
  failing(place, "boom", FAULTS.trap, 1);
  await encoder.embed("boom");
  assert.deepEqual(seen, ["one", "one"]);
  encoder.dispose();
});

/** Numbers from 0 to 1 that are the same for a seed (mulberry32). */
function randomOf(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

both("whatever crosses whatever, every call has its own end and nothing is left", async (Encoder, place) => {
  const ends = { answered: 0, aborted: 0, disposed: 0, lost: 0, stopped: 0 };
  for (let seed = 1; seed <= 200; seed++) {
    const random = randomOf(seed);
    const pick = (list) => list[Math.floor(random() * list.length)];
    const faults = Object.values(faultsOf(place));
    const danger = pick([0, 0.05, 0.2, 0.6]);
    place.onStep = (_, crate) => (random() < danger ? pick(faults)(place, crate) : random() < 0.5 ? turn(0) : undefined);
    const encoder = await Encoder.load(files({ weights: { "model.safetensors": 1000 } }));
    const [calls, aborts] = [[], []];
    let disposed = false;
    const dispose = () => {
      disposed = true;
      encoder.dispose();
    };
    const embed = () => {
      const texts = Array.from({ length: 1 + Math.floor(random() * 4) }, () => String.fromCharCode(0x4e00 + 20_000 * random()) + "x".repeat(random() * 99));
      const abort = new AbortController();
      const aborted = new Error(`aborted in ${seed}`);
      let abortedFirst = false;
      if (random() < 0.4) {
        aborts.push(() => {
          abortedFirst = !disposed;
          abort.abort(aborted);
        });
      }
      const check = encoder.embed(texts, { signal: abort.signal }).then(
        ({ data }) => {
          assert.ok(!abort.signal.aborted && !disposed, `seed ${seed}: an answer after the end`);
          assert.deepEqual([...data], texts.flatMap((text) => [text.length, text.charCodeAt(0)]), `seed ${seed}`);
          ends.answered++;
        },
        (error) => {
          const how = error === aborted ? "aborted" : error.code === "disposed" ? "disposed" : /reload/.test(error.message) ? "stopped" : "lost";
          // An encoder that has stopped refuses at once, before anything else can be said of a call.
          const may = abortedFirst ? ["aborted", "stopped"] : disposed ? ["disposed", "aborted", "stopped"] : ["lost", "stopped"];
          assert.ok(may.includes(how), `seed ${seed}: ${error.stack}`);
          if (how === "lost") assert.ok(["runtime-crashed", "device-lost"].includes(error.code), `seed ${seed}: ${error.stack}`);
          ends[how]++;
        },
      );
      check.catch(() => {});
      calls.push(check);
    };
    for (let step = 0; step < 20; step++) {
      const chance = random();
      if (chance < 0.55) embed();
      else if (chance < 0.7 && aborts.length > 0) aborts.splice(Math.floor(random() * aborts.length), 1)[0]();
      else if (chance > 0.98) dispose();
      else await turn(random() < 0.7 ? 0 : 4);
    }
    if (random() < 0.5) dispose();
    const late = setTimeout(() => assert.fail(`seed ${seed}: a call has no end`), 5000);
    await Promise.all(calls);
    clearTimeout(late);
    encoder.dispose();
    await until(() => place.left() === 0, `seed ${seed}: something is left`);
  }
  for (const [end, count] of Object.entries(ends)) assert.ok(count > 50, `${end}: ${count}`);
});
