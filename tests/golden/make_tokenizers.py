"""Writes tokenizers/: tiny tokenizers of every kind that embedlet reads, what Python's `tokenizers` makes with them of
some texts of tokens.jsonl, and what transformers makes of their files with its classes. Needs `pip install -r requirements.txt`.

A tokenizer that exists is not trained again, because two trainings may break ties differently: delete its file first.
The expected ids are the same in every run."""

import json
import struct
import unicodedata
from pathlib import Path
from tempfile import TemporaryDirectory

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

HERE = Path(__file__).parent
OUT = HERE / "tokenizers"
BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
EXTRA = [
    "I'll say you're right, they've won; it's what I'd do, we'm can't 'tis",
    "a  b   c\n\n d\t\te \u3000f\u00a0 g  ",
    "<s>in </s> text  <mask> , <mask>glued<mask>  <unk>\n<pad>",
    "ZEBRA zebra zebras a zebra. [ENT]  x [ENT][ENT]y q\u0301zebra zebra_1",
    "ﬁne ａｂｃ １２３ ① Ⅷ ½ ㎏ ™ é e\u0301 İ ß",
    "x1y22z333 3.14 ٣٤٥ 二十 1,000,000 v2",
    "🙂👩‍👩‍👧‍👦🇫🇷 ☕️ ▁underscore▁ _ __ a_b",
    "supercalifragilisticexpialidocious" * 4,
]


def charsmap(rules):
    """`precompiled_charsmap` of SentencePiece: a double array over the UTF-8 of what is replaced, and the replacements."""
    texts, trie = b"", {}
    for old, new in sorted(rules.items()):
        node = trie
        for byte in old.encode():
            node = node.setdefault(byte, {})
        node[0] = len(texts)
        texts += new.encode() + b"\0"
    units, used = {0: 0}, {0}

    def place(node, at):
        base = next(b for b in range(1, 1 << 20) if all((b ^ key) not in used for key in node) and b ^ at < 1 << 21)
        units[at] |= (base ^ at) << 10 | (1 << 8 if 0 in node else 0)
        used.update(base ^ key for key in node)
        for key, child in sorted(node.items()):
            units[base ^ key] = 1 << 31 | child if key == 0 else key
        for key, child in sorted(node.items()):
            if key:
                place(child, base ^ key)

    place(trie, 0)
    size = (max(units) | 255) + 1
    array = b"".join(struct.pack("<I", units.get(at, 0)) for at in range(size))
    return struct.pack("<I", len(array)) + array + texts


def rules():
    """NFKC for some characters, blanks to spaces, a pair that begins like another rule, and one that leaves nothing."""
    found = {chr(c): unicodedata.normalize("NFKC", chr(c)) for c in [*range(0xA0, 0x180), *range(0xFF01, 0xFF20)]}
    found = {old: new for old, new in found.items() if old != new}
    return found | {"\t": " ", "\n": " ", "\u3000": " ", "e\u0301": "é", "e\u0301x": "é!", "\u200b": "", "①": "1", "ﬁ": "fi"}


def template(cls, sep):
    return processors.TemplateProcessing(single=f"{cls[0]} $A:1 {sep[0]}:1", special_tokens=[cls, sep])


def roberta(texts):
    it = Tokenizer(models.BPE(unk_token="<unk>"))
    it.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    it.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=700, special_tokens=ROBERTA[:-1], show_progress=False,
                                                      initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    it.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    it.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return it


def modern(texts):
    it = Tokenizer(models.BPE())
    it.normalizer = normalizers.NFC()
    it.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True, trim_offsets=True)
    it.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=600, special_tokens=BERT, show_progress=False,
                                                      initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    it.add_tokens([AddedToken("zebra", single_word=True), AddedToken("[ENT]", rstrip=True, lstrip=True, normalized=False),
                   AddedToken("  ", normalized=False), AddedToken("   ", normalized=True)])
    it.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), template(("[CLS]", 2), ("[SEP]", 3))])
    return it


def xlmr(texts):
    it = Tokenizer(models.Unigram())
    it.normalizer = normalizers.Sequence([normalizers.Precompiled(charsmap(rules())), normalizers.Replace(Regex(" {2,}"), " ")])
    it.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    it.train_from_iterator(texts, trainers.UnigramTrainer(vocab_size=500, special_tokens=ROBERTA[:-1], unk_token="<unk>",
                                                          show_progress=False))
    it.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    it.post_processor = template(("<s>", 0), ("</s>", 2))
    return it


