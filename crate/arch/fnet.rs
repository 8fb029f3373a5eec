//! FNet: BERT with a Fourier transform over the columns and the tokens of each text in the place of attention.
//!
//! Configuration: `transformers.FNetConfig`. Paper: arXiv 2105.03824.

use std::sync::Arc;

use serde_json::json;

use super::bert::{NAMES, tasks};
use crate::batch::Tables;
use crate::config::{Config, limit};
use crate::declare::Declare;
use crate::encoder::{Ffn, Layer, Names, Place, Spec, Steps};
use crate::error::Result;
use crate::ops::{Activation, NormKind};
use crate::program::Buf;

/// Longest texts: the table of cosines and sines grows with the square.
const POSITIONS: usize = 2048;

pub fn spec(config: &Config) -> Result<Spec> {
    // With it, short texts are transformed as if they were longer.
    config.require("use_tpu_fourier_optimizations", &json!(false))?;
    let hidden = config.size_or("hidden_size", 768, limit::HIDDEN)?;
    let activation = Activation::parse(config.text_or("hidden_act", "gelu_new")?);
    let activation = activation.ok_or_else(|| config.unsupported("hidden_act"))?;
    let eps = config.number_or("layer_norm_eps", 1e-12, 0.1)?;
    Ok(Spec {
        hidden,
        inner: config.size_or("intermediate_size", 3072, limit::INNER)?,
        layers: Layer::plain("encoder.layer.{i}", config.size_or("num_hidden_layers", 12, limit::LAYERS)?),
        // There is no attention.
        heads: 1,
        kv_heads: 1,
        head_dim: hidden,
        norm: Place::Post,
        ffn: Ffn::Plain(activation),
        eps,
        norm_kind: NormKind::Layer,
        embed_scale: 1.0,
        tables: Tables {
            vocab: config.size_or("vocab_size", 32000, limit::VOCAB)?,
            types: config.index_or("type_vocab_size", 4, 1024)? as usize,
            positions: config.size_or("max_position_embeddings", 512, POSITIONS)?,
            ..Tables::default()
        },
        embedding: hidden,
        scale: None,
        names: Names { project: Some("embeddings.projection"), ..NAMES },
        prefixes: &["", "fnet."],
        tasks: tasks(config, activation, eps)?,
        steps: Arc::new(Fourier),
    })
}

/// The transform, and BERT's feed-forward network.
struct Fourier;

impl Steps for Fourier {
    fn computes_unattended(&self) -> bool {
        false
    }

    fn layer(&self, spec: &Spec, declare: &mut Declare, index: usize, x: Buf) -> Buf {
        let layer = &spec.layers[index];
        let mixed = declare.program.fourier(x, spec.tables.positions);
        let x = declare.norm(mixed, &layer.at("fourier.output.LayerNorm"));
        spec.feed_forward(declare, layer, x)
    }
}
