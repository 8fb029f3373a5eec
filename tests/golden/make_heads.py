"""Writes heads/: for every architecture of architectures/ the heads that transformers has for tasks, on top of the first tiny
model, and the logits that transformers computes with them. Needs `pip install -r requirements.txt`.

    python tests/golden/make_heads.py [NAME ...]

A file holds the tensors of all heads that an architecture has, under their names in a checkpoint, the prefix that such a
checkpoint puts in front of the encoder's own, and the logits by task and input. The encoder's tensors stay where they are: a
test joins the two."""

import json
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save
from tokenizers import Tokenizer
from transformers import AutoConfig
from transformers.models.auto import modeling_auto as auto

from make_architectures import HERE, MODELS, OUT, PIECES, made_with, randomise, token_limit

HEADS = HERE / "heads"
CLASSES = {
    "classify": auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    "tag": auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
    "answer": auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES,
    "fill": auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
}
# These read with their decoders.
WITHOUT = {("t5", "classify"), ("t5", "answer"), ("umt5", "classify"), ("umt5", "answer")}
INPUTS = [
    ["The harbour is quiet.", None],
    ["Which boats sail before 7?", "The small boat sails at six, the large one at eight."],
    ["", "x"],
    ["the small boat went out to sea " * 5, "and came back with the fish " * 6],
]
MASKED = ["The {} is quiet.", "{} boats went {} to sea, naïve café"]


def arguments_of(kind, task, config, encoding, head):
    if kind == "big_bird":
        # A short text turns the model dense for all that follow.
        head.bert.set_attention_type(config.attention_type)
    ids = torch.tensor([encoding.ids])
    arguments = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    # The tokenizers of the other kinds give no types, and one class makes its own.
    types = MODELS[kind][0] == PIECES and getattr(config, "type_vocab_size", 0) > 1 and (kind, task) != ("big_bird", "answer")
    if types:
        arguments["token_type_ids"] = torch.tensor([encoding.type_ids])
    if kind == "longformer" and task == "answer":
        # As the class has it where it finds its three separators, which a text without a pair lacks.
        arguments["global_attention_mask"] = (ids.eq(config.sep_token_id).cumsum(-1) == 0).long()
    return arguments


@torch.inference_mode()
def make(kind):
    folder = OUT / f"{kind}-1"
    source, _ = MODELS[kind][0]
    tokenizer = Tokenizer.from_file(str(HERE / source))
    tokenizer.no_padding()
    config = AutoConfig.from_pretrained(folder)
    tokenizer.enable_truncation(token_limit(kind, config))
    mask = next((token for token in ("[MASK]", "<mask>") if tokenizer.token_to_id(token) is not None), None)
    base = load_file(folder / "model.safetensors")
    tensors, expected, prefix = {}, {}, None
    for task, classes in CLASSES.items():
        name = classes.get(config.model_type)
        if name is None or (kind, task) in WITHOUT:
            continue
        head = getattr(transformers, name)(config)
        randomise(head, seed=sum(map(ord, kind + task)))
        with tempfile.TemporaryDirectory() as written:
            head.half().save_pretrained(written)
            saved = load_file(Path(written) / "model.safetensors")
            # The prefix is what the names of a checkpoint with a head have in front of those without one.
            shared = [next((full for full in saved if full == key or full.endswith("." + key)), None) for key in base]
            found = {full.removesuffix(key) for key, full in zip(base, shared) if full is not None}
            assert len(found) == 1, (kind, task, found)
            prefix = found.pop()
            own = {full: value for full, value in saved.items() if not (full.startswith(prefix) and full.removeprefix(prefix) in base)}
            for full, value in own.items():
                value = tensors.setdefault(full, value)
                assert value.shape == own[full].shape, (kind, task, full)
            joined = {**{prefix + key: value for key, value in base.items()}, **tensors}
            (Path(written) / "model.safetensors").write_bytes(save({key: joined.get(key, saved[key]) for key in saved}, metadata={"format": "pt"}))
            head = getattr(transformers, name).from_pretrained(written, dtype=torch.float32, attn_implementation="eager").eval()
        if task == "fill":
            assert mask is not None, kind
            for index, text in enumerate(MASKED):
                encoding = tokenizer.encode(text.replace("{}", mask))
                logits = head(**arguments_of(kind, task, config, encoding, head)).logits[0]
                picked = [place for place, token in enumerate(encoding.ids) if token == tokenizer.token_to_id(mask)]
                expected[f"fill.{index}"] = logits[picked].contiguous()
            continue
        for index, (text, pair) in enumerate(INPUTS):
            encoding = tokenizer.encode(text) if pair is None else tokenizer.encode(text, pair)
            output = head(**arguments_of(kind, task, config, encoding, head))
            if kind == "longformer" and task == "answer" and pair is not None:
                arguments = arguments_of(kind, task, config, encoding, head)
                del arguments["global_attention_mask"]
                assert torch.equal(head(**arguments).start_logits, output.start_logits)
            if task == "answer":
                logits = torch.stack([output.start_logits[0], output.end_logits[0]])
            else:
                logits = output.logits[0]
            expected[f"{task}.{index}"] = logits.contiguous()
    if not expected:
        return print(f"{kind}: no heads")
    assert all(value.isfinite().all() for value in expected.values()), kind
    named = {f"head/{name}": value for name, value in tensors.items()} | {f"expected/{name}": value for name, value in expected.items()}
    metadata = {"prefix": prefix, "made_with": json.dumps(made_with())}
    path = HEADS / f"{kind}.safetensors"
    path.write_bytes(save(named, metadata=metadata))
    print(f"{kind}: {path.stat().st_size // 1000} kB, prefix {prefix!r}, {sorted({name.split('.')[0] for name in expected})}")


def main():
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    HEADS.mkdir(exist_ok=True)
    (HEADS / "inputs.json").write_text(json.dumps({"inputs": INPUTS, "masked": MASKED}, indent=1) + "\n")
    for kind in sys.argv[1:] or sorted(MODELS):
        make(kind)


if __name__ == "__main__":
    main()
