// The device card: where the encoder runs, why there, and what it found out about the device. Shows; does not choose.

import type { EncoderInfo } from "embedlet";
import { byId, element, row } from "./dom.js";
import { count, megabytes, plural } from "./format.js";

export type Device = "auto" | "webgpu" | "wasm";

export const isDevice = (value: unknown): value is Device => value === "auto" || value === "webgpu" || value === "wasm";

export const deviceName = (device: EncoderInfo["device"]): string => (device === "webgpu" ? "WebGPU" : "WebAssembly");

export function deviceCard(choose: (device: Device) => void) {
  const list = byId("device", HTMLElement);
  const buttons = [...document.querySelectorAll<HTMLButtonElement>("button[data-device]")];
  for (const button of buttons) button.addEventListener("click", () => choose(button.dataset.device as Device));

  return {
    chosen(device: Device) {
      for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.device === device));
    },

    empty(text: string) {
      list.replaceChildren(row("Runs on", text));
    },

    show(info: EncoderInfo) {
      const { adapter, reason, selfCheck } = info;
      list.replaceChildren(
        row("Runs on", element("strong", {}, deviceName(info.device))),
        ...(reason === null ? [] : [row("Not on WebGPU", reason)]),
        ...(adapter === null ? [] : [
          row("Adapter", [adapter.vendor, adapter.architecture].filter(Boolean).join(" ") || "not told by the browser"),
          ...(adapter.description === "" ? [] : [row("Described as", adapter.description)]),
          row("Kind", adapter.software ? "software, run by the processor" : "hardware"),
        ]),
        row("Precision", info.precision === "f16" ? "f16 stored, f32 summed" : info.precision),
        ...(info.device === "wasm" ? [] : [row("Dispatches", `${count(info.dispatches)} for a short text`)]),
        row("Weights", megabytes(info.weightBytes)),
        row("Self-check", selfCheck === null ? (info.device === "wasm" ? "for WebGPU only" : "not run")
          : `${plural(selfCheck.kernels, "kernel")} ${selfCheck.passed ? "agree" : "do not agree"} with the processor, to ${selfCheck.maxError.toExponential(1)}`),
        row("Model", `${info.architecture}, ${plural(info.layers, "layer")}, ${plural(info.dimensions, "dimension")}, ${plural(info.maxTokens, "token")}`),
      );
    },
  };
}
