// Makes sure that there is a document that can run encoders. A service worker has neither workers nor a life of its own, so Chromium has
// offscreen documents, one an extension; Firefox runs backgrounds as documents and needs none.

import { invalid } from "../arguments.js";
import { EmbedletError, textOf } from "../errors.js";
import type { Api } from "./api.js";
import { isRecord } from "../messages.js";

/** Options of `ensureOffscreen`. */
export interface OffscreenOptions {
  /** The document's path in the extension's package, such as `"offscreen.html"`. */
  url: string;
  /** What Chromium is told that it is for. Default `["WORKERS"]`, with which it lives until it is closed. */
  reasons?: readonly string[];
  /** Why, in words, for those who review extensions. Default: that a text encoder runs in a worker. */
  justification?: string;
}

/** Resolves when the document is there. */
export async function ensure(api: Api, options: OffscreenOptions): Promise<"offscreen" | "background"> {
  const { runtime, offscreen, locks } = api;
  const { url, reasons = ["WORKERS"], justification = "Runs a text encoder in a worker, for search and classification on this device." } = options;
  if (typeof url !== "string") throw invalid("`url` must be the path of the offscreen document in the extension.");
  if (!offscreen) {
    const page = await runtime.getBackgroundPage?.().catch(() => undefined);
    if (isRecord(page) && "Worker" in page) return "background";
    const need = "the permission \"offscreen\" in the manifest (Chromium 116 or newer), or a background page (Firefox)";
    throw new EmbedletError("unsupported-option", `There is no document here that could run encoders: that needs ${need}.`);
  }
  const address = runtime.getURL(url);
  const isThere = async (): Promise<boolean> => {
    if (!runtime.getContexts) throw new EmbedletError("unsupported-option", "embedlet/extension needs Chromium 116 or newer.");
    const [found] = await runtime.getContexts({ contextTypes: ["OFFSCREEN_DOCUMENT"] });
    if (found && found.documentUrl !== address) {
      throw invalid(`The one offscreen document of an extension is ${found.documentUrl} here: call serveEncoders there, and give its path as \`url\`.`);
    }
    return found !== undefined;
  };
  // Others wait until it has not only been made but also loaded.
  return locks.request("embedlet offscreen document", async (): Promise<"offscreen"> => {
    if (await isThere()) return "offscreen";
    try {
      await offscreen.createDocument({ url, reasons: [...reasons], justification });
    } catch (error) {
      // Somebody may have made it without asking here.
      if (await isThere()) return "offscreen";
      throw new EmbedletError("unsupported-option", `The offscreen document ${address} could not be made: ${textOf(error)}`, { cause: error });
    }
    return "offscreen";
  });
}
