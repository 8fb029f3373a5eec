//! Heads for tasks: what a checkpoint has behind the last hidden state to classify, tag, answer or fill.

use crate::head::Pooling;
use crate::ops::{Activation, NormKind};

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
}

/// A step of a head. Tensors have their full names; one that begins with `/` is not below the prefix that the checkpoint
/// puts in front of the encoder's own.
#[derive(Debug, Clone, PartialEq)]
pub enum HeadStep {
    /// From a row a token to a row a text.
    Pool(Pooling),
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
    /// One a label of `id2label`.
    Labels,
    /// One a token of the vocabulary.
    Vocab,
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
