"""Writes the golden files beside it: what sentence-transformers and tokenizers, at pinned versions, answer for our texts.

    python -m pip install -r tests/golden/requirements.txt
    python tests/golden/make.py --model <folder of all-MiniLM-L6-v2>

One run rewrites every file, the same each time on one machine; the tests read the files and never run this. Nothing here
computes a vector itself: every number comes out of the libraries that embedlet has to agree with. See README.md for what
is in the files.
"""

import argparse
import hashlib
import json
import logging
import platform
import random
import re
import shutil
import tempfile
import time
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import safetensors
import sentence_transformers
import tokenizers
import torch
import transformers
from safetensors.torch import save
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, StaticEmbedding
from tokenizers import Tokenizer

import corpus

HERE = Path(__file__).resolve().parent
MODELS = HERE / "models"
PACKAGES = (sentence_transformers, transformers, torch, tokenizers, safetensors, np)
MADE_WITH = {package.__name__: package.__version__ for package in PACKAGES} | {"python": platform.python_version()}

# A wrong activation, eps or number of heads has to move a tiny model's vectors at least this far. The tests allow 1e-5.
VISIBLE = 1e-4


# ---------------------------------------------------------------------------------------------------------------------
# Writing
# ---------------------------------------------------------------------------------------------------------------------


def to_json(value, **options):
    """JSON with every invisible, combining or unassigned character escaped, so that editors and diffs show all of it."""

    def escape(match):
        units = match.group().encode("utf-16-be")
        return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))

    text = json.dumps(value, ensure_ascii=False, **options)
    hidden = {c for c in set(text) if c not in " \n" and unicodedata.category(c)[0] in "CMZ"}
    return re.sub("[" + "".join(map(re.escape, sorted(hidden))) + "]", escape, text) if hidden else text


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = to_json(value, indent=1)
    text = re.sub(r"\[\n\s*(\d+(?:,\n\s*\d+)*)\n\s*\]", lambda m: "[" + re.sub(r"\s+", " ", m[1]) + "]", text)  # ids in one line
    path.write_bytes((text + "\n").encode())


def write_lines(path, rows):
    lines = (to_json(row, separators=(",", ":")) for row in rows)
    path.write_bytes("".join(line + "\n" for line in lines).encode())


def write_tensors(path, tensors, made_with=None):
    # One entry of metadata at most: safetensors writes several in a random order.
    metadata = {"made_with": json.dumps(made_with)} if made_with else {"format": "pt"}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(save({name: tensors[name].contiguous() for name in sorted(tensors)}, metadata=metadata))


# ---------------------------------------------------------------------------------------------------------------------
# Asking the libraries
# ---------------------------------------------------------------------------------------------------------------------


def bare_tokenizer(folder):
    """The tokenizer of a folder without the truncation and padding that its file may ask for."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def load(folder, files=None):
    """The model of a folder, or of a copy of it in which some JSON files are replaced."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        if files:
            folder = shutil.copytree(folder, Path(scratch) / folder.name)
            for path, content in files.items():
                write_json(folder / path, content)
        # Without a dtype, transformers computes in whatever type the weights are stored in.
        options = {"dtype": torch.float32}
        return SentenceTransformer(str(folder), device="cpu", local_files_only=True, model_kwargs=options)


def encode(model, texts, options=None, batch_size=1):
    """The library's vectors and token ids for the options that embedlet's `embed` takes."""
    options = dict(options or {})
    modules = list(model)
    if mode := options.pop("pooling", None):
        modules = [Pooling(m.embedding_dimension, mode, m.include_prompt) if isinstance(m, Pooling) else m for m in modules]
    normalize = options.pop("normalize", None)
    if normalize is False:
        modules = [m for m in modules if not isinstance(m, Normalize)]
    if modules != list(model):
        model = SentenceTransformer(modules=modules, device="cpu", prompts=model.prompts)
    method = {None: model.encode, "query": model.encode_query, "document": model.encode_document}[options.pop("kind", None)]
    arguments = dict(
        prompt=options.pop("prompt", None),
        prompt_name=options.pop("promptName", None),
        truncate_dim=options.pop("dimensions", None),
        normalize_embeddings=normalize is True,
        batch_size=batch_size,
        convert_to_tensor=True,
        show_progress_bar=False,
    )
    assert not options, f"no meaning given to {options}"
    features = method(texts, **{**arguments, "output_value": None})
    ids = [row["input_ids"][row["attention_mask"].bool()].tolist() for row in features]
    return method(texts, **arguments).clone(), ids


