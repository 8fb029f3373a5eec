"""Writes tasks/: tiny random models with heads, as transformers and sentence-transformers save them, and what the pipelines of
transformers, `CrossEncoder`, `SparseEncoder` and `MultiVectorEncoder` make of texts with them. Needs
`pip install -r requirements.txt`.

    python tests/golden/make_tasks.py

The expected results of a folder are in NAME.json beside it."""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
import transformers
from encoders import UniEncoder
from safetensors.torch import load_file, save
from sentence_transformers import CrossEncoder, MultiVectorEncoder, SparseEncoder
from sentence_transformers.base.modules import Dense, Normalize, Router, Transformer
from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling, MultiVectorMask
from sentence_transformers.sparse_encoder.modules import MLMTransformer, SparseStaticEmbedding, SpladePooling
from transformers import BertConfig, PreTrainedTokenizerFast, RobertaConfig, pipeline

from make_architectures import BYTES, HERE, PIECES, made_with, randomise

OUT = HERE / "tasks"
SIZES = dict(hidden_size=24, num_attention_heads=2, num_hidden_layers=2, intermediate_size=40, max_position_embeddings=40)
TEXTS = [
    "The harbour is quiet.",
    "Naïve café owners in 東京 met Anna Lee-Smith, of Kiel.",
    "x",
    "the small boat went out to sea and the large boat came back to the harbour with the fish that they had found there " * 2,
]
PAIRS = [["Which boats sail?", "The small boat sails at six."], ["x", "y"], ["the small boat went out to sea " * 5, "and came back " * 9]]
DOCUMENTS = ["The small boat sails at six.", "Refunds take five days.", "", "A museum opens at nine o'clock."]


def tokenizer(source, limit, **special):
    return PreTrainedTokenizerFast(tokenizer_file=str(HERE / source), model_max_length=limit, **special)


def pieces(limit=40, **more):
    return tokenizer(PIECES[0], limit, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]", **more)


def byte_pairs(limit=38):
    return tokenizer(BYTES[0], limit, unk_token="<unk>", pad_token="<pad>", cls_token="<s>", sep_token="</s>", mask_token="<mask>")


def saved(name, Model, config, tokens, wide=0.3):
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    model = Model(config)
    randomise(model, seed=sum(map(ord, name)), wide=wide)
    model.half().save_pretrained(folder)
    tokens.save_pretrained(folder)
    return folder


def labelled(*labels, **more):
    return dict(id2label=dict(enumerate(labels)), label2id={label: index for index, label in enumerate(labels)}, **more)


def plain(value):
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (np.generic, torch.Tensor)):
        return value.item() if value.ndim == 0 else value.tolist()
    return value


