// The worker: an engine behind the worker's own messages. One self-contained script, which a worker of the caller's may import too;
// everything it needs is sent to it.

import { createGlue } from "embedlet:glue";
import { Engine } from "./engine.js";
import { serve, type Port } from "./rpc.js";
import { watchCrashes } from "./watch.js";

const engine = new Engine(createGlue);
watchCrashes(engine);
// The compiler knows the library of pages only, where `self` is a window.
serve(self as unknown as Port, engine);
