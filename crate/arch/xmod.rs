//! X-MOD: XLM-RoBERTa with a small network of its own for each language behind every feed-forward network.
//!
//! Configuration: `transformers.XmodConfig`. Paper: arXiv 2205.06266.

use std::sync::Arc;

use super::bert::NAMES;
use super::bert::{self, DEFAULTS};
use super::roberta::{behind_padding, padding, tasks};
use crate::config::Config;
use crate::declare::Declare;
use crate::encoder::{Layer, Names, Place, Spec, Steps};
use crate::error::Result;
use crate::ops::{Activation, Epilogue};
use crate::program::Buf;
use crate::weights::Axis;

pub fn spec(config: &Config) -> Result<Spec> {
    let spec = bert::family(config, &DEFAULTS)?;
    let languages = config.texts("languages")?.unwrap_or_else(|| vec!["en_XX"]);
    // Without one, transformers asks for the language of every text.
    let language = config.text_or("default_language", "")?;
    if !languages.contains(&language) {
        return Err(config.unsupported("default_language"));
    }
    let factor = config.size_or("adapter_reduction_factor", 2, spec.hidden)?;
    let norm = match config.flag_or("adapter_layer_norm", false)? {
        true => Some("output.adapter_layer_norm"),
        false => config.flag_or("adapter_reuse_layer_norm", true)?.then_some(NAMES.ffn_norm),
    };
    let adapters = Adapters {
        language: format!("output.adapter_modules.{language}"),
        inner: spec.hidden / factor,
        activation: spec.ffn.activation(),
        norm,
        norm_is_added: config.flag_or("ln_before_adapter", true)?,
    };
    let pre = config.flag_or("pre_norm", false)?;
    Ok(Spec {
        norm: if pre { Place::Pre } else { Place::Post },
        tables: behind_padding(config, spec.tables, padding(config)?)?,
        names: Names { final_norm: pre.then_some("encoder.LayerNorm"), ..NAMES },
        prefixes: &["", "roberta."],
        tasks: tasks(config, spec.eps)?,
        steps: Arc::new(adapters),
        ..spec
    })
}

/// The networks of one language.
struct Adapters {
    /// What its tensor names begin with, below the name of the layer.
    language: String,
    /// Columns inside.
    inner: usize,
    activation: Activation,
    /// The normalisation of their input, below the name of the layer.
    norm: Option<&'static str>,
    /// Whether the normalised input is what their output is added to.
    norm_is_added: bool,
}

impl Steps for Adapters {
    fn layer(&self, spec: &Spec, declare: &mut Declare, index: usize, x: Buf) -> Buf {
        let layer = &spec.layers[index];
        let x = spec.attention(declare, layer, x);
        let x = spec.feed_forward_sum(declare, layer, x);
        let x = self.adapter(declare, layer, x);
        match spec.norm {
            Place::Pre => x,
            Place::Post => declare.norm(x, &layer.at(spec.names.ffn_norm)),
        }
    }
}

impl Adapters {
    fn adapter(&self, declare: &mut Declare, layer: &Layer, x: Buf) -> Buf {
        let normed = self.norm.map_or(x, |name| declare.norm(x, &layer.at(name)));
        let onto = if self.norm_is_added { normed } else { x };
        let (hidden, inner) = (Axis::plain(x.width), Axis::plain(self.inner));
        let name = |product: &str| layer.at(&format!("{}.{product}", self.language));
        let (weight, bias) = declare.linear(&[(name("dense1"), self.inner)], hidden, inner, true);
        let narrow = declare.program.linear(normed, weight, bias, self.inner, Epilogue::Activation(self.activation));
        let (weight, bias) = declare.linear(&[(name("dense2"), x.width)], inner, hidden, true);
        declare.program.linear(narrow, weight, bias, x.width, Epilogue::Residual(onto))
    }
}
