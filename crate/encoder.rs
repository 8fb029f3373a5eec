//! The description of an encoder as data, and the one forward pass that is recorded from it.
//!
//! Architectures differ in what they put into [`Spec`]; nothing here knows their names.

use std::sync::Arc;

use crate::batch::{Leading, Tables};
use crate::declare::Declare;
use crate::head::OwnVectors;
use crate::ops::{Activation, EmbedTables, Epilogue, Heads, NormKind, Own, Sees};
use crate::program::{Buf, Program, WeightId};
use crate::rotation::Rotation;
use crate::task::{Task, Tasks};
use crate::weights::{Axis, Layout, Rounding, Weight};

/// An encoder: what its architecture and its configuration come to.
#[derive(Clone)]
pub struct Spec {
    /// Columns of a hidden state.
    pub hidden: usize,
    /// Columns inside the feed-forward network.
    pub inner: usize,
    /// In order of execution.
    pub layers: Vec<Layer>,
    /// Attention heads.
    pub heads: usize,
    /// Heads of keys and values, a divisor of `heads`.
    pub kv_heads: usize,
    /// Columns of a head.
    pub head_dim: usize,
    /// Where a layer normalises.
    pub norm: Place,
    /// The feed-forward network.
    pub ffn: Ffn,
    /// Of every normalisation.
    pub eps: f32,
    /// The formula of every normalisation.
    pub norm_kind: NormKind,
    /// What rows of the token table are multiplied by.
    pub embed_scale: f32,
    /// Rows of the embedding tables.
    pub tables: Tables,
    /// Columns of the embedding tables; where they are not those of the hidden state, `names.project` maps them.
    pub embedding: usize,
    /// What attention scores are multiplied by; none: `1 / √head_dim`.
    pub scale: Option<f32>,
    /// Tensor names.
    pub names: Names,
    /// What checkpoints with a head put in front of the names.
    pub prefixes: &'static [&'static str],
    /// The heads for tasks that its checkpoints may have.
    pub tasks: Tasks,
    /// How it is recorded.
    pub steps: Arc<dyn Steps>,
}

/// How an encoder is recorded. What is provided is the one forward pass, from what stands in [`Spec`]; an architecture whose
/// mathematics is its own replaces a step, in its own file, and builds it of the parts that [`Spec`] offers.
pub trait Steps: Send + Sync {
    /// The tokens that lead their texts where the encoder serves a task.
    fn leading(&self, _task: Task) -> Leading {
        Leading::None
    }

    /// What stands behind a question, where the class of a task does without token types of a tokenizer's.
    fn question_end(&self, _task: Task) -> Option<u32> {
        None
    }

    /// The names of its adapters, of which a call may choose one, by their numbers in a batch.
    fn adapters(&self) -> &[String] {
        &[]
    }

    /// Whether a token that others do not attend to is, in its class, computed like any other. In some its own attention is masked too, or
    /// what is no attention reaches it.
    fn computes_unattended(&self) -> bool {
        true
    }

    /// How its class makes vectors of texts, where it does.
    fn own_vectors(&self) -> Option<OwnVectors> {
        None
    }

    /// The input of the first layer, `[tokens, hidden]`.
    fn embed(&self, spec: &Spec, declare: &mut Declare) -> Buf {
        spec.embed(declare)
    }

    /// The output of layer `index` for its input, `[tokens, hidden]`.
    fn layer(&self, spec: &Spec, declare: &mut Declare, index: usize, x: Buf) -> Buf {
        let layer = &spec.layers[index];
        let x = spec.attention(declare, layer, x);
        spec.feed_forward(declare, layer, x)
    }

    /// The hidden state that the output of a layer is where no other layer follows.
    fn finish(&self, spec: &Spec, declare: &mut Declare, x: Buf) -> Buf {
        match spec.names.final_norm {
            Some(name) => declare.norm(x, name),
            None => x,
        }
    }
}

/// Everything as [`Spec`] says.
pub struct AsSpecified;

impl Steps for AsSpecified {}

/// What sets a layer apart from the others.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Layer {
    /// What its tensor names begin with. Layers of one name share their weights.
    pub name: String,
    /// Its attention heads, where some were pruned.
    pub heads: Option<usize>,
    /// Which rows a token attends to.
    pub sees: Sees,
    /// Rows in front of a token that it attends to; none: all of its text.
    pub before: Option<usize>,
    /// Rows behind a token that it attends to; none: all of its text.
    pub behind: Option<usize>,
    /// How queries and keys are turned by their positions.
    pub rotation: Option<Rotation>,
    /// A bias on attention scores by distance. Layers that name one tensor share it.
    pub distances: Option<Distances>,
    /// Whether attention scores fall with the distance, by a slope for each head, where there is no other such bias.
    pub alibi: bool,
    /// Whether the attention has a normalisation in front of it, where layers normalise first.
    pub attention_norm: bool,
}

