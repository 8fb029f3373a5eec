"""Writes architectures/: a tiny random model of every architecture, in two sizes, as transformers saves it, and the last
hidden state that transformers computes from the saved folder. Needs `pip install -r requirements.txt`.

    python tests/golden/make_architectures.py [NAME ...]

Weights are wide, so that a wrong activation, mask, eps or position shows. A new architecture is a new line of MODELS."""

import json
import shutil
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers
from encoders import BiMamba, JinaBert, JinaLora, NeoBert, NomicMoe
from safetensors.torch import load_file, save
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModel, CLIPTextModelWithProjection, SiglipTextModel, T5EncoderModel, UMT5EncoderModel

HERE = Path(__file__).resolve().parent
OUT = HERE / "architectures"

TEXTS = [
    "The harbour is quiet.",
    "",
    "x",
    "Which boats, if any, sail before 7 o'clock?! (ask)",
    "A padding token <pad> or [PAD] inside the text <pad>",
    "naïve café — 東京 привет 🙂",
    "the small boat went out to sea and the large boat came back to the harbour with the fish that they had found there " * 3,
]

# Tokenizers of the other fixtures, and how many rows their ids need.
PIECES = ("models/bert-plain/tokenizer.json", 400)
BYTES = ("tokenizers/roberta.json", 701)
UNIGRAM = ("tokenizers/xlmr.json", 501)
DEBERTA_PIECES = ("tokenizers/deberta.json", 400)
MODERN = ("tokenizers/modern.json", 604)

BERT = [
    dict(hidden_size=24, num_attention_heads=2, num_hidden_layers=2, intermediate_size=40, max_position_embeddings=40),
    dict(hidden_size=33, num_attention_heads=3, num_hidden_layers=3, intermediate_size=47, max_position_embeddings=44,
         hidden_act="gelu_new", layer_norm_eps=1e-3, type_vocab_size=1),
]


def both(**more):
    return [{**size, **more} for size in BERT]


LLAMA = [
    dict(hidden_size=24, num_attention_heads=2, num_key_value_heads=1, num_hidden_layers=2, intermediate_size=40, pad_token_id=1,
         bos_token_id=0, eos_token_id=2, max_position_embeddings=64),
    dict(hidden_size=30, num_attention_heads=6, num_key_value_heads=3, num_hidden_layers=3, intermediate_size=47, head_dim=10,
         rms_norm_eps=1e-2, max_position_embeddings=48, pad_token_id=1, bos_token_id=0, eos_token_id=2, hidden_act="gelu",
         rope_parameters={"rope_type": "default", "rope_theta": 200.0}),
]

def turned(size, **rope):
    return {**size, "rope_parameters": {"rope_theta": 200.0, **rope}}


# Rotations that stretch what was trained, each so that the longest text is past the training where that counts.
LLAMA3 = dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=3.0, original_max_position_embeddings=16)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16, beta_fast=4, beta_slow=0.5)

GEMMA = [{key: value for key, value in size.items() if key not in ("hidden_act", "rope_parameters")} for size in LLAMA]
GEMMA[0].update(head_dim=12, query_pre_attn_scalar=10, num_hidden_layers=3, layer_types=["sliding_attention", "full_attention", "sliding_attention"])
GEMMA[1].update(query_pre_attn_scalar=10, layer_types=["full_attention", "sliding_attention", "sliding_attention"])

T5 = [
    dict(d_model=24, d_kv=12, d_ff=40, num_layers=2, num_heads=2, feed_forward_proj="relu"),
    dict(d_model=26, d_kv=7, d_ff=47, num_layers=3, num_heads=3, feed_forward_proj="gated-gelu", layer_norm_epsilon=1e-2,
         relative_attention_num_buckets=16, relative_attention_max_distance=20),
]

MODERN_SIZES = [
    dict(hidden_size=24, num_attention_heads=2, num_hidden_layers=4, intermediate_size=20, local_attention=8,
         max_position_embeddings=64, pad_token_id=0),
    dict(hidden_size=30, num_attention_heads=3, num_hidden_layers=5, intermediate_size=27, local_attention=10, norm_bias=True,
         attention_bias=True, mlp_bias=True, norm_eps=1e-3, max_position_embeddings=48, hidden_activation="silu", pad_token_id=0),
]

