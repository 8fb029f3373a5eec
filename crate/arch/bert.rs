//! BERT: post-norm, learned absolute positions, token types.
//!
//! Configuration: `transformers.BertConfig`. Paper: arXiv 1810.04805.

use serde_json::json;

use crate::batch::Tables;
use crate::config::{Config, limit};
use crate::encoder::{Names, Spec};
use crate::error::{Error, Result};
use crate::ops::Activation;

const NAMES: Names = Names {
    tokens: "embeddings.word_embeddings",
    positions: "embeddings.position_embeddings",
    types: Some("embeddings.token_type_embeddings"),
    embed_norm: "embeddings.LayerNorm",
    query: "encoder.layer.{i}.attention.self.query",
    key: "encoder.layer.{i}.attention.self.key",
    value: "encoder.layer.{i}.attention.self.value",
    attention_out: "encoder.layer.{i}.attention.output.dense",
    attention_norm: "encoder.layer.{i}.attention.output.LayerNorm",
    ffn_in: "encoder.layer.{i}.intermediate.dense",
    ffn_out: "encoder.layer.{i}.output.dense",
    ffn_norm: "encoder.layer.{i}.output.LayerNorm",
};

pub fn spec(config: &Config) -> Result<Spec> {
    // Anything else changes the vectors.
    config.require("position_embedding_type", &json!("absolute"))?;
    config.require("is_decoder", &json!(false))?;
    config.require("add_cross_attention", &json!(false))?;
    config.require_empty("pruned_heads")?;
    let hidden = config.size_or("hidden_size", 768, limit::HIDDEN)?;
    let heads = config.size_or("num_attention_heads", 12, hidden)?;
    if !hidden.is_multiple_of(heads) {
        return Err(config.unsupported("num_attention_heads"));
    }
    let head_dim = hidden / heads;
    if head_dim > 256 {
        return Err(Error::option("head dimension", head_dim));
    }
    let activation = Activation::parse(config.text_or("hidden_act", "gelu")?);
    Ok(Spec {
        hidden,
        inner: config.size_or("intermediate_size", 3072, limit::INNER)?,
        layers: config.size_or("num_hidden_layers", 12, limit::LAYERS)?,
        heads,
        head_dim,
        activation: activation.ok_or_else(|| config.unsupported("hidden_act"))?,
        eps: config.number_or("layer_norm_eps", 1e-12, 0.1)?,
        tables: Tables {
            vocab: config.size_or("vocab_size", 30522, limit::VOCAB)?,
            types: config.size_or("type_vocab_size", 2, 1024)?,
            positions: config.size_or("max_position_embeddings", 512, limit::POSITIONS)?,
            first_position: 0,
        },
        names: NAMES,
        prefixes: &["", "bert."],
    })
}