def deberta(texts):
    it = Tokenizer(models.Unigram())
    it.normalizer = normalizers.Sequence([normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " "), normalizers.NFC(),
                                          normalizers.Strip(left=False, right=True)])
    it.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Punctuation(behavior="isolated"), pre_tokenizers.Metaspace()])
    it.train_from_iterator(texts, trainers.UnigramTrainer(vocab_size=400, special_tokens=BERT, unk_token="[UNK]", show_progress=False))
    it.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return it


def llama(texts):
    it = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    it.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    hexes = [f"<0x{byte:02X}>" for byte in range(0xC0)]
    it.train_from_iterator([word for text in texts for word in text.split()], trainers.BpeTrainer(
        vocab_size=700, special_tokens=ROBERTA[:-1] + hexes, limit_alphabet=100, show_progress=False))
    it.post_processor = template(("<s>", 0), ("</s>", 2))
    return it


def pieces(texts):
    it = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=20))
    it.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(),
                                          normalizers.Strip(), normalizers.Replace("sh", "s")])
    it.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True),
                                                pre_tokenizers.Punctuation(behavior="merged_with_previous"),
                                                pre_tokenizers.Split("th", "isolated")])
    it.train_from_iterator(texts, trainers.WordPieceTrainer(vocab_size=700, special_tokens=BERT, show_progress=False))
    it.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return it


def clip(texts, special="", adds=False):
    it = Tokenizer(models.BPE(unk_token="<|endoftext|>", continuing_subword_prefix="", end_of_word_suffix="</w>"))
    it.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    words = Regex(special + r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    it.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(words, "removed", invert=True),
                                                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=adds)])
    it.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=900, special_tokens=["<|startoftext|>", "<|endoftext|>"], end_of_word_suffix="</w>", show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    it.post_processor = processors.RobertaProcessing(("<|endoftext|>", 1), ("<|startoftext|>", 0), trim_offsets=False,
                                                     add_prefix_space=False)
    return it


def clip5(texts):
    """As transformers 5 writes it."""
    return clip(texts, r"<\|startoftext\|>|<\|endoftext\|>|", True)