# Texts are longer than the distances that have buckets of their own.
DEBERTA = [dict(BERT[0], max_position_embeddings=64, relative_attention=True), dict(BERT[1], max_position_embeddings=60, relative_attention=True)]
DEBERTA_V3 = dict(position_buckets=8, norm_rel_ebd="layer_norm", share_att_key=True, pos_att_type="p2c|c2p", position_biased_input=False)

TOWERS = [
    dict(hidden_size=24, num_attention_heads=2, num_hidden_layers=2, intermediate_size=40, max_position_embeddings=40, bos_token_id=0, eos_token_id=2),
    dict(hidden_size=33, num_attention_heads=3, num_hidden_layers=3, intermediate_size=47, max_position_embeddings=44, bos_token_id=0, eos_token_id=15,
         hidden_act="gelu", layer_norm_eps=1e-3),
]
IMAGES = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=16, patch_size=8)

WINDOWS = dict(use_sliding_window=True, sliding_window=6, max_window_layers=1)

MODELS = {
    "albert": (PIECES, [
        {**BERT[0], "embedding_size": 16, "num_hidden_layers": 3},
        {**BERT[1], "embedding_size": 33, "num_hidden_layers": 4, "num_hidden_groups": 2, "inner_group_num": 2, "hidden_act": "relu"},
    ]),
    "bert": (PIECES, [BERT[0], {**BERT[0], "num_attention_heads": 4, "pruned_heads": {"0": [1, 3], "1": [0]}}, BERT[0]]),
    "camembert": (UNIGRAM, both()),
    "big_bird": (PIECES, [
        {**BERT[0], "block_size": 4, "num_random_blocks": 2, "max_position_embeddings": 96, "rescale_embeddings": True, "sep_token_id": 3},
        {**BERT[1], "block_size": 8, "num_random_blocks": 1, "max_position_embeddings": 96, "use_bias": False, "hidden_act": "relu"},
        {**BERT[0], "attention_type": "original_full", "max_position_embeddings": 96},
    ]),
    "clip": (BYTES, [
        dict(text_config={**size, "vocab_size": BYTES[1]}, vision_config=IMAGES, projection_dim=10) for size in TOWERS
    ]),
    "clip_text_model": (BYTES, [TOWERS[0], {**TOWERS[1], "eos_token_id": 2}, {**TOWERS[1], "projection_dim": 14}]),
    "convbert": (PIECES, [
        {**BERT[0], "hidden_size": 36, "num_attention_heads": 4, "embedding_size": 18, "conv_kernel_size": 5},
        {**BERT[1], "hidden_size": 30, "num_attention_heads": 3, "head_ratio": 4, "embedding_size": 30, "intermediate_size": 42, "num_groups": 3, "conv_kernel_size": 9},
    ]),
    "deberta": (BYTES, [
        {**DEBERTA[0], "pos_att_type": "c2p|p2c", "position_biased_input": False},
        {**DEBERTA[1], "pos_att_type": ["p2c"], "max_relative_positions": 9, "embedding_size": 20},
        {**DEBERTA[0], "pos_att_type": ["c2p"], "max_relative_positions": 70},
        {**DEBERTA[1], "pos_att_type": ["c2p"], "relative_attention": False},
    ]),
    "deberta-v2": (DEBERTA_PIECES, [
        {**DEBERTA[0], **DEBERTA_V3},
        {**DEBERTA[1], "pos_att_type": ["c2p", "p2c"], "position_buckets": 11, "max_relative_positions": 20, "embedding_size": 20,
         "conv_kernel_size": 3, "conv_act": "gelu"},
        {**DEBERTA[0], "pos_att_type": ["p2c"], "relative_attention": False, "conv_kernel_size": 5},
        {**DEBERTA[1], **DEBERTA_V3, "pos_att_type": ["p2c"], "position_buckets": -1, "max_relative_positions": 12},
        {**DEBERTA[0], **DEBERTA_V3, "pos_att_type": "c2p", "share_att_key": False, "type_vocab_size": 2},
    ]),
    "distilbert": (PIECES, [
        dict(dim=24, n_heads=2, n_layers=2, hidden_dim=40, max_position_embeddings=40),
        dict(dim=33, n_heads=3, n_layers=3, hidden_dim=47, max_position_embeddings=44, activation="relu", sinusoidal_pos_embds=True),
    ]),
    "electra": (PIECES, [{**BERT[0], "embedding_size": 18}, {**BERT[1], "embedding_size": 33}]),
    "ernie": (PIECES, [{**BERT[0], "use_task_id": True}, BERT[1]]),
    "esm": (BYTES, [
        {**BERT[0], "position_embedding_type": "rotary", "pad_token_id": 1, "mask_token_id": 224, "token_dropout": True},
        {**BERT[1], "pad_token_id": 1, "mask_token_id": 224, "token_dropout": True, "emb_layer_norm_before": True},
        {**BERT[0], "position_embedding_type": "rotary", "pad_token_id": 1, "mask_token_id": 224, "rope_theta": 300.0},
    ]),
    "eurobert": (BYTES, [LLAMA[0], {**LLAMA[1], "attention_bias": True, "mlp_bias": True}]),
    "fnet": (PIECES, [
        dict(hidden_size=24, num_hidden_layers=2, intermediate_size=40, max_position_embeddings=40),
        dict(hidden_size=33, num_hidden_layers=3, intermediate_size=47, max_position_embeddings=61, hidden_act="relu", layer_norm_eps=1e-3),
    ]),
    "gemma3_text": (BYTES, [
        {**GEMMA[0], "use_bidirectional_attention": True, "sliding_window": 6},
        {**GEMMA[1], "sliding_window": 5, "attention_bias": True},
    ]),
    "gte": (UNIGRAM, [BERT[0], {**BERT[1], "hidden_size": 30}]),
    "jina_embeddings_v3": (UNIGRAM, [BERT[0], {**BERT[1], "hidden_size": 30, "hidden_act": "gelu"}]),
    "llama": (BYTES, [*LLAMA, turned(LLAMA[0], **LLAMA3), turned(LLAMA[0], rope_type="dynamic", factor=2.5)]),
    "longformer": (BYTES, [
        {**BERT[0], "attention_window": 8, "max_position_embeddings": 98},
        {**BERT[1], "attention_window": [4, 16, 8], "pad_token_id": 1, "max_position_embeddings": 98},
    ]),
    "mamba": (BYTES, [
        dict(hidden_size=24, num_hidden_layers=2, state_size=8),
        dict(hidden_size=21, num_hidden_layers=3, state_size=5, conv_kernel=3, use_bias=True, use_conv_bias=False, time_step_rank=5, expand=3,
             hidden_act="gelu", layer_norm_epsilon=1e-2),
    ]),
    "megatron-bert": (PIECES, both()),
    "mobilebert": (PIECES, [
        {**BERT[0], "intra_bottleneck_size": 18, "embedding_size": 12, "num_feedforward_networks": 3, "hidden_act": "relu"},
        {**BERT[1], "intra_bottleneck_size": 15, "embedding_size": 14, "num_feedforward_networks": 2, "use_bottleneck_attention": True,
         "normalization_type": "layer_norm", "trigram_input": False},
        {**BERT[1], "use_bottleneck": False, "embedding_size": 33, "num_feedforward_networks": 1, "normalization_type": "layer_norm",
         "trigram_input": False},
    ]),
    "modernbert": (MODERN, [*MODERN_SIZES, {**MODERN_SIZES[0], "rope_parameters": {
        "full_attention": {**YARN, "rope_theta": 300.0, "truncate": False}, "sliding_attention": {"rope_type": "linear", "factor": 1.5, "rope_theta": 90.0}}},
        MODERN_SIZES[0]]),
    "modernvbert": (MODERN, [
        dict(text_config={**size, "vocab_size": MODERN[1]}, vision_config=dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1,
             num_attention_heads=1, image_size=16, patch_size=8), pixel_shuffle_factor=2)
        for size in MODERN_SIZES
    ]),
    "mistral": (BYTES, [{**LLAMA[0], "sliding_window": 5}, {**LLAMA[1], "sliding_window": None}]),
    "mpnet": (BYTES, both()),
    "nomic_bert": (PIECES, [
        {**BERT[0], "hidden_size": 24},
        {**BERT[1], "hidden_size": 30, "hidden_act": "gelu", "rope_parameters": {"rope_type": "linear", "rope_theta": 300.0, "factor": 2.0}},
    ]),
    "phi3": (BYTES, [
        {**LLAMA[0], "rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}, "sliding_window": 7},
        {**{key: value for key, value in LLAMA[1].items() if key != "head_dim"}, "original_max_position_embeddings": 20, "num_attention_heads": 3,
         "rope_parameters": {"rope_type": "longrope", "rope_theta": 100.0, "partial_rotary_factor": 0.6, "short_factor": [1.0, 1.5, 2.0],
                             "long_factor": [1.5, 3.0, 5.0]}},
    ]),
    "qwen3": (BYTES, [
        {**LLAMA[0], "head_dim": 12},
        {**LLAMA[1], "attention_bias": True, **WINDOWS, "is_causal": False},
        turned(LLAMA[0], **YARN),
        turned(LLAMA[1], **{**YARN, "mscale": 0.8, "mscale_all_dim": 0.5, "truncate": False}),
    ]),
    "qwen2": (BYTES, [LLAMA[0], {**LLAMA[1], **WINDOWS}]),
    "roberta": (BYTES, [BERT[0], {**BERT[1], "pad_token_id": 1}, {**BERT[1], "pruned_heads": {"1": [2, 0]}}]),
    "roformer": (PIECES, [
        {**BERT[0], "embedding_size": 18},
        {**BERT[1], "hidden_size": 30, "rotary_value": True},
    ]),
    "roberta-prelayernorm": (BYTES, both()),
    "siglip": (UNIGRAM, [
        dict(text_config={**size, "vocab_size": UNIGRAM[1], "projection_size": 11}, vision_config=IMAGES) for size in TOWERS
    ]),
    "siglip_text_model": (UNIGRAM, [TOWERS[0], {**TOWERS[1], "eos_token_id": 2, "hidden_act": "quick_gelu"}]),
    "t5": (UNIGRAM, T5),
    "ultrabert": (BYTES, [
        {**LLAMA[0], "num_hidden_layers": 4, "sliding_window": 5},
        {**{key: value for key, value in LLAMA[1].items() if key != "rope_parameters"}, "sliding_window": 3, "mlp_bias": True,
         "layer_types": ["full_attention", "sliding_attention", "full_attention"]},
    ]),
    "umt5": (UNIGRAM, [{**T5[0], "feed_forward_proj": "gated-silu"}, T5[1]]),
    "xlm-roberta": (UNIGRAM, both()),
    "xmod": (UNIGRAM, [
        {**BERT[0], "languages": ["en_XX", "de_DE"], "default_language": "de_DE"},
        {**BERT[1], "languages": ["en_XX"], "default_language": "en_XX", "adapter_layer_norm": True, "ln_before_adapter": False,
         "pre_norm": True, "adapter_reduction_factor": 4},
    ]),
}

