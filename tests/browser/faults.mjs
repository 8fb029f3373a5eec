// Faults of an engine, in a worker or on a page's thread, at a step of a job, at a search or where it uses the GPU. A page asks for one with `fault`
// of in-page.mjs.

let armed;
/** Of what was asked for last: it may be said more than once. */
let heard;
const channel = new BroadcastChannel("embedlet faults");
channel.onmessage = ({ data }) => {
  if (!data.place) return;
  if (data.id !== heard) armed = data;
  heard = data.id;
  channel.postMessage("armed");
};

/** What is armed for this place happens once, after so many times that nothing did. */
function meet(place, faults) {
  if (armed?.place !== place || armed.after-- > 0) return undefined;
  const { name } = armed;
  armed = undefined;
  return faults[name]();
}

const { instantiate } = WebAssembly;
WebAssembly.instantiate = async (...given) => {
  const real = await instantiate(...given);
  const { exports } = real;
  // More than there can be: the crate itself traps.
  const trap = () => exports.__wbindgen_malloc(0xfffffff0, 16);
  const foreign = () => {
    throw new Error("of another script");
  };
  const never = (later) => (setTimeout(later), new Promise(() => {}));
  const faults = { trap, task: () => never(trap), foreign: () => never(foreign), beside: () => void setTimeout(foreign) };
  const job_step = (job) => meet("step", faults) ?? exports.job_step(job);
  const collection_search = (...given) => meet("search", faults) ?? exports.collection_search(...given);
  return Object.create(real, { exports: { value: { ...exports, job_step, collection_search } } });
};

if (globalThis.GPUAdapter) {
  const devices = new Set();
  const { requestDevice } = GPUAdapter.prototype;
  GPUAdapter.prototype.requestDevice = async function (...given) {
    const device = await requestDevice.apply(this, given);
    devices.add(device);
    return device;
  };
  const { submit } = GPUQueue.prototype;
  GPUQueue.prototype.submit = function (...given) {
    submit.apply(this, given);
    meet("submit", { destroy: () => devices.forEach((device) => device.destroy()) });
  };
  const { mapAsync } = GPUBuffer.prototype;
  GPUBuffer.prototype.mapAsync = function (...given) {
    const refused = () => Promise.reject(new DOMException("refused", "OperationError"));
    return meet("map", { refused }) ?? mapAsync.apply(this, given);
  };
  // Software that passes for hardware, so that "auto" takes it.
  if (location.search === "?hardware") {
    for (const name of ["vendor", "architecture", "description"]) Object.defineProperty(GPUAdapterInfo.prototype, name, { get: () => "hardware" });
    Object.defineProperty(GPUAdapterInfo.prototype, "isFallbackAdapter", { get: () => false });
  }
}
