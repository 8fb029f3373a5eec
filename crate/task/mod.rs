//! What is asked of a model beside vectors. Here: the tasks, and their heads as data; a file each: what a call does.

mod answer;
mod classify;
mod explain;
mod fill;
mod labels;
mod max_sim;
mod multi;
mod rerank;
mod sparse;
mod tag;
mod trained;

use std::ops::Not;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::head::Pooling;
use crate::ops::{Activation, NormKind};

pub use answer::{Answer, AnswerLogits, AnswerOptions};
pub use classify::{Classification, ClassifyOptions, Function, ZeroShotOptions};
pub use explain::{ExplainOptions, Explanation, Method, Part, Unit};
pub use fill::{Candidate, FillOptions, Mask};
pub use labels::{LabelScore, Labels};
pub use max_sim::max_sim;
pub use multi::{Expansion, MultiOptions, MultiVector, MultiVectors};
pub use rerank::{Ranked, RerankOptions};
pub(crate) use sparse::TermTable;
pub use sparse::{SparseOptions, SparseVector};
pub use tag::{Aggregation, Entity, TagLogits, TagOptions};
pub use trained::{About, Example, TrainedHead};

/// What a model is loaded for. Vectors can be had of any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// A vector a text.
    Embed,
    /// Scores of labels a text, or a pair of texts.
    Classify,
    /// Scores of labels a token.
    Tag,
    /// The part of a text that answers a question.
    Answer,
    /// Tokens for masks, and the weights of terms.
    Fill,
    /// The weights of terms.
    Sparse,
    /// A vector a token.
    Multi,
    /// Scores of candidates that share a context.
    UniEncoder,
}

impl Task {
    /// The class of transformers that has its head, less the name of the architecture.
    pub const CLASSES: [(&'static str, Self); 6] = [
        ("ForSequenceClassification", Self::Classify),
        ("ForTokenClassification", Self::Tag),
        ("ForQuestionAnswering", Self::Answer),
        ("ForMaskedLM", Self::Fill),
        // Not of transformers: the classes of the papers' own repositories.
        ("HF_ColBERT", Self::Multi),
        ("UniEncoder", Self::UniEncoder),
    ];

    /// Its name in messages and options.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embed => "embed",
            Self::Classify => "classify",
            Self::Tag => "tag",
            Self::Answer => "answer",
            Self::Fill => "fill",
            Self::Sparse => "sparse",
            Self::Multi => "multi",
            Self::UniEncoder => "uni-encoder",
        }
    }
}

/// A text, or a pair of texts that the model reads together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The text, or the first of two.
    pub text: String,
    /// The second.
    pub pair: Option<String>,
}

/// `"text"` or `{"text": …, "pair": …}`. By way of a [`Value`]: what serde keeps for an untagged choice is a tenth of the wasm.
impl<'de> Deserialize<'de> for Input {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Both {
            text: String,
            pair: Option<String>,
        }
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self { text, pair: None }),
            both => Both::deserialize(both).map(|Both { text, pair }| Self { text, pair }).map_err(D::Error::custom),
        }
    }
}

impl Input {
    /// A single text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), pair: None }
    }

    /// Two texts.
    pub fn pair(text: impl Into<String>, pair: impl Into<String>) -> Self {
        Self { text: text.into(), pair: Some(pair.into()) }
    }
}

/// The heads of an architecture, each as its class in transformers computes it. Empty: there is no such class.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tasks {
    /// `ForSequenceClassification`: one row of scores a text.
    pub classify: Vec<HeadStep>,
    /// `ForTokenClassification`: one row of scores a token.
    pub tag: Vec<HeadStep>,
    /// `ForQuestionAnswering`: scores of the first and the last token of an answer, a row a token.
    pub answer: Vec<HeadStep>,
    /// `ForMaskedLM`: scores of the vocabulary, a row a masked token.
    pub fill: Vec<HeadStep>,
    /// `UniEncoder` of github.com/dll-wu/Uni-Encoder: a score a text.
    pub uni_encoder: Vec<HeadStep>,
}

