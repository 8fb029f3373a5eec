//! The description of an encoder as data, and the one forward pass that is recorded from it.
//!
//! Architectures differ in what they put into [`Spec`]; nothing here knows their names.

use crate::batch::Tables;
use crate::ops::{Activation, EmbedTables, Epilogue, Norm};
use crate::program::{Buf, Program, WeightId};
use crate::weights::{Axis, Layout, Part, Rounding, Weight};

/// A post-norm encoder with learned positions: BERT and its kin.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Columns of a hidden state.
    pub hidden: usize,
    /// Columns inside the feed-forward network.
    pub inner: usize,
    /// Encoder layers.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Columns of a head.
    pub head_dim: usize,
    /// Between the two products of the feed-forward network.
    pub activation: Activation,
    /// Of every layer normalisation.
    pub eps: f32,
    /// Rows of the embedding tables.
    pub tables: Tables,
    /// Tensor names.
    pub names: Names,
    /// What checkpoints with a head put in front of the names.
    pub prefixes: &'static [&'static str],
}

/// Tensor names without `.weight` and `.bias`; `{i}` stands for the layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names {
    /// Token table.
    pub tokens: &'static str,
    /// Position table.
    pub positions: &'static str,
    /// Type table; an encoder without token types has none.
    pub types: Option<&'static str>,
    /// Normalisation of the embeddings.
    pub embed_norm: &'static str,
    /// Query projection.
    pub query: &'static str,
    /// Key projection.
    pub key: &'static str,
    /// Value projection.
    pub value: &'static str,
    /// Projection behind the attention.
    pub attention_out: &'static str,
    /// Normalisation behind the attention.
    pub attention_norm: &'static str,
    /// First product of the feed-forward network.
    pub ffn_in: &'static str,
    /// Second product of the feed-forward network.
    pub ffn_out: &'static str,
    /// Normalisation behind the feed-forward network.
    pub ffn_norm: &'static str,
}

impl Spec {
    /// Records the encoder and returns its last hidden state, `[tokens, hidden]`. `file` holds the weights.
    ///
    /// Seven dispatches a layer and one before: every bias, activation and residual sum is in a product's epilogue.
    pub fn record(&self, program: &mut Program, file: &str) -> Buf {
        let mut declare = Declare { program, file, layer: 0, eps: self.eps };
        let hidden = Axis::plain(self.hidden);
        let inner = Axis::plain(self.inner);
        let heads = Axis::blocks(self.heads, self.head_dim);
        let tables = EmbedTables {
            tokens: declare.table(Some(self.names.tokens), self.tables.vocab, self.hidden),
            positions: declare.table(
                Some(self.names.positions),
                self.tables.positions + self.tables.first_position as usize,
                self.hidden,
            ),
            types: declare.table(self.names.types, self.tables.types, self.hidden),
        };
        let norm = declare.norm(self.names.embed_norm, hidden);
        let mut x = declare.program.embed(tables, self.hidden, norm);
        for layer in 0..self.layers {
            declare.layer = layer;
            let names = &self.names;
            let qkv_axis = Axis { blocks: 3 * self.heads, ..heads };
            let (weight, bias) = declare.linear(&[names.query, names.key, names.value], hidden, qkv_axis);
            let qkv = declare.program.linear(x, weight, bias, qkv_axis.padded(), Epilogue::None);
            let attended = declare.program.attention(qkv, self.heads, self.head_dim);
            let (weight, bias) = declare.linear(&[names.attention_out], heads, hidden);
            let summed = declare.program.linear(attended, weight, bias, self.hidden, Epilogue::Residual(x));
            let norm = declare.norm(names.attention_norm, hidden);
            let middle = declare.program.layer_norm(summed, norm);
            let (weight, bias) = declare.linear(&[names.ffn_in], hidden, inner);
            let act = Epilogue::Activation(self.activation);
            let wide = declare.program.linear(middle, weight, bias, self.inner, act);
            let (weight, bias) = declare.linear(&[names.ffn_out], inner, hidden);
            let summed = declare.program.linear(wide, weight, bias, self.hidden, Epilogue::Residual(middle));
            let norm = declare.norm(names.ffn_norm, hidden);
            x = declare.program.layer_norm(summed, norm);
        }
        x
    }
}

/// Declares parameters by their names.
struct Declare<'a> {
    program: &'a mut Program,
    file: &'a str,
    layer: usize,
    eps: f32,
}

impl Declare<'_> {
    fn part(&self, name: &str, field: &str, at: usize, rows: usize) -> Part {
        let name = format!("{}.{field}", name.replace("{i}", &self.layer.to_string()));
        Part { file: self.file.into(), name, at, rows }
    }

    /// A lookup table, all zero where it has no name.
    fn table(&mut self, name: Option<&str>, rows: usize, width: usize) -> WeightId {
        let parts = name.map(|name| self.part(name, "weight", 0, rows)).into_iter().collect();
        self.program.weight(Weight { layout: Layout::Table { rows, width }, parts, rounding: Rounding::Allowed })
    }

    /// A product whose output columns are those of several tensors, one after another, and its bias.
    fn linear(&mut self, names: &[&str], inputs: Axis, outputs: Axis) -> (WeightId, WeightId) {
        let rows = outputs.size() / names.len();
        let parts =
            |field| names.iter().enumerate().map(|(index, name)| self.part(name, field, index * rows, rows)).collect();
        let layout = Layout::Linear { inputs, outputs };
        let weight = Weight { layout, parts: parts("weight"), rounding: Rounding::Allowed };
        let bias = Weight { layout: Layout::Vector { axis: outputs }, parts: parts("bias"), rounding: Rounding::Never };
        (self.program.weight(weight), self.program.weight(bias))
    }

    fn norm(&mut self, name: &str, axis: Axis) -> Norm {
        let vector = |declare: &mut Self, field| {
            let parts = vec![declare.part(name, field, 0, axis.size())];
            declare.program.weight(Weight { layout: Layout::Vector { axis }, parts, rounding: Rounding::Never })
        };
        Norm { gain: vector(self, "weight"), bias: vector(self, "bias"), eps: self.eps }
    }
}
