// Files of the page that come after the model: of rooms that are loaded when they are first shown, and of the package what only they use.

export const LATER = ["bench.js", "map-room.js", "embedlet/cluster.js"];
