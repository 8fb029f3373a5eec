//! MobileBERT: BERT whose layers work on narrower rows, between bottlenecks, with several feed-forward networks and norms that
//! only scale and shift. Its input are three neighbouring tokens.
//!
//! Configuration: `transformers.MobileBertConfig`. Paper: arXiv 2004.02984.

use std::sync::Arc;

use super::bert::{self, DEFAULTS, Defaults};
use super::head_dim;
use crate::config::{Config, limit};
use crate::declare::Declare;
use crate::encoder::{Layer, Spec, Steps};
use crate::error::Result;
use crate::ops::{EmbedTables, Epilogue, Norm, NormKind, Own, Parts};
use crate::program::Buf;
use crate::task::{HeadStep, Outputs, Tasks};
use crate::weights::Axis;

/// Where the class does not pass its own on.
const EPS: f32 = 1e-5;

pub fn spec(config: &Config) -> Result<Spec> {
    config.require_empty("pruned_heads")?;
    let defaults = Defaults { hidden: 512, layers: 24, heads: 4, inner: 512, activation: "relu", ..DEFAULTS };
    let spec = bert::family(config, &defaults)?;
    let norm_kind = match config.text_or("normalization_type", "no_norm")? {
        "no_norm" => NormKind::Affine,
        "layer_norm" => NormKind::Layer,
        _ => return Err(config.unsupported("normalization_type")),
    };
    let attention = match config.flag_or("use_bottleneck_attention", false)? {
        true => Input::Narrow,
        false if config.flag_or("key_query_shared_bottleneck", true)? => Input::Shared,
        false => Input::Wide,
    };
    let width = config.size_or("intra_bottleneck_size", 128, limit::HIDDEN)?;
    let bottleneck = config.flag_or("use_bottleneck", true)?.then_some(Bottleneck { width, attention });
    // The projections take rows as narrow as the bottleneck, whatever they are given.
    if bottleneck.is_some() && attention == Input::Wide && width != spec.hidden {
        return Err(config.unsupported("key_query_shared_bottleneck"));
    }
    let steps = Narrow {
        bottleneck,
        trigrams: config.flag_or("trigram_input", true)?,
        networks: config.size_or("num_feedforward_networks", 4, limit::LAYERS)?,
    };
    let embedding = config.size_or("embedding_size", 128, limit::HIDDEN)?;
    Ok(Spec {
        head_dim: head_dim(
            config,
            "num_attention_heads",
            bottleneck.map_or(spec.hidden, |bottleneck| bottleneck.width),
            spec.heads,
        )?,
        norm_kind,
        embedding,
        prefixes: &["", "mobilebert."],
        tasks: tasks(config, spec.tasks, embedding < spec.hidden)?,
        steps: Arc::new(steps),
        ..spec
    })
}

/// BERT's heads, but for a pooler that may be linear, and a token table that may be narrower than the states.
fn tasks(config: &Config, mut tasks: Tasks, narrow: bool) -> Result<Tasks> {
    if !config.flag_or("classifier_activation", true)? {
        // Then it gives the state itself.
        tasks.classify.remove(1);
    }
    if let Some(HeadStep::Dense { outputs, .. }) = tasks.fill.last_mut().filter(|_| narrow) {
        *outputs = Outputs::VocabBeside("/cls.predictions.dense.weight");
    }
    Ok(tasks)
}

/// Layers on narrower rows.
struct Narrow {
    bottleneck: Option<Bottleneck>,
    /// Whether a token's input is its own row of the table and those of its neighbours.
    trigrams: bool,
    /// Feed-forward networks of a layer.
    networks: usize,
}

#[derive(Clone, Copy)]
struct Bottleneck {
    /// Columns inside.
    width: usize,
    attention: Input,
}

/// What the attention of a layer with a bottleneck is given.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Input {
    /// The narrow rows.
    Narrow,
    /// Queries and keys narrow rows of their own, values the wide ones.
    Shared,
    /// The wide rows.
    Wide,
}

impl Steps for Narrow {
    fn computes_unattended(&self) -> bool {
        false
    }