# What transformers does not have: its class in encoders.py, and configurations as on the hub.
OWN = {
    "jina-bert": (JinaBert, PIECES, [
        {"model_type": "bert", "position_embedding_type": "alibi", "type_vocab_size": 2, "layer_norm_eps": 1e-12, "feed_forward_type": feed,
         "hidden_act": "gelu", "emb_pooler": "mean", "architectures": ["JinaBertForMaskedLM"], "attn_implementation": None,
         "auto_map": {"AutoModel": "jinaai/jina-bert-implementation--modeling_bert.JinaBertModel"}, **sizes}
        for feed, sizes in [("geglu", {**BERT[0], "max_position_embeddings": 64}),
                            ("reglu", {**BERT[1], "hidden_act": "gelu", "layer_norm_eps": 1e-3})]
    ]),
    "bimamba": (BiMamba, BYTES, [
        {"model_type": "mamba", "bidirectional": True, "hidden_size": 24, "num_hidden_layers": 2, "state_size": 8},
        {"model_type": "mamba", "bidirectional": True, "bidirectional_weight_tie": False, "hidden_size": 21, "num_hidden_layers": 2, "state_size": 5,
         "use_bias": True},
    ]),
    "jina-lora": (JinaLora, UNIGRAM, [
        {"model_type": "xlm-roberta", "position_embedding_type": "rotary", "rotary_emb_base": theta, "layer_norm_eps": 1e-5, "hidden_act": act,
         "type_vocab_size": 1, "load_trained_adapters": True, "lora_adaptations": tasks, "lora_rank": rank, "lora_alpha": alpha,
         "lora_dropout_p": 0.0, "lora_main_params_trainable": False, "task_instructions": {task: "" for task in tasks},
         "auto_map": {"AutoModel": "jinaai/xlm-roberta-flash-implementation--modeling_lora.XLMRobertaLoRA"}, **sizes}
        for theta, act, tasks, rank, alpha, sizes in [
            (20000.0, "gelu", ["retrieval.query", "retrieval.passage", "text-matching"], 4, 1, {**BERT[0], "max_position_embeddings": 64}),
            (300.0, "gelu_new", ["separation", "classification"], 5, 3, {**BERT[1], "hidden_size": 30, "hidden_act": "gelu_new"}),
        ]
    ]),
    "neobert": (NeoBert, PIECES, [
        {"model_type": "neobert", "hidden_size": 24, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 50, "norm_eps": 1e-5,
         "max_length": 64, "dim_head": 12, "pad_token_id": 0},
        {"model_type": "neobert", "hidden_size": 30, "num_attention_heads": 3, "num_hidden_layers": 3, "intermediate_size": 47, "norm_eps": 1e-2,
         "max_length": 48, "dim_head": 10, "pad_token_id": 0},
    ]),
    "nomic-moe": (NomicMoe, UNIGRAM, [
        {"model_type": "nomic_bert", "activation_function": "gelu", "num_experts": experts, "moe_top_k": top, "moe_every_n_layers": every,
         "moe_normalize_expert_weights": False, "num_shared_experts": 0, "expert_choice_router": False, "ffn_div": 1, "qkv_proj_bias": bias,
         "mlp_fc1_bias": bias, "mlp_fc2_bias": True, "type_vocab_size": 1, "layer_norm_epsilon": 1e-5, "rotary_emb_base": 10000.0,
         "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": False, "rotary_scaling_factor": None, "prenorm": False, "causal": False, **sizes}
        for experts, top, every, bias, sizes in [
            (8, 2, 2, True, {"n_embd": 24, "n_head": 2, "n_layer": 2, "n_inner": 20, "n_positions": 64}),
            (5, 3, 3, False, {"n_embd": 30, "n_head": 3, "n_layer": 3, "n_inner": 27, "n_positions": 48}),
        ]
    ]),
}

