// embedlet's worker, with faults that a page asks for, see `fault` of in-page.mjs. The imports run in order.

import "./faults.mjs";
import "/pkg/worker.js";
