//! Megatron-BERT: pre-norm, and nothing is normalised before the first layer.
//!
//! Configuration: `transformers.MegatronBertConfig`. Paper: arXiv 1909.08053.

use super::bert::{self, DEFAULTS, Defaults, NAMES};
use crate::config::Config;
use crate::encoder::{Names, Place, Spec};
use crate::error::Result;

pub fn spec(config: &Config) -> Result<Spec> {
    let defaults = Defaults { hidden: 1024, layers: 24, heads: 16, inner: 4096, vocab: 29056, ..DEFAULTS };
    Ok(Spec {
        norm: Place::Pre,
        names: Names {
            embed_norm: None,
            attention_norm: "attention.ln",
            ffn_norm: "ln",
            final_norm: Some("encoder.ln"),
            ..NAMES
        },
        ..bert::family(config, &defaults)?
    })
}
