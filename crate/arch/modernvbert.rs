//! ModernVBERT's encoder of texts: ModernBERT below a prefix of its own. Images are not read.
//!
//! Configuration: `transformers.ModernVBertConfig`. Paper: arXiv 2510.01149.

use serde_json::json;

use super::modernbert;
use crate::config::Config;
use crate::encoder::Spec;
use crate::error::Result;
use crate::head::Pooling;
use crate::ops::{Activation, NormKind};
use crate::task::{HeadStep, Outputs, Tasks};

pub fn spec(config: &Config) -> Result<Spec> {
    let text = config.object("text_config")?.ok_or_else(|| config.unsupported("text_config"))?;
    text.require("model_type", &json!("modernbert"))?;
    let spec = modernbert::spec(&text)?;
    Ok(Spec { prefixes: &["text_model.", "model.text_model."], tasks: tasks(config, &text, &spec)?, ..spec })
}

fn tasks(config: &Config, text: &Config, spec: &Spec) -> Result<Tasks> {
    let activation = Activation::parse(text.text_or("classifier_activation", "gelu")?);
    let activation = activation.ok_or_else(|| text.unsupported("classifier_activation"))?;
    let pooling = match config.text_or("classifier_pooling", "cls")? {
        "cls" => Pooling::Cls,
        "mean" => Pooling::Mean,
        _ => return Err(config.unsupported("classifier_pooling")),
    };
    let (dense_bias, norm_bias) = (text.flag_or("classifier_bias", false)?, spec.names.bias.norm);
    let head = |[dense, bias]: [&'static str; 2], [gain, shift]: [&'static str; 2]| {
        let bias = dense_bias.then_some(bias);
        let dense = HeadStep::Dense { weight: dense, bias, outputs: Outputs::Hidden, activation: Some(activation) };
        let bias = norm_bias.then_some(shift);
        [dense, HeadStep::Norm { weight: gain, bias, eps: spec.eps, kind: NormKind::Layer }]
    };
    let scored = head(["/head.dense.weight", "/head.dense.bias"], ["/head.norm.weight", "/head.norm.bias"]);
    let filled = head(
        ["/projection_head.dense.weight", "/projection_head.dense.bias"],
        ["/projection_head.norm.weight", "/projection_head.norm.bias"],
    );
    let scores = HeadStep::dense("/classifier.weight", "/classifier.bias", Outputs::Labels);
    let tied = config.flag_or("tie_word_embeddings", false)?;
    let decoder = HeadStep::Dense {
        weight: if tied { "embeddings.tok_embeddings.weight" } else { "/lm_head.weight" },
        bias: text.flag_or("decoder_bias", true)?.then_some("/lm_head.bias"),
        outputs: Outputs::Vocab,
        activation: None,
    };
    Ok(Tasks {
        classify: [vec![HeadStep::Pool(pooling)], scored.to_vec(), vec![scores.clone()]].concat(),
        tag: [scored.to_vec(), vec![scores]].concat(),
        fill: [filled.to_vec(), vec![decoder]].concat(),
        ..Tasks::default()
    })
}
