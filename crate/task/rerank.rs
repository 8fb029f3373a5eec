//! Documents in the order in which they answer a query: by a cross-encoder, which reads each of them with the query, as the
//! `CrossEncoder` of sentence-transformers does; by late interaction; or by a Uni-Encoder (arXiv 2106.01263), which reads the
//! query once and all documents beside it.

use serde::{Deserialize, Serialize};

use super::{Function, Input, Task, max_sim};
use crate::batch::Sequence;
use crate::error::{Error, Result};
use crate::job::Call;
use crate::model::{Kind, Model};
use crate::tokens::Truncation;

/// Options of one reranking.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct RerankOptions {
    /// Keep the best so many documents. Default: all.
    pub top_k: Option<usize>,
    /// What makes scores of the logits of the documents. Default: of a cross-encoder as its configuration says, of a
    /// Uni-Encoder a softmax, of late interaction nothing.
    pub function: Option<Function>,
}

/// A document and how well it answers the query.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ranked {
    /// Its place among the documents of the call.
    pub index: usize,
    /// Higher is better.
    pub score: f32,
}

impl Model {
    /// Orders documents by how well they answer a query, best first, by the head that the model was loaded with.
    pub fn rerank(&self, query: &str, documents: &[String], options: &RerankOptions) -> Result<Call<Vec<Ranked>>> {
        let task = self.task();
        let task = if [Task::UniEncoder, Task::Multi].contains(&task) { task } else { Task::Classify };
        let head = self.head(task)?;
        let (function, top_k) = (options.function.unwrap_or(head.function), options.top_k.unwrap_or(usize::MAX));
        let sequences = match task {
            Task::UniEncoder => vec![self.beside(query, documents)?],
            Task::Multi => {
                let mut texts = self.prepare_multi(&[query.to_owned()], Some(Kind::Query))?;
                texts.extend(self.prepare_multi(documents, Some(Kind::Document))?);
                return Ok(self.multi_vectors(texts, 1)?.map(move |vectors| {
                    let scores = vectors[1..].iter().map(|document| max_sim(&vectors[0], document));
                    Ok(ranked(function.apply(scores.collect::<Result<Vec<_>>>()?.into_iter()), top_k))
                }));
            }
            _ if head.labels.count() != 1 => {
                let reason = format!("reranking takes a head of one column; this one has {}", head.labels.count());
                return Err(Error::argument(reason));
            }
            _ => {
                let pair = |document: &String| self.sequence(&Input::pair(query, document), Truncation::LongestFirst);
                documents.iter().map(pair).collect::<Result<_>>()?
            }
        };
        Ok(Call::new(self.head_job(task, sequences)?, move |_, rows| {
            // The first row of a Uni-Encoder is that of the query.
            let logits = &rows.data[usize::from(task == Task::UniEncoder)..];
            Ok(ranked(function.apply(logits.iter().copied()), top_k))
        }))
    }

    /// A query and the documents beside it. As in the paper's own code each has half of the positions, the end of a text that is
    /// too long is kept, and documents are of the second token type.
    fn beside(&self, query: &str, documents: &[String]) -> Result<Sequence> {
        let (tokens, room) = (&self.parts.tokens, self.parts.max_tokens / 2);
        let mut sequence = Sequence::from(&tokens.encode_end(query, room)?);
        for document in documents {
            sequence.branches.push(sequence.ids.len() as u32);
            sequence.ids.extend(tokens.encode_end(document, room)?.ids);
        }
        sequence.type_ids.resize(sequence.ids.len(), u32::from(self.parts.spec.tables.types > 1));
        Ok(sequence)
    }
}

/// The best of them, best first.
fn ranked(scores: Vec<f32>, top_k: usize) -> Vec<Ranked> {
    let mut ranked: Vec<_> = scores.into_iter().enumerate().map(|(index, score)| Ranked { index, score }).collect();
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
    ranked.truncate(top_k);
    ranked
}
