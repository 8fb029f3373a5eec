//! BERT: post-norm, learned absolute positions, token types.
//!
//! Configuration: `transformers.BertConfig`. Paper: arXiv 1810.04805.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{decoder, head_dim};
use crate::batch::Tables;
use crate::config::{Config, limit};
use crate::encoder::{AsSpecified, Bias, Ffn, Layer, Names, Place, Spec};
use crate::error::Result;
use crate::head::Pooling;
use crate::ops::{Activation, NormKind};
use crate::task::{HeadStep, Outputs, Tasks};

/// Table of token types.
pub const TYPES: &str = "embeddings.token_type_embeddings";

pub const NAMES: Names = Names {
    tokens: "embeddings.word_embeddings",
    positions: Some("embeddings.position_embeddings"),
    types: Some(TYPES),
    tasks: None,
    embed_norm: Some("embeddings.LayerNorm"),
    project: None,
    qkv: &["attention.self.query", "attention.self.key", "attention.self.value"],
    qkv_by_head: false,
    qk_norm: None,
    attention_out: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    attention_added_norm: None,
    ffn_in: &["intermediate.dense"],
    ffn_out: "output.dense",
    ffn_norm: "output.LayerNorm",
    ffn_added_norm: None,
    final_norm: None,
    bias: Bias::ALL,
};

/// Sizes where the configuration does not say; they differ from class to class.
pub struct Defaults {
    pub hidden: usize,
    pub layers: usize,
    pub heads: usize,
    pub inner: usize,
    pub vocab: usize,
    pub activation: &'static str,
    pub eps: f32,
    /// The only `position_embedding_type`.
    pub positions: &'static str,
}

pub const DEFAULTS: Defaults = Defaults {
    hidden: 768,
    layers: 12,
    heads: 12,
    inner: 3072,
    vocab: 30522,
    activation: "gelu",
    eps: 1e-12,
    positions: "absolute",
};

pub fn spec(config: &Config) -> Result<Spec> {
    let mut spec = family(config, &DEFAULTS)?;
    spec.prefixes = &["", "bert.", "bert.bert."];
    spec.tasks.uni_encoder =
        vec![HeadStep::Pool(Pooling::Mean), HeadStep::dense("/fc.weight", "/fc.bias", Outputs::Columns(1))];
    Ok(spec)
}

/// A pooler in front of the classifier, and a transformed state in front of the token table.
pub fn tasks(config: &Config, activation: Activation, eps: f32) -> Result<Tasks> {
    let decoder_names = ["/cls.predictions.decoder.weight", "/cls.predictions.decoder.bias"];
    Ok(Tasks {
        classify: vec![
            HeadStep::Pool(Pooling::Cls),
            HeadStep::activated("pooler.dense.weight", "pooler.dense.bias", Activation::Tanh),
            HeadStep::dense("/classifier.weight", "/classifier.bias", Outputs::Labels),
        ],
        tag: vec![HeadStep::dense("/classifier.weight", "/classifier.bias", Outputs::Labels)],
        answer: vec![HeadStep::dense("/qa_outputs.weight", "/qa_outputs.bias", Outputs::Labels)],
        fill: vec![
            HeadStep::activated(
                "/cls.predictions.transform.dense.weight",
                "/cls.predictions.transform.dense.bias",
                activation,
            ),
            HeadStep::norm(
                "/cls.predictions.transform.LayerNorm.weight",
                "/cls.predictions.transform.LayerNorm.bias",
                eps,
            ),
            decoder(config, "embeddings.word_embeddings.weight", decoder_names, "/cls.predictions.bias")?,
        ],
        ..Tasks::default()
    })
}

/// Reads what all configuration classes that descend from BERT's have. The names are BERT's.
pub fn family(config: &Config, defaults: &Defaults) -> Result<Spec> {
    // Anything else changes the vectors.
    config.require("position_embedding_type", &json!(defaults.positions))?;
    config.require("is_decoder", &json!(false))?;
    config.require("add_cross_attention", &json!(false))?;
    let hidden = config.size_or("hidden_size", defaults.hidden, limit::HIDDEN)?;
    let heads = config.size_or("num_attention_heads", defaults.heads, hidden)?;
    let activation = Activation::parse(config.text_or("hidden_act", defaults.activation)?);
    let mut layers =
        Layer::plain("encoder.layer.{i}", config.size_or("num_hidden_layers", defaults.layers, limit::LAYERS)?);
    prune(config, &mut layers, heads)?;
    let activation = activation.ok_or_else(|| config.unsupported("hidden_act"))?;
    let eps = config.number_or("layer_norm_eps", defaults.eps, 0.1)?;
    Ok(Spec {
        hidden,
        inner: config.size_or("intermediate_size", defaults.inner, limit::INNER)?,
        layers,
        heads,
        kv_heads: heads,
        head_dim: head_dim(config, "num_attention_heads", hidden, heads)?,
        norm: Place::Post,
        ffn: Ffn::Plain(activation),
        eps,
        norm_kind: NormKind::Layer,
        embed_scale: 1.0,
        tables: Tables {
            vocab: config.size_or("vocab_size", defaults.vocab, limit::VOCAB)?,
            types: config.index_or("type_vocab_size", 2, 1024)? as usize,
            positions: config.size_or("max_position_embeddings", 512, limit::POSITIONS)?,
            ..Tables::default()
        },
        embedding: hidden,
        scale: None,
        names: NAMES,
        prefixes: &["", "bert."],
        tasks: tasks(config, activation, eps)?,
        steps: Arc::new(AsSpecified),
    })
}

/// Gives each layer the number of heads that `pruned_heads` leaves it. The checkpoint has the rows of these alone.
fn prune(config: &Config, layers: &mut [Layer], heads: usize) -> Result<()> {
    let Some(Value::Object(pruned)) = config.get("pruned_heads") else { return config.require_empty("pruned_heads") };
    let wrong = || config.unsupported("pruned_heads");
    for (layer, lost) in pruned {
        let layer = layer.parse().ok().and_then(|index: usize| layers.get_mut(index)).ok_or_else(wrong)?;
        let lost = lost.as_array().ok_or_else(wrong)?.iter().map(Value::as_u64);
        let lost = lost.collect::<Option<BTreeSet<u64>>>().ok_or_else(wrong)?;
        let left = heads.checked_sub(lost.len()).filter(|left| *left > 0).ok_or_else(wrong)?;
        if lost.last().is_some_and(|last| *last >= heads as u64) {
            return Err(wrong());
        }
        layer.heads = Some(left);
    }
    Ok(())
}
