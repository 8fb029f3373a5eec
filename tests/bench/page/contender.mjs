// In the page: one contender, from its import to its vectors. `../run.mjs` calls these and takes the times.

const KINDS = { embedlet, transformers };
let contender;

/** Imports and loads a contender, and embeds one text: milliseconds until it was loaded, and until there was a vector. */
export async function open(kind, options, text) {
  const start = performance.now();
  contender = await KINDS[kind](options);
  const load = performance.now() - start;
  await contender.embed([text]);
  return { load, first: performance.now() - start, info: contender.info };
}

/** Embeds the same texts until `least` milliseconds are over, at least once: milliseconds of a call. */
export async function turn(texts, least) {
  const start = performance.now();
  let calls = 0;
  do {
    await contender.embed(texts);
    calls++;
  } while (performance.now() - start < least);
  return (performance.now() - start) / calls;
}

/** The vectors one after another and, where the contender says so, the tokens of each text. */
export async function vectors(texts) {
  const { data, tokens } = await contender.embed(texts);
  return { data: Array.from(data), tokens };
}

async function embedlet(options) {
  const { Encoder } = await import("/embedlet/index.js");
  const encoder = await Encoder.load("./model", options);
  const { adapter, selfCheck, dispatches } = encoder.info;
  return {
    info: { adapter, selfCheck, dispatches },
    async embed(texts) {
      const embeddings = await encoder.embed(texts);
      const each = texts.map((_, i) => i);
      // Whoever cuts texts has less to do.
      if (each.some((i) => embeddings.truncated(i))) throw new Error("a text of the benchmark is too long for the model");
      return { data: embeddings.data, tokens: each.map((i) => embeddings.tokens(i)) };
    },
  };
}

/** In a worker, as its documentation advises: embedlet has its own. */
async function transformers(options) {
  const worker = new Worker("/bench/transformers.mjs", { type: "module" });
  const answer = (message) => new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => (data.error ? reject(new Error(data.error)) : resolve(data));
    worker.onerror = ({ message }) => reject(new Error(message));
    worker.postMessage(message);
  });
  await answer({ options });
  return { info: {}, embed: (texts) => answer({ texts }) };
}
