//! ALBERT: BERT whose layers share their weights in groups, with embeddings narrower than its hidden states.
//!
//! Configuration: `transformers.AlbertConfig`. Paper: arXiv 1909.11942.

use super::bert::{self, DEFAULTS, Defaults, NAMES};
use super::decoder;
use crate::config::{Config, limit};
use crate::encoder::{Layer, Names, Spec};
use crate::error::{Error, Result};
use crate::head::Pooling;
use crate::ops::Activation;
use crate::task::{HeadStep, Outputs, Tasks};

pub fn spec(config: &Config) -> Result<Spec> {
    // Layers share their weights, but a list for each could differ.
    config.require_empty("pruned_heads")?;
    let defaults = Defaults { hidden: 4096, heads: 64, inner: 16384, vocab: 30000, activation: "gelu_new", ..DEFAULTS };
    let spec = bert::family(config, &defaults)?;
    let layers = spec.layers.len();
    let groups = config.size_or("num_hidden_groups", 1, layers)?;
    let inside = config.size_or("inner_group_num", 1, limit::LAYERS)?;
    if layers * inside > limit::LAYERS {
        let (found, limit) = ((layers * inside) as u64, limit::LAYERS as u64);
        return Err(Error::LimitExceeded { what: "num_hidden_layers times inner_group_num".into(), found, limit });
    }
    let names = (0..layers).flat_map(|layer| {
        // The division that transformers makes in floating point.
        let group = (layer as f64 / (layers as f64 / groups as f64)) as usize;
        (0..inside).map(move |index| format!("encoder.albert_layer_groups.{group}.albert_layers.{index}"))
    });
    Ok(Spec {
        layers: names.map(|name| Layer { name, ..Layer::default() }).collect(),
        embedding: config.size_or("embedding_size", 128, limit::HIDDEN)?,
        names: Names {
            project: Some("encoder.embedding_hidden_mapping_in"),
            qkv: &["attention.query", "attention.key", "attention.value"],
            attention_out: "attention.dense",
            attention_norm: "attention.LayerNorm",
            ffn_in: &["ffn"],
            ffn_out: "ffn_output",
            ffn_norm: "full_layer_layer_norm",
            ..NAMES
        },
        tasks: tasks(config, &spec)?,
        prefixes: &["", "albert."],
        ..spec
    })
}

fn tasks(config: &Config, spec: &Spec) -> Result<Tasks> {
    let decoder_names = ["/predictions.decoder.weight", "/predictions.decoder.bias"];
    Ok(Tasks {
        classify: vec![
            HeadStep::Pool(Pooling::Cls),
            HeadStep::activated("pooler.weight", "pooler.bias", Activation::Tanh),
            HeadStep::dense("/classifier.weight", "/classifier.bias", Outputs::Labels),
        ],
        fill: vec![
            HeadStep::Dense {
                weight: "/predictions.dense.weight",
                bias: Some("/predictions.dense.bias"),
                outputs: Outputs::Embedding,
                activation: Some(spec.ffn.activation()),
            },
            HeadStep::norm("/predictions.LayerNorm.weight", "/predictions.LayerNorm.bias", spec.eps),
            decoder(config, "embeddings.word_embeddings.weight", decoder_names, "/predictions.bias")?,
        ],
        ..spec.tasks.clone()
    })
}