# What folders on the hub say instead, from before the configuration class had today's keys.
OLDER = {
    "ultrabert-2": lambda config: {
        **{key: value for key, value in config.items() if key not in ("layer_types", "rope_parameters")},
        "attention_windows": [None, 4, None], "rope_theta": [700.0, 90.0, 500.0],
    },
    "modernbert-2": lambda config: {
        **{key: value for key, value in config.items() if key not in ("layer_types", "rope_parameters")},
        "global_rope_theta": 90000.0, "local_rope_theta": 700.0, "global_attn_every_n_layers": 2, "position_embedding_type": "absolute",
    },
}

# What their checkpoints call tensors that transformers 5 saves under other names.
TENSORS = {
    "esm-3": lambda name: name.replace("layer.*", "layer.0").replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"),
}

# Tokens that tokenizers fill texts up to.
PADDED = {"siglip-2": 30}

# How a class makes vectors of texts itself.
VECTORS = {
    "clip": lambda model: lambda ids: model.get_text_features(ids).pooler_output,
    "clip_text_model-3": lambda model: lambda ids: model(ids).text_embeds,
    "siglip": lambda model: lambda ids: model.get_text_features(ids).pooler_output,
    "siglip_text_model": lambda model: lambda ids: model(ids).pooler_output,
}

