// The full-text engine of hybrid searches, loaded when they are switched on.

import MiniSearch from "minisearch";
import type { LexicalEngine } from "embedlet/search";

export const engine = (): LexicalEngine => new MiniSearch({ fields: ["text"] });
