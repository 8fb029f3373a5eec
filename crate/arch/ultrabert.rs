//! UltraBERT: EuroBERT's layers, with windows in all but every third.
//!
//! Configuration: `transformers.UltrabertConfig`.

use serde_json::Value;

use super::llama::{self, Defaults};
use super::{rope, sliding};
use crate::config::{Config, limit};
use crate::encoder::Spec;
use crate::error::Result;
use crate::head::Pooling;
use crate::ops::Activation;
use crate::task::{HeadStep, Outputs, Tasks};

pub fn spec(config: &Config) -> Result<Spec> {
    config.require_empty("rope_scaling")?;
    let mut spec = llama::unturned(
        config,
        &Defaults {
            hidden: 4096,
            inner: 11008,
            layers: 32,
            heads: 32,
            kv_heads: None,
            head_dim: None,
            activation: ("hidden_act", "silu"),
            vocab: 32000,
            positions: 32768,
            eps: 1e-6,
            causal: false,
        },
    )?;
    // The class reads no such key.
    spec.layers.iter_mut().for_each(|layer| layer.behind = None);
    let (slides, window) = windows(config, spec.layers.len())?;
    let base = |kind: bool, default: f32| -> Result<f32> {
        // In older files a list of bases, layer by layer.
        match config.get("rope_theta") {
            Some(Value::Array(_)) if config.get("rope_parameters").is_none() => {
                let bases = config.numbers("rope_theta", slides.len())?;
                let own = bases.into_iter().zip(&slides).rfind(|(_, slides)| **slides == kind);
                Ok(own.map_or(default, |(base, _)| base))
            }
            Some(_) if config.get("rope_parameters").is_none() => Err(config.unsupported("rope_theta")),
            _ if config.get("rope_parameters").is_some() => Ok(10_000.0),
            _ => Ok(default),
        }
    };
    let local = rope::of_type(config, "sliding_attention", base(true, 10_000.0)?, spec.head_dim)?;
    let full = rope::of_type(config, "full_attention", base(false, 2_560_000.0)?, spec.head_dim)?;
    for (layer, slides) in spec.layers.iter_mut().zip(slides) {
        layer.rotation = Some(if slides { local.clone() } else { full.clone() });
        (layer.before, layer.behind) = (slides.then_some(window), slides.then_some(window));
    }
    Ok(Spec { prefixes: &["", "model.", "ultrabert."], tasks: tasks(config)?, ..spec })
}

/// Which layers have a window, and its rows on either side of a token. Older files have a list of windows.
fn windows(config: &Config, layers: usize) -> Result<(Vec<bool>, usize)> {
    let window = config.size_or("sliding_window", 128, limit::SEQUENCE)?;
    let Some(list) = config.get("attention_windows") else {
        return Ok((sliding(config, layers, |index| (index + 1) % 3 != 0)?, window));
    };
    let wrong = || config.unsupported("attention_windows");
    let width = |window: &Value| match window {
        Value::Null | Value::Bool(false) => Some(0),
        window => {
            window.as_u64().and_then(|width| usize::try_from(width).ok()).filter(|width| *width <= limit::SEQUENCE)
        }
    };
    let list: Option<Vec<usize>> = list.as_array().and_then(|list| list.iter().map(width).collect());
    let list = list.filter(|list| list.len() == layers).ok_or_else(wrong)?;
    let window = list.iter().copied().find(|width| *width > 0).unwrap_or(window);
    Ok((sliding(config, layers, |index| list[index] > 0)?, window))
}

fn tasks(config: &Config) -> Result<Tasks> {
    let pooling = match config.text_or("classifier_pooling", "cls")? {
        "cls" => Pooling::Cls,
        "mean" => Pooling::Mean,
        _ => return Err(config.unsupported("classifier_pooling")),
    };
    let scores = HeadStep::dense("/classifier.weight", "/classifier.bias", Outputs::Labels);
    let dense =
        |weight, outputs| HeadStep::Dense { weight, bias: None, outputs, activation: Some(Activation::GeluTanh) };
    let tied = config.flag_or("tie_word_embeddings", false)?;
    let decoder = if tied { "embed_tokens.weight" } else { "/cls.weight" };
    let decoder = HeadStep::Dense { weight: decoder, bias: None, outputs: Outputs::Vocab, activation: None };
    let width = config.size_or("prediction_head_size", 768, limit::INNER)?;
    Ok(Tasks {
        classify: vec![HeadStep::Pool(pooling), scores.clone()],
        tag: vec![scores],
        answer: vec![HeadStep::dense("/qa_outputs.weight", "/qa_outputs.bias", Outputs::Labels)],
        fill: vec![
            dense("/head.linear1.weight", Outputs::Columns(width)),
            dense("/head.linear2.weight", Outputs::Hidden),
            decoder,
        ],
        ..Tasks::default()
    })
}
