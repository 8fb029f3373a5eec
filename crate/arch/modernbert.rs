//! ModernBERT: pre-norm, gated, rotary positions, and windows in all but every third layer.
//!
//! Configuration: `transformers.ModernBertConfig`, and what was on the hub before it had `layer_types` and
//! `rope_parameters`. Paper: arXiv 2412.13663.

use super::{even_head_dim, rope};
use crate::batch::Tables;
use crate::config::{Config, limit};
use crate::encoder::{Bias, Ffn, Layer, Names, Place, Spec};
use crate::error::Result;
use crate::ops::Activation;

pub fn spec(config: &Config) -> Result<Spec> {
    config.require_empty("rope_scaling")?;
    let hidden = config.size_or("hidden_size", 768, limit::HIDDEN)?;
    let heads = config.size_or("num_attention_heads", 12, hidden)?;
    let head_dim = even_head_dim(config, "num_attention_heads", hidden, heads)?;
    let activation = Activation::parse(config.text_or("hidden_activation", "gelu")?);

    let mut layers = Layer::plain("layers.{i}", config.size_or("num_hidden_layers", 22, limit::LAYERS)?);
    let every = config.size_or("global_attn_every_n_layers", 3, limit::LAYERS)?;
    let types = config.texts("layer_types")?;
    if types.as_ref().is_some_and(|types| types.len() != layers.len()) {
        return Err(config.unsupported("layer_types"));
    }
    let window = config.index_or("local_attention", 128, limit::SEQUENCE)? as usize / 2;
    let parameters = config.object("rope_parameters")?;
    let rotation = |kind: &str, old_key: &str, theta: f32| {
        let own = parameters.as_ref().map(|parameters| parameters.object(kind)).transpose()?.flatten();
        rope::frequencies(own.as_ref(), config.number_or(old_key, theta, 1e12)?, head_dim)
    };
    let full = rotation("full_attention", "global_rope_theta", 160_000.0)?;
    let sliding = rotation("sliding_attention", "local_rope_theta", 10_000.0)?;
    for (index, layer) in layers.iter_mut().enumerate() {
        let slides = match types.as_ref().map(|types| types[index]) {
            None => index % every != 0,
            Some("full_attention") => false,
            Some("sliding_attention") => true,
            Some(_) => return Err(config.unsupported("layer_types")),
        };
        (layer.before, layer.behind) = (slides.then_some(window), slides.then_some(window));
        layer.frequencies = if slides { sliding.clone() } else { full.clone() };
        // The embeddings are normalised already.
        layer.attention_norm = index > 0;
    }
    Ok(Spec {
        hidden,
        inner: config.size_or("intermediate_size", 1152, limit::INNER)?,
        layers,
        heads,
        kv_heads: heads,
        head_dim,
        norm: Place::Pre,
        ffn: Ffn::Gated(activation.ok_or_else(|| config.unsupported("hidden_activation"))?),
        eps: config.number_or("norm_eps", 1e-5, 0.1)?,
        rms: false,
        tables: Tables {
            vocab: config.size_or("vocab_size", 50368, limit::VOCAB)?,
            types: 0,
            tasks: 0,
            positions: config.size_or("max_position_embeddings", 8192, limit::SEQUENCE)?,
            first_position: 0,
            unnumbered: None,
        },
        embedding: hidden,
        scale: None,
        names: Names {
            tokens: "embeddings.tok_embeddings",
            positions: None,
            types: None,
            tasks: None,
            embed_norm: Some("embeddings.norm"),
            project: None,
            qkv: &["attn.Wqkv"],
            qk_norm: None,
            attention_out: "attn.Wo",
            attention_norm: "attn_norm",
            ffn_in: &["mlp.Wi"],
            ffn_out: "mlp.Wo",
            ffn_norm: "mlp_norm",
            final_norm: Some("final_norm"),
            bias: Bias {
                qkv: config.flag_or("attention_bias", false)?,
                attention_out: config.flag_or("attention_bias", false)?,
                ffn_in: config.flag_or("mlp_bias", false)?,
                ffn_out: config.flag_or("mlp_bias", false)?,
                norm: config.flag_or("norm_bias", false)?,
            },
        },
        prefixes: &["", "model."],
    })
}
