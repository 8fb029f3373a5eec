//! A text as weights of the terms of a vocabulary: SPLADE, as the `SparseEncoder` of sentence-transformers computes it. Where
//! only one kind of texts needs an encoder (arXiv 2411.04403), those of the other have a weight for each of their tokens.

use std::ops::Not;

use serde::{Deserialize, Serialize};

use super::Task;
use crate::batch::{PoolingParams, Sequence};
use crate::error::{Error, Result};
use crate::folder::{Folder, TableRoute};
use crate::job::{Call, Job};
use crate::model::{Kind, Model};
use crate::ops::EmbedTables;
use crate::program::{Program, TailId};
use crate::sort::{best_first, sort_by};
use crate::tokens::Tokens;
use crate::weights::{Layout, Part, Rounding, Weight};

/// Options of one sparse embedding.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct SparseOptions {
    /// Keep the heaviest so many terms. Default: `max_active_dims` of the model, else all above zero.
    pub top_k: Option<usize>,
    /// Whether the texts are queries or documents, where a model has prompts for them or reads them in different ways.
    pub kind: Option<Kind>,
}

/// The terms of a text, heaviest first.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct SparseVector {
    /// Token ids.
    pub indices: Vec<u32>,
    /// Their weights: above zero where an encoder gave them, else other than zero.
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

/// The `SparseStaticEmbedding` of one kind of texts: a weight for each token.
pub(crate) struct TermTable {
    route: TableRoute,
    tokens: Tokens,
    /// The weight of every token of a text.
    weights: TailId,
}

impl TermTable {
    /// Records the lookup in front of the trunk, of which it needs nothing. `folder` is the table's own. Batches are the encoder's, so
    /// texts have no more tokens than the `longest` of it.
    pub fn new(route: &TableRoute, folder: &Folder, longest: usize, program: &mut Program) -> Result<Self> {
        let limit = folder.model_max_length()?.map_or(longest, |limit| limit.min(longest));
        let mut tokens = Tokens::new(folder.tokenizer()?, limit, &folder.beside_tokenizer(false)?)?;
        tokens.bare();
        tokens.without_types();
        let rows = tokens.vocab();
        let part = Part::whole(format!("{}/model.safetensors", route.path), "/weight", rows);
        let weight = program.weight(Weight::new(Layout::Table { rows, width: 1 }, vec![part], Rounding::Never));
        let trunk = program.begin_tail();
        let found = program.embed(EmbedTables::of(weight), 1, None);
        let weights = program.end_tail(trunk, Some(found));
        Ok(Self { route: route.clone(), tokens, weights })
    }
}

impl Model {
    /// The weights of the terms of each text. A text that is too long is cut.
    pub fn embed_sparse(&self, texts: &[String], options: &SparseOptions) -> Result<Call<Vec<SparseVector>>> {
        let prompt = self.prompt(None, None, options.kind)?;
        let table = match &self.parts.term_table {
            None => None,
            Some(table) => {
                let kind = options.kind.or(table.route.default);
                let kind = kind
                    .ok_or_else(|| Error::argument("the model reads queries and documents in different ways: kind"))?;
                Some(table).filter(|table| table.route.kind == kind)
            }
        };
        let tokens = table.map_or(&self.parts.tokens, |table| &table.tokens);
        let sequence = |text: &String| Ok(Sequence::from(&tokens.encode(&format!("{prompt}{text}"))?));
        let mut sequences: Vec<Sequence> = texts.iter().map(sequence).collect::<Result<_>>()?;
        let truncated: Vec<bool> = sequences.iter().map(|sequence| sequence.truncated).collect();
        let mut ids: Vec<Vec<u32>> = Vec::new();
        let job = match table {
            None => self.head_job(Task::Sparse, sequences)?,
            Some(table) => {
                ids.extend(sequences.iter().map(|sequence| sequence.ids.clone()));
                // Without special tokens a text may have none, which no batch takes.
                sequences.iter_mut().filter(|sequence| sequence.ids.is_empty()).for_each(|sequence| {
                    (sequence.ids, sequence.type_ids) = (vec![0], vec![0]);
                });
                Job::new(self, sequences, table.weights, PoolingParams::default())?
            }
        };
        let top_k = options.top_k.or(self.parts.sentence.max_active_dims).unwrap_or(usize::MAX);
        Ok(Call::each(job, move |model, index, weights| {
            let mut terms: Vec<(u32, f32)> = match ids.get(index) {
                None => (0..).zip(weights.iter().copied()).collect(),
                Some(ids) => {
                    let mut terms = ids.iter().copied().zip(weights.iter().copied()).collect();
                    sort_by(&mut terms, |(a, _): &(u32, f32), (b, _)| a.cmp(b));
                    // A token counts once.
                    terms.dedup();
                    terms
                }
            };
            terms.retain(|(_, weight)| *weight != 0.0);
            best_first(&mut terms, |(_, weight)| weight.abs());
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