# Deviations of the weights of models without norms, which grow from layer to layer.
WIDE = {"mobilebert-1": 0.15}


# Trained encoders have a few columns that are far larger than the others. Here a feed-forward network makes one of them, which
# a norm is given; nothing else is as large.
OUTLIERS = {"bert-3": ("encoder.layer.0.output.dense", "encoder.layer.0.output.LayerNorm"), "modernbert-4": ("layers.0.mlp.Wo", "layers.1.attn_norm")}
OUTLIER = 800


def made_with():
    return {"transformers": transformers.__version__, "torch": torch.__version__.split("+")[0]}


def token_limit(kind, config, name=""):
    limit = getattr(config.get_text_config(), "max_position_embeddings", 8192)
    behind_padding = ("camembert", "longformer", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta", "xmod")
    return limit - 2 if kind in behind_padding or name == "esm-2" else limit


@torch.inference_mode()
def randomise(model, seed, wide=0.3):
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in sorted(model.state_dict().items()):
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=generator)
            norm = tensor.ndim == 1 and name.endswith("weight")
            tensor.copy_(1 + 0.2 * noise if norm else 0.2 * noise if tensor.ndim == 1 else wide * noise)


@torch.inference_mode()
def magnify(model, product, norm, ids):
    """Scales one column of a product until what a norm is given has values so far from their mean."""
    column, product, norm = 5, model.get_submodule(product), model.get_submodule(norm)
    given = {}
    for name, module in (("made", product), ("summed", norm)):
        module.register_forward_hook(lambda _, inputs, output, name=name: given.update({name: output if name == "made" else inputs[0]}))
    model.eval()(ids[None])
    factor = OUTLIER / given["made"][..., column].abs().max()
    product.weight[column] *= factor
    if product.bias is not None:
        product.bias[column] *= factor
    model(ids[None])
    far = (given["summed"] - given["summed"].mean(-1, keepdim=True)).abs().max().item()
    assert 0.9 * OUTLIER < far < 1.1 * OUTLIER, far


