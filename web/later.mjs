// Files of the page that come after the model: the sample, rooms that are loaded when they are first shown, and what of the package only
// these use. ASKED are those of them that come only when the reader asks for them, and are not stored before.

export const LATER = ["sample.json", "embedlet/search.js", "storage-card.js", "texts-room.js", "classify-room.js",
  "compare-room.js", "explain-room.js", "map-room.js", "umap.js", "umap-worker.js", "bench.js", "embedlet/cluster.js", "words.js",
  "words.license.txt", "umap-worker.license.txt", "icon-maskable.svg", "glosses.json", "glosses.license.txt"];
export const ASKED = ["glosses.json", "glosses.license.txt"];
