// The worker of `page-scripted.mjs`: reads the weights and the script of a model folder, and reports every byte.

let abort;

self.onmessage = async ({ data }) => {
  if (data === "abort") return abort?.abort();
  abort = new AbortController();
  const { signal } = abort;
  try {
    const script = await (await fetch(new URL("script.json", data), { signal })).json();
    const file = "model.safetensors";
    const response = await fetch(new URL(file, data), { signal });
    if (!response.ok) throw new Error(`${file}: status ${response.status}`);
    const total = Number(response.headers.get("content-length"));
    let loaded = 0;
    self.postMessage({ status: "initiate", file, loaded, total, progress: 0 });
    for (const reader = response.body.getReader();;) {
      const { done, value } = await reader.read();
      if (done) break;
      loaded += value.length;
      for (const status of ["progress", "progress_total"]) {
        self.postMessage({ status, file: status === "progress" ? file : undefined, loaded, total, progress: (100 * loaded) / total });
      }
    }
    await fetch(new URL("absent.json", data), { signal });
    self.postMessage({ script });
  } catch (error) {
    if (!signal.aborted) self.postMessage({ failed: String(error) });
  }
};
