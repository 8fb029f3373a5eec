//! The text towers of CLIP and SigLIP, alone or beside that of images: pre-norm with learned positions; in CLIP's, a token
//! sees only those before it.
//!
//! Configuration: `transformers.CLIPTextConfig`, `SiglipTextConfig`, `CLIPConfig`, `SiglipConfig`. Papers: arXiv 2103.00020,
//! 2303.15343.

use std::sync::Arc;

use super::head_dim;
use crate::batch::Tables;
use crate::config::{Config, limit};
use crate::encoder::{Bias, Ffn, Layer, Names, Place, Spec, Steps};
use crate::error::Result;
use crate::head::{Dense, End, OwnVectors};
use crate::ops::{Activation, NormKind};
use crate::task::Tasks;

/// Where the configuration does not say, and what sets the towers apart.
pub struct Defaults {
    hidden: usize,
    inner: usize,
    heads: usize,
    vocab: usize,
    positions: usize,
    activation: &'static str,
    eps: f32,
    causal: bool,
}

pub const CLIP: Defaults = Defaults {
    hidden: 512,
    inner: 2048,
    heads: 8,
    vocab: 49408,
    positions: 77,
    activation: "quick_gelu",
    eps: 1e-5,
    causal: true,
};

pub const SIGLIP: Defaults = Defaults {
    hidden: 768,
    inner: 3072,
    heads: 12,
    vocab: 32000,
    positions: 64,
    activation: "gelu_pytorch_tanh",
    eps: 1e-6,
    causal: false,
};

/// The tower of texts of a model that has one of images too.
pub fn beside_images(config: &Config, defaults: &Defaults) -> Result<Spec> {
    let text = config.object("text_config")?.ok_or_else(|| config.unsupported("text_config"))?;
    let spec = spec(&text, defaults)?;
    let steps = Tower { vectors: Some(own_vectors(config, &text, defaults, spec.hidden)?) };
    Ok(Spec { steps: Arc::new(steps), ..spec })
}

/// The last token and a product, or the token that ends a text and a product without a bias.
fn own_vectors(whole: &Config, text: &Config, defaults: &Defaults, hidden: usize) -> Result<OwnVectors> {
    let (end, name, outputs) = match (defaults.causal, text.index_or("eos_token_id", 49407, limit::VOCAB)?) {
        (false, _) => (End::Padded(0, 0), "head", text.size_or("projection_size", hidden, limit::INNER)?),
        (true, end) => {
            // In older files the id is wrong.
            let end = if end == 2 { End::Highest } else { End::Id(end) };
            (end, "/text_projection", whole.size_or("projection_dim", 512, limit::INNER)?)
        }
    };
    let (bias, activation) = (!defaults.causal, None);
    let dense = Dense { file: String::new(), name: name.into(), inputs: hidden, outputs, bias, activation };
    Ok(OwnVectors { end, dense })
}

/// Everything as specified, but that the class may make vectors itself.
struct Tower {
    vectors: Option<OwnVectors>,
}

impl Steps for Tower {
    fn own_vectors(&self) -> Option<OwnVectors> {
        self.vectors.clone()
    }
}

pub fn spec(config: &Config, defaults: &Defaults) -> Result<Spec> {
    let hidden = config.size_or("hidden_size", defaults.hidden, limit::HIDDEN)?;
    let heads = config.size_or("num_attention_heads", defaults.heads, hidden)?;
    let activation = Activation::parse(config.text_or("hidden_act", defaults.activation)?);
    let mut layers = Layer::plain("encoder.layers.{i}", config.size_or("num_hidden_layers", 12, limit::LAYERS)?);
    for layer in &mut layers {
        layer.behind = defaults.causal.then_some(0);
    }
    // Of CLIP's classes one has a projection, of SigLIP's the only one.
    let classes = config.texts("architectures")?.unwrap_or_default();
    let projects = !defaults.causal || classes.iter().any(|class| class.ends_with("WithProjection"));
    let vectors = projects.then(|| own_vectors(config, config, defaults, hidden)).transpose()?;
    Ok(Spec {
        hidden,
        inner: config.size_or("intermediate_size", defaults.inner, limit::INNER)?,
        layers,
        heads,
        kv_heads: heads,
        head_dim: head_dim(config, "num_attention_heads", hidden, heads)?,
        norm: Place::Pre,
        ffn: Ffn::Plain(activation.ok_or_else(|| config.unsupported("hidden_act"))?),
        eps: config.number_or("layer_norm_eps", defaults.eps, 0.1)?,
        norm_kind: NormKind::Layer,
        embed_scale: 1.0,
        tables: Tables {
            vocab: config.size_or("vocab_size", defaults.vocab, limit::VOCAB)?,
            positions: config.size_or("max_position_embeddings", defaults.positions, limit::POSITIONS)?,
            ..Tables::default()
        },
        embedding: hidden,
        scale: None,
        names: Names {
            tokens: "embeddings.token_embedding",
            positions: Some("embeddings.position_embedding"),
            qkv: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
            attention_out: "self_attn.out_proj",
            attention_norm: "layer_norm1",
            ffn_in: &["mlp.fc1"],
            ffn_out: "mlp.fc2",
            ffn_norm: "layer_norm2",
            final_norm: Some("final_layer_norm"),
            bias: Bias::ALL,
            ..Names::default()
        },
        prefixes: &["", "text_model."],
        tasks: Tasks::default(),
        steps: Arc::new(Tower { vectors }),
    })
}