impl Layer {
    /// `count` plain layers, whose names are `pattern` with their number for `{i}`.
    pub fn plain(pattern: &str, count: usize) -> Vec<Self> {
        let name = |index: usize| pattern.replace("{i}", &index.to_string());
        (0..count).map(|index| Self { name: name(index), attention_norm: true, ..Self::default() }).collect()
    }

    /// The name of one of its tensors.
    pub fn at(&self, name: &str) -> String {
        format!("{}.{name}", self.name)
    }
}

/// Where a layer normalises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// `norm(x + f(x))`
    Post,
    /// `x + f(norm(x))`, and once behind the last layer
    Pre,
}

/// The feed-forward network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ffn {
    /// `act(x U) W`
    Plain(Activation),
    /// `(act(x U) * (x V)) W`, where U and V are the halves of one tensor, or two tensors.
    Gated(Activation),
    /// The same where V comes first.
    GatedLast(Activation),
}

impl Ffn {
    /// Its activation.
    pub fn activation(self) -> Activation {
        let (Self::Plain(activation) | Self::Gated(activation) | Self::GatedLast(activation)) = self;
        activation
    }
}

/// A bias on attention scores by distance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distances {
    /// Tensor of `[buckets, heads]`; not below the name of the layer.
    pub name: String,
    /// Rows of the tensor.
    pub buckets: usize,
    /// Distances beyond it are in the last buckets.
    pub most: usize,
}

/// Tensor names without `.weight` and `.bias`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Names {
    /// Token table.
    pub tokens: &'static str,
    /// Position table.
    pub positions: Option<&'static str>,
    /// Type table.
    pub types: Option<&'static str>,
    /// Table of which the first row is added to every token.
    pub tasks: Option<&'static str>,
    /// Normalisation of the embeddings.
    pub embed_norm: Option<&'static str>,
    /// From the columns of the embeddings to those of the hidden state.
    pub project: Option<&'static str>,
    /// Query, key and value projections, below the name of the layer: three tensors, or one that holds all three.
    pub qkv: &'static [&'static str],
    /// Whether that one tensor has the query, key and value of the first head, then those of the second, and so on.
    pub qkv_by_head: bool,
    /// Normalisations of the query and key heads, where there are any.
    pub qk_norm: Option<[&'static str; 2]>,
    /// Projection behind the attention, below the name of the layer, as all that follow.
    pub attention_out: &'static str,
    /// Normalisation of the attention.
    pub attention_norm: &'static str,
    /// Normalisation of what the attention adds to the hidden state, where there is one beside the other.
    pub attention_added_norm: Option<&'static str>,
    /// First product of the feed-forward network: one tensor, or two of a gated one.
    pub ffn_in: &'static [&'static str],
    /// Second product of the feed-forward network.
    pub ffn_out: &'static str,
    /// Normalisation of the feed-forward network.
    pub ffn_norm: &'static str,
    /// Normalisation of what the feed-forward network adds to the hidden state, where there is one beside the other.
    pub ffn_added_norm: Option<&'static str>,
    /// Normalisation behind the last layer; not below a layer.
    pub final_norm: Option<&'static str>,
    /// Which projections have a bias.
    pub bias: Bias,
}

/// Which parts have a bias in the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bias {
    /// Query, key and value projections.
    pub qkv: bool,
    /// The projection behind the attention.
    pub attention_out: bool,
    /// First product of the feed-forward network.
    pub ffn_in: bool,
    /// Second product of the feed-forward network.
    pub ffn_out: bool,
    /// Normalisations.
    pub norm: bool,
}

impl Bias {
    /// On everything.
    pub const ALL: Self = Self { qkv: true, attention_out: true, ffn_in: true, ffn_out: true, norm: true };
}

impl Spec {
    /// Whether no text can have more tokens than `tables.positions`, or would be another with more, whatever a folder says.
    pub fn is_limited(&self) -> bool {
        let dynamic = |layer: &Layer| layer.rotation.as_ref().is_some_and(|rotation| rotation.dynamic);
        self.names.positions.is_some() || self.tables.limited || self.layers.iter().any(dynamic)
    }

