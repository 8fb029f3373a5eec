//! LLaMA, Mistral, Qwen2 and Qwen3: decoders whose hidden states serve as embeddings. Pre-norm, gated, rotary positions, keys
//! and values shared by several queries; a token sees those before it, unless the configuration says otherwise.
//!
//! Configuration: `transformers.LlamaConfig`, `MistralConfig`, `Qwen2Config`, `Qwen3Config`. Papers: arXiv
//! 2302.13971, 2310.06825, 2407.10671, 2505.09388.

use std::sync::Arc;

use serde_json::json;

use super::{rope, sliding};
use crate::batch::Tables;
use crate::config::{Config, limit};
use crate::encoder::{AsSpecified, Bias, Ffn, Layer, Names, Place, Spec};
use crate::error::{Error, Result};
use crate::head::Pooling;
use crate::ops::{Activation, NormKind};
use crate::task::{HeadStep, Outputs, Tasks};

/// What the classes of the family do not share.
pub struct Defaults {
    pub hidden: usize,
    pub inner: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: Option<usize>,
    pub head_dim: Option<usize>,
    /// The key of the activation, and its default.
    pub activation: (&'static str, &'static str),
    pub vocab: usize,
    pub positions: usize,
    pub eps: f32,
    /// Whether a token sees only those before it.
    pub causal: bool,
}

pub fn spec(config: &Config) -> Result<Spec> {
    let base = Defaults {
        hidden: 4096,
        inner: 11008,
        layers: 32,
        heads: 32,
        kv_heads: None,
        head_dim: None,
        activation: ("hidden_act", "silu"),
        vocab: 32000,
        positions: 2048,
        eps: 1e-6,
        causal: true,
    };
    match config.text_or("model_type", "")? {
        "mistral" => {
            let spec = family(config, &Defaults { inner: 14336, kv_heads: Some(8), positions: 131_072, ..base })?;
            with_windows(config, spec, Some(4096), 0)
        }
        kind @ ("qwen2" | "qwen3") => {
            let head_dim = (kind == "qwen3").then_some(128);
            let defaults = Defaults { inner: 22016, head_dim, vocab: 151_936, positions: 32_768, ..base };
            let spec = family(config, &defaults)?;
            let names = match kind {
                "qwen2" => {
                    let bias = Bias { qkv: true, ..Bias::default() };
                    Names { bias, ..spec.names }
                }
                _ => Names { qk_norm: Some(["self_attn.q_norm", "self_attn.k_norm"]), ..spec.names },
            };
            let spec = Spec { names, ..spec };
            let first = match config.flag_or("use_sliding_window", false)? {
                true => config.index_or("max_window_layers", 28, limit::LAYERS)? as usize,
                false => limit::LAYERS,
            };
            with_windows(config, spec, None, first)
        }
        _ => family(config, &base),
    }
}

/// Limits the layers that `layer_types` names, or all from the `first` on, to a window.
fn with_windows(config: &Config, mut spec: Spec, default: Option<usize>, first: usize) -> Result<Spec> {
    let window = match config.get("sliding_window") {
        Some(_) => Some(config.size("sliding_window", limit::SEQUENCE)?),
        // Null means none; the class's own default counts where the key is absent.
        None if config.has("sliding_window") => None,
        None => default,
    };
    let slides = sliding(config, spec.layers.len(), |index| index >= first && window.is_some())?;
    for (layer, slides) in spec.layers.iter_mut().zip(slides) {
        if slides {
            let window = window.ok_or_else(|| config.unsupported("sliding_window"))?;
            // Causal windows count the token itself, the others the distance.
            (layer.before, layer.behind) = match layer.behind {
                Some(behind) => (Some(window - 1), Some(behind)),
                None => (Some(window), Some(window)),
            };
        }
    }
    Ok(spec)
}

/// Reads what all configuration classes of the family have. The names are LLaMA's.
pub fn family(config: &Config, defaults: &Defaults) -> Result<Spec> {
    let mut spec = unturned(config, defaults)?;
    let rotation = rope::rotation(config, 10_000.0, spec.head_dim)?;
    spec.layers.iter_mut().for_each(|layer| layer.rotation = Some(rotation.clone()));
    Ok(spec)
}

