//! RoBERTa, XLM-RoBERTa and CamemBERT: BERT whose positions begin behind the padding token's id.
//!
//! Configuration: `transformers.RobertaConfig`, `XLMRobertaConfig`, `CamembertConfig`. Paper: arXiv 1907.11692.

use super::bert::{self, DEFAULTS, Defaults};
use super::decoder;
use crate::batch::Tables;
use crate::config::{Config, limit};
use crate::encoder::Spec;
use crate::error::Result;
use crate::head::Pooling;
use crate::ops::Activation;
use crate::task::{HeadStep, Outputs, Tasks};

pub fn spec(config: &Config) -> Result<Spec> {
    let vocab = if config.text_or("model_type", "")? == "roberta" { 50265 } else { DEFAULTS.vocab };
    let spec = bert::family(config, &Defaults { vocab, ..DEFAULTS })?;
    let tables = behind_padding(config, spec.tables, padding(config)?)?;
    Ok(Spec { tables, prefixes: &["", "roberta."], tasks: tasks(config, spec.eps)?, ..spec })
}

/// A classifier of two products, and a state transformed by `gelu` whatever the configuration says.
pub fn tasks(config: &Config, eps: f32) -> Result<Tasks> {
    let decoder_names = ["/lm_head.decoder.weight", "/lm_head.decoder.bias"];
    Ok(Tasks {
        classify: vec![
            HeadStep::Pool(Pooling::Cls),
            HeadStep::activated("/classifier.dense.weight", "/classifier.dense.bias", Activation::Tanh),
            HeadStep::dense("/classifier.out_proj.weight", "/classifier.out_proj.bias", Outputs::Labels),
        ],
        tag: vec![HeadStep::dense("/classifier.weight", "/classifier.bias", Outputs::Labels)],
        answer: vec![HeadStep::dense("/qa_outputs.weight", "/qa_outputs.bias", Outputs::Labels)],
        fill: vec![
            HeadStep::activated("/lm_head.dense.weight", "/lm_head.dense.bias", Activation::Gelu),
            HeadStep::norm("/lm_head.layer_norm.weight", "/lm_head.layer_norm.bias", eps),
            decoder(config, "embeddings.word_embeddings.weight", decoder_names, "/lm_head.bias")?,
        ],
        ..Tasks::default()
    })
}

/// The id of the padding token.
pub fn padding(config: &Config) -> Result<u32> {
    config.index_or("pad_token_id", 1, limit::POSITIONS)
}

/// Positions as `create_position_ids_from_input_ids` numbers them: from `padding + 1`, without those padding tokens
/// that stand in a text.
pub fn behind_padding(config: &Config, tables: Tables, padding: u32) -> Result<Tables> {
    let first_position = padding + 1;
    match tables.positions.checked_sub(first_position as usize).filter(|positions| *positions > 0) {
        Some(positions) => Ok(Tables { untyped: true, positions, first_position, unnumbered: Some(padding), ..tables }),
        None => Err(config.unsupported("max_position_embeddings")),
    }
}
