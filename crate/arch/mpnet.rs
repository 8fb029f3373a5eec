//! MPNet: RoBERTa's positions, no token types, and a bias by distance on every attention score.
//!
//! Configuration: `transformers.MPNetConfig`. Paper: arXiv 2004.09297.

use serde_json::json;

use super::bert::{self, DEFAULTS, Defaults, NAMES};
use super::roberta::{behind_padding, tasks};
use crate::batch::Tables;
use crate::config::Config;
use crate::encoder::{Distances, Names, Spec};
use crate::error::Result;

pub fn spec(config: &Config) -> Result<Spec> {
    // Biases by distance are a column a head.
    config.require_empty("pruned_heads")?;
    // The code of transformers takes 32 whatever the configuration says.
    config.require("relative_attention_num_buckets", &json!(32))?;
    let padding = 1; // So too here.
    let mut spec = bert::family(config, &Defaults { vocab: 30527, ..DEFAULTS })?;
    for layer in &mut spec.layers {
        let name = "encoder.relative_attention_bias".to_owned();
        layer.distances = Some(Distances { name, buckets: 32, most: 128 });
    }
    Ok(Spec {
        // The heads are RoBERTa's.
        tasks: tasks(config, spec.eps)?,
        tables: Tables { types: 0, ..behind_padding(config, spec.tables, padding)? },
        names: Names {
            types: None,
            qkv: &["attention.attn.q", "attention.attn.k", "attention.attn.v"],
            attention_out: "attention.attn.o",
            attention_norm: "attention.LayerNorm",
            ..NAMES
        },
        prefixes: &["", "mpnet."],
        ..spec
    })
}