@torch.inference_mode()
def hidden_states(model, text):
    """The output of the embeddings and of each layer for one text, [layers + 1, tokens, hidden]."""
    features = model.preprocess([text])
    inputs = {key: features[key] for key in ("input_ids", "attention_mask", "token_type_ids")}
    output = model[0].model(**inputs, output_hidden_states=True)
    states = torch.cat(output.hidden_states)
    assert torch.equal(states[-1], output.last_hidden_state[0])
    return states.clone()


def distance(a, b):
    return (a - b).abs().max().item()


# ---------------------------------------------------------------------------------------------------------------------
# all-MiniLM-L6-v2
# ---------------------------------------------------------------------------------------------------------------------


def exactly(tokenizer, count, start):
    """Plain text that the tokenizer turns into exactly `count` tokens, special tokens included."""
    words = corpus.FILLER.split()
    words = (words[start:] + words) * (count // len(words) + 2)
    length = lambda n: len(tokenizer.encode(" ".join(words[:n])).ids)
    used = count - 2  # every word is at least one token, so never too few
    while length(used) > count:
        used -= 1
    text = " ".join(words[:used] + ["the"] * (count - length(used)))
    assert len(tokenizer.encode(text).ids) == count
    return text


def minilm_texts(tokenizer):
    rows = [{"group": group, "text": text} for group, texts in corpus.TEXTS.items() for text in texts]
    # Each starts elsewhere in the filler, else all that are cut at 256 tokens would have one and the same vector.
    for index, count in enumerate((255, 256, 257, 511, 512, 513, 2000)):
        rows.append({"group": f"tokens-{count}", "text": exactly(tokenizer, count, 17 * (index + 1))})
    return rows


def make_minilm(folder):
    tokenizer = bare_tokenizer(folder)
    rows = minilm_texts(tokenizer)
    texts = [row["text"] for row in rows]
    write_json(HERE / "texts.json", {"made_with": MADE_WITH, "texts": rows})

    model = load(folder)
    embeddings, ids = encode(model, texts)
    batched, same_ids = encode(model, texts, batch_size=32)
    gap = distance(embeddings, batched)
    assert gap < 1e-6 and ids == same_ids, f"a batch differs from single texts by {gap}"

    # The same weights allowed to read all of their 512 positions, for the texts where that makes a difference.
    long = [index for index, text in enumerate(texts) if len(tokenizer.encode(text).ids) > model.max_seq_length]
    longer = load(folder, {"sentence_bert_config.json": {"max_seq_length": 512, "do_lower_case": False}})
    long_embeddings, long_ids = encode(longer, [texts[index] for index in long])
    lengths = lambda rows: torch.tensor([len(row) for row in rows], dtype=torch.int32)
    write_tensors(
        HERE / "minilm.safetensors",
        {
            "embeddings": embeddings,
            "tokens": lengths(ids),
            "long.index": torch.tensor(long, dtype=torch.int32),
            "long.embeddings": long_embeddings,
            "long.tokens": lengths(long_ids),
        },
        made_with={
            **MADE_WITH,
            "model": "sentence-transformers/all-MiniLM-L6-v2",
            "sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        },
    )
    print(f"MiniLM: {len(texts)} texts, batch against single {gap:.1e}, {len(long)} long ones")

    strings = parity_strings()
    # What sentence-transformers uses is rebuilt from the file by transformers; check that it is no other tokenizer.
    for text in strings + texts:
        ids = tokenizer.encode(text).ids
        assert ids == model.tokenizer(text, padding=False, truncation=False)["input_ids"], repr(text)
    write_lines(HERE / "tokens.jsonl", ({"text": text, "ids": tokenizer.encode(text).ids} for text in strings))
    print(f"tokens: {len(strings)} strings")

    groups = ("latin", "greek", "arabic", "hebrew", "indic", "southeast-asian", "chinese", "japanese", "korean", "emoji",
              "combining", "bidi", "space", "control", "case", "special", "long-word")
    offsets = []
    for group in groups:
        for text in corpus.TEXTS[group][:2]:
            got = tokenizer.encode(text)
            offsets.append({"text": text, "ids": got.ids, "tokens": got.tokens, "offsets": got.offsets})
    rows = ",\n".join(to_json(row, separators=(",", ":")) for row in offsets)
    (HERE / "minilm_offsets.json").write_bytes(f'{{"made_with": {json.dumps(MADE_WITH)}, "texts": [\n{rows}\n]}}\n'.encode())
    print(f"offsets: {len(offsets)} texts")
    return tokenizer


def parity_strings():
    """Strings of every kind that a tokenizer may treat in its own way, the same ones on every run."""
    rng = random.Random(20240229)
    words, foreign, spaces, emoji = corpus.WORDS, corpus.FOREIGN_WORDS, corpus.SPACES, corpus.EMOJI
    marks = [chr(c) for c in range(0x300, 0x370)] + ["\u05b8", "\u064e", "\u093f", "\u0e49", "\u20dd", "\ufe0f"]
    blocks = list(corpus.BLOCKS.values())

    def pick(first, last):
        """A character that a Rust string can hold: no surrogates."""
        while 0xD800 <= (code := rng.randint(first, last)) <= 0xDFFF:
            pass
        return chr(code)

    def recase(word):
        return rng.choice((str.upper, str.lower, str.title, str.swapcase, str))(word)

    def decorate(word):
        at = rng.randint(0, len(word))
        return word[:at] + "".join(rng.choices(marks, k=rng.randint(1, 3))) + word[at:]

    def sentence(pool, low, high):
        return " ".join(recase(rng.choice(pool)) for _ in range(rng.randint(low, high)))

    out = ["", *spaces, *words, *foreign, *emoji, *marks]
    for first, last in blocks:
        # Alone, next to letters, and in a run: what a character does depends on what it touches.
        for _ in range(10):
            out.append(pick(first, last))
        for _ in range(8):
            out.append(f"a{pick(first, last)}b {pick(first, last)}c")
        for _ in range(10):
            out.append("".join(pick(first, last) for _ in range(rng.randint(2, 6))))
    for _ in range(300):
        out.append("".join(pick(*rng.choice(blocks)) for _ in range(rng.randint(2, 7))))
    for _ in range(300):
        out.append(sentence(words, 2, 6))
    for _ in range(120):
        out.append(sentence(words + foreign, 2, 5))
    for _ in range(120):
        out.append(rng.choice(spaces).join(rng.choices(words + foreign, k=rng.randint(2, 4))))
    for _ in range(100):
        out.append(rng.choice(("", " ", "x")).join(rng.choices(emoji + words[:20], k=rng.randint(2, 4))))
    for _ in range(120):
        out.append(decorate(rng.choice(words + foreign)))
    for _ in range(100):
        out.append(unicodedata.normalize(rng.choice(("NFD", "NFC", "NFKD")), sentence(foreign, 1, 2)))
    for _ in range(80):
        out.append("".join(rng.choices("0123456789.,:-+/%$eExX_#()[]{}<>=", k=rng.randint(2, 12))))
    for _ in range(60):
        out.append("".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 24))))
    # Words about the length at which WordPiece gives up, counted in characters and not in bytes.
    for length in (99, 100, 101):
        out += ["z" * length, "é" * length, "ж" * length, "中" * length, "a" * (length - 1) + "\u0301"]
    # Special tokens inside text, whole, broken and glued to words.
    out += ["[CLS]", "a[SEP]b", "[ MASK ]", "[mask]", "[MASK][MASK]", "[unused1]", "x [PAD] y", "[CLS", "##a", "# # a", "[UNK]?"]
    # The edges of the code space and of the surrogates.
    out += ["\ud7ff", "a\ud7ff\ue000b", "\ue000", "\uffff", "x\ufffey", "\U0010ffff", "\U00010000", "a\U0001fffeb", "\u0000", "a\u0000b"]
    return list(dict.fromkeys(out))


