//! Jina Embeddings 2: BERT with ALiBi both ways and gated feed-forward networks.
//!
//! Configuration and tensor names: those of `jinaai/jina-bert-implementation` on the hub, whose `model_type` is BERT's.
//! Papers: arXiv 2310.19923, 2108.12409.

use serde_json::json;

use super::bert::{self, DEFAULTS, Defaults};
use crate::batch::Tables;
use crate::config::{Config, limit};
use crate::encoder::{Bias, Ffn, Names, Spec};
use crate::error::Result;
use crate::ops::Activation;

pub fn spec(config: &Config) -> Result<Spec> {
    // The code variants normalise queries and keys, and once more behind each half of a layer.
    if let Some(map) = config.object("auto_map")? {
        for key in ["AutoConfig", "AutoModel"] {
            if map.text_or(key, "")?.contains("qk-post-norm") {
                return Err(map.unsupported(key));
            }
        }
    }
    config.require("alibi_starting_size", &json!(null))?;
    let mut spec = bert::family(config, &Defaults { positions: "alibi", ..DEFAULTS })?;
    spec.layers.iter_mut().for_each(|layer| layer.alibi = true);
    let activation = match config.text_or("feed_forward_type", "original")? {
        "geglu" => Activation::Gelu,
        "reglu" => Activation::Relu,
        _ => return Err(config.unsupported("feed_forward_type")),
    };
    Ok(Spec {
        ffn: Ffn::Gated(activation),
        tables: Tables { positions: config.size_or("max_position_embeddings", 512, limit::SEQUENCE)?, ..spec.tables },
        names: Names {
            positions: None,
            ffn_in: &["mlp.gated_layers"],
            ffn_out: "mlp.wo",
            ffn_norm: "mlp.layernorm",
            bias: Bias { ffn_in: false, ..Bias::ALL },
            ..spec.names
        },
        ..spec
    })
}