@torch.inference_mode()
def prune(folder, pruned, heads):
    """Takes these heads out of a saved model, as `prune_heads` did until transformers 5. They must add nothing to the sum."""
    tensors = load_file(folder / "model.safetensors")
    for layer, lost in pruned.items():
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            for field in ("weight", "bias"):
                name = f"encoder.layer.{layer}.attention.{part}.{field}"
                if part == "output.dense" and field == "bias":
                    continue
                dim = 1 if part == "output.dense" else 0
                size = tensors[name].shape[dim] // heads
                kept = [head * size + at for head in range(heads) if head not in lost for at in range(size)]
                tensors[name] = tensors[name].index_select(dim, torch.tensor(kept)).contiguous()
    (folder / "model.safetensors").write_bytes(save(tensors, metadata={"format": "pt"}))
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "pruned_heads": pruned}, indent=2) + "\n")


# Of those whose class would make other tokens of the file: another class, and whether it gives token types.
AS_IT_STANDS = {"camembert": False, "deberta-v2": True, "gte": True, "jina_embeddings_v3": False, "roformer": True, "t5": False, "xlm-roberta": False, "xmod": False}


@torch.inference_mode()
def expect(name, folder, source, limit, encode, tasks=(), vector=None):
    """Writes the last hidden state of every text: what `encode` makes of its ids, and of the number of each of its `tasks`.
    And the class's own `vector` of it, where it makes vectors itself."""
    shutil.copy(HERE / source, folder / "tokenizer.json")
    if (typed := AS_IT_STANDS.get(name.rpartition("-")[0])) is not None:
        inputs = {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]} if typed else {}
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **inputs}) + "\n")
    if length := PADDED.get(name):
        padding = {"strategy": {"Fixed": length}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 1, "pad_type_id": 0, "pad_token": "<pad>"}
        tokenizer = json.loads((HERE / source).read_text())
        (folder / "tokenizer.json").write_text(json.dumps({**tokenizer, "padding": padding}, ensure_ascii=False) + "\n")
    ids = Tokenizer.from_file(str(HERE / source))
    ids.no_padding()
    ids.enable_truncation(limit)
    expected = {}
    for index, text in enumerate(TEXTS):
        found = torch.tensor(ids.encode(text).ids)
        states = {str(index): encode(found)} | {f"{index}/{task}": encode(found, number) for number, task in enumerate(tasks)}
        if vector is not None:
            states[f"{index}/vector"] = vector(F.pad(found, (0, max(0, PADDED.get(name, 0) - len(found))), value=1)[None])[0]
        expected |= {key: state.contiguous() for key, state in states.items()}
    assert all(state.isfinite().all() for state in expected.values())
    (OUT / f"{name}.safetensors").write_bytes(save(expected, metadata={"made_with": json.dumps(made_with())}))
    size = sum(file.stat().st_size for file in folder.iterdir()) + (OUT / f"{name}.safetensors").stat().st_size
    print(f"{name}: {size // 1000} kB, largest {max(state.abs().max().item() for state in expected.values()):.1f}")