# ---------------------------------------------------------------------------------------------------------------------
# Tiny random models
# ---------------------------------------------------------------------------------------------------------------------

# The texts whose last hidden state is kept: a short one, one with punctuation, one that is truncated. And the one of which
# every layer's is.
HIDDEN = (0, 4, 11)
LAYERS = 4

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def tiny_vocab(minilm, size):
    """The special tokens, the single characters, then MiniLM's pieces that our texts use most."""
    known = minilm.get_vocab()
    singles = [c for c in map(chr, range(0x21, 0x7F)) if c in known]
    singles += ["##" + c for c in "abcdefghijklmnopqrstuvwxyz0123456789"]
    texts = [text for group in corpus.TEXTS.values() for text in group] + corpus.TINY_TEXTS * 3
    counts = Counter(token for text in texts for token in minilm.encode(text, add_special_tokens=False).tokens)
    common = sorted(counts, key=lambda token: (-counts[token], known[token]))
    vocab = list(dict.fromkeys(SPECIAL + singles + common))[:size]
    assert len(vocab) == size and all(token in known for token in vocab)
    return vocab


def write_tokenizer(folder, minilm, vocab, limit, asks=None):
    """MiniLM's tokenizer with its vocabulary cut down. `asks` is a truncation and padding that has to be ignored."""
    spec = json.loads(minilm.to_str())
    ids = {token: index for index, token in enumerate(vocab)}
    spec["model"]["vocab"] = ids
    for token in spec["added_tokens"]:
        token["id"] = ids[token["content"]]
    for name, token in spec["post_processor"]["special_tokens"].items():
        token["ids"] = [ids[name]]
    if asks:
        spec["truncation"] = {"direction": "Right", "max_length": asks, "strategy": "LongestFirst", "stride": 0}
        spec["padding"] = {"strategy": {"Fixed": asks}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
                           "pad_type_id": 0, "pad_token": "[PAD]"}
    (folder / "tokenizer.json").write_text(json.dumps(spec, ensure_ascii=False, separators=(",", ":")) + "\n")
    config = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "tokenize_chinese_chars": True, "strip_accents": None,
              "pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    if limit:
        config["model_max_length"] = limit
    write_json(folder / "tokenizer_config.json", config)


