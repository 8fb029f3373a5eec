//! EuroBERT: LLaMA's layers, in which a token sees its whole text.
//!
//! Configuration: `transformers.EuroBertConfig`. Paper: arXiv 2503.05500.

use super::llama::{self, Defaults};
use crate::config::Config;
use crate::encoder::Spec;
use crate::error::Result;

pub fn spec(config: &Config) -> Result<Spec> {
    llama::family(
        config,
        &Defaults {
            hidden: 768,
            inner: 3072,
            layers: 12,
            heads: 12,
            kv_heads: None,
            head_dim: None,
            activation: ("hidden_act", "silu"),
            vocab: 128_256,
            positions: 8192,
            eps: 1e-5,
            causal: false,
        },
    )
}