    /// Records the encoder, whose weights are in `file`. `after` is called behind every layer with the number of layers so
    /// far and the layer's output, `[tokens, hidden]`, to record what leaves the encoder there.
    ///
    /// Seven dispatches a layer and one before: every bias, activation and residual sum is in a product's epilogue,
    /// rotations and biases by distance are in the attention. Normalised heads are an eighth. Of few rows two less: see
    /// [`Form::makes`](crate::program::Form::makes).
    pub fn record(&self, program: &mut Program, file: &str, after: &mut dyn FnMut(&mut Declare, usize, Buf)) {
        let mut declare =
            Declare { program, file, eps: self.eps, norm_kind: self.norm_kind, norm_bias: self.names.bias.norm };
        let mut x = self.steps.embed(self, &mut declare);
        for index in 0..self.layers.len() {
            x = self.steps.layer(self, &mut declare, index, x);
            after(&mut declare, index + 1, x);
        }
    }

    /// The heads of a layer's attention.
    pub fn attention_heads(&self, declare: &mut Declare, layer: &Layer) -> Heads {
        let distances = layer.distances.as_ref().map(|Distances { name, buckets, most }| {
            let layout = Layout::Distances { most: *most, buckets: *buckets, heads: self.heads };
            let parts = vec![declare.part(name, "weight", 0, *buckets)];
            (declare.program.weight(Weight::new(layout, parts, Rounding::Never)), *most)
        });
        let count = layer.heads.unwrap_or(self.heads);
        Heads {
            rotations: layer.rotation.as_ref().map(|rotation| declare.rotations(self.tables.positions, rotation)),
            kv: layer.heads.unwrap_or(self.kv_heads),
            distances,
            alibi: layer.alibi,
            sees: layer.sees,
            before: layer.before,
            behind: layer.behind,
            scale: self.scale.unwrap_or(1.0 / (self.head_dim as f32).sqrt()),
            ..Heads::new(count, self.head_dim)
        }
    }

    /// Queries, keys and values of a layer, `[tokens, heads.qkv()]`.
    pub fn qkv(&self, declare: &mut Declare, layer: &Layer, heads: Heads, x: Buf) -> Buf {
        let (weight, bias) = self.qkv_weights(declare, layer, heads, x.width);
        let qkv = declare.program.linear(x, weight, bias, heads.axis(heads.qkv()).padded(), Epilogue::None);
        let Some(names) = self.names.qk_norm else { return qkv };
        let gains = names.map(|name| declare.vector(&layer.at(name), "weight", heads.axis(1)));
        declare.program.head_norm(qkv, heads, gains, self.eps, self.norm_kind)
    }

    /// The product that makes them of `inputs` columns.
    pub fn qkv_weights(
        &self,
        declare: &mut Declare,
        layer: &Layer,
        heads: Heads,
        inputs: usize,
    ) -> (WeightId, WeightId) {
        let names = &self.names;
        let tensors = match names.qkv {
            [all] => vec![(layer.at(all), heads.qkv())],
            each => each.iter().map(|name| layer.at(name)).zip([heads.count, heads.kv, heads.kv]).collect(),
        };
        self.projection_weights(declare, &tensors, heads, inputs)
    }

    /// A product whose columns are heads, of each tensor so many.
    pub fn projection(&self, declare: &mut Declare, tensors: &[(String, usize)], heads: Heads, x: Buf) -> Buf {
        let width = heads.axis(tensors.iter().map(|(_, heads)| heads).sum()).padded();
        let (weight, bias) = self.projection_weights(declare, tensors, heads, x.width);
        declare.program.linear(x, weight, bias, width, Epilogue::None)
    }

    fn projection_weights(
        &self,
        declare: &mut Declare,
        tensors: &[(String, usize)],
        heads: Heads,
        inputs: usize,
    ) -> (WeightId, WeightId) {
        let mut outputs = heads.axis(tensors.iter().map(|(_, heads)| heads).sum());
        if self.names.qkv_by_head {
            outputs = outputs.interleaved(3);
        }
        let tensors: Vec<_> = tensors.iter().map(|(name, count)| (name.clone(), count * heads.dim)).collect();
        declare.linear(&tensors, Axis::plain(inputs), outputs, self.names.bias.qkv)
    }

    /// The first half of a layer: attention, its projection, what is added, and the norms around.
    pub fn attention(&self, declare: &mut Declare, layer: &Layer, x: Buf) -> Buf {
        let names = &self.names;
        let heads = self.attention_heads(declare, layer);
        let normed = match self.norm {
            Place::Pre if layer.attention_norm => declare.norm(x, &layer.at(names.attention_norm)),
            _ => x,
        };
        let qkv = self.qkv(declare, layer, heads, normed);
        let attended = declare.program.attention(qkv, heads);
        self.attention_output(declare, layer, heads.axis(heads.count), attended, x)
    }

