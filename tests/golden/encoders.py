"""Encoders that transformers does not have, in plain torch: our own reading of the papers, with the tensor names of the
folders on the hub. Written for one text at a time and for nothing but reading along."""

import math

import torch
import torch.nn.functional as F
from torch import nn
from transformers import BertForPreTraining, MambaConfig, MambaModel
from transformers.models.mamba.modeling_mamba import MambaMixer


class Tree(nn.Module):
    """Modules below dotted names."""

    def add(self, name, module):
        first, _, rest = name.partition(".")
        if not rest:
            self.add_module(first, module)
            return
        if first not in self._modules:
            self.add_module(first, Tree())
        self._modules[first].add(rest, module)

    def get(self, name):
        return self.get_submodule(name)


def attend(q, k, v, bias=0.0):
    """q, k, v: [heads, tokens, columns]"""
    scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1]) + bias
    return (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)


def turn(x, theta, neighbours):
    """RoFormer (arXiv 2104.09864) §3.4.2. x: [heads, tokens, columns]; pairs are neighbours, or half a head apart."""
    half = x.shape[-1] // 2
    angles = torch.arange(x.shape[1]).float()[:, None] / theta ** (torch.arange(half).float() / half)
    cos, sin = angles.cos(), angles.sin()
    a, b = (x[..., 0::2], x[..., 1::2]) if neighbours else (x[..., :half], x[..., half:])
    a, b = a * cos - b * sin, b * cos + a * sin
    return torch.stack([a, b], -1).flatten(-2) if neighbours else torch.cat([a, b], -1)


def slopes(heads):
    """ALiBi (arXiv 2108.12409) §3: powers of 2^(-8/n); where n is no power of two, those of the power below it, then
    every second of the power above."""
    power = 2 ** math.floor(math.log2(heads))
    geometric = lambda n: [2 ** (-8 * (head + 1) / n) for head in range(n)]
    return torch.tensor((geometric(power) + geometric(2 * power)[0::2])[:heads])


class JinaBert(Tree):
    """Jina Embeddings 2 (arXiv 2310.19923): BERT with ALiBi both ways and gated feed-forward networks."""

    def __init__(self, c):
        super().__init__()
        self.c = c
        hidden, inner = c["hidden_size"], c["intermediate_size"]
        norm = lambda: nn.LayerNorm(hidden, eps=c["layer_norm_eps"])
        self.add("embeddings.word_embeddings", nn.Embedding(c["vocab_size"], hidden))
        self.add("embeddings.token_type_embeddings", nn.Embedding(c["type_vocab_size"], hidden))
        self.add("embeddings.LayerNorm", norm())
        for index in range(c["num_hidden_layers"]):
            at = f"encoder.layer.{index}."
            for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
                self.add(at + name, nn.Linear(hidden, hidden))
            self.add(at + "attention.output.LayerNorm", norm())
            self.add(at + "mlp.gated_layers", nn.Linear(hidden, 2 * inner, bias=False))
            self.add(at + "mlp.wo", nn.Linear(inner, hidden))
            self.add(at + "mlp.layernorm", norm())

    def forward(self, ids):
        heads = self.c["num_attention_heads"]
        position = torch.arange(len(ids))
        bias = -slopes(heads)[:, None, None] * (position[:, None] - position[None]).abs()
        act = {"geglu": F.gelu, "reglu": F.relu}[self.c["feed_forward_type"]]
        x = self.get("embeddings.word_embeddings")(ids) + self.get("embeddings.token_type_embeddings").weight[0]
        x = self.get("embeddings.LayerNorm")(x)
        for index in range(self.c["num_hidden_layers"]):
            part = lambda name: self.get(f"encoder.layer.{index}.{name}")
            split = lambda name: part(name)(x).unflatten(-1, (heads, -1)).transpose(0, 1)
            attended = attend(split("attention.self.query"), split("attention.self.key"), split("attention.self.value"), bias)
            x = part("attention.output.LayerNorm")(x + part("attention.output.dense")(attended))
            gate, up = part("mlp.gated_layers")(x).chunk(2, -1)
            x = part("mlp.layernorm")(x + part("mlp.wo")(act(gate) * up))
        return x


