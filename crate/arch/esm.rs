//! ESM: a language model of proteins. Pre-norm, with learned positions or rotations; the tokens' rows are scaled by how many
//! of them are masked.
//!
//! Configuration: `transformers.EsmConfig`. Papers: 10.1073/pnas.2016239118, 10.1126/science.ade2574.

use std::sync::Arc;

use serde_json::json;

use super::bert::NAMES;
use super::roberta::{self, behind_padding, padding};
use super::{decoder, head_dim};
use crate::batch::Tables;
use crate::config::{Config, limit};
use crate::declare::Declare;
use crate::encoder::{Ffn, Layer, Names, Place, Spec, Steps};
use crate::error::{Error, Result};
use crate::ops::{Activation, Dropout, EmbedTables, NormKind};
use crate::program::Buf;
use crate::rotation::Rotation;
use crate::task::Tasks;

pub fn spec(config: &Config) -> Result<Spec> {
    for key in ["is_decoder", "add_cross_attention", "is_folding_model"] {
        config.require(key, &json!(false))?;
    }
    let hidden = config.size_or("hidden_size", 768, limit::HIDDEN)?;
    let heads = config.size_or("num_attention_heads", 12, hidden)?;
    let head_dim = head_dim(config, "num_attention_heads", hidden, heads)?;
    let mut layers = Layer::plain("encoder.layer.{i}", config.size_or("num_hidden_layers", 12, limit::LAYERS)?);
    let mut tables = Tables {
        vocab: config.size("vocab_size", limit::VOCAB)?,
        positions: config.size_or("max_position_embeddings", 1026, limit::POSITIONS)?,
        ..Tables::default()
    };
    let mut positions = None;
    match config.text_or("position_embedding_type", "absolute")? {
        "absolute" => {
            tables = behind_padding(config, tables, padding(config)?)?;
            positions = NAMES.positions;
        }
        "rotary" if head_dim.is_multiple_of(2) => {
            let theta = config.number_or("rope_theta", 10_000.0, 1e12)?;
            let frequency = |pair: usize| 1.0 / theta.powf((2 * pair) as f32 / head_dim as f32);
            let rotation = Rotation {
                // Those that it was trained with, rounded as they were then.
                tensors: &[
                    "rotary_embeddings.inv_freq",
                    "encoder.layer.0.attention.self.rotary_embeddings.inv_freq",
                    // So transformers 5 writes it.
                    "encoder.layer.*.attention.self.rotary_embeddings.inv_freq",
                ],
                ..Rotation::new((0..head_dim / 2).map(frequency).collect())
            };
            layers.iter_mut().for_each(|layer| layer.rotation = Some(rotation.clone()));
        }
        "rotary" => return Err(Error::option("head dimension", head_dim)),
        _ => return Err(config.unsupported("position_embedding_type")),
    }
    let eps = config.number_or("layer_norm_eps", 1e-12, 0.1)?;
    let dropout = match config.flag_or("token_dropout", false)? {
        false => None,
        true if config.get("mask_token_id").is_none() => return Err(config.unsupported("mask_token_id")),
        true => Some(Dropout { mask: config.index_or("mask_token_id", 0, limit::VOCAB)?, trained: 0.15 * 0.8 }),
    };
    Ok(Spec {
        hidden,
        inner: config.size_or("intermediate_size", 3072, limit::INNER)?,
        layers,
        heads,
        kv_heads: heads,
        head_dim,
        norm: Place::Pre,
        ffn: Ffn::Plain(Activation::Gelu),
        eps,
        norm_kind: NormKind::Layer,
        embed_scale: 1.0,
        tables,
        embedding: hidden,
        scale: None,
        names: Names {
            positions,
            types: None,
            embed_norm: config.flag_or("emb_layer_norm_before", false)?.then_some("embeddings.layer_norm"),
            attention_norm: "attention.LayerNorm",
            ffn_norm: "LayerNorm",
            final_norm: Some("encoder.emb_layer_norm_after"),
            ..NAMES
        },
        prefixes: &["", "esm."],
        tasks: tasks(config, eps)?,
        steps: Arc::new(Masking(dropout)),
    })
}

/// Embeddings that may depend on how many tokens are masked.
struct Masking(Option<Dropout>);

impl Steps for Masking {
    fn computes_unattended(&self) -> bool {
        false
    }

    fn embed(&self, spec: &Spec, declare: &mut Declare) -> Buf {
        let tables = EmbedTables { dropout: self.0, ..spec.embed_tables(declare) };
        spec.embedded(declare, tables)
    }
}

/// RoBERTa's, but its decoder never has a bias of its own name, and nothing answers questions.
fn tasks(config: &Config, eps: f32) -> Result<Tasks> {
    let mut tasks = roberta::tasks(config, eps)?;
    tasks.answer.clear();
    tasks.fill.pop();
    let decoder_names = ["/lm_head.decoder.weight", "/lm_head.bias"];
    tasks.fill.push(decoder(config, "embeddings.word_embeddings.weight", decoder_names, "/lm_head.bias")?);
    Ok(tasks)
}