    /// The projection of what was attended to, `[tokens, inputs]`, what is added, and the norm behind.
    pub fn attention_output(&self, declare: &mut Declare, layer: &Layer, inputs: Axis, attended: Buf, x: Buf) -> Buf {
        let names = &self.names;
        let attention_out = [(layer.at(names.attention_out), x.width)];
        let (weight, bias) = declare.linear(&attention_out, inputs, Axis::plain(x.width), names.bias.attention_out);
        let added_norm = names.attention_added_norm.map(|name| layer.at(name));
        let x = declare.add(x, attended, weight, bias, added_norm);
        match self.norm {
            Place::Pre => x,
            Place::Post => declare.norm(x, &layer.at(names.attention_norm)),
        }
    }

    /// The second half of a layer: the feed-forward network, what is added, and the norms around.
    pub fn feed_forward(&self, declare: &mut Declare, layer: &Layer, x: Buf) -> Buf {
        let x = self.feed_forward_sum(declare, layer, x);
        match self.norm {
            Place::Pre => x,
            Place::Post => declare.norm(x, &layer.at(self.names.ffn_norm)),
        }
    }

    /// The same without the norm behind.
    pub fn feed_forward_sum(&self, declare: &mut Declare, layer: &Layer, x: Buf) -> Buf {
        let names = &self.names;
        let hidden = Axis::plain(x.width);
        let normed = match self.norm {
            Place::Pre => declare.norm(x, &layer.at(names.ffn_norm)),
            Place::Post => x,
        };
        let inner = Axis::plain(self.inner);
        let outputs = match self.ffn {
            Ffn::Plain(_) => inner,
            Ffn::Gated(_) => Axis::gated(self.inner, 0),
            Ffn::GatedLast(_) => Axis::gated(self.inner, 1),
        };
        let rows = outputs.size() / names.ffn_in.len();
        let ffn_in: Vec<(String, usize)> = names.ffn_in.iter().map(|name| (layer.at(name), rows)).collect();
        let (weight, bias) = declare.linear(&ffn_in, hidden, outputs, names.bias.ffn_in);
        let wide = match self.ffn {
            Ffn::Plain(act) => declare.program.linear(normed, weight, bias, self.inner, Epilogue::Activation(act)),
            Ffn::Gated(act) | Ffn::GatedLast(act) => {
                declare.program.gated_linear(normed, weight, bias, self.inner, act)
            }
        };
        let ffn_out = [(layer.at(names.ffn_out), x.width)];
        let (weight, bias) = declare.linear(&ffn_out, inner, hidden, names.bias.ffn_out);
        declare.add(x, wide, weight, bias, names.ffn_added_norm.map(|name| layer.at(name)))
    }

    /// The sum of the tables, normalised and projected.
    pub fn embed(&self, declare: &mut Declare) -> Buf {
        let tables = self.embed_tables(declare);
        self.embedded(declare, tables)
    }

    /// The tables of the embeddings.
    pub fn embed_tables(&self, declare: &mut Declare) -> EmbedTables {
        let names = &self.names;
        let mut table = |name: &str, rows| declare.table(name, rows, self.embedding);
        EmbedTables {
            own: Own::Table(table(names.tokens, self.tables.vocab)),
            scale: self.embed_scale,
            dropout: None,
            positions: names
                .positions
                .map(|name| table(name, self.tables.positions + self.tables.first_position as usize)),
            types: names.types.map(|name| table(name, self.tables.types)),
            tasks: names.tasks.map(|name| table(name, self.tables.tasks)),
        }
    }

    /// The sum of these tables, normalised and projected.
    pub fn embedded(&self, declare: &mut Declare, tables: EmbedTables) -> Buf {
        let names = &self.names;
        let norm = names.embed_norm.map(|name| declare.norm_weights(name, self.embedding));
        let x = declare.program.embed(tables, self.embedding, norm);
        match names.project {
            None => x,
            Some(name) => {
                let (inputs, outputs) = (Axis::plain(self.embedding), Axis::plain(self.hidden));
                let (weight, bias) = declare.linear(&[(name.to_owned(), self.hidden)], inputs, outputs, true);
                declare.program.linear(x, weight, bias, self.hidden, Epilogue::None)
            }
        }
    }
}
