//! Nomic BERT: BERT with rotary positions, gated and almost without biases.
//!
//! Configuration: `transformers.NomicBertConfig`, and the keys of GPT-2 that folders on the hub have. Tensor names are
//! those of the hub, in which transformers saves too. Paper: arXiv 2402.01613.

use std::sync::Arc;

use serde_json::json;

use super::{even_head_dim, rope};
use crate::batch::Tables;
use crate::config::{Config, limit};
use crate::encoder::{AsSpecified, Bias, Ffn, Layer, Names, Place, Spec};
use crate::error::Result;
use crate::ops::{Activation, NormKind};
use crate::task::Tasks;

pub fn spec(config: &Config) -> Result<Spec> {
    // Options of the hub's own code that change the vectors.
    for (key, only) in [
        ("causal", json!(false)),
        ("prenorm", json!(false)),
        ("qkv_proj_bias", json!(false)),
        ("mlp_fc1_bias", json!(false)),
        ("mlp_fc2_bias", json!(false)),
        ("parallel_block", json!(false)),
        ("rotary_emb_interleaved", json!(false)),
        ("use_rms_norm", json!(false)),
        ("rotary_emb_fraction", json!(1.0)),
        ("num_experts", json!(0)),
    ] {
        config.require(key, &only)?;
    }
    config.require_empty("rotary_scaling_factor")?;
    let either = |new: &'static str, old: &'static str| if config.get(new).is_none() { old } else { new };
    let hidden = config.size_or(either("hidden_size", "n_embd"), 768, limit::HIDDEN)?;
    let heads_key = either("num_attention_heads", "n_head");
    let heads = config.size_or(heads_key, 12, hidden)?;
    let head_dim = even_head_dim(config, heads_key, hidden, heads)?;
    let activation = match config.text_or("activation_function", "swiglu")? {
        "swiglu" => Activation::parse(config.text_or("hidden_act", "silu")?),
        _ => return Err(config.unsupported("activation_function")),
    };
    let theta = config.number_or("rotary_emb_base", 1000.0, 1e12)?;
    let rotation = rope::rotation(config, theta, head_dim)?;
    let count = config.size_or(either("num_hidden_layers", "n_layer"), 12, limit::LAYERS)?;
    let mut layers = Layer::plain("encoder.layers.{i}", count);
    layers.iter_mut().for_each(|layer| layer.rotation = Some(rotation.clone()));
    Ok(Spec {
        hidden,
        inner: config.size_or(either("intermediate_size", "n_inner"), 3072, limit::INNER)?,
        layers,
        heads,
        kv_heads: heads,
        head_dim,
        norm: Place::Post,
        ffn: Ffn::Gated(activation.ok_or_else(|| config.unsupported("hidden_act"))?),
        eps: config.number_or(either("layer_norm_eps", "layer_norm_epsilon"), 1e-12, 0.1)?,
        norm_kind: NormKind::Layer,
        embed_scale: 1.0,
        tables: Tables {
            vocab: config.size_or("vocab_size", 30528, limit::VOCAB)?,
            types: config.size_or("type_vocab_size", 2, 1024)?,
            positions: config.size_or(either("max_position_embeddings", "n_positions"), 2048, limit::SEQUENCE)?,
            ..Tables::default()
        },
        embedding: hidden,
        scale: None,
        names: Names {
            tokens: "embeddings.word_embeddings",
            types: Some("embeddings.token_type_embeddings"),
            embed_norm: Some("emb_ln"),
            qkv: &["attn.Wqkv"],
            attention_out: "attn.out_proj",
            attention_norm: "norm1",
            ffn_in: &["mlp.fc12", "mlp.fc11"],
            ffn_out: "mlp.fc2",
            ffn_norm: "norm2",
            bias: Bias { norm: true, ..Bias::default() },
            ..Names::default()
        },
        prefixes: &["", "bert.", "nomic_bert."],
        tasks: Tasks::default(),
        steps: Arc::new(AsSpecified),
    })
}
