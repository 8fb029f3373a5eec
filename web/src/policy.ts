// Trusted Types. The page's policy (`index.html`) refuses every string handed to a script or markup sink. Three such sinks
// are needed, the encoder's worker, UMAP's and the service worker, all scripts of this very folder; the default policy lets these through.
// It is the *default* policy because `new Worker(new URL(…))` stands in the package, in the form that bundlers look for.

interface Factory {
  createPolicy(name: "default", rules: { createScriptURL(url: string): string }): unknown;
}

export function allowOwnScripts(): void {
  const own = ["embedlet/worker.js", "umap-worker.js", "sw.js"].map((path) => new URL(path, document.baseURI).href);
  const { trustedTypes } = globalThis as { trustedTypes?: Factory };
  trustedTypes?.createPolicy("default", {
    createScriptURL(url) {
      if (own.includes(new URL(url, document.baseURI).href)) return url;
      throw new TypeError(`${url} is no script of this page`);
    },
  });
}
