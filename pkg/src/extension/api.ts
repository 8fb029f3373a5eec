// The little of the browser's interface to extensions that is used here, as Chromium and Firefox both have it. Types, but for one look-up.

import { EmbedletError } from "../errors.js";

export interface RuntimeEvent<Listener> {
  addListener(listener: Listener): void;
  removeListener(listener: Listener): void;
}

/** Who is at the other end of a port. */
export interface Sender {
  id?: string;
  url?: string;
}

/** One end of a connection between two contexts of an extension. */
export interface RuntimePort {
  readonly name: string;
  readonly sender?: Sender | undefined;
  readonly onMessage: RuntimeEvent<(message: unknown) => void>;
  readonly onDisconnect: RuntimeEvent<() => void>;
  postMessage(message: unknown): void;
  disconnect(): void;
}

export interface Runtime {
  readonly id: string;
  readonly lastError?: { message?: string } | null | undefined;
  readonly onConnect: RuntimeEvent<(port: RuntimePort) => void>;
  connect(info: { name: string }): RuntimePort;
  getURL(path: string): string;
  getContexts?(filter: { contextTypes: string[] }): Promise<{ documentUrl?: string }[]>;
  /** Resolves where the background is a document, as in Firefox. */
  getBackgroundPage?(): Promise<unknown>;
}

export interface Offscreen {
  createDocument(parameters: { url: string; reasons: string[]; justification: string }): Promise<void>;
}

/** What an extension's context has. */
export interface Api {
  runtime: Runtime;
  offscreen?: Offscreen | undefined;
  /** They hold between all contexts of the extension's origin, and are free again when their holder is gone. */
  locks: Pick<LockManager, "request">;
}

export function surroundings(): Api {
  const { browser, chrome } = globalThis as { browser?: Partial<Api>; chrome?: Partial<Api> };
  const { runtime, offscreen } = browser ?? chrome ?? {};
  if (!runtime?.id) throw new EmbedletError("unsupported-option", "embedlet/extension is for extensions of browsers: elsewhere use `Encoder.load`.");
  return { runtime, offscreen, locks: navigator.locks };
}
