//! EuroBERT: LLaMA's layers, in which a token sees its whole text.
//!
//! Configuration: `transformers.EuroBertConfig`. Paper: arXiv 2503.05500.

use super::llama::{self, Defaults};
use crate::config::Config;
use crate::encoder::Spec;
use crate::error::Result;
use crate::head::Pooling;
use crate::ops::Activation;
use crate::task::{HeadStep, Outputs, Tasks};

pub fn spec(config: &Config) -> Result<Spec> {
    let mut spec = llama::family(
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
    )?;
    // The class reads no such key.
    spec.layers.iter_mut().for_each(|layer| layer.behind = None);
    Ok(Spec { tasks: tasks(config)?, ..spec })
}

fn tasks(config: &Config) -> Result<Tasks> {
    let dense = HeadStep::activated("/dense.weight", "/dense.bias", Activation::Gelu);
    let labels = HeadStep::dense("/classifier.weight", "/classifier.bias", Outputs::Labels);
    let classify = match config.text_or("classifier_pooling", "late")? {
        "bos" => vec![HeadStep::Pool(Pooling::Cls), dense, labels.clone()],
        "mean" => vec![HeadStep::Pool(Pooling::Mean), dense, labels.clone()],
        "late" => vec![dense, labels.clone(), HeadStep::Pool(Pooling::Mean)],
        _ => return Err(config.unsupported("classifier_pooling")),
    };
    let decoder = HeadStep::Dense {
        weight: if config.flag_or("tie_word_embeddings", false)? { "embed_tokens.weight" } else { "/lm_head.weight" },
        bias: config.flag_or("mlp_bias", false)?.then_some("/lm_head.bias"),
        outputs: Outputs::Vocab,
        activation: None,
    };
    Ok(Tasks { classify, tag: vec![labels], answer: Vec::new(), fill: vec![decoder], ..Tasks::default() })
}