@torch.inference_mode()
def make_own(kind, number, encoder, tokenizer, settings):
    name = f"{kind}-{number}"
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    source, vocab = tokenizer
    config = {"vocab_size": vocab, **settings}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    model = encoder(config).eval()
    randomise(model, seed=sum(map(ord, name)))
    stored = {key: tensor.half() for key, tensor in model.state_dict().items()}
    (folder / "model.safetensors").write_bytes(save(stored))
    model.load_state_dict({key: tensor.float() for key, tensor in stored.items()})
    limit = next((config[key] for key in ("max_position_embeddings", "max_length", "n_positions") if key in config), 8192)
    expect(name, folder, source, limit, model, config.get("lora_adaptations", ()))


@torch.inference_mode()
def make(kind, number, tokenizer, settings):
    name = f"{kind}-{number}"
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    source, vocab = tokenizer
    settings = dict(settings)
    pruned = settings.pop("pruned_heads", {})
    config = AutoConfig.for_model(kind, **{"vocab_size": vocab, **settings})
    classes = {"clip_text_model-3": CLIPTextModelWithProjection, "siglip_text_model": SiglipTextModel, "t5": T5EncoderModel, "umt5": UMT5EncoderModel}
    load = classes.get(name) or classes.get(kind, AutoModel)
    model = load.from_config(config) if load is AutoModel else load(config)
    randomise(model, seed=sum(map(ord, name)), wide=WIDE.get(name, 0.3))
    for layer, lost in pruned.items():
        output = model.encoder.layer[int(layer)].attention.output.dense.weight
        size = output.shape[1] // config.num_attention_heads
        for head in lost:
            output[:, head * size : (head + 1) * size] = 0
    if name in OUTLIERS:
        magnify(model, *OUTLIERS[name], torch.tensor(Tokenizer.from_file(str(HERE / source)).encode(TEXTS[3]).ids))
    # Half the bytes, and no rounding: the reference reads what is stored.
    model.half().save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if name in OLDER:
        path = folder / "config.json"
        path.write_text(json.dumps(OLDER[name](json.loads(path.read_text())), indent=2) + "\n")
    if name in TENSORS:
        tensors = load_file(folder / "model.safetensors")
        tensors = {TENSORS[name](key): tensor for key, tensor in tensors.items()}
        (folder / "model.safetensors").write_bytes(save(tensors, metadata={"format": "pt"}))

    # Beside outliers the reference's own singles err as much as is allowed.
    precise = torch.float64 if name in OUTLIERS else torch.float32
    model = load.from_pretrained(folder, dtype=precise, attn_implementation="eager").eval()

    tower = model.text_model if kind in ("clip", "siglip") else model

    def encode(ids):
        if kind == "big_bird":
            # A short text turns the model dense for all that follow.
            model.set_attention_type(config.attention_type)
        return tower(ids[None], attention_mask=torch.ones_like(ids[None])).last_hidden_state[0].float()

    vector = VECTORS.get(name) or VECTORS.get(kind)
    expect(name, folder, source, token_limit(kind, config, name), encode, vector=vector and vector(model))
    if pruned:
        prune(folder, pruned, config.num_attention_heads)


def main():
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    OUT.mkdir(exist_ok=True)
    (OUT / "texts.json").write_text(json.dumps(TEXTS, indent=1) + "\n")
    for kind in sys.argv[1:] or [*sorted(MODELS), *OWN]:
        *encoder, tokenizer, sizes = {**MODELS, **OWN}[kind]
        for number, settings in enumerate(sizes, 1):
            make_own(kind, number, *encoder, tokenizer, settings) if encoder else make(kind, number, tokenizer, settings)


if __name__ == "__main__":
    main()