def random_weights(config, seed, tables=0.5, pooler=True, masked_lm=False):
    """Every tensor of a BERT, drawn so that each one shows: no bias at zero, no LayerNorm at one, attention uneven."""
    config = transformers.BertConfig(**config)
    model = transformers.BertForMaskedLM(config) if masked_lm else transformers.BertModel(config, add_pooling_layer=pooler)
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in sorted((name, tuple(tensor.shape)) for name, tensor in model.state_dict().items()):
        if name == "cls.predictions.decoder.weight" or name == "cls.predictions.decoder.bias":
            continue  # tied to others, and left out of the files that Hugging Face writes
        mean = 1.0 if name.endswith("LayerNorm.weight") else 0.0
        scale = tables if "_embeddings" in name else 0.35
        weights[name] = torch.from_numpy((mean + scale * rng.standard_normal(shape)).astype(np.float32))
    return weights


def bert_config(vocab, hidden, layers, heads, inner, **more):
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": len(vocab),
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "hidden_act": "gelu",
        "max_position_embeddings": 64,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
        "attention_probs_dropout_prob": 0.1,
        "hidden_dropout_prob": 0.1,
        **more,
    }


OLD_TYPES = {name: f"sentence_transformers.models.{name}" for name in ("Transformer", "Pooling", "Normalize", "Dense")}
NEW_TYPES = {
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
    "Dense": "sentence_transformers.base.modules.dense.Dense",
}


def write_modules(folder, types, *modules):
    """`modules.json`, and the `config.json` of each module in its own folder. Modules are (name, config or None)."""
    rows = [{"idx": 0, "name": "0", "path": "", "type": types["Transformer"]}]
    for index, (name, config) in enumerate(modules, 1):
        path = f"{index}_{name}"
        rows.append({"idx": index, "name": str(index), "path": path, "type": types[name]})
        if config is not None:
            write_json(folder / path / "config.json", config)
    write_json(folder / "modules.json", rows)


def old_pooling(size, *modes):
    """The first generation of the pooling config: one boolean for each mode, whatever their order."""
    keys = {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max", "mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
            "weightedmean_tokens": "weightedmean", "lasttoken": "lasttoken"}
    assert set(modes) <= set(keys.values())
    return {"word_embedding_dimension": size, **{f"pooling_mode_{key}": mode in modes for key, mode in keys.items()}}


def new_pooling(size, mode, include_prompt=True):
    return {"embedding_dimension": size, "pooling_mode": mode, "include_prompt": include_prompt}