class Adapted(nn.Module):
    """A module whose weight has adapters, by the names that `torch.nn.utils.parametrize` gives its tensors."""

    def __init__(self, module, count, rank, scale):
        super().__init__()
        outputs, inputs = module.weight.shape
        self.scale, self.table = scale, isinstance(module, nn.Embedding)
        weight = nn.Module()
        weight.original = nn.Parameter(module.weight.detach())
        low_rank = nn.Module()
        a, b = ((outputs, rank), (rank, inputs)) if self.table else ((rank, inputs), (outputs, rank))
        low_rank.lora_A, low_rank.lora_B = nn.Parameter(torch.zeros(count, *a)), nn.Parameter(torch.zeros(count, *b))
        weight.add_module("0", low_rank)
        self.parametrizations = nn.Module()
        self.parametrizations.weight = weight
        if not self.table:
            self.bias = module.bias

    def forward(self, x, task):
        weight = self.parametrizations.weight.original
        if task is not None:
            low_rank = self.parametrizations.weight.get_submodule("0")
            a, b = low_rank.lora_A[task], low_rank.lora_B[task]
            weight = weight + self.scale * (a @ b if self.table else b @ a)
        return F.embedding(x, weight) if self.table else F.linear(x, weight, self.bias)


class JinaLora(Tree):
    """Jina Embeddings 3 (arXiv 2409.10173) with its adapters (LoRA, arXiv 2106.09685) on every product and table."""

    def __init__(self, c):
        super().__init__()
        self.c = c
        hidden, inner = c["hidden_size"], c["intermediate_size"]
        norm = lambda: nn.LayerNorm(hidden, eps=c["layer_norm_eps"])
        adapted = lambda module: Adapted(module, len(c["lora_adaptations"]), c["lora_rank"], c["lora_alpha"] / c["lora_rank"])
        self.add("roberta.embeddings.word_embeddings", adapted(nn.Embedding(c["vocab_size"], hidden)))
        self.add("roberta.embeddings.token_type_embeddings", adapted(nn.Embedding(c["type_vocab_size"], hidden)))
        self.add("roberta.emb_ln", norm())
        for index in range(c["num_hidden_layers"]):
            at = f"roberta.encoder.layers.{index}."
            self.add(at + "mixer.Wqkv", adapted(nn.Linear(hidden, 3 * hidden)))
            self.add(at + "mixer.out_proj", adapted(nn.Linear(hidden, hidden)))
            self.add(at + "mlp.fc1", adapted(nn.Linear(hidden, inner)))
            self.add(at + "mlp.fc2", adapted(nn.Linear(inner, hidden)))
            self.add(at + "norm1", norm())
            self.add(at + "norm2", norm())
        self.add("roberta.pooler.dense", adapted(nn.Linear(hidden, hidden)))

    def forward(self, ids, task=None):
        heads, theta = self.c["num_attention_heads"], self.c["rotary_emb_base"]
        act = {"gelu": F.gelu, "gelu_new": lambda x: F.gelu(x, approximate="tanh")}[self.c["hidden_act"]]
        x = self.get("roberta.embeddings.word_embeddings")(ids, task)
        x = x + self.get("roberta.embeddings.token_type_embeddings")(torch.zeros_like(ids), task)
        x = self.get("roberta.emb_ln")(x)
        for index in range(self.c["num_hidden_layers"]):
            part = lambda name: self.get(f"roberta.encoder.layers.{index}.{name}")
            q, k, v = part("mixer.Wqkv")(x, task).unflatten(-1, (3, heads, -1)).permute(1, 2, 0, 3)
            attended = attend(turn(q, theta, False), turn(k, theta, False), v)
            x = part("norm1")(x + part("mixer.out_proj")(attended, task))
            x = part("norm2")(x + part("mlp.fc2")(act(part("mlp.fc1")(x, task)), task))
        return x


