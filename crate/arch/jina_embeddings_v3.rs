//! Jina embeddings v3 as transformers has it: XLM-RoBERTa with rotary positions. Adapters are not read.
//!
//! Configuration: `transformers.JinaEmbeddingsV3Config`. Tensor names are those of the hub, in which transformers saves
//! too. Paper: arXiv 2409.10173.

use super::bert::{self, DEFAULTS, Defaults};
use super::{even_head_dim, roberta, rope};
use crate::batch::Tables;
use crate::config::{Config, limit};
use crate::encoder::{Layer, Names, Spec};
use crate::error::Result;

pub fn spec(config: &Config) -> Result<Spec> {
    let defaults = Defaults { hidden: 1024, layers: 24, heads: 16, inner: 4096, vocab: 250_002, eps: 1e-5, ..DEFAULTS };
    let spec = bert::family(config, &defaults)?;
    let head_dim = even_head_dim(config, "num_attention_heads", spec.hidden, spec.heads)?;
    let rotation = rope::rotation(config, 20_000.0, head_dim)?;
    let mut layers = Layer::plain("encoder.layers.{i}", spec.layers.len());
    layers.iter_mut().for_each(|layer| layer.rotation = Some(rotation.clone()));
    Ok(Spec {
        layers,
        tables: Tables {
            types: 0,
            tasks: config.index_or("type_vocab_size", 1, 1024)? as usize,
            positions: config.size_or("max_position_embeddings", 8194, limit::SEQUENCE)?,
            ..spec.tables
        },
        names: Names {
            positions: None,
            types: None,
            tasks: spec.names.types,
            embed_norm: Some("emb_ln"),
            qkv: &["mixer.Wqkv"],
            attention_out: "mixer.out_proj",
            attention_norm: "norm1",
            ffn_in: &["mlp.fc1"],
            ffn_out: "mlp.fc2",
            ffn_norm: "norm2",
            ..spec.names
        },
        tasks: roberta::tasks(config, spec.eps)?,
        prefixes: &["", "roberta."],
        ..spec
    })
}
