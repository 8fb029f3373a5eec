//! RoBERTa-PreLayerNorm: RoBERTa whose layers normalise first.
//!
//! Configuration: `transformers.RobertaPreLayerNormConfig`. Paper: arXiv 1904.01038.

use super::bert::{self, DEFAULTS, Defaults, NAMES};
use super::roberta::{behind_padding, padding, tasks};
use crate::config::Config;
use crate::encoder::{Names, Place, Spec};
use crate::error::Result;

pub fn spec(config: &Config) -> Result<Spec> {
    let spec = bert::family(config, &Defaults { vocab: 50265, ..DEFAULTS })?;
    Ok(Spec {
        norm: Place::Pre,
        tasks: tasks(config, spec.eps)?,
        tables: behind_padding(config, spec.tables, padding(config)?)?,
        names: Names {
            attention_norm: "attention.LayerNorm",
            ffn_norm: "intermediate.LayerNorm",
            final_norm: Some("LayerNorm"),
            ..NAMES
        },
        prefixes: &["", "roberta_prelayernorm."],
        ..spec
    })
}
