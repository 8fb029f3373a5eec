//! Gemma 3 and EmbeddingGemma: LLaMA's layers with normalised heads, a second normalisation behind each part, gains that
//! begin at one, scaled embeddings, and windows in most layers.
//!
//! Configuration: `transformers.Gemma3TextConfig`. Papers: arXiv 2503.19786, 2509.20354.

use super::{llama, rope, sliding};
use crate::config::{Config, limit};
use crate::encoder::{Names, Spec};
use crate::error::Result;
use crate::ops::NormKind;
use crate::task::Tasks;

pub fn spec(config: &Config) -> Result<Spec> {
    config.require_empty("attn_logit_softcapping")?;
    let both_ways = config.flag_or("use_bidirectional_attention", false)?;
    let mut spec = llama::unturned(
        config,
        &llama::Defaults {
            hidden: 2304,
            inner: 9216,
            layers: 26,
            heads: 8,
            kv_heads: Some(4),
            head_dim: Some(256),
            activation: ("hidden_activation", "gelu_pytorch_tanh"),
            vocab: 262_208,
            positions: 131_072,
            eps: 1e-6,
            causal: !both_ways,
        },
    )?;
    let window = config.size_or("sliding_window", 4096, limit::SEQUENCE)?;
    let every = config.size_or("sliding_window_pattern", 6, limit::LAYERS)?;
    let full = rope::by_type(config, "full_attention", ("rope_theta", 1e6), spec.head_dim)?;
    let local = rope::by_type(config, "sliding_attention", ("rope_local_base_freq", 10_000.0), spec.head_dim)?;
    let slides = sliding(config, spec.layers.len(), |index| (index + 1) % every != 0)?;
    for (layer, slides) in spec.layers.iter_mut().zip(slides) {
        layer.rotation = Some(if slides { local.clone() } else { full.clone() });
        match (slides, both_ways) {
            (false, _) => {}
            (true, true) => (layer.before, layer.behind) = (Some(window / 2), Some(window / 2)),
            (true, false) => layer.before = Some(window - 1),
        }
    }
    let names = Names {
        qk_norm: Some(["self_attn.q_norm", "self_attn.k_norm"]),
        attention_added_norm: Some("post_attention_layernorm"),
        ffn_norm: "pre_feedforward_layernorm",
        ffn_added_norm: Some("post_feedforward_layernorm"),
        ..spec.names
    };
    Ok(Spec {
        names,
        // There are no other classes of it.
        tasks: Tasks { classify: llama::tasks(config, Some(0))?.classify, ..Tasks::default() },
        norm_kind: NormKind::OnePlusRms,
        embed_scale: (spec.hidden as f32).sqrt(),
        scale: Some(1.0 / config.number_or("query_pre_attn_scalar", 256.0, 1e6)?.sqrt()),
        ..spec
    })
}
