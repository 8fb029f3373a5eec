//! ModernBERT: pre-norm, gated, rotary positions, and windows in all but every third layer.
//!
//! Configuration: `transformers.ModernBertConfig`, and what was on the hub before it had `layer_types` and
//! `rope_parameters`. Paper: arXiv 2412.13663.

use std::sync::Arc;

use super::{even_head_dim, rope, sliding};
use crate::batch::Tables;
use crate::config::{Config, limit};
use crate::encoder::{AsSpecified, Bias, Ffn, Layer, Names, Place, Spec};
use crate::error::Result;
use crate::head::Pooling;
use crate::ops::{Activation, NormKind};
use crate::task::{HeadStep, Outputs, Tasks};

pub fn spec(config: &Config) -> Result<Spec> {
    config.require_empty("rope_scaling")?;
    let hidden = config.size_or("hidden_size", 768, limit::HIDDEN)?;
    let heads = config.size_or("num_attention_heads", 12, hidden)?;
    let head_dim = even_head_dim(config, "num_attention_heads", hidden, heads)?;
    let activation = Activation::parse(config.text_or("hidden_activation", "gelu")?);

    let mut layers = Layer::plain("layers.{i}", config.size_or("num_hidden_layers", 22, limit::LAYERS)?);
    let every = config.size_or("global_attn_every_n_layers", 3, limit::LAYERS)?;
    let window = config.index_or("local_attention", 128, limit::SEQUENCE)? as usize / 2;
    let full = rope::by_type(config, "full_attention", ("global_rope_theta", 160_000.0), head_dim)?;
    let local = rope::by_type(config, "sliding_attention", ("local_rope_theta", 10_000.0), head_dim)?;
    let slides = sliding(config, layers.len(), |index| index % every != 0)?;
    for (index, (layer, slides)) in layers.iter_mut().zip(slides).enumerate() {
        (layer.before, layer.behind) = (slides.then_some(window), slides.then_some(window));
        layer.rotation = Some(if slides { local.clone() } else { full.clone() });
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
        norm_kind: NormKind::Layer,
        embed_scale: 1.0,
        tables: Tables {
            vocab: config.size_or("vocab_size", 50368, limit::VOCAB)?,
            positions: config.size_or("max_position_embeddings", 8192, limit::SEQUENCE)?,
            ..Tables::default()
        },
        embedding: hidden,
        scale: None,
        names: Names {
            tokens: "embeddings.tok_embeddings",
            embed_norm: Some("embeddings.norm"),
            qkv: &["attn.Wqkv"],
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
            ..Names::default()
        },
        prefixes: &["", "model."],
        tasks: tasks(config)?,
        steps: Arc::new(AsSpecified),
    })
}

/// A product and a norm in front of whatever is scored.
fn tasks(config: &Config) -> Result<Tasks> {
    let activation = Activation::parse(config.text_or("classifier_activation", "gelu")?);
    let activation = activation.ok_or_else(|| config.unsupported("classifier_activation"))?;
    let head_bias = config.flag_or("classifier_bias", false)?;
    let norm_bias = config.flag_or("norm_bias", false)?;
    let head = [
        HeadStep::Dense {
            weight: "/head.dense.weight",
            bias: head_bias.then_some("/head.dense.bias"),
            outputs: Outputs::Hidden,
            activation: Some(activation),
        },
        HeadStep::Norm {
            weight: "/head.norm.weight",
            bias: norm_bias.then_some("/head.norm.bias"),
            eps: config.number_or("norm_eps", 1e-5, 0.1)?,
            kind: NormKind::Layer,
        },
    ];
    let pooling = match config.text_or("classifier_pooling", "cls")? {
        "cls" => Pooling::Cls,
        "mean" => Pooling::Mean,
        _ => return Err(config.unsupported("classifier_pooling")),
    };
    let labels = || HeadStep::dense("/classifier.weight", "/classifier.bias", Outputs::Labels);
    let with_head = |last| head.iter().cloned().chain([last]).collect::<Vec<_>>();
    let decoder = HeadStep::Dense {
        weight: match config.flag_or("tie_word_embeddings", true)? {
            true => "embeddings.tok_embeddings.weight",
            false => "/decoder.weight",
        },
        bias: config.flag_or("decoder_bias", true)?.then_some("/decoder.bias"),
        outputs: Outputs::Vocab,
        activation: None,
    };
    Ok(Tasks {
        classify: std::iter::once(HeadStep::Pool(pooling)).chain(with_head(labels())).collect(),
        tag: with_head(labels()),
        answer: with_head(labels()),
        fill: with_head(decoder),
        ..Tasks::default()
    })
}