def write(name, **expected):
    (OUT / f"{name}.json").write_text(json.dumps({**plain(expected), "made_with": made_with()}, indent=1, ensure_ascii=False) + "\n")
    print(name, (OUT / f"{name}.json").stat().st_size // 1000, "kB")


def tidy(folder):
    """What no loader reads."""
    for path in [*folder.rglob("README.md"), *folder.rglob("generation_config.json")]:
        path.unlink()


def single(folder, task):
    return pipeline(task, model=str(folder), device="cpu", dtype=torch.float32)


def classify():
    folder = saved("bert-labels", transformers.BertForSequenceClassification, BertConfig(vocab_size=PIECES[1], **SIZES, **labelled(*"abcde")), pieces())
    run = single(folder, "text-classification")
    texts = [run(text, top_k=None, truncation=True) for text in TEXTS]
    pairs = [run({"text": text, "text_pair": pair}, top_k=None, truncation=True) for text, pair in PAIRS]
    write("bert-labels", texts=TEXTS, pairs=PAIRS, scores=texts, pair_scores=pairs)
    more = labelled("red", "green", "blue", problem_type="multi_label_classification")
    folder = saved("roberta-multi", transformers.RobertaForSequenceClassification, RobertaConfig(vocab_size=BYTES[1], **SIZES, **more), byte_pairs())
    run = single(folder, "text-classification")
    write("roberta-multi", texts=TEXTS, scores=[run(text, top_k=None, truncation=True) for text in TEXTS])


def classify_by_tokens():
    """Types of tokens where the family's own tokenizers give none, and a padding token that every text ends with."""
    labels, names = labelled(*"abc"), ["input_ids", "token_type_ids", "attention_mask"]
    tokens = pieces(model_input_names=names)
    for name, Model, config in [
        ("roberta-types", transformers.RobertaForSequenceClassification,
         RobertaConfig(vocab_size=PIECES[1], **{**SIZES, "max_position_embeddings": 42}, type_vocab_size=2, **labels)),
        ("llama-padded", transformers.LlamaForSequenceClassification,
         transformers.LlamaConfig(vocab_size=PIECES[1], **SIZES, num_key_value_heads=1, pad_token_id=tokens.sep_token_id, **labels)),
    ]:
        folder = saved(name, Model, config, tokens if name == "roberta-types" else pieces())
        run = single(folder, "text-classification")
        texts = [run(text, top_k=None, truncation=True) for text in TEXTS]
        pairs = [run({"text": text, "text_pair": pair}, top_k=None, truncation=True) for text, pair in PAIRS]
        write(name, texts=TEXTS, pairs=PAIRS, scores=texts, pair_scores=pairs)


def tag():
    labels = labelled("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
    for name, Model, config, tokens in [
        ("bert-entities", transformers.BertForTokenClassification, BertConfig(vocab_size=PIECES[1], **SIZES, **labels), pieces()),
        # Room for the second text, whose end the pipeline would cut off.
        ("roberta-entities", transformers.RobertaForTokenClassification,
         RobertaConfig(vocab_size=BYTES[1], **{**SIZES, "max_position_embeddings": 72}, **labels), byte_pairs(70)),
    ]:
        # As wide as gives entities of several kinds.
        folder = saved(name, Model, config, tokens, wide=0.3 if name.startswith("bert") else 0.45)
        run = single(folder, "token-classification")
        entities = {how: [run(text, aggregation_strategy=how) for text in TEXTS[:3]] for how in ("none", "simple", "first", "average", "max")}
        windows = {how: run(TEXTS[3], aggregation_strategy=how, stride=5) for how in ("simple", "first")}
        write(name, texts=TEXTS, entities=entities, windows=windows)


def answer():
    """The model alone: make_answers.py has what is made of it."""
    saved("bert-answers", transformers.BertForQuestionAnswering, BertConfig(vocab_size=PIECES[1], **SIZES), pieces())


def fill():
    for name, Model, config, tokens in [
        ("bert-masks", transformers.BertForMaskedLM, BertConfig(vocab_size=PIECES[1], **SIZES), pieces()),
        ("roberta-masks", transformers.RobertaForMaskedLM, RobertaConfig(vocab_size=BYTES[1], **SIZES), byte_pairs()),
    ]:
        folder = saved(name, Model, config, tokens)
        run = single(folder, "fill-mask")
        texts = [text.replace("{}", tokens.mask_token) for text in ("The {} is quiet.", "Naïve {} café, {} of Kiel")]
        targets = [tokens.convert_ids_to_tokens(index) for index in (60, 71, 82)]
        write(name, texts=texts, masks=[run(text) for text in texts], targets=targets, among=run(texts[0], targets=targets))


def zero_shot():
    config = BertConfig(vocab_size=PIECES[1], **SIZES, **labelled("contradiction", "neutral", "entailment"))
    folder = saved("bert-nli", transformers.BertForSequenceClassification, config, pieces())
    run = single(folder, "zero-shot-classification")
    labels = ["boats", "museums", "money"]
    one = [run(text, candidate_labels=labels, hypothesis_template="It is about {}.") for text in TEXTS[:2]]
    each = [run(text, candidate_labels=labels, multi_label=True) for text in TEXTS[:2]]
    write("bert-nli", texts=TEXTS[:2], labels=labels, one=one, each=each)


def rerank():
    folder = saved("roberta-cross", transformers.RobertaForSequenceClassification, RobertaConfig(vocab_size=BYTES[1], **SIZES, num_labels=1), byte_pairs())
    model = CrossEncoder(str(folder), activation_fn=torch.nn.Identity())
    shutil.rmtree(folder)
    model.half().save_pretrained(str(folder))
    tidy(folder)
    model = CrossEncoder(str(folder), model_kwargs={"dtype": torch.float32})
    write("roberta-cross", query=TEXTS[0], documents=DOCUMENTS, ranked=model.rank(TEXTS[0], DOCUMENTS))
    folder = saved("bert-cross", transformers.BertForSequenceClassification, BertConfig(vocab_size=PIECES[1], **SIZES, num_labels=1), pieces())
    model = CrossEncoder(str(folder), model_kwargs={"dtype": torch.float32})
    write("bert-cross", query=TEXTS[0], documents=DOCUMENTS, ranked=model.rank(TEXTS[0], DOCUMENTS))


def uni_encoder():
    config = BertConfig(vocab_size=PIECES[1], **SIZES, attn_implementation="eager", architectures=["UniEncoder"])
    tokens = pieces()
    model = UniEncoder(config)
    randomise(model, seed=8, wide=0.3)
    model.half().float().eval()
    folder = OUT / "uni-encoder"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    config.to_json_file(folder / "config.json")
    tokens.save_pretrained(folder)
    # As in the paper's repository, without the heads of the pretraining.
    kept = {name: value.half() for name, value in model.state_dict().items() if not name.startswith("bert.cls.")}
    (folder / "model.safetensors").write_bytes(save(kept, metadata={"format": "pt"}))

    def ids(text):
        """The end of a text, as many tokens as half of the positions have room for."""
        inner = tokens(text, add_special_tokens=False)["input_ids"]
        return [tokens.cls_token_id, *inner[-(SIZES["max_position_embeddings"] // 2 - 2):], tokens.sep_token_id]

    cases = [(query, documents) for query in (TEXTS[0], TEXTS[3]) for documents in (DOCUMENTS, DOCUMENTS[:1], [*TEXTS, *DOCUMENTS, TEXTS[1]])]
    logits = [model(ids(query), [ids(document) for document in documents]) for query, documents in cases]
    # Candidates take part in each other's scores, through the context.
    assert (logits[0][0] - logits[1][0]).abs() > 1e-3
    cases = [dict(query=query, documents=documents, logits=row, scores=row.softmax(-1)) for (query, documents), row in zip(cases, logits)]
    write("uni-encoder", cases=cases)


def sparse():
    for name, how in [("splade-max", dict(pooling_strategy="max")), ("splade-sum", dict(pooling_strategy="sum", activation_function="log1p_relu"))]:
        folder = saved("plain", transformers.BertForMaskedLM, BertConfig(vocab_size=PIECES[1], **SIZES), pieces(), wide=0.2)
        encoder = SparseEncoder(modules=[Transformer(str(folder), transformer_task="fill-mask"), SpladePooling(**how)])
        encoder.half().save_pretrained(str(OUT / name))
        shutil.rmtree(folder)
        tidy(OUT / name)
        encoder = SparseEncoder(str(OUT / name), model_kwargs={"dtype": torch.float32})
        vectors = encoder.encode(TEXTS, convert_to_sparse_tensor=False)
        write(name, texts=TEXTS, vectors=vectors)


def routed():
    """Documents by an encoder, queries by a weight for each token: no encoder is run for them."""
    folder = saved("plain", transformers.BertForMaskedLM, BertConfig(vocab_size=PIECES[1], **{**SIZES, "num_hidden_layers": 1}), pieces(limit=20), wide=0.2)
    document = MLMTransformer(str(folder))
    weights = torch.rand(PIECES[1], generator=torch.Generator().manual_seed(5)) * 6
    # What the weights were made from does not have every token, and training may make one negative.
    weights[::7], weights[3::50] = 0, -weights[3::50]
    query = SparseStaticEmbedding(tokenizer=document.tokenizer, weight=weights.half().float(), frozen=True)
    router = Router.for_query_document([query], [document, SpladePooling("max", activation_function="log1p_relu")])
    encoder = SparseEncoder(modules=[router], prompts={"query": "quiet ", "document": ""}, similarity_fn_name="dot")
    name = "splade-routed"
    shutil.rmtree(OUT / name, ignore_errors=True)
    encoder.half().save_pretrained(str(OUT / name))
    shutil.rmtree(folder)
    tidy(OUT / name)
    encoder = SparseEncoder(str(OUT / name), model_kwargs={"dtype": torch.float32}).float()
    texts = [TEXTS[1], "", TEXTS[3]]
    queries, documents, neither = [encode(texts, convert_to_sparse_tensor=False) for encode in (encoder.encode_query, encoder.encode_document, encoder.encode)]
    assert torch.equal(documents, neither)
    write(name, texts=texts, queries=queries, documents=documents)


def multi():
    for name, expansion, mask in [
        ("colbert", {"strategy": "fixed", "attend": False, "length": 16}, dict(skiplist_words=[".", ","])),
        ("colbert-min", {"strategy": "min", "attend": True, "length": 10}, {}),
    ]:
        folder = saved("plain", transformers.BertModel, BertConfig(vocab_size=PIECES[1], **SIZES), pieces())
        modules = [
            Transformer(str(folder), query_expansion=expansion, document_length=30),
            Dense(24, 12, bias=False, activation_function=torch.nn.Identity(), module_input_name="token_embeddings"),
            MultiVectorMask(**mask),
            Normalize(module_input_name="token_embeddings"),
        ]
        randomise(modules[1], seed=7)
        encoder = MultiVectorEncoder(modules=modules, prompts={"query": "quiet ", "document": "boat "})
        shutil.rmtree(OUT / name, ignore_errors=True)
        encoder.half().save_pretrained(str(OUT / name))
        shutil.rmtree(folder)
        tidy(OUT / name)
        write_multi(name)


def write_multi(name):
    encoder = MultiVectorEncoder(str(OUT / name), model_kwargs={"dtype": torch.float32}).float()
    queries, documents = encoder.encode_query(TEXTS), encoder.encode_document(TEXTS)
    pooled = encoder.encode_document(TEXTS, token_pooling=HierarchicalTokenPooling(pool_factor=2))
    scores = encoder.similarity(queries, documents)
    write(name, texts=TEXTS, queries=queries, documents=documents, scores=scores, pooled_scores=encoder.similarity(queries, pooled))


def stanford():
    """As Stanford's own code of ColBERT saves it: the projection beside the encoder, settings in artifact.metadata."""
    config = BertConfig(vocab_size=PIECES[1], **{**SIZES, "num_hidden_layers": 1})
    folder = saved("colbert-stanford", transformers.BertModel, config, pieces(limit=14))
    edit(folder / "config.json", lambda config: config.update(architectures=["HF_ColBERT"]))
    weights = {f"bert.{name}": values for name, values in load_file(folder / "model.safetensors").items()}
    projection = torch.nn.Linear(24, 8, bias=False)
    randomise(projection, seed=7)
    weights["linear.weight"] = projection.weight.detach().half()
    (folder / "model.safetensors").write_bytes(save(weights, metadata={"format": "pt"}))
    # Markers are tokens of the vocabulary that no text has.
    unused = lambda tokenizer: [tokenizer["model"]["vocab"].update({f"[unused{index}]": tokenizer["model"]["vocab"].pop(token)}) for index, token in enumerate("#@")]
    edit(folder / "tokenizer.json", unused)
    # More tokens than the tokenizer says, for queries and for documents.
    metadata = dict(dim=8, query_maxlen=16, doc_maxlen=20, attend_to_mask_tokens=False, mask_punctuation=True, query_token_id="[unused0]", doc_token_id="[unused1]")
    (folder / "artifact.metadata").write_text(json.dumps(metadata, indent=1) + "\n")
    write_multi("colbert-stanford")


def edit(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def explain():
    """Leave one out and MaxSim with the models above, in plain steps."""
    cases = []
    for folder, text, against, unit in [
        ("models/bert-mean", TEXTS[0], "The old boats are quiet.", "token"),
        ("models/bert-mean", TEXTS[1], TEXTS[0], "word"),
        ("models/bert-mean", TEXTS[3], "a harbour", "word"),
        ("tasks/roberta-multi", TEXTS[1], "", "word"),
        ("tasks/roberta-multi", "x", TEXTS[0], "token"),
    ]:
        model, tokens = transformers.AutoModel.from_pretrained(HERE / folder, dtype=torch.float32), tokens_of(folder)
        vector = lambda ids: model(torch.tensor([ids])).last_hidden_state[0].mean(0)
        ids, groups, places = groups_of(tokens, text, unit)
        other = vector(tokens(against, truncation=True).input_ids)
        cosine = lambda ids: torch.cosine_similarity(vector(ids), other, dim=0)
        cases.append(case(folder, text, unit, "occlusion", places, cosine, ids, groups, against=against))
        if unit == "token":
            states = lambda text: torch.nn.functional.normalize(model(torch.tensor([tokens(text, truncation=True).input_ids])).last_hidden_state[0], dim=1)[1:-1]
            cases.append(closest(folder, text, against, places, states(text) @ states(against).T))
    for folder, text, unit, label in [("tasks/bert-labels", TEXTS[0], "token", None), ("tasks/bert-labels", TEXTS[3], "word", "b"), ("tasks/roberta-multi", TEXTS[1], "word", "green")]:
        model, tokens = transformers.AutoModelForSequenceClassification.from_pretrained(HERE / folder, dtype=torch.float32), tokens_of(folder)
        ids, groups, places = groups_of(tokens, text, unit)
        function = torch.sigmoid if model.config.problem_type == "multi_label_classification" else lambda x: torch.softmax(x, -1)
        scores = lambda ids: function(model(torch.tensor([ids])).logits[0])
        column = int(scores(ids).argmax()) if label is None else model.config.label2id[label]
        found = case(folder, text, unit, "occlusion", places, lambda ids: scores(ids)[column], ids, groups, label=label)
        cases.append({**found, "explained": model.config.id2label[column]})
    # Late interaction by the folder's own projection.
    text, against, tokens = TEXTS[0], TEXTS[1], tokens_of("tasks/colbert")
    model = transformers.AutoModel.from_pretrained(OUT / "colbert", dtype=torch.float32)
    weight = load_file(OUT / "colbert/1_Dense/model.safetensors")["linear.weight"].float()
    states = lambda text: torch.nn.functional.normalize(model(torch.tensor([tokens(text, truncation=True).input_ids])).last_hidden_state[0] @ weight.T, dim=1)[1:-1]
    _, _, places = groups_of(tokens, text, "token")
    cases.append(closest("tasks/colbert", text, against, places, states(text) @ states(against).T))
    write("explain", cases=cases)


def tokens_of(folder):
    limits = {"models/bert-mean": 24, "tasks/colbert": 40}
    tokens = PreTrainedTokenizerFast(tokenizer_file=str(HERE / folder / "tokenizer.json"))
    tokens.model_max_length = limits.get(folder) or transformers.AutoTokenizer.from_pretrained(HERE / folder).model_max_length
    return tokens


def groups_of(tokens, text, unit):
    """The ids, the places of the tokens of each part among them, and where it stands in the text."""
    read = tokens(text, truncation=True, return_offsets_mapping=True)
    groups, places, last = [], [], None
    for index, ((start, end), word) in enumerate(zip(read.offset_mapping, read.word_ids())):
        if word is None:
            continue
        if unit == "word" and word == last:
            groups[-1].append(index)
            places[-1][1] = end
        else:
            groups.append([index])
            places.append([start, end])
        last = word
    return read.input_ids, groups, places


def case(folder, text, unit, method, places, score, ids, groups, **more):
    whole = score(ids)
    rest = [[id for index, id in enumerate(ids) if index not in group] for group in groups]
    return dict(folder=folder, text=text, unit=unit, method=method, score=whole, parts=[[*place, whole - score(ids)] for place, ids in zip(places, rest)], **more)


def closest(folder, text, against, places, cosines):
    best = cosines.max(1).values
    parts = [[*place, score] for place, score in zip(places, best)]
    return dict(folder=folder, text=text, against=against, unit="token", method="maxsim", score=best.sum(), parts=parts)


def main():
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    OUT.mkdir(exist_ok=True)
    with torch.inference_mode():
        for make in (classify, classify_by_tokens, tag, answer, fill, zero_shot, rerank, uni_encoder, sparse, routed, multi, stanford, explain):
            make()


if __name__ == "__main__":
    main()
