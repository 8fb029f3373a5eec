"""ONNX Runtime over the cells of `embedlet bench`: prints nothing, writes the same JSON.

Texts are tokenized, padded to the longest of the call, and mean-pooled and normalised with NumPy.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

WEB = Path(__file__).parents[2] / "web"
# As in crate/bench.rs: a turn lasts at least so long.
TURN_S = 0.1
PROVIDERS = {"cpu": "CPUExecutionProvider", "webgpu": "WebGpuExecutionProvider"}


def cells():
    words = " ".join(passage["text"] for passage in json.loads((WEB / "sample.json").read_text())).split()
    for cell in json.loads((WEB / "cells.json").read_text()):
        start, texts = 0, []
        for index in range(cell["texts"]):
            count = cell["words"] + index * cell["more"]
            texts.append(" ".join(words[start : start + count]))
            start += count
        yield cell["name"], texts


class Encoder:
    def __init__(self, folder, file, provider, threads):
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_truncation()
        self.tokenizer.enable_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        providers = [PROVIDERS[provider]]
        if providers[0] not in onnxruntime.get_available_providers():
            raise SystemExit(f"this onnxruntime has no {providers[0]}")
        self.session = onnxruntime.InferenceSession(folder / "onnx" / file, options, providers=providers)
        # Where there is no adapter it goes on, on the CPU.
        if self.session.get_providers()[0] != providers[0]:
            raise SystemExit(f"{providers[0]} does not run here")
        self.inputs = {given.name for given in self.session.get_inputs()}

    def tokens(self, texts):
        return sum(sum(encoding.attention_mask) for encoding in self.tokenizer.encode_batch(texts))

    def embed(self, texts):
        encodings = self.tokenizer.encode_batch(texts)
        columns = {
            "input_ids": [encoding.ids for encoding in encodings],
            "attention_mask": [encoding.attention_mask for encoding in encodings],
            "token_type_ids": [encoding.type_ids for encoding in encodings],
        }
        feed = {name: np.array(rows, dtype=np.int64) for name, rows in columns.items() if name in self.inputs}
        (states,) = self.session.run(["last_hidden_state"], feed)
        mask = np.array(columns["attention_mask"], dtype=np.float32)[:, :, None]
        vectors = (states * mask).sum(1) / mask.sum(1)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--file", default="model.onnx")
    parser.add_argument("--provider", choices=PROVIDERS, default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="0: as ONNX Runtime thinks")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only")
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()

    named = dict(cells())
    short = next(iter(named.values()))
    start = time.perf_counter()
    encoder = Encoder(options.model, options.file, options.provider, options.threads)
    load = time.perf_counter() - start
    vector = encoder.embed(short)[0]
    first = time.perf_counter() - start
    wanted = options.only.replace("-", " ").split(",") if options.only else list(named)
    found = [measure(encoder, name, named[name], options.rounds) for name in wanted]
    report = {"load": 1e3 * load, "first": 1e3 * first, "vector": vector.tolist(), "cells": found}
    options.json.write_text(json.dumps(report))


def measure(encoder, name, texts, rounds):
    encoder.embed(texts)
    samples = []
    for _ in range(rounds):
        start, calls = time.perf_counter(), 0
        while calls < 1 or time.perf_counter() - start < TURN_S:
            encoder.embed(texts)
            calls += 1
        samples.append(1e3 * (time.perf_counter() - start) / calls)
    return {"name": name, "texts": len(texts), "tokens": encoder.tokens(texts), "samples": samples}


if __name__ == "__main__":
    main()