    fn embed(&self, spec: &Spec, declare: &mut Declare) -> Buf {
        let tokens = declare.table(spec.names.tokens, spec.tables.vocab, spec.embedding);
        let mut own = declare.program.embed(EmbedTables::of(tokens), spec.embedding, None);
        let mut parts = 1;
        if self.trigrams {
            parts = 3;
            own = declare.program.join(Parts { a: (own, 1), b: (own, 0), c: Some((own, -1)) });
        }
        if self.trigrams || spec.embedding != spec.hidden {
            let tensor = [("embeddings.embedding_transformation".to_owned(), spec.hidden)];
            let (inputs, hidden) = (Axis::blocks(parts, spec.embedding), Axis::plain(spec.hidden));
            let (weight, bias) = declare.linear(&tensor, inputs, hidden, true);
            own = declare.program.linear(own, weight, bias, spec.hidden, Epilogue::None);
        }
        let names = &spec.names;
        let mut table = |name: &str, rows| declare.table(name, rows, spec.hidden);
        let tables = EmbedTables {
            own: Own::Rows(own),
            scale: 1.0,
            dropout: None,
            positions: names.positions.map(|name| table(name, spec.tables.positions)),
            types: names.types.map(|name| table(name, spec.tables.types)),
            tasks: None,
        };
        let norm = names.embed_norm.map(|name| Norm { eps: EPS, ..declare.norm_weights(name, spec.hidden) });
        declare.program.embed(tables, spec.hidden, norm)
    }

    fn layer(&self, spec: &Spec, declare: &mut Declare, index: usize, wide: Buf) -> Buf {
        let layer = &spec.layers[index];
        let heads = spec.attention_heads(declare, layer);
        let (narrow, qkv) = match self.bottleneck {
            None => (wide, spec.qkv(declare, layer, heads, wide)),
            Some(bottleneck) => {
                let narrow = bottleneck.enter(declare, &layer.at("bottleneck.input"), wide);
                let qkv = match bottleneck.attention {
                    Input::Narrow => spec.qkv(declare, layer, heads, narrow),
                    Input::Wide => spec.qkv(declare, layer, heads, wide),
                    Input::Shared => {
                        let shared = bottleneck.enter(declare, &layer.at("bottleneck.attention"), wide);
                        let tensor = |name: &str| (layer.at(&format!("attention.self.{name}")), heads.count);
                        let queries_keys = spec.projection(declare, &[tensor("query"), tensor("key")], heads, shared);
                        let values = spec.projection(declare, &[tensor("value")], heads, wide);
                        declare.program.join(Parts::pair(queries_keys, values))
                    }
                };
                (narrow, qkv)
            }
        };
        let attended = declare.program.attention(qkv, heads);
        let mut x = spec.attention_output(declare, layer, heads.axis(heads.count), attended, narrow);
        for network in 0..self.networks - 1 {
            let network = Layer { name: layer.at(&format!("ffn.{network}")), ..Layer::default() };
            x = spec.feed_forward(declare, &network, x);
        }
        let x = spec.feed_forward_sum(declare, layer, x);
        let norm = Norm { eps: EPS, ..declare.norm_weights(&layer.at(spec.names.ffn_norm), x.width) };
        let x = declare.program.layer_norm(x, norm);
        match self.bottleneck {
            None => x,
            Some(_) => {
                let tensor = [(layer.at("output.bottleneck.dense"), wide.width)];
                let (weight, bias) = declare.linear(&tensor, Axis::plain(x.width), Axis::plain(wide.width), true);
                let x = declare.program.linear(x, weight, bias, wide.width, Epilogue::Residual(wide));
                declare.norm(x, &layer.at("output.bottleneck.LayerNorm"))
            }
        }
    }
}

impl Bottleneck {
    /// Narrow rows of wide ones.
    fn enter(&self, declare: &mut Declare, name: &str, wide: Buf) -> Buf {
        let tensor = [(format!("{name}.dense"), self.width)];
        let (weight, bias) = declare.linear(&tensor, Axis::plain(wide.width), Axis::plain(self.width), true);
        let narrow = declare.program.linear(wide, weight, bias, self.width, Epilogue::None);
        declare.norm(narrow, &format!("{name}.LayerNorm"))
    }
}