def case(name, why, options=None, files=None, texts=None):
    """One question to a model: with these options, and with these JSON files of its folder replaced."""
    return {"name": name, "why": why, "options": options or {}, "files": files or {}, **({"texts": texts} if texts else {})}


def write_expected(folder, cases, mutations):
    """What the libraries answer for a folder, and the proof that the answer depends on what it should depend on."""
    name, texts = folder.name, corpus.TINY_TEXTS
    model = load(folder)
    tensors, rows, ids = {}, [], None
    for each in [case("default", "the folder as it is")] + cases:
        chosen = each.get("texts", texts)
        asked = load(folder, each["files"])
        vectors, each_ids = encode(asked, chosen, each["options"])
        assert vectors.isfinite().all(), f"{name} {each['name']}"
        gap = distance(vectors, encode(asked, chosen, each["options"], batch_size=len(chosen))[0])
        assert gap < 1e-5, f"{name} {each['name']}: a batch differs from single texts by {gap}"
        ids = ids or each_ids
        tensors[each["name"]] = vectors
        rows.append({**each, "dimensions": vectors.shape[1], "tokens": [len(row) for row in each_ids]})
    for index in HIDDEN:
        tensors[f"hidden.{index}"] = hidden_states(model, texts[index])[-1]
    tensors[f"layers.{LAYERS}"] = hidden_states(model, texts[LAYERS])

    config = read_json(folder / "config.json")
    for what, changes in mutations.items():
        moved = distance(encode(load(folder, {"config.json": {**config, **changes}}), texts)[0], tensors["default"])
        assert moved > VISIBLE, f"{name}: {what} moves a vector by {moved} only, nobody would notice"

    write_tensors(MODELS / f"{name}.expected.safetensors", tensors, MADE_WITH)
    facts = {"max_tokens": model.max_seq_length, "similarity": model.similarity_fn_name, "prompts": model.prompts}
    facts |= {"default_prompt_name": model.default_prompt_name}
    write_json(MODELS / f"{name}.json", {"made_with": MADE_WITH, **facts, "texts": texts, "ids": ids, "cases": rows})
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{name}: {len(rows)} cases, tokens {[len(row) for row in ids]}, folder {size} bytes")


def new_folder(name):
    folder = MODELS / name
    folder.mkdir(parents=True)
    return folder


def make_mean(minilm):
    """The common shape, in the oldest spelling, with everything in the folder that has to be ignored."""
    folder = new_folder("bert-mean")
    vocab = tiny_vocab(minilm, 400)
    config = bert_config(vocab, 32, 2, 2, 64, max_position_embeddings=44)
    write_json(folder / "config.json", config)
    weights = random_weights(config, seed=1)
    weights["embeddings.position_ids"] = torch.arange(44).unsqueeze(0)  # as older versions of transformers saved it
    write_tensors(folder / "model.safetensors", weights)
    write_tokenizer(folder, minilm, vocab, limit=36, asks=16)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 24, "do_lower_case": False})
    prompts = {
        "__version__": {"sentence_transformers": "2.7.0", "transformers": "4.41.0", "pytorch": "2.3.0"},
        "prompts": {"query": "query: ", "document": "passage: "},
        "default_prompt_name": None,
        "similarity_fn_name": "cosine",
    }
    write_json(folder / "config_sentence_transformers.json", prompts)
    write_modules(folder, OLD_TYPES, ("Pooling", old_pooling(32, "mean")), ("Normalize", None))
    settings = "config_sentence_transformers.json"
    by_default = {settings: {**prompts, "default_prompt_name": "query"}}
    cases = [
        case("query", "encode_query takes the prompt named query", {"kind": "query"}),
        case("document", "encode_document takes the prompt named document", {"kind": "document"}),
        case("promptName", "a prompt by name", {"promptName": "document"}),
        case("prompt", "a prompt by text", {"prompt": "the boats and the birds, "}),
        case("prompt-over-name", "the text of a prompt wins over a name", {"prompt": "the ", "promptName": "query"}),
        case("default-prompt", "default_prompt_name applies when nothing is asked for", files=by_default),
        case("default-prompt-document", "and gives way to what is asked for", {"kind": "document"}, by_default),
        case("default-prompt-empty", "also to an empty prompt", {"prompt": ""}, by_default),
        case("passage", "a prompt named passage is not found by encode_document: the library's own empty document comes first",
             {"kind": "document"}, {settings: {**prompts, "prompts": {"passage": "passage: "}}}),
        case("dimensions", "cut and left as it is: the first values of the unit vector", {"dimensions": 12}),
        case("dimensions-normalize", "cut first, then brought to length one", {"dimensions": 12, "normalize": True}),
        case("truncate-dim", "a truncate_dim that the folder carries", files={settings: {**prompts, "truncate_dim": 12}}),
        case("unnormalized", "without the Normalize module", {"normalize": False}),
        case("unlimited", "max_seq_length null: the tokenizer's model_max_length", files={
            "sentence_bert_config.json": {"max_seq_length": None, "do_lower_case": False}}),
        case("positions", "no limit in either file: the number of positions", files={
            "sentence_bert_config.json": {}, "tokenizer_config.json": {"tokenizer_class": "BertTokenizer"}}),
    ]
    write_expected(folder, cases, {
        "tanh GELU": {"hidden_act": "gelu_new"}, "eps": {"layer_norm_eps": 1e-2}, "heads": {"num_attention_heads": 4}})


