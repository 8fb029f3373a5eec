//! Documents in the order in which they answer a query: by a cross-encoder, which reads each of them with the query, as the
//! `CrossEncoder` of sentence-transformers does; by late interaction; or by a Uni-Encoder (arXiv 2106.01263), which reads the
//! query once and all documents beside it.

use std::ops::Not;

use serde::{Deserialize, Serialize};

use super::multi::Prepared;
use super::{Function, Input, Task, max_sim};
use crate::batch::Sequence;
use crate::error::{Error, Result};
use crate::job::Call;
use crate::model::{Kind, Model};
use crate::sort::best_first;

/// Options of one reranking.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
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
    /// Whether it, or the query, was cut.
    #[serde(skip_serializing_if = "Not::not")]
    pub truncated: bool,
}

impl Model {
    /// Orders documents by how well they answer a query, best first, by the head that the model was loaded with.
    pub fn rerank(&self, query: &str, documents: &[String], options: &RerankOptions) -> Result<Call<Vec<Ranked>>> {
        let task = self.task();
        let task = if matches!(task, Task::UniEncoder | Task::Multi) { task } else { Task::Classify };
        let head = self.head(task)?;
        let (function, top_k) = (options.function.unwrap_or(head.ranking), options.top_k.unwrap_or(usize::MAX));
        let mut prepared = Prepared::default();
        let mut truncated = Vec::new();
        match task {
            Task::UniEncoder => prepared.sequences.push(self.beside(query, documents, &mut truncated)?),
            Task::Multi => {
                self.prepare_multi(&[query.to_owned()], Some(Kind::Query), &mut prepared)?;
                self.prepare_multi(documents, Some(Kind::Document), &mut prepared)?;
                let (query, documents) = prepared.sequences.split_at(1);
                truncated.extend(documents.iter().map(|document| document.truncated || query[0].truncated));
            }
            _ if head.labels.count() != 1 => {
                let reason = format!("reranking takes a head of one column; this one has {}", head.labels.count());
                return Err(Error::argument(reason));
            }
            _ => {
                for document in documents {
                    let pair = self.scored(&Input::pair(query, document))?;
                    truncated.push(pair.truncated);
                    prepared.sequences.push(pair);
                }
            }
        }
        let job = self.head_job(task, std::mem::take(&mut prepared.sequences))?;
        Ok(Call::new(job, move |model, mut rows| {
            match task {
                Task::Multi => {
                    let vectors = model.multi_vectors(&rows, &prepared, 1)?;
                    rows.data.clear();
                    for document in &vectors[1..] {
                        rows.data.push(max_sim(&vectors[0], document)?);
                    }
                }
                // The query has a row too.
                Task::UniEncoder => drop(rows.data.remove(0)),
                _ => {}
            }
            let scores = function.apply(rows.data.iter().copied()).into_iter().zip(truncated).enumerate();
            let mut ranked: Vec<_> =
                scores.map(|(index, (score, truncated))| Ranked { index, score, truncated }).collect();
            best_first(&mut ranked, |one| one.score);
            ranked.truncate(top_k);
            Ok(ranked)
        }))
    }

    /// A query and the documents beside it. As in the paper's own code each has half of the positions, the end of a text that is
    /// too long is kept, and documents are of the second token type. `truncated` is told of each document whether it, or
    /// the query, was cut.
    fn beside(&self, query: &str, documents: &[String], truncated: &mut Vec<bool>) -> Result<Sequence> {
        let (tokens, room) = (&self.parts.tokens, self.parts.max_tokens / 2);
        let mut sequence = Sequence::from(&tokens.encode_cut(query, room, true)?);
        for document in documents {
            let encoding = tokens.encode_cut(document, room, true)?;
            sequence.branches.push(sequence.ids.len() as u32);
            sequence.ids.extend(encoding.ids);
            truncated.push(sequence.truncated || encoding.truncated);
        }
        sequence.type_ids.resize(sequence.ids.len(), u32::from(self.parts.spec.tables.types > 1));
        Ok(sequence)
    }
}
