// The loading card: bytes as they come, Cancel while they do, and an error in words with a way to try again. Loads nothing.

import type { LoadProgress } from "embedlet";
import { announce, byId } from "./dom.js";
import type { Problem } from "./errors.js";
import { count, duration, megabytes } from "./format.js";

export function loadPanel(actions: { cancel(): void; retry(): void }) {
  const title = byId("loading-title", HTMLElement);
  const bar = byId("load-bar", HTMLProgressElement);
  const bytes = byId("load-bytes", HTMLElement);
  const rate = byId("load-rate", HTMLElement);
  const cancel = byId("cancel", HTMLButtonElement);
  const retry = byId("retry", HTMLButtonElement);
  const error = byId("load-error", HTMLElement);
  let started = 0;
  let spoken = 0;
  let read = 0;

  cancel.addEventListener("click", actions.cancel);
  retry.addEventListener("click", actions.retry);

  function show(heading: string, running: boolean): void {
    // The button that had the focus may be the one to go; focus then moves to its counterpart, never to nowhere.
    const had = document.activeElement === cancel || document.activeElement === retry;
    title.textContent = heading;
    bar.hidden = !running;
    cancel.hidden = !running;
    retry.hidden = running;
    error.hidden = true;
    if (had) (running ? cancel : retry).focus();
  }

  return {
    begin() {
      show("Loading the model", true);
      bar.removeAttribute("value");
      bytes.textContent = "";
      rate.textContent = "";
      started = performance.now();
      spoken = read = 0;
      announce("Loading the model");
    },

    progress({ status, phase, file: name, loaded, total }: LoadProgress) {
      if (status === "phase" && phase === "compile") title.textContent = "Loaded, compiling its kernels";
      if (status === "phase" && phase === "check") {
        title.textContent = "Loaded, checking it";
        announce("Model loaded, checking it");
      }
      if (status === "initiate" && name !== undefined) rate.textContent = name;
      if (status !== "progress_total" || total === 0) return;
      read = loaded;
      const seconds = (performance.now() - started) / 1000;
      const share = loaded / total;
      bar.max = total;
      bar.value = loaded;
      title.textContent = `Loading, ${Math.floor(100 * share)} %`;
      bytes.textContent = `${count(loaded)} of ${count(total)} bytes`;
      rate.textContent = `${megabytes(loaded / seconds)}/s`;
      if (Math.floor(4 * share) > spoken && share < 1) {
        spoken = Math.floor(4 * share);
        announce(`${25 * spoken} % of the model loaded`);
      }
    },

    done(ms: number, device: string) {
      // A keyboard that stood on Cancel goes on with what it was waiting for.
      if (document.activeElement === cancel) byId("rooms", HTMLElement).focus();
      cancel.hidden = true;
      title.textContent = `Ready on ${device}`;
      bar.max = bar.value = 1;
      bytes.textContent = read === 0 ? "" : `${count(read)} bytes`;
      rate.textContent = `in ${duration(ms)}`;
      announce(`Model ready on ${device} after ${duration(ms)}`);
    },

    cancelled() {
      show("Loading cancelled", false);
      rate.textContent = "";
      announce("Loading cancelled");
    },

    failed({ code, message, advice }: Problem, heading: string) {
      show(heading, false);
      byId("error-message", HTMLElement).textContent = message;
      byId("error-advice", HTMLElement).textContent = advice;
      byId("error-code", HTMLElement).textContent = code;
      error.hidden = false;
    },
  };
}