def make_odd(minilm):
    """Sizes that no tile and no vector load divides, and the newest spelling."""
    folder = new_folder("bert-odd")
    vocab = tiny_vocab(minilm, 301)
    config = bert_config(vocab, 45, 3, 5, 70, hidden_act="gelu_new", type_vocab_size=1, layer_norm_eps=1e-5,
                         max_position_embeddings=40)
    write_json(folder / "config.json", config)
    # Small tables, so that the variance the first LayerNorm sees is near eps and a wrong eps shows.
    weights = random_weights(config, seed=2, tables=0.01, pooler=False)
    write_tensors(folder / "model.safetensors", weights)
    write_tokenizer(folder, minilm, vocab, limit=None)
    write_json(folder / "sentence_bert_config.json", {
        "transformer_task": "feature-extraction",
        "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        "module_output_name": "token_embeddings"})
    write_json(folder / "config_sentence_transformers.json", {
        "model_type": "SentenceTransformer", "prompts": {"query": "", "document": ""}, "default_prompt_name": None,
        "similarity_fn_name": "dot", "__version__": {"sentence_transformers": sentence_transformers.__version__}})
    write_modules(folder, NEW_TYPES, ("Pooling", new_pooling(45, "cls")))
    cases = [
        case("normalize", "brought to length one although the folder does not ask for it", {"normalize": True}),
        case("pooling", "another pooling than the folder's", {"pooling": "mean"}),
    ]
    write_expected(folder, cases, {
        "erf GELU": {"hidden_act": "gelu"}, "eps": {"layer_norm_eps": 1e-12}, "heads": {"num_attention_heads": 9}})


def make_dense(minilm):
    """Two pooling modes in one vector and two Dense modules after them, from f16 weights."""
    folder = new_folder("bert-dense")
    vocab = tiny_vocab(minilm, 400)
    config = bert_config(vocab, 48, 2, 3, 96, hidden_act="relu", dtype="float16")
    write_json(folder / "config.json", config)
    weights = {name: tensor.half() for name, tensor in random_weights(config, seed=3).items()}
    write_tensors(folder / "model.safetensors", weights)
    write_tokenizer(folder, minilm, vocab, limit=48)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 48, "do_lower_case": False})
    linear = {"in_features": 96, "out_features": 40, "bias": True, "activation_function": "torch.nn.modules.activation.Tanh"}
    project = {"in_features": 40, "out_features": 24, "bias": False, "activation_function": "torch.nn.modules.linear.Identity"}
    # The booleans say cls and mean without an order; the library puts cls first.
    write_modules(folder, OLD_TYPES, ("Pooling", old_pooling(48, "mean", "cls")), ("Dense", linear), ("Dense", project),
                  ("Normalize", None))
    rng = np.random.default_rng(30)
    draw = lambda *shape: torch.from_numpy((0.15 * rng.standard_normal(shape)).astype(np.float32))
    write_tensors(folder / "2_Dense/model.safetensors", {"linear.weight": draw(40, 96), "linear.bias": draw(40)})
    write_tensors(folder / "3_Dense/model.safetensors", {"linear.weight": draw(24, 40)})
    without_tanh = {"2_Dense/config.json": {**linear, "activation_function": "torch.nn.modules.linear.Identity"}}
    unnamed = {"2_Dense/config.json": {key: value for key, value in linear.items() if key != "activation_function"}}
    cases = [
        case("unnormalized", "without the Normalize module", {"normalize": False}),
        case("dimensions", "cut after the last Dense, then brought to length one", {"dimensions": 10, "normalize": True}),
        case("identity", "the first Dense without its activation", files=without_tanh),
        case("unnamed-activation", "an activation that is not named is Tanh", files=unnamed),
    ]
    write_expected(folder, cases, {"GELU": {"hidden_act": "gelu"}, "heads": {"num_attention_heads": 4}})


