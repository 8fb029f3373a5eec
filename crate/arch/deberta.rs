//! DeBERTa: scores also compare each token with the distance of the other, and distances have queries and keys.
//!
//! Configuration: `transformers.DebertaConfig`. Paper: arXiv 2006.03654.

use std::sync::Arc;

use serde_json::{Value, json};

use super::bert::{self, DEFAULTS, Defaults, NAMES};
use crate::batch::Tables;
use crate::config::{Config, limit};
use crate::declare::Declare;
use crate::encoder::{Layer, Names, Spec, Steps};
use crate::error::Result;
use crate::head::Pooling;
use crate::ops::{Activation, Epilogue, Heads, RelativePositions};
use crate::program::{Buf, WeightId};
use crate::sort::sort_by;
use crate::task::{HeadStep, Outputs, Tasks};
use crate::weights::{Axis, Layout, Part, Rounding, Weight};

pub fn spec(config: &Config) -> Result<Spec> {
    config.require("talking_head", &json!(false))?;
    let steps = Disentangled {
        terms: Terms::read(config)?,
        positions: Positions::read(config)?,
        projections: Projections::Joint,
        conv: None,
    };
    family(config, &Defaults { vocab: 50265, eps: 1e-7, ..DEFAULTS }, steps)
}

/// What both generations share.
pub fn family(config: &Config, defaults: &Defaults, steps: Disentangled) -> Result<Spec> {
    let spec = bert::family(config, defaults)?;
    let types = config.index_or("type_vocab_size", 0, 1024)? as usize;
    let embedding = config.size_or("embedding_size", spec.hidden, limit::HIDDEN)?;
    Ok(Spec {
        tables: Tables { types, ..spec.tables },
        embedding,
        // Terms count whether there are positions or not.
        scale: Some(1.0 / ((spec.head_dim * steps.terms.count()) as f32).sqrt()),
        names: Names {
            positions: if config.flag_or("position_biased_input", true)? { NAMES.positions } else { None },
            types: if types > 0 { NAMES.types } else { None },
            // Behind the projection where there is one, see `Disentangled::embed`.
            embed_norm: if embedding == spec.hidden { NAMES.embed_norm } else { None },
            qkv: &["attention.self.query_proj", "attention.self.key_proj", "attention.self.value_proj"],
            ..NAMES
        },
        prefixes: &["", "deberta."],
        tasks: tasks(config, &spec, embedding)?,
        steps: Arc::new(steps),
        ..spec
    })
}

/// The heads of both generations.
fn tasks(config: &Config, spec: &Spec, embedding: usize) -> Result<Tasks> {
    let activation = spec.ffn.activation();
    let classify = |pooler| {
        vec![
            HeadStep::Pool(Pooling::Cls),
            HeadStep::activated("/pooler.dense.weight", "/pooler.dense.bias", pooler),
            HeadStep::dense("/classifier.weight", "/classifier.bias", Outputs::Labels),
        ]
    };
    let tokens = "embeddings.word_embeddings.weight";
    let fill = if config.flag_or("legacy", true)? {
        let tied = config.flag_or("tie_word_embeddings", true)?;
        let (decoder, bias) = match tied {
            true => (tokens, "/cls.predictions.bias"),
            false => ("/cls.predictions.decoder.weight", "/cls.predictions.decoder.bias"),
        };
        let norm = ["/cls.predictions.transform.LayerNorm.weight", "/cls.predictions.transform.LayerNorm.bias"];
        vec![
            HeadStep::Dense {
                weight: "/cls.predictions.transform.dense.weight",
                bias: Some("/cls.predictions.transform.dense.bias"),
                outputs: Outputs::Embedding,
                activation: Some(activation),
            },
            HeadStep::norm(norm[0], norm[1], spec.eps),
            HeadStep::dense(decoder, bias, Outputs::Vocab),
        ]
    } else if embedding == spec.hidden {
        let dense = ["/lm_predictions.lm_head.dense.weight", "/lm_predictions.lm_head.dense.bias"];
        let norm = ["/lm_predictions.lm_head.LayerNorm.weight", "/lm_predictions.lm_head.LayerNorm.bias"];
        vec![
            HeadStep::activated(dense[0], dense[1], activation),
            HeadStep::norm(norm[0], norm[1], spec.eps),
            HeadStep::dense(tokens, "/lm_predictions.lm_head.bias", Outputs::Vocab),
        ]
    } else {
        Vec::new()
    };
    Ok(Tasks {
        classify: Activation::parse(config.text_or("pooler_hidden_act", "gelu")?).map(classify).unwrap_or_default(),
        tag: vec![HeadStep::dense("/classifier.weight", "/classifier.bias", Outputs::Labels)],
        answer: vec![HeadStep::dense("/qa_outputs.weight", "/qa_outputs.bias", Outputs::Labels)],
        fill,
        ..Tasks::default()
    })
}

