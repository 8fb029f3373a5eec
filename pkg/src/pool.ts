// Several engines with the same model, each in a worker of its own, that share the texts of an `embed` call. The bits of a text's
// vector do not depend on the other texts of a call, so only a clock can tell how many there were.

import type { Connection } from "./connect.js";
import type {
  AskRequest, Call, CollectionAnswers, CollectionCall, CollectionRequest, EmbedRequest, Host, Loaded, LoadRequest, MaxSimRequest,
} from "./engine.js";
import { EmbedletError, isLoss } from "./errors.js";
import type { Made, Vectors } from "./glue.js";
import type { EmbedProgress, LoadProgress, Tokens } from "./types.js";

interface Member {
  connection: Connection;
  model: number;
}

/** Takes the place of a connection whose model is loaded. The others load in the background and take part as soon as they can. */
export function pooled(first: Connection, others: number, connect: () => Promise<Connection>, request: LoadRequest): Connection {
  const pool = new Pool(first.host);
  for (let i = 0; i < others; i++) void pool.add(connect, request);
  return {
    host: pool,
    wasm: first.wasm,
    end(reason, model) {
      pool.end(reason);
      first.end(reason, model);
    },
  };
}

class Pool implements Host {
  readonly #first: Host;
  readonly #others = new Set<Member>();
  readonly #loads = new AbortController();

  constructor(first: Host) {
    this.#first = first;
  }

  /** One that does not start, or has no room for the model, is done without. */
  async add(connect: () => Promise<Connection>, request: LoadRequest): Promise<void> {
    const { signal } = this.#loads;
    let connection: Connection | undefined;
    try {
      connection = await connect();
      signal.throwIfAborted();
      const { model } = await connection.host.load(request, { signal });
      signal.throwIfAborted();
      this.#others.add({ connection, model });
    } catch {
      connection?.end(new EmbedletError("disposed", "The load has been given up."), undefined);
    }
  }

  end(reason: EmbedletError): void {
    this.#loads.abort();
    for (const { connection, model } of this.#others) connection.end(reason, model);
    this.#others.clear();
  }

  async embed(request: EmbedRequest, { signal, onEvent }: Call<EmbedProgress>): Promise<Vectors> {
    const others = [...this.#others];
    const shares = shareOut(request.texts, 1 + others.length);
    if (shares.length <= 1) return this.#first.embed(request, { signal, onEvent });
    // What fails in one place is given up in all.
    const abort = new AbortController();
    const given = () => abort.abort();
    signal?.addEventListener("abort", given);
    const progress = shares.map(({ length }): EmbedProgress => ({ done: 0, total: length }));
    let failure: { error: unknown } | undefined;
    try {
      const parts = await Promise.all(shares.map(async (share, i) => {
        const part = { ...request, texts: share.map((text) => request.texts[text]!) };
        const report = (event: EmbedProgress) => {
          progress[i] = event;
          onEvent?.(progress.reduce((sum, { done, total }) => ({ done: sum.done + done, total: sum.total + total })));
        };
        const call = { signal: abort.signal, onEvent: onEvent && report };
        try {
          const other = others[i - 1];
          return await (other ? this.#elsewhere(other, part, call) : this.#first.embed(part, call));
        } catch (error) {
          failure ??= { error: ofCall(error, share) };
          abort.abort();
          return undefined;
        }
      }));
      if (failure) throw failure.error;
      return merged(shares, parts as Vectors[]);
    } finally {
      signal?.removeEventListener("abort", given);
    }
  }

  /** Asks another than the first. One that is lost is done without from then on, and the first does its share. */
  async #elsewhere(member: Member, request: EmbedRequest, call: Call<EmbedProgress>): Promise<Vectors> {
    const { connection, model } = member;
    try {
      return await connection.host.embed({ ...request, model }, call);
    } catch (error) {
      if (!isLoss(error)) throw error;
      this.#others.delete(member);
      connection.end(error, model);
      return this.#first.embed(request, call);
    }
  }

  load(request: LoadRequest, call: Call<LoadProgress>): Promise<Loaded> {
    return this.#first.load(request, call);
  }

  ask(request: AskRequest, call: Call<EmbedProgress>): Promise<Made> {
    return this.#first.ask(request, call);
  }

  maxSim(request: MaxSimRequest, call: Call<EmbedProgress>): Promise<Made> {
    return this.#first.maxSim(request, call);
  }

  collect<K extends CollectionCall>(request: CollectionRequest<K>, call: Call): Promise<CollectionAnswers[K]> {
    return this.#first.collect(request, call);
  }

  vocabulary(model: number, call: Call): Promise<(string | null)[]> {
    return this.#first.vocabulary(model, call);
  }

  tokenize(request: { model: number; text: string }, call: Call): Promise<Tokens> {
    return this.#first.tokenize(request, call);
  }

  dispose(model: number): Promise<void> {
    return this.#first.dispose(model);
  }
}

/** An error about a text of a share, which is one of the call's. */
function ofCall(error: unknown, share: readonly number[]): unknown {
  const text = error instanceof EmbedletError && error.text !== undefined ? share[error.text] : undefined;
  if (!(error instanceof EmbedletError) || text === undefined) return error;
  // It is the first number that the message names.
  return new EmbedletError(error.code, error.message.replace(String(error.text), String(text)), { cause: error.cause, text });
}

/** Which texts go where: the longest first, each to whoever has the least yet; at most one share a text. */
function shareOut(texts: readonly string[], most: number): number[][] {
  const shares = Array.from({ length: Math.min(most, texts.length) }, () => ({ texts: [] as number[], units: 0 }));
  const order = texts.map((_, text) => text).sort((a, b) => texts[b]!.length - texts[a]!.length);
  for (const text of order) {
    const least = shares.reduce((least, share) => (share.units < least.units ? share : least));
    least.texts.push(text);
    // A text without characters has tokens all the same.
    least.units += texts[text]!.length + 1;
  }
  return shares.map(({ texts }) => texts);
}

/** The parts' vectors in the order of the texts that were shared out. */
function merged(shares: readonly number[][], parts: readonly Vectors[]): Vectors {
  const [{ dimensions, counts, details }] = parts as [Vectors];
  const places: { part: Vectors; at: number; row: number }[] = [];
  for (const [i, part] of parts.entries()) {
    let row = 0;
    for (const [at, text] of shares[i]!.entries()) {
      places[text] = { part, at, row };
      row += part.counts ? part.counts[at]! : 1;
    }
  }
  const data = new Float32Array(parts.reduce((sum, part) => sum + part.data.length, 0));
  let end = 0;
  for (const { part, at, row } of places) {
    const rows = part.data.subarray(row * dimensions, (row + (part.counts ? part.counts[at]! : 1)) * dimensions);
    data.set(rows, end);
    end += rows.length;
  }
  const lists = new Map(details === undefined ? [] : parts.map((part) => [part, JSON.parse(part.details ?? "[]") as unknown[]]));
  return {
    data,
    dimensions,
    tokens: Uint32Array.from(places, ({ part, at }) => part.tokens[at]!),
    truncated: Uint8Array.from(places, ({ part, at }) => part.truncated[at]!),
    ...(counts && { counts: Uint32Array.from(places, ({ part, at }) => part.counts![at]!) }),
    ...(details !== undefined && { details: JSON.stringify(places.map(({ part, at }) => lists.get(part)![at])) }),
  };
}
