//! GTE ("new" on the hub): BERT with rotary positions and a gated feed-forward network.
//!
//! Configuration: `transformers.GteConfig`, and that of the hub's own code. Tensor names are those of the hub, in which
//! transformers saves too. Paper: arXiv 2407.19669.

use serde_json::json;

use super::bert::{self, DEFAULTS, Defaults};
use super::{decoder, even_head_dim, rope};
use crate::batch::Tables;
use crate::config::{Config, limit};
use crate::encoder::{Bias, Ffn, Names, Spec};
use crate::error::Result;
use crate::ops::Activation;
use crate::task::{HeadStep, Tasks};

pub fn spec(config: &Config) -> Result<Spec> {
    // Options of the hub's own code that change the vectors.
    config.require("layer_norm_type", &json!("layer_norm"))?;
    config.require("pack_qkv", &json!(true))?;
    config.require("logn_attention_scale", &json!(false))?;
    let mut spec = bert::family(config, &Defaults { vocab: 250_048, positions: "rope", ..DEFAULTS })?;
    let types = config.index_or("type_vocab_size", 1, 1024)? as usize;
    let head_dim = even_head_dim(config, "num_attention_heads", spec.hidden, spec.heads)?;
    let rotation = rope::rotation(config, 160_000.0, head_dim)?;
    spec.layers.iter_mut().for_each(|layer| layer.rotation = Some(rotation.clone()));
    Ok(Spec {
        ffn: Ffn::GatedLast(spec.ffn.activation()),
        tables: Tables {
            types,
            untyped: true,
            positions: config.size_or("max_position_embeddings", 8192, limit::SEQUENCE)?,
            ..spec.tables
        },
        names: Names {
            positions: None,
            types: if types > 0 { spec.names.types } else { None },
            qkv: &["attention.qkv_proj"],
            attention_out: "attention.o_proj",
            attention_norm: "attn_ln",
            ffn_in: &["mlp.up_gate_proj"],
            ffn_out: "mlp.down_proj",
            ffn_norm: "mlp_ln",
            bias: Bias { ffn_in: false, ..Bias::ALL },
            ..spec.names
        },
        tasks: tasks(config, &spec)?,
        prefixes: &["", "new.", "gte."],
        ..spec
    })
}

/// BERT's heads, and RoBERTa's under the hub's names for masked tokens.
fn tasks(config: &Config, spec: &Spec) -> Result<Tasks> {
    let decoder_names = ["/lm_head.decoder.weight", "/lm_head.decoder.bias"];
    Ok(Tasks {
        answer: Vec::new(),
        fill: vec![
            HeadStep::activated("/lm_head.dense.weight", "/lm_head.dense.bias", Activation::Gelu),
            HeadStep::norm("/lm_head.norm.weight", "/lm_head.norm.bias", spec.eps),
            decoder(config, "embeddings.word_embeddings.weight", decoder_names, decoder_names[1])?,
        ],
        ..spec.tasks.clone()
    })
}