/// What is disentangled, and where the tensors are that the generations name differently.
pub struct Disentangled {
    pub terms: Terms,
    /// None: there is nothing beside content.
    pub positions: Option<Positions>,
    pub projections: Projections,
    /// A convolution of the embeddings that is added behind the first layer.
    pub conv: Option<Conv>,
}

/// What a score sums beside content to content.
#[derive(Clone, Copy)]
pub struct Terms {
    pub content_to_position: bool,
    pub position_to_content: bool,
}

impl Terms {
    pub fn read(config: &Config) -> Result<Self> {
        let key = "pos_att_type";
        let joined = match config.get(key) {
            Some(Value::String(joined)) => joined.to_lowercase(),
            _ => config.texts(key)?.unwrap_or_default().join("|"),
        };
        let mut names: Vec<&str> = joined.split('|').map(str::trim).filter(|_| !joined.is_empty()).collect();
        sort_by(&mut names, Ord::cmp);
        let (content_to_position, position_to_content) = match names[..] {
            [] => (false, false),
            ["c2p"] => (true, false),
            ["p2c"] => (false, true),
            ["c2p", "p2c"] => (true, true),
            _ => return Err(config.unsupported(key)),
        };
        Ok(Self { content_to_position, position_to_content })
    }

    /// How many terms a score has.
    fn count(self) -> usize {
        1 + usize::from(self.content_to_position) + usize::from(self.position_to_content)
    }
}

/// Most rows of half a table: a set-up kernel has a workgroup a row, and WebGPU promises 65535.
pub const MOST_SPAN: usize = limit::POSITIONS / 2;

/// The table of relative positions.
pub struct Positions {
    /// Half its rows.
    pub span: usize,
    /// Distances are in buckets that grow with them up to this one; none: each has its own.
    pub farthest: Option<usize>,
    /// Whether it is normalised.
    pub norm: bool,
}

impl Positions {
    /// None where attention is not relative. Each distance has its own row, and those beyond share the last.
    pub fn read(config: &Config) -> Result<Option<Self>> {
        if !config.flag_or("relative_attention", false)? {
            return Ok(None);
        }
        let span = match or_none(config, "max_relative_positions", MOST_SPAN)? {
            Some(span) => span,
            None => config.size_or("max_position_embeddings", 512, MOST_SPAN)?,
        };
        Ok(Some(Self { span, farthest: None, norm: false }))
    }

    /// The row of a distance.
    fn row(&self, distance: i64) -> usize {
        let span = self.span as i64;
        let bucket = match self.farthest {
            None => distance,
            Some(farthest) => log_bucket(distance, span, farthest),
        };
        (bucket + span).clamp(0, 2 * span - 1) as usize
    }
}

/// The number at `key`, which stands for none where it is not above zero.
pub fn or_none(config: &Config, key: &str, most: usize) -> Result<Option<usize>> {
    match config.get(key) {
        None => Ok(None),
        Some(value) if value.as_i64().is_some_and(|number| number < 1) => Ok(None),
        Some(_) => config.size(key, most).map(Some),
    }
}

