//! The encoders of T5 and UMT5: pre-norm without means or biases, scores that are not scaled, and a bias by distance,
//! which in T5 all layers share and in UMT5 each has for itself.
//!
//! Configuration: `transformers.T5Config`, `UMT5Config`. Paper: arXiv 1910.10683.

use std::sync::Arc;

use crate::batch::Tables;
use crate::config::{Config, limit};
use crate::encoder::{AsSpecified, Distances, Ffn, Layer, Names, Place, Spec};
use crate::error::Result;
use crate::ops::{Activation, NormKind};
use crate::task::{HeadStep, Outputs, Tasks};

pub fn spec(config: &Config) -> Result<Spec> {
    let each = config.text_or("model_type", "")? == "umt5";
    let hidden = config.size_or("d_model", 512, limit::HIDDEN)?;
    let feed_forward = config.text_or("feed_forward_proj", if each { "gated-gelu" } else { "relu" })?;
    let activation = match feed_forward.strip_prefix("gated-").unwrap_or(feed_forward) {
        // The class says so for compatibility.
        "gelu" if feed_forward == "gated-gelu" => Some(Activation::GeluTanh),
        name => Activation::parse(name),
    };
    let activation = activation.ok_or_else(|| config.unsupported("feed_forward_proj"))?;
    let gated = feed_forward.starts_with("gated-");
    let buckets = config.size_or("relative_attention_num_buckets", 32, 1024)?;
    let most = config.size_or("relative_attention_max_distance", 128, 4096)?;
    // Below, the formula of the buckets has no meaning.
    if !buckets.is_multiple_of(4) {
        return Err(config.unsupported("relative_attention_num_buckets"));
    }
    if most <= buckets / 4 {
        return Err(config.unsupported("relative_attention_max_distance"));
    }
    let mut layers = Layer::plain("encoder.block.{i}", config.size_or("num_layers", 6, limit::LAYERS)?);
    for (index, layer) in layers.iter_mut().enumerate() {
        let of = if each { index } else { 0 };
        let name = format!("encoder.block.{of}.layer.0.SelfAttention.relative_attention_bias");
        layer.distances = Some(Distances { name, buckets, most });
    }
    let heads = config.size_or("num_heads", 8, limit::HIDDEN)?;
    Ok(Spec {
        hidden,
        inner: config.size_or("d_ff", if each { 1024 } else { 2048 }, limit::INNER)?,
        layers,
        heads,
        kv_heads: heads,
        head_dim: config.size_or("d_kv", 64, 256)?,
        norm: Place::Pre,
        ffn: if gated { Ffn::Gated(activation) } else { Ffn::Plain(activation) },
        eps: config.number_or("layer_norm_epsilon", 1e-6, 0.1)?,
        norm_kind: NormKind::Rms,
        embed_scale: 1.0,
        scale: Some(1.0),
        tables: Tables {
            vocab: config.size_or("vocab_size", if each { 250_112 } else { 32_128 }, limit::VOCAB)?,
            positions: limit::SEQUENCE,
            ..Tables::default()
        },
        embedding: hidden,
        names: Names {
            tokens: "shared",
            qkv: &["layer.0.SelfAttention.q", "layer.0.SelfAttention.k", "layer.0.SelfAttention.v"],
            attention_out: "layer.0.SelfAttention.o",
            attention_norm: "layer.0.layer_norm",
            ffn_in: if gated {
                &["layer.1.DenseReluDense.wi_0", "layer.1.DenseReluDense.wi_1"]
            } else {
                &["layer.1.DenseReluDense.wi"]
            },
            ffn_out: "layer.1.DenseReluDense.wo",
            ffn_norm: "layer.1.layer_norm",
            final_norm: Some("encoder.final_layer_norm"),
            ..Names::default()
        },
        prefixes: &["", "transformer."],
        tasks: Tasks {
            // Classifiers of texts and of spans need the decoder.
            tag: vec![HeadStep::dense("/classifier.weight", "/classifier.bias", Outputs::Labels)],
            ..Tasks::default()
        },
        steps: Arc::new(AsSpecified),
    })
}