# What the classes of transformers make of these files: by name, the file, config.json and tokenizer_config.json, and other
# files of the folder. None of them gives the tokens that `tokenizer.json` gives alone.
S = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "sep_token": "</s>", "pad_token": "<pad>", "cls_token": "<s>"}
WORD = {"lstrip": False, "rstrip": False, "normalized": True, "single_word": True, "special": False}
CLASSES = {
    "bert": ("pieces", "bert", {"tokenizer_class": "BertTokenizer"}),
    "bert by model": ("pieces", "bert", None),
    "bert by model, without a class": ("pieces", "nomic_bert", {"do_lower_case": False}),
    "bert by config.json": ("pieces", {"model_type": "llama", "tokenizer_class": "ElectraTokenizerFast"}, None),
    "bert, cased": ("pieces", "bert", {"tokenizer_class": "BertTokenizerFast", "do_lower_case": False}),
    "bert, accents": ("pieces", "distilbert", {"tokenizer_class": "DistilBertTokenizer", "strip_accents": False}),
    "bert, chinese": ("pieces", "bert", {"tokenizer_class": "BertTokenizer", "tokenize_chinese_chars": False}),
    "bert, another frame": ("pieces", "bert", {"tokenizer_class": "BertTokenizer", "cls_token": "[MASK]", "sep_token": "and"}),
    "bert, another unknown": ("pieces", "bert", {"tokenizer_class": "BertTokenizer", "unk_token": "[MASK]"}),
    "convbert": ("pieces", "convbert", {"tokenizer_class": "ConvBertTokenizer", "sep_token": "[MASK]"}),
    "dpr": ("pieces", "bert", {"tokenizer_class": "DPRContextEncoderTokenizer", "do_lower_case": False}),
    "mpnet": ("pieces", "mpnet", {"tokenizer_class": "MPNetTokenizer", "do_lower_case": False, **dict.fromkeys(S, "[SEP]"), "unk_token": "[UNK]"}),
    "roberta": ("modern", "roberta", {"tokenizer_class": "RobertaTokenizer", "cls_token": "[CLS]", "sep_token": "[SEP]"}),
    "roberta, prefix": ("roberta", "roberta", {"add_prefix_space": True}),
    "roberta, offsets": ("roberta", "roberta", {"trim_offsets": False}),
    "deberta": ("roberta", "deberta", {"tokenizer_class": "DebertaTokenizer", "cls_token": "<s>", "sep_token": "</s>", "add_prefix_space": True}),
    "gpt2": ("modern", "roberta", {"tokenizer_class": "GPT2Tokenizer"}),
    "gpt_neox": ("modern", "mamba", {"tokenizer_class": "GPTNeoXTokenizer"}),
    "qwen2": ("modern", "qwen2", {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]", "pad_token": "[PAD]", "eos_token": "[SEP]"}),
    "clip": ("roberta", "clip", {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}),
    "gemma": ("llama", "gemma3_text", {"tokenizer_class": "GemmaTokenizerFast"}),
    "llama": ("llama", "llama", {"tokenizer_class": "LlamaTokenizer"}),
    "llama, legacy": ("llama", "llama", {"tokenizer_class": "LlamaTokenizerFast", "legacy": True}),
    "llama, no prefix": ("llama", "llama", {"tokenizer_class": "LlamaTokenizer", "add_prefix_space": False}),
    "xlm-roberta": ("xlmr", "xlm-roberta", {"tokenizer_class": "XLMRobertaTokenizerFast"}),
    "xlm-roberta, no prefix": ("xlmr", "bert", {"tokenizer_class": "XLMRobertaTokenizer", "add_prefix_space": False}),
    "xlm-roberta of another": ("deberta", "gte", {"tokenizer_class": "XLMRobertaTokenizer"}),
    "camembert": ("xlmr", "camembert", {"unk_token": "<unk>"}),
    "t5": ("xlmr", "t5", {"add_prefix_space": False}),
    "albert": ("xlmr", "albert", {"tokenizer_class": "AlbertTokenizer", "cls_token": "<s>", "sep_token": "</s>"}),
    "albert, as it is": ("xlmr", "albert", {"tokenizer_class": "AlbertTokenizerFast", "keep_accents": True, "do_lower_case": False, "cls_token": "<s>", "sep_token": "</s>"}),
    "big_bird": ("xlmr", "big_bird", {"tokenizer_class": "BigBirdTokenizer", "cls_token": "<s>", "sep_token": "</s>"}),
    "deberta-v2": ("xlmr", "deberta-v2", {"tokenizer_class": "DebertaV2Tokenizer", "cls_token": "<s>", "sep_token": "</s>", "unk_token": "<unk>"}),
    "deberta-v2, options": ("deberta", "deberta-v2", {"do_lower_case": True, "split_by_punct": True, "add_prefix_space": False}),
    "deberta-v2, together": ("deberta", "deberta-v2", {"tokenizer_class": "DebertaV2TokenizerFast"}),
    "split": ("roberta", "llama", {"tokenizer_class": "PreTrainedTokenizerFast", **S, "split_special_tokens": True}),
    "named": ("roberta", "modernbert", {"tokenizer_class": "BertTokenizer", "additional_special_tokens": ["in", "<new>"], "x_token": "re"}),
    "extra": ("pieces", "bert", {"extra_special_tokens": {"image_token": "<image>", "other": "and"}}),
    "listed": ("roberta", "roberta", {"added_tokens_decoder": {"300": WORD | {"content": "it"}, "9": WORD | {"content": "a", "special": True}}}),
    "listed too": ("roberta", "llama", {"added_tokens_decoder": {"300": WORD | {"content": "it", "lstrip": True}}}),
    "special_tokens_map.json": ("roberta", "llama", {}, {"special_tokens_map.json": {
        "cls_token": "it", "mask_token": WORD | {"content": "on"}, "additional_special_tokens": ["in"]}}),
    "no list, but a map": ("xlmr", "xlm-roberta", {"additional_special_tokens": []}, {"special_tokens_map.json": {
        "additional_special_tokens": ["<new>"], "image_token": "<image>"}}),
    "a map, but no list": ("llama", "gemma3_text", {"tokenizer_class": "GemmaTokenizer", "extra_special_tokens": {"image_token": "<image>"}}, {
        "special_tokens_map.json": {"additional_special_tokens": ["<new>"]}}),
    "dpr, fast": ("pieces", "bert", {"tokenizer_class": "DPRContextEncoderTokenizerFast", "sep_token": "[MASK]"}),
    "added and listed": ("xlmr", "deberta-v2", {"tokenizer_class": "DebertaV2Tokenizer"}, {
        "special_tokens_map.json": {"additional_special_tokens": ["in", "<new>"]}, "added_tokens.json": {"in": 905}}),
    "marked": ("pieces", "bert", {"image_token": {"__type": "AddedToken", "content": "<image>", "rstrip": True}}),
    "phi3": ("llama", "llama", {"tokenizer_class": "Phi3Tokenizer"}),
    "auto_map": ("llama", "mistral", {"tokenizer_class": "LlamaTokenizer", "auto_map": {"AutoProcessor": "p.P"}, "additional_special_tokens": ["in"]}),
    "qwen2, plain tokens": ("modern", "qwen3", {"tokenizer_class": "Qwen2Tokenizer", "unk_token": "[UNK]", "pad_token": "[PAD]",
        "eos_token": "[SEP]", "added_tokens_decoder": {"3": WORD | {"content": "[SEP]", "lstrip": True, "special": True}}}),
    "t5, no more tokens": ("xlmr", "t5", {"extra_ids": 0, "additional_special_tokens": ["<extra_id_3>"]}),
    "twice": ("roberta", "roberta", {"tokenizer_class": "GPT2Tokenizer", "bos_token": "it", "eos_token": "<s>",
        "unk_token": {"__type": "AddedToken", "content": "it", "lstrip": True}, "added_tokens_decoder": {}}),
    "added_tokens.json": ("roberta", "roberta", {"mask_token": "it"}, {"added_tokens.json": {"it": 300, "on": 301}}),
}


def classes(texts):
    """A line a class: the files of the folder but for `tokenizer.json`, whose name it has, and what transformers gives."""
    for name, (file, config, options, *others) in CLASSES.items():
        config = config if isinstance(config, dict) else {"model_type": config}
        files = {"config.json": config, **({} if options is None else {"tokenizer_config.json": options}), **dict(*others)}
        with TemporaryDirectory() as folder:
            (Path(folder) / "tokenizer.json").write_bytes((OUT / f"{file}.json").read_bytes())
            for path, value in files.items():
                (Path(folder) / path).write_text(json.dumps(value), "utf-8")
            tokenizer = AutoTokenizer.from_pretrained(folder)
        alone = Tokenizer.from_file(str(OUT / f"{file}.json"))

        def made(encode, text, pair):
            both = encode(text, pair)
            flat = [at for pair in encode(text).offsets for at in pair]
            return [encode(text).ids, flat, both.ids, both.type_ids]

        it = lambda *texts: tokenizer(*texts, return_token_type_ids=True).encodings[0]
        rows = []
        for text, pair in zip(texts, texts[1:] + texts[:1]):
            ids = it(text).ids
            # What sentence-transformers takes for the length of such a prompt.
            length = len(ids) - (bool(ids) and ids[-1] in tokenizer.all_special_ids)
            rows.append([text, length, *made(it, text, pair)])
        assert any(made(alone.encode, row[0], pair) != row[2:] for row, pair in zip(rows, texts[1:] + texts[:1])), name
        yield {"name": name, "file": file, "files": files, "types": "token_type_ids" in tokenizer("a"), "texts": rows}


def main():
    lines = [json.loads(line)["text"] for line in (HERE / "tokens.jsonl").read_text("utf-8").split("\n") if line]
    texts = [text for text in lines if len(text) < 80][::20] + EXTRA
    corpus = [row["text"] for row in json.loads((HERE / "texts.json").read_text("utf-8"))["texts"]]
    corpus = [text for text in corpus if len(text) < 1000 and all(ord(c) < 0x250 for c in text)]
    OUT.mkdir(exist_ok=True)
    expected = []
    for make in (roberta, modern, xlmr, deberta, llama, pieces, clip, clip5):
        path = OUT / f"{make.__name__}.json"
        if not path.exists():
            spec = json.loads(make(corpus).to_str())
            path.write_text(json.dumps(spec, ensure_ascii=False, separators=(",", ":")) + "\n", "utf-8")
        it = Tokenizer.from_file(str(path))
        for text in texts:
            got = it.encode(text)
            flat = [at for pair in got.offsets for at in pair]
            expected.append({"tokenizer": make.__name__, "text": text, "ids": got.ids, "type_ids": got.type_ids, "offsets": flat})
    rows = {}
    for each in expected:
        rows.setdefault(each.pop("text"), {})[each.pop("tokenizer")] = each
    with open(OUT / "expected.jsonl", "w", encoding="utf-8", newline="\n") as out:
        for text, each in rows.items():
            out.write(json.dumps({"text": text} | each, ensure_ascii=False, separators=(",", ":")) + "\n")

    texts = ["The  U.S. Harbour,\u00a0it costs 5½ ﬁne ², on and\tÉtés  the It's rain", "``Quoted'' 東京12 e\u0301 Straße <s>x</s> it [MASK] and in\n",
             "  <mask> the [SEP] [CLS]  The <new> <image>", "a"]
    with open(OUT / "classes.jsonl", "w", encoding="utf-8", newline="\n") as out:
        for each in classes(texts):
            out.write(json.dumps(each, ensure_ascii=False, separators=(",", ":")) + "\n")


main()