/// `make_log_bucket_position` of transformers: near distances are themselves, those behind share buckets.
fn log_bucket(distance: i64, buckets: i64, farthest: usize) -> i64 {
    let near = buckets / 2;
    if distance.abs() <= near {
        return distance;
    }
    let ratio = |distance: f64| (distance / near as f64) as f32;
    let far = ratio(distance.abs() as f64).ln() / ratio(farthest as f64 - 1.0).ln() * (near - 1) as f32;
    distance.signum() * (far.ceil() as i64 + near)
}

/// How the checkpoint keeps projections.
#[derive(Clone, Copy, PartialEq)]
pub enum Projections {
    /// One tensor holds the query, key and value of a head side by side.
    Joint,
    /// A tensor each.
    Separate,
    /// A tensor each, by which positions are projected too.
    Shared,
}

/// `ConvLayer` of transformers.
pub struct Conv {
    /// Rows that an output sees, an odd number.
    pub taps: usize,
    pub activation: Activation,
}

impl Steps for Disentangled {
    fn computes_unattended(&self) -> bool {
        false
    }

    fn embed(&self, spec: &Spec, declare: &mut Declare) -> Buf {
        let x = spec.embed(declare);
        if spec.embedding == spec.hidden {
            return x;
        }
        let (inputs, outputs) = (Axis::plain(spec.embedding), Axis::plain(spec.hidden));
        let project = [("embeddings.embed_proj".to_owned(), spec.hidden)];
        let (weight, bias) = declare.linear(&project, inputs, outputs, false);
        let x = declare.program.linear(x, weight, bias, spec.hidden, Epilogue::None);
        declare.norm(x, "embeddings.LayerNorm")
    }

    fn layer(&self, spec: &Spec, declare: &mut Declare, index: usize, x: Buf) -> Buf {
        let layer = &spec.layers[index];
        let heads = spec.attention_heads(declare, layer);
        let (weight, bias) = match self.projections {
            Projections::Joint => joint(spec, declare, layer, heads),
            Projections::Separate | Projections::Shared => spec.qkv_weights(declare, layer, heads, x.width),
        };
        let qkv = declare.program.linear(x, weight, bias, heads.axis(heads.qkv()).padded(), Epilogue::None);
        let attended = match &self.positions {
            Some(positions) if self.terms.count() > 1 => {
                let positions = self.project(spec, declare, layer, heads, positions, (weight, bias));
                declare.program.disentangled_attention(qkv, heads, positions)
            }
            _ => declare.program.attention(qkv, heads),
        };
        let attended = spec.attention_output(declare, layer, heads.axis(heads.count), attended, x);
        let out = spec.feed_forward(declare, layer, attended);
        match &self.conv {
            Some(conv) if index == 0 => conv.record(spec, declare, x, out),
            _ => out,
        }
    }
}

impl Disentangled {
    /// The queries and keys of positions, which depend on the weights alone: all this is set-up.
    fn project(
        &self,
        spec: &Spec,
        declare: &mut Declare,
        layer: &Layer,
        heads: Heads,
        positions: &Positions,
        (weight, bias): (WeightId, WeightId),
    ) -> RelativePositions {
        let Terms { content_to_position, position_to_content } = self.terms;
        let table = declare.table("encoder.rel_embeddings", 2 * positions.span, spec.hidden);
        let norm = positions.norm.then(|| declare.norm_weights("encoder.LayerNorm", spec.hidden));
        let rows = declare.program.embed_rows(table, 2 * positions.span, spec.hidden, norm);
        let (query, key) = match self.projections {
            Projections::Joint => ("attention.self.pos_q_proj", "attention.self.pos_proj"),
            _ => ("attention.self.pos_query_proj", "attention.self.pos_key_proj"),
        };
        let axis = heads.axis(2 * heads.count);
        let (weight, bias) = match self.projections {
            // Its first columns are those of queries and keys.
            Projections::Shared => (weight, bias),
            Projections::Joint | Projections::Separate => {
                let half = axis.size() / 2;
                let parts = |query: Option<Part>, key: Option<Part>| query.into_iter().chain(key).collect();
                let part = |name, field, at| declare.part(&layer.at(name), field, at, half);
                let query = |field| position_to_content.then(|| part(query, field, 0));
                let key = |field| content_to_position.then(|| part(key, field, half));
                let key_bias = if self.projections == Projections::Joint { None } else { key("bias") };
                let layout = Layout::Linear { inputs: Axis::plain(spec.hidden), outputs: axis };
                let weight = Weight::new(layout, parts(query("weight"), key("weight")), Rounding::Allowed);
                let bias = Weight::new(Layout::Vector { axis }, parts(query("bias"), key_bias), Rounding::Never);
                (declare.program.weight(weight), declare.program.weight(bias))
            }
        };
        // No text has longer distances.
        let most = spec.tables.positions;
        let buckets = (0..=2 * most).map(|distance| positions.row(distance as i64 - most as i64) as f32);
        RelativePositions {
            rows: declare.program.linear(rows, weight, bias, axis.padded(), Epilogue::None),
            buckets: declare.program.weight(Weight::values(buckets.collect())),
            most,
            content_to_position,
            position_to_content,
        }
    }
}

