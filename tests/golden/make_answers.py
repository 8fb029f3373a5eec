"""Writes tasks/bert-answers.json: what the question-answering pipeline of transformers makes of the model that make_tasks.py has
saved there. That pipeline is no part of transformers 5, so this script, alone, needs the last one before it:

    pip install transformers==4.57.1 torch safetensors
    python tests/golden/make_answers.py
"""

import json
from pathlib import Path

import tokenizers
import torch
import transformers
from transformers import BertForQuestionAnswering, PreTrainedTokenizerFast, pipeline

FOLDER = Path(__file__).parent / "tasks" / "bert-answers"
CASES = [
    {"question": "Which boats sail before 7?", "context": "The small boat sails at six, the large one at eight."},
    {"question": "Who?", "context": "Naïve café owners in 東京 met Anna Lee-Smith, of Kiel."},
    {"question": "what is in the harbour", "context": "the small boat went out to sea and the large boat came back to the harbour with the fish that "
     "they had found there, and nobody in the harbour had seen so large a fish before"},
]
OPTIONS = [{}, {"top_k": 5}, {"top_k": 3, "max_answer_len": 2}, {"top_k": 4, "handle_impossible_answer": True}, {"top_k": 5, "doc_stride": 5}]


def main():
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    special = {name: f"[{name[:-6].upper()}]" for name in ("unk_token", "pad_token", "cls_token", "sep_token", "mask_token")}
    # What transformers 5 gives of this tokenizer: no token types.
    names = ["input_ids", "attention_mask"]
    tokens = PreTrainedTokenizerFast(tokenizer_file=str(FOLDER / "tokenizer.json"), model_max_length=40, padding_side="right",
                                     model_input_names=names, **special)
    model = BertForQuestionAnswering.from_pretrained(FOLDER, dtype=torch.float32, attn_implementation="eager").eval()
    run = pipeline("question-answering", model=model, tokenizer=tokens, device="cpu")
    found = []
    for case in CASES:
        for options in OPTIONS:
            answers = run(**case, **{"doc_stride": 8, **options})
            found.append({**case, "options": options, "answers": answers if isinstance(answers, list) else [answers]})
    versions = {module.__name__: module.__version__ for module in (transformers, torch, tokenizers)}
    path = FOLDER.with_suffix(".json")
    path.write_text(json.dumps({"cases": found, "made_with": versions}, indent=1, ensure_ascii=False) + "\n", "utf-8")


main()