/// As [`family`], without rotations.
pub fn unturned(config: &Config, defaults: &Defaults) -> Result<Spec> {
    config.require("pretraining_tp", &json!(1))?;
    let hidden = config.size_or("hidden_size", defaults.hidden, limit::HIDDEN)?;
    let heads = config.size_or("num_attention_heads", defaults.heads, hidden)?;
    let kv_heads = config.size_or("num_key_value_heads", defaults.kv_heads.unwrap_or(heads), heads)?;
    if !heads.is_multiple_of(kv_heads) {
        return Err(config.unsupported("num_key_value_heads"));
    }
    let head_dim = config.size_or("head_dim", defaults.head_dim.unwrap_or((hidden / heads).max(1)), 256)?;
    if !head_dim.is_multiple_of(2) {
        return Err(Error::option("head dimension", head_dim));
    }
    let (activation_key, default) = defaults.activation;
    let activation = Activation::parse(config.text_or(activation_key, default)?);
    let mut layers = Layer::plain("layers.{i}", config.size_or("num_hidden_layers", defaults.layers, limit::LAYERS)?);
    let causal = config.flag_or("is_causal", defaults.causal)?;
    for layer in &mut layers {
        layer.behind = causal.then_some(0);
    }
    let attention_bias = config.flag_or("attention_bias", false)?;
    Ok(Spec {
        hidden,
        inner: config.size_or("intermediate_size", defaults.inner, limit::INNER)?,
        layers,
        heads,
        kv_heads,
        head_dim,
        norm: Place::Pre,
        ffn: Ffn::Gated(activation.ok_or_else(|| config.unsupported(activation_key))?),
        eps: config.number_or("rms_norm_eps", defaults.eps, 0.1)?,
        norm_kind: NormKind::Rms,
        embed_scale: 1.0,
        tables: Tables {
            vocab: config.size_or("vocab_size", defaults.vocab, limit::VOCAB)?,
            positions: config.size_or("max_position_embeddings", defaults.positions, limit::SEQUENCE)?,
            ..Tables::default()
        },
        embedding: hidden,
        scale: None,
        names: Names {
            tokens: "embed_tokens",
            qkv: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
            attention_out: "self_attn.o_proj",
            attention_norm: "input_layernorm",
            ffn_in: &["mlp.gate_proj", "mlp.up_proj"],
            ffn_out: "mlp.down_proj",
            ffn_norm: "post_attention_layernorm",
            final_norm: Some("norm"),
            bias: Bias {
                qkv: attention_bias,
                attention_out: attention_bias,
                ffn_in: config.flag_or("mlp_bias", false)?,
                ffn_out: config.flag_or("mlp_bias", false)?,
                norm: false,
            },
            ..Names::default()
        },
        prefixes: &["", "model.", "transformer."],
        tasks: tasks(config, None)?,
        steps: Arc::new(AsSpecified),
    })
}

/// The heads of `GenericFor…`: the last token that is no padding stands for the text. `padding` is the default of the class.
pub fn tasks(config: &Config, padding: Option<u32>) -> Result<Tasks> {
    let padding = match config.get("pad_token_id") {
        None if config.has("pad_token_id") => None,
        None => padding,
        // Below zero it is no token.
        Some(id) if id.as_i64().is_some_and(|id| id < 0) => None,
        Some(_) => Some(config.index_or("pad_token_id", 0, limit::VOCAB)?),
    };
    let last = padding.map_or(HeadStep::Pool(Pooling::LastToken), HeadStep::LastBut);
    let score = |bias| HeadStep::Dense { weight: "/score.weight", bias, outputs: Outputs::Labels, activation: None };
    Ok(Tasks {
        classify: vec![last, score(None)],
        tag: vec![score(Some("/score.bias"))],
        answer: vec![HeadStep::dense("/qa_outputs.weight", "/qa_outputs.bias", Outputs::Labels)],
        fill: Vec::new(),
        ..Tasks::default()
    })
}
