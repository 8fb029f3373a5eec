//! NeoBERT: normalised first by RMS, gated, rotary positions whose pairs are neighbours.
//!
//! Configuration and tensor names: those of `chandar-lab/NeoBERT` on the hub. Paper: arXiv 2502.19587.

use std::sync::Arc;

use serde_json::json;

use super::even_head_dim;
use crate::batch::Tables;
use crate::config::{Config, limit};
use crate::encoder::{AsSpecified, Ffn, Layer, Names, Place, Spec};
use crate::error::Result;
use crate::head::Pooling;
use crate::ops::{Activation, NormKind};
use crate::rotation::{Pairs, Rotation};
use crate::task::{HeadStep, Outputs, Tasks};

pub fn spec(config: &Config) -> Result<Spec> {
    // Options of the code that it was trained with.
    for (key, only) in [("rope", json!(true)), ("rms_norm", json!(true)), ("ngpt", json!(false))] {
        config.require(key, &only)?;
    }
    if !["swiglu", "SwiGLU"].contains(&config.text_or("hidden_act", "swiglu")?) {
        return Err(config.unsupported("hidden_act"));
    }
    let hidden = config.size_or("hidden_size", 768, limit::HIDDEN)?;
    let heads = config.size_or("num_attention_heads", 12, hidden)?;
    let head_dim = even_head_dim(config, "num_attention_heads", hidden, heads)?;
    let frequency = |pair: usize| 1.0 / 10_000f32.powf((2 * pair) as f32 / head_dim as f32);
    let rotation = Rotation { pairs: Pairs::Neighbours, ..Rotation::new((0..head_dim / 2).map(frequency).collect()) };
    let count = config.size_or("num_hidden_layers", 28, limit::LAYERS)?;
    let mut layers = Layer::plain("transformer_encoder.{i}", count);
    layers.iter_mut().for_each(|layer| layer.rotation = Some(rotation.clone()));
    // Two thirds, in whole eights: as many weights as a network that is not gated would have.
    let inner = (2 * config.size_or("intermediate_size", 3072, limit::INNER)? / 3).next_multiple_of(8);
    if inner == 0 {
        return Err(config.unsupported("intermediate_size"));
    }
    Ok(Spec {
        hidden,
        inner,
        layers,
        heads,
        kv_heads: heads,
        head_dim,
        norm: Place::Pre,
        ffn: Ffn::Gated(Activation::Silu),
        eps: config.number_or("norm_eps", 1e-6, 0.1)?,
        norm_kind: NormKind::Rms,
        embed_scale: 1.0,
        tables: Tables {
            vocab: config.size_or("vocab_size", 30522, limit::VOCAB)?,
            positions: config.size_or("max_length", 1024, limit::SEQUENCE)?,
            ..Tables::default()
        },
        embedding: hidden,
        scale: None,
        names: Names {
            tokens: "encoder",
            qkv: &["qkv"],
            qkv_by_head: true,
            attention_out: "wo",
            attention_norm: "attention_norm",
            ffn_in: &["ffn.w12"],
            ffn_out: "ffn.w3",
            ffn_norm: "ffn_norm",
            final_norm: Some("layer_norm"),
            ..Names::default()
        },
        prefixes: &["", "model."],
        tasks: Tasks {
            classify: vec![
                HeadStep::Pool(Pooling::Cls),
                HeadStep::activated("/dense.weight", "/dense.bias", Activation::Tanh),
                HeadStep::dense("/classifier.weight", "/classifier.bias", Outputs::Labels),
            ],
            fill: vec![HeadStep::dense("/decoder.weight", "/decoder.bias", Outputs::Vocab)],
            ..Tasks::default()
        },
        steps: Arc::new(AsSpecified),
    })
}