def make_plain(minilm):
    """A Hugging Face folder that knows nothing of sentence-transformers, as BertForMaskedLM saves it, in bf16."""
    folder = new_folder("bert-plain")
    vocab = tiny_vocab(minilm, 400)
    config = bert_config(vocab, 32, 2, 4, 64, architectures=["BertForMaskedLM"], hidden_act="silu", dtype="bfloat16")
    write_json(folder / "config.json", config)
    weights = {name: tensor.bfloat16() for name, tensor in random_weights(config, seed=4, masked_lm=True).items()}
    assert "bert.embeddings.word_embeddings.weight" in weights and "cls.predictions.bias" in weights
    write_tensors(folder / "model.safetensors", weights)
    write_tokenizer(folder, minilm, vocab, limit=48, asks=16)
    cases = [
        case("normalize", "brought to length one although the folder does not ask for it", {"normalize": True}),
        case("pooling", "another pooling than the default", {"pooling": "cls"}),
    ]
    write_expected(folder, cases, {"GELU": {"hidden_act": "gelu"}, "heads": {"num_attention_heads": 2}})


def make_pooling(minilm):
    """Every pooling mode, alone and together, with prompts that count and prompts that do not."""
    folder = new_folder("bert-pooling")
    vocab = tiny_vocab(minilm, 400)
    config = bert_config(vocab, 32, 1, 2, 64)
    write_json(folder / "config.json", config)
    write_tensors(folder / "model.safetensors", random_weights(config, seed=5))
    write_tokenizer(folder, minilm, vocab, limit=32)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 32, "do_lower_case": False})
    write_modules(folder, NEW_TYPES, ("Pooling", new_pooling(32, "mean")))
    path = "1_Pooling/config.json"
    cases = []
    for mode in Pooling.POOLING_MODES:
        cases.append(case(mode, f"pooling_mode {mode}", files={path: new_pooling(32, mode)}))
        cases.append(case(f"{mode}-old", f"the boolean of {mode}", files={path: old_pooling(32, mode)}))
    backwards = ["lasttoken", "mean", "max", "cls"]
    cases += [
        case("all", "every mode, in the library's order", files={path: new_pooling(32, list(Pooling.POOLING_MODES))}),
        case("all-old", "every boolean", files={path: old_pooling(32, *Pooling.POOLING_MODES)}),
        case("list-order", "a list is joined in its own order", files={path: new_pooling(32, backwards)}),
        case("option-order", "so is the option", {"pooling": backwards}),
        case("none-old", "no boolean set means mean", files={path: old_pooling(32)}),
        case("prompt-counts", "include_prompt true", {"prompt": "search the boats: "}),
    ]
    for mode in ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"):
        without = {path: new_pooling(32, mode, include_prompt=False)}
        cases.append(case(f"{mode}-without-prompt", "the prompt is read but not pooled", {"prompt": "search the boats: "}, without))
        if mode != "max":  # which gives minus infinity
            cases.append(
                case(f"{mode}-all-prompt", "the prompt alone is longer than prompt and text, which join into one unknown word:"
                     " nothing is left to pool", {"prompt": "b" * 60}, without, ["c" * 60])
            )
    cases.append(
        case("no-prompt", "include_prompt false changes nothing where no prompt is given",
             files={path: new_pooling(32, "mean", include_prompt=False)})
    )
    write_expected(folder, cases, {"tanh GELU": {"hidden_act": "gelu_new"}})