/// Query, key and value of a head side by side, and no bias for keys.
fn joint(spec: &Spec, declare: &mut Declare, layer: &Layer, heads: Heads) -> (WeightId, WeightId) {
    let axis = heads.axis(heads.qkv());
    let each = axis.size() / 3;
    let layout = Layout::Linear { inputs: Axis::plain(spec.hidden), outputs: axis.interleaved(3) };
    let weight = vec![declare.part(&layer.at("attention.self.in_proj"), "weight", 0, axis.size())];
    let own = layer.at("attention.self");
    let bias = vec![declare.part(&own, "q_bias", 0, each), declare.part(&own, "v_bias", 2 * each, each)];
    let bias = Weight::new(Layout::Vector { axis }, bias, Rounding::Never);
    (declare.program.weight(Weight::new(layout, weight, Rounding::Allowed)), declare.program.weight(bias))
}

impl Conv {
    /// The convolution of the embeddings, added to the output of the first layer, and normalised.
    fn record(&self, spec: &Spec, declare: &mut Declare, embedded: Buf, out: Buf) -> Buf {
        let axis = Axis::plain(spec.hidden);
        let parts = |field| vec![declare.part("encoder.conv.conv", field, 0, spec.hidden)];
        let layout = Layout::Conv { inputs: axis, taps: self.taps, outputs: axis };
        let weight = Weight::new(layout, parts("weight"), Rounding::Allowed);
        let bias = Weight::new(Layout::Vector { axis }, parts("bias"), Rounding::Never);
        let (weight, bias) = (declare.program.weight(weight), declare.program.weight(bias));
        let x = declare.program.conv(embedded, weight, bias, self.taps, self.activation, out);
        declare.norm(x, "encoder.conv.LayerNorm")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_distances_share_buckets_as_in_transformers() {
        // The sum of distance times bucket that `make_log_bucket_position` gives for these distances.
        for (buckets, farthest, expected) in [
            (256, 512, 10_474_214_910),
            (8, 64, 292_701_230),
            (11, 20, 617_904_164),
            (2, 9, 25_005_000),
            (64, 4096, 1_539_988_320),
        ] {
            let found: i64 = (-5000..=5000).map(|distance| distance * log_bucket(distance, buckets, farthest)).sum();
            assert_eq!(found, expected, "{buckets} buckets up to {farthest}");
        }
    }

    #[test]
    fn rows_are_clamped_to_the_table() {
        let positions = |span, farthest| Positions { span, farthest, norm: false };
        let rows = |positions: Positions, distances: [i64; 6]| distances.map(|distance| positions.row(distance));
        assert_eq!(rows(positions(9, None), [-900, -9, -8, 0, 8, 9]), [0, 0, 1, 9, 17, 17]);
        assert_eq!(rows(positions(8, Some(64)), [-900, -64, -5, 4, 5, 63]), [0, 0, 3, 12, 13, 15]);
    }
}
