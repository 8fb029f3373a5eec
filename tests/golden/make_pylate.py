"""Writes tasks/pylate/, a tiny ColBERT as PyLate saves it, and tasks/pylate.json, the vectors that PyLate makes with it. PyLate
needs older libraries than requirements.txt has, so an environment of its own:

    pip install pylate==1.6.0 sentence-transformers==5.1.2 transformers==4.57.1
    python tests/golden/make_pylate.py
"""

import json
import shutil
import tempfile
from pathlib import Path

import pylate
import sentence_transformers
import torch
import transformers
from pylate import models
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

OUT = Path(__file__).parent / "tasks"
SOURCE = OUT / "bert-answers"
QUERIES = ["Which boats sail before 7?", "x"]
DOCUMENTS = ["The small boat sails at six, the large one at eight.", "Naïve café owners, in 東京!", "", "the small boat went out to sea " * 8]


def main():
    torch.set_num_threads(1)
    torch.manual_seed(3)
    transformers.logging.set_verbosity_error()
    special = {name: f"[{name[:-6].upper()}]" for name in ("unk_token", "pad_token", "cls_token", "sep_token", "mask_token")}
    tokens = PreTrainedTokenizerFast(tokenizer_file=str(SOURCE / "tokenizer.json"), model_max_length=40, **special)
    model = BertModel(BertConfig.from_pretrained(SOURCE), add_pooling_layer=False)
    for name, values in model.named_parameters():
        gain = name.endswith("LayerNorm.weight")
        torch.nn.init.normal_(values, mean=float(gain), std=0.3 if values.ndim > 1 else 0.1)
    folder = OUT / "pylate"
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as base:
        model.save_pretrained(base)
        tokens.save_pretrained(base)
        models.ColBERT(base, embedding_size=12, query_length=16, document_length=30, device="cpu").save(str(folder))
    for name in ("README.md", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)
    model = models.ColBERT(str(folder), device="cpu")
    queries = [vectors.tolist() for vectors in model.encode(QUERIES, is_query=True)]
    documents = [vectors.tolist() for vectors in model.encode(DOCUMENTS, is_query=False)]
    made_with = {module.__name__: module.__version__ for module in (pylate, sentence_transformers, transformers, torch)}
    found = {"queries": QUERIES, "documents": DOCUMENTS, "query_vectors": queries, "document_vectors": documents, "made_with": made_with}
    (OUT / "pylate.json").write_text(json.dumps(found, ensure_ascii=False) + "\n", "utf-8")


main()
