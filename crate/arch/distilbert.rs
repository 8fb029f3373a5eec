//! DistilBERT: BERT without token types, under other names.
//!
//! Configuration: `transformers.DistilBertConfig`. Paper: arXiv 1910.01108.

use std::sync::Arc;

use super::bert::NAMES;
use super::{decoder, head_dim};
use crate::batch::Tables;
use crate::config::{Config, limit};
use crate::encoder::{AsSpecified, Ffn, Layer, Names, Place, Spec};
use crate::error::Result;
use crate::head::Pooling;
use crate::ops::{Activation, NormKind};
use crate::task::{HeadStep, Outputs, Tasks};

pub fn spec(config: &Config) -> Result<Spec> {
    config.require_empty("pruned_heads")?;
    let hidden = config.size_or("dim", 768, limit::HIDDEN)?;
    let heads = config.size_or("n_heads", 12, hidden)?;
    let activation = Activation::parse(config.text_or("activation", "gelu")?);
    let activation = activation.ok_or_else(|| config.unsupported("activation"))?;
    Ok(Spec {
        hidden,
        inner: config.size_or("hidden_dim", 3072, limit::INNER)?,
        layers: Layer::plain("transformer.layer.{i}", config.size_or("n_layers", 6, limit::LAYERS)?),
        heads,
        kv_heads: heads,
        head_dim: head_dim(config, "n_heads", hidden, heads)?,
        norm: Place::Post,
        ffn: Ffn::Plain(activation),
        eps: 1e-12,
        norm_kind: NormKind::Layer,
        embed_scale: 1.0,
        tables: Tables {
            vocab: config.size_or("vocab_size", 30522, limit::VOCAB)?,
            positions: config.size_or("max_position_embeddings", 512, limit::POSITIONS)?,
            ..Tables::default()
        },
        embedding: hidden,
        scale: None,
        names: Names {
            types: None,
            qkv: &["attention.q_lin", "attention.k_lin", "attention.v_lin"],
            attention_out: "attention.out_lin",
            attention_norm: "sa_layer_norm",
            ffn_in: &["ffn.lin1"],
            ffn_out: "ffn.lin2",
            ffn_norm: "output_layer_norm",
            ..NAMES
        },
        prefixes: &["", "distilbert."],
        tasks: tasks(config, activation)?,
        steps: Arc::new(AsSpecified),
    })
}

fn tasks(config: &Config, activation: Activation) -> Result<Tasks> {
    let decoder_names = ["/vocab_projector.weight", "/vocab_projector.bias"];
    Ok(Tasks {
        classify: vec![
            HeadStep::Pool(Pooling::Cls),
            HeadStep::activated("/pre_classifier.weight", "/pre_classifier.bias", Activation::Relu),
            HeadStep::dense("/classifier.weight", "/classifier.bias", Outputs::Labels),
        ],
        tag: vec![HeadStep::dense("/classifier.weight", "/classifier.bias", Outputs::Labels)],
        answer: vec![HeadStep::dense("/qa_outputs.weight", "/qa_outputs.bias", Outputs::Labels)],
        fill: vec![
            HeadStep::activated("/vocab_transform.weight", "/vocab_transform.bias", activation),
            HeadStep::norm("/vocab_layer_norm.weight", "/vocab_layer_norm.bias", 1e-12),
            decoder(config, "embeddings.word_embeddings.weight", decoder_names, decoder_names[1])?,
        ],
        ..Tasks::default()
    })
}