def write_static(folder, model, tokenizer, cases):
    """As `write_expected`, for tables of embeddings: they have no hidden states, and an empty text has no tokens."""
    name, texts, tensors, rows = folder.name, corpus.TINY_TEXTS, {}, []
    for each in [case("default", "the folder as it is")] + cases:
        options = each["options"]
        modules = [module for module in model if options.get("normalize", True) or not isinstance(module, Normalize)]
        asked = SentenceTransformer(modules=modules, device="cpu", prompts=model.prompts)
        prompt = options.get("prompt", model.prompts.get(options.get("promptName"), ""))
        vectors = asked.encode(texts, prompt=prompt, truncate_dim=options.get("dimensions"), convert_to_tensor=True, show_progress_bar=False,
                               normalize_embeddings=options.get("normalize") is True)
        tensors[each["name"]] = vectors.clone()
        tokens = [len(tokenizer.encode(prompt + text, add_special_tokens=False).ids) for text in texts]
        rows.append({**each, "dimensions": vectors.shape[1], "tokens": tokens})
    assert 0 in rows[0]["tokens"]
    write_tensors(MODELS / f"{name}.expected.safetensors", tensors, MADE_WITH)
    write_json(MODELS / f"{name}.json", {"made_with": MADE_WITH, "texts": texts, "cases": rows})
    print(f"{name}: {len(rows)} cases")


def make_static(minilm=None):
    """Tables of embeddings alone: as sentence-transformers saves one, and a folder of model2vec, which has no modules."""
    tokenizer = bare_tokenizer(MODELS / "bert-plain")
    generator = torch.Generator().manual_seed(6)
    cases = [
        case("raw", "not brought to length one", {"normalize": False}),
        case("cut", "the first columns", {"dimensions": 5}),
        case("cut-normalize", "the first columns, brought to length one", {"dimensions": 5, "normalize": True}),
        case("prompt", "a prompt counts as any other text", {"prompt": "search the boats: "}),
    ]
    folder = new_folder("static-bag")
    prompts = {"query": "q: ", "document": ""}
    bag = StaticEmbedding(tokenizer, embedding_weights=torch.randn(tokenizer.get_vocab_size(), 11, generator=generator))
    with tempfile.TemporaryDirectory() as scratch:
        SentenceTransformer(modules=[bag, Normalize()], device="cpu", prompts=prompts).save(scratch)
        for path in ("modules.json", "config_sentence_transformers.json"):
            write_json(folder / path, read_json(Path(scratch) / path))
        shutil.copytree(Path(scratch) / read_json(folder / "modules.json")[0]["path"], folder / "0_StaticEmbedding", dirs_exist_ok=True)
    modules = read_json(folder / "modules.json")
    write_json(folder / "modules.json", [{**modules[0], "path": "0_StaticEmbedding"}, *modules[1:]])
    for other in folder.glob("0_StaticEmbedding/*"):
        if other.name not in ("model.safetensors", "tokenizer.json"):
            shutil.rmtree(other) if other.is_dir() else other.unlink()
    write_static(folder, load(folder), tokenizer, [*cases, case("named", "a prompt by its name", {"promptName": "query"})])

    folder = new_folder("model2vec")
    write_json(folder / "config.json", {"model_type": "model2vec", "architectures": ["StaticModel"], "hidden_dim": 8, "normalize": True})
    tokenizer.save(str(folder / "tokenizer.json"))
    write_tensors(folder / "model.safetensors", {"embeddings": torch.randn(tokenizer.get_vocab_size(), 8, generator=generator)})
    model = SentenceTransformer(modules=[StaticEmbedding.load(str(folder)), Normalize()], device="cpu")
    write_static(folder, model, tokenizer, cases)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, required=True, help="the folder of sentence-transformers/all-MiniLM-L6-v2")
    folder = parser.parse_args().model
    wanted = dict(line.split("==") for line in (HERE / "requirements.txt").read_text().split("\n") if "==" in line)
    for name, version in wanted.items():
        have = MADE_WITH[name.replace("-", "_")].split("+")[0]
        assert have == version, f"{name} is {have} here, requirements.txt says {version}"

    started = time.monotonic()
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)  # more would sum in another order
    transformers.logging.set_verbosity_error()
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    transformers.logging.disable_progress_bar()
    shutil.rmtree(MODELS, ignore_errors=True)
    minilm = make_minilm(folder)
    for make in (make_mean, make_odd, make_dense, make_plain, make_pooling, make_static):
        make(minilm)
    print(f"done in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
