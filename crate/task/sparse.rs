//! A text as weights of the terms of a vocabulary: SPLADE, as the `SparseEncoder` of sentence-transformers computes it.

use std::ops::Not;

use serde::{Deserialize, Serialize};

use super::Task;
use crate::batch::Sequence;
use crate::error::Result;
use crate::job::Call;
use crate::model::{Kind, Model};
use crate::sort::best_first;

/// Options of one sparse embedding.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct SparseOptions {
    /// Keep the heaviest so many terms. Default: `max_active_dims` of the model, else all above zero.
    pub top_k: Option<usize>,
    /// Whether the texts are queries or documents, where a model has prompts for them.
    pub kind: Option<Kind>,
}

/// The terms of a text, heaviest first.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct SparseVector {
    /// Token ids.
    pub indices: Vec<u32>,
    /// Their weights, above zero.
    pub weights: Vec<f32>,
    /// Their strings in the vocabulary.
    pub tokens: Vec<String>,
    /// Whether the text was cut.
    #[serde(skip_serializing_if = "Not::not")]
    pub truncated: bool,
}

impl SparseVector {
    /// The dot product: how well a document answers a query.
    pub fn dot(&self, other: &Self) -> f32 {
        let weight = |id: &u32| other.indices.iter().position(|known| known == id).map(|place| other.weights[place]);
        let products = self.indices.iter().zip(&self.weights).filter_map(|(id, own)| Some(own * weight(id)?));
        products.sum()
    }
}

impl Model {
    /// The weights of the terms of each text. A text that is too long is cut.
    pub fn embed_sparse(&self, texts: &[String], options: &SparseOptions) -> Result<Call<Vec<SparseVector>>> {
        let prompt = self.prompt(None, None, options.kind)?;
        let sequence = |text: &String| {
            let encoding = self.parts.tokens.encode(&format!("{prompt}{text}"))?;
            Ok(Sequence::from(&encoding))
        };
        let sequences: Vec<Sequence> = texts.iter().map(sequence).collect::<Result<_>>()?;
        let truncated: Vec<bool> = sequences.iter().map(|sequence| sequence.truncated).collect();
        let job = self.head_job(Task::Sparse, sequences)?;
        let top_k = options.top_k.or(self.parts.sentence.max_active_dims).unwrap_or(usize::MAX);
        Ok(Call::each(job, move |model, index, weights| {
            let mut terms: Vec<(u32, f32)> =
                (0..).zip(weights.iter().copied()).filter(|(_, weight)| *weight > 0.0).collect();
            best_first(&mut terms, |(_, weight)| *weight);
            terms.truncate(top_k);
            let token = |(id, _): &(u32, f32)| model.parts.tokens.token(*id).unwrap_or_default();
            let tokens = terms.iter().map(token).collect();
            let (indices, weights) = terms.into_iter().unzip();
            Ok(SparseVector { indices, weights, tokens, truncated: truncated[index] })
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_product_counts_shared_terms() {
        let vector = |indices: &[u32], weights: &[f32]| SparseVector {
            indices: indices.to_vec(),
            weights: weights.to_vec(),
            ..SparseVector::default()
        };
        let (a, b) = (vector(&[7, 2, 9], &[3.0, 2.0, 1.0]), vector(&[9, 7], &[0.5, 0.25]));
        assert_eq!((a.dot(&b), b.dot(&a)), (1.25, 1.25));
        assert_eq!(a.dot(&vector(&[], &[])), 0.0);
    }
}