impl Tasks {
    /// The steps for a task; empty where there are none.
    pub fn steps(&self, task: Task) -> &[HeadStep] {
        match task {
            Task::Embed | Task::Multi => &[],
            Task::Classify => &self.classify,
            Task::Tag => &self.tag,
            Task::Answer => &self.answer,
            Task::Fill | Task::Sparse => &self.fill,
            Task::UniEncoder => &self.uni_encoder,
        }
    }
}

/// A step of a head. Tensors have their full names; one that begins with `/` is not below the prefix that the checkpoint
/// puts in front of the encoder's own.
#[derive(Debug, Clone, PartialEq)]
pub enum HeadStep {
    /// From a row a token to a row a text.
    Pool(Pooling),
    /// The same, of the last token of a text that has not this id; of the first, where all have it.
    LastBut(u32),
    /// A product, its bias and an activation.
    Dense {
        /// `[outputs, inputs]`
        weight: &'static str,
        /// `[outputs]`
        bias: Option<&'static str>,
        /// Output columns.
        outputs: Outputs,
        /// None for the identity.
        activation: Option<Activation>,
    },
    /// A product as wide as the hidden state, added to what the head was given.
    Onto {
        /// `[hidden, inputs]`
        weight: &'static str,
        /// `[hidden]`
        bias: &'static str,
    },
    /// A normalisation.
    Norm {
        /// `[width]`
        weight: &'static str,
        /// `[width]`
        bias: Option<&'static str>,
        /// Added to the variance.
        eps: f32,
        /// The formula.
        kind: NormKind,
    },
}

/// How many columns a product of a head has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outputs {
    /// As many as the hidden state.
    Hidden,
    /// As many as the embeddings.
    Embedding,
    /// So many.
    Columns(usize),
    /// One a label of `id2label`.
    Labels,
    /// One a token of the vocabulary.
    Vocab,
    /// The same by a table that is narrower than the input, whose columns past it have weights in this tensor:
    /// `[inputs - embedding, vocab]`.
    VocabBeside(&'static str),
}

impl HeadStep {
    /// A product with a bias, without an activation.
    pub fn dense(weight: &'static str, bias: &'static str, outputs: Outputs) -> Self {
        Self::Dense { weight, bias: Some(bias), outputs, activation: None }
    }

    /// A product with a bias and an activation, as wide as the hidden state.
    pub fn activated(weight: &'static str, bias: &'static str, activation: Activation) -> Self {
        Self::Dense { weight, bias: Some(bias), outputs: Outputs::Hidden, activation: Some(activation) }
    }

    /// A `LayerNorm`.
    pub fn norm(weight: &'static str, bias: &'static str, eps: f32) -> Self {
        Self::Norm { weight, bias: Some(bias), eps, kind: NormKind::Layer }
    }
}

/// The columns of a head for an input, special tokens included.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Logits<T> {
    /// By token, or by column.
    pub logits: T,
    /// Whether the input was cut.
    #[serde(skip_serializing_if = "Not::not")]
    pub truncated: bool,
}

/// The sum of products.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Scales a row to unit length; zeros stay zero. Source: `torch.nn.functional.normalize`.
pub(crate) fn unit(row: &mut [f32]) {
    let scale = 1.0 / dot(row, row).sqrt().max(1e-12);
    row.iter_mut().for_each(|x| *x *= scale);
}

/// `softmax`, in f64 so that many small terms are not lost. Source: `torch.nn.functional.softmax`.
pub(crate) fn softmax(logits: impl Iterator<Item = f32> + Clone) -> Vec<f32> {
    let highest = logits.clone().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = logits.map(|logit| f64::from(logit - highest).exp()).collect();
    let total: f64 = powers.iter().sum();
    powers.into_iter().map(|power| (power / total) as f32).collect()
}
