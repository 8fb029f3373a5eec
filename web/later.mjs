// Files of the page that come after the model: the sample, and of rooms that are loaded when they are first shown, with what of the package
// only they use.

export const LATER = ["sample.json", "embedlet/search.js", "classify-room.js", "bench.js", "map-room.js", "embedlet/cluster.js", "words.js", "words.license.txt"];
