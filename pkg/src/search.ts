/// <reference lib="esnext.disposable" preserve="true" />

// The entry `embedlet/search`: an index of documents over an encoder of any other entry.

export { EmbedletError } from "./errors.js";
export { SearchIndex } from "./search/search-index.js";
export type { Collection, CollectionOptions } from "./collection.js";
export type { IndexStorage } from "./search/storage.js";
export type * from "./search/types.js";
export type { ErrorCode } from "./types.js";