class NeoBert(Tree):
    """NeoBERT (arXiv 2502.19587): normalised first by RMS, SwiGLU, rotary positions whose pairs are neighbours."""

    def __init__(self, c):
        super().__init__()
        self.c = c
        hidden = c["hidden_size"]
        inner = -(-int(2 * c["intermediate_size"] / 3) // 8) * 8
        norm = lambda: nn.RMSNorm(hidden, c["norm_eps"])
        linear = lambda inputs, outputs: nn.Linear(inputs, outputs, bias=False)
        self.add("encoder", nn.Embedding(c["vocab_size"], hidden))
        for index in range(c["num_hidden_layers"]):
            at = f"transformer_encoder.{index}."
            self.add(at + "qkv", linear(hidden, 3 * hidden))
            self.add(at + "wo", linear(hidden, hidden))
            self.add(at + "ffn.w12", linear(hidden, 2 * inner))
            self.add(at + "ffn.w3", linear(inner, hidden))
            self.add(at + "attention_norm", norm())
            self.add(at + "ffn_norm", norm())
        self.add("layer_norm", norm())

    def forward(self, ids):
        heads = self.c["num_attention_heads"]
        x = self.get("encoder")(ids)
        for index in range(self.c["num_hidden_layers"]):
            part = lambda name: self.get(f"transformer_encoder.{index}.{name}")
            # The query, key and value of a head lie side by side.
            q, k, v = part("qkv")(part("attention_norm")(x)).unflatten(-1, (heads, -1)).transpose(0, 1).chunk(3, -1)
            x = x + part("wo")(attend(turn(q, 10_000.0, True), turn(k, 10_000.0, True), v))
            gate, up = part("ffn.w12")(part("ffn_norm")(x)).chunk(2, -1)
            x = x + part("ffn.w3")(F.silu(gate) * up)
        return self.get("layer_norm")(x)


class Experts(nn.Module):
    """A mixture of experts whose matrices lie one below the other."""

    def __init__(self, count, top, hidden, inner):
        super().__init__()
        self.count, self.top = count, top
        self.router = Tree()
        self.router.add("layer", nn.Linear(hidden, count, bias=False))
        self.experts = nn.Module()
        self.experts.bias = nn.Parameter(torch.zeros(hidden))
        self.experts.mlp = nn.Module()
        self.experts.mlp.w1 = nn.Parameter(torch.zeros(count * inner, hidden))
        self.experts.mlp.w2 = nn.Parameter(torch.zeros(count * inner, hidden))

    def forward(self, x):
        weights, chosen = self.router.get("layer")(x).softmax(-1).topk(self.top, -1)
        first, second = (w.unflatten(0, (self.count, -1)) for w in (self.experts.mlp.w1, self.experts.mlp.w2))
        rows = []
        for row, own, experts in zip(x, weights, chosen):
            rows.append(sum(weight * (F.gelu(first[expert] @ row) @ second[expert]) for weight, expert in zip(own, experts)))
        return torch.stack(rows) + self.experts.bias


class NomicMoe(Tree):
    """Nomic Embed v2 (arXiv 2502.07972): Nomic BERT with biases, of whose layers every other one is a mixture of experts."""

    def __init__(self, c):
        super().__init__()
        self.c = c
        hidden, inner = c["n_embd"], c["n_inner"]
        norm = lambda: nn.LayerNorm(hidden, eps=c["layer_norm_epsilon"])
        self.add("embeddings.word_embeddings", nn.Embedding(c["vocab_size"], hidden))
        self.add("embeddings.token_type_embeddings", nn.Embedding(c["type_vocab_size"], hidden))
        self.add("emb_ln", norm())
        for index in range(c["n_layer"]):
            at = f"encoder.layers.{index}."
            self.add(at + "attn.Wqkv", nn.Linear(hidden, 3 * hidden, bias=c["qkv_proj_bias"]))
            self.add(at + "attn.out_proj", nn.Linear(hidden, hidden, bias=c["qkv_proj_bias"]))
            self.add(at + "norm1", norm())
            if self.mixed(index):
                self.add(at + "mlp", Experts(c["num_experts"], c["moe_top_k"], hidden, inner))
            else:
                self.add(at + "mlp.fc1", nn.Linear(hidden, inner, bias=c["mlp_fc1_bias"]))
                self.add(at + "mlp.fc2", nn.Linear(inner, hidden, bias=c["mlp_fc2_bias"]))
            self.add(at + "norm2", norm())

    def mixed(self, index):
        return index % self.c["moe_every_n_layers"] == 1

    def forward(self, ids):
        heads, theta = self.c["n_head"], self.c["rotary_emb_base"]
        x = self.get("embeddings.word_embeddings")(ids) + self.get("embeddings.token_type_embeddings").weight[0]
        x = self.get("emb_ln")(x)
        for index in range(self.c["n_layer"]):
            part = lambda name: self.get(f"encoder.layers.{index}.{name}")
            q, k, v = part("attn.Wqkv")(x).unflatten(-1, (3, heads, -1)).permute(1, 2, 0, 3)
            x = part("norm1")(x + part("attn.out_proj")(attend(turn(q, theta, False), turn(k, theta, False), v)))
            added = part("mlp")(x) if self.mixed(index) else part("mlp.fc2")(F.gelu(part("mlp.fc1")(x)))
            x = part("norm2")(x + added)
        return x


class UniEncoder(nn.Module):
    """Uni-Encoder (arXiv 2106.01263) with arrow attention: a context and its candidates in one pass, where all have the
    positions behind the context, the context and each candidate see each other, and candidates do not see each other."""

    def __init__(self, config):
        super().__init__()
        self.bert = BertForPreTraining(config)
        self.fc = nn.Linear(config.hidden_size, 1)

    def forward(self, context, candidates):
        """Lists of ids, special tokens included, to a logit for each candidate."""
        parts = [context, *candidates]
        owner = torch.tensor([index for index, ids in enumerate(parts) for _ in ids])
        starts = [0] + len(candidates) * [len(context)]
        positions = torch.tensor([start + place for start, ids in zip(starts, parts) for place in range(len(ids))])
        seen = (owner[:, None] == owner[None]) | (owner[:, None] == 0) | (owner[None] == 0)
        mask = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
        ids = torch.tensor([token for part in parts for token in part])
        states = self.bert.bert(
            input_ids=ids[None], token_type_ids=(owner > 0).long()[None], position_ids=positions[None], attention_mask=mask[None, None],
        ).last_hidden_state[0]
        means = [states[owner == 1 + index].mean(0) for index in range(len(candidates))]
        return self.fc(torch.stack(means))[:, 0]


class MambaPair(nn.Module):
    """Two mixers, of which the second reads from the end, as `BiMambaWrapper` of Caduceus has them."""

    def __init__(self, config, index, tied):
        super().__init__()
        self.mamba_fwd, self.mamba_rev = MambaMixer(config, index), MambaMixer(config, index)
        if tied:
            self.mamba_rev.in_proj, self.mamba_rev.out_proj = self.mamba_fwd.in_proj, self.mamba_fwd.out_proj

    def forward(self, x, **_):
        return self.mamba_fwd(x) + self.mamba_rev(x.flip(1)).flip(1)


class BiMamba(MambaModel):
    """MambaModel with such a pair in every layer."""

    def __init__(self, settings):
        super().__init__(MambaConfig(**{key: value for key, value in settings.items() if not key.startswith(("bidirectional", "model_type"))}))
        for index, layer in enumerate(self.layers):
            layer.mixer = MambaPair(self.config, index, settings.get("bidirectional_weight_tie", True))

    def forward(self, ids):
        return super().forward(ids[None], use_cache=False).last_hidden_state[0]
