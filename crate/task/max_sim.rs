//! How texts of several vectors are compared: late interaction, on the host for a few texts and on the device for many.

use std::sync::Arc;

use super::MultiVectors;
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::job::{Ragged, finite};
use crate::model::Model;
use crate::program::{Program, Rows};

/// Most bytes of the vectors of documents on the device at once, unless those of one document are more. Queries take a quarter.
const BYTES: usize = 16 << 20;
/// Most queries on the device at once.
const QUERIES: usize = 1024;

/// Most vectors of a query: whole numbers that an f32 holds.
const ROWS: u64 = 1 << 24;

/// How well a document answers a query: for every vector of the query its best dot product with one of the document's, summed.
pub fn max_sim(query: &MultiVectors, document: &MultiVectors) -> Result<f32> {
    same(query.dimensions, document.dimensions)?;
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let best = |row: &[f32]| document.rows().map(|other| dot(row, other)).fold(f32::NEG_INFINITY, f32::max);
    Ok(if document.data.is_empty() { 0.0 } else { query.rows().map(best).sum() })
}

fn same(a: usize, b: usize) -> Result<()> {
    match a == b {
        true => Ok(()),
        false => Err(Error::argument(format!("vectors of {a} columns cannot be compared with vectors of {b}"))),
    }
}

impl Model {
    /// [`max_sim`] of every query and document, `[queries, documents]`, on the model's device.
    pub async fn max_sim(&self, queries: &Ragged, documents: &Ragged) -> Result<Vec<f32>> {
        same(queries.width, documents.width)?;
        let (rows, count) = (BYTES / 4 / queries.width, documents.count());
        let mut scores = vec![0.0; queries.count() * count];
        for group in queries.runs(rows / 4, QUERIES) {
            let found = (queries.starts[group.end] - queries.starts[group.start]) as u64;
            if found > ROWS {
                return Err(Error::LimitExceeded { what: "number of vectors of a query".into(), found, limit: ROWS });
            }
            let mut program = Program::default();
            let x = program.buf(Rows::Tokens, queries.width);
            let given = program.queries(&queries.starts[group.start..=group.end], queries.width);
            let trunk = program.begin_tail();
            program.max_sim(x, given);
            let tail = program.end_tail(trunk, None);
            let runs = documents.runs(rows, program.most(Rows::Texts));
            let most = runs.iter().map(|run| documents.starts[run.end] - documents.starts[run.start]).max();
            let (program, vectors) = (Arc::new(program), x.padded(queries.of(group.clone())));
            let runner = self.runner.beside(program.clone(), most.unwrap_or(0), &[(given.vectors, vectors)]).await?;
            for run in runs {
                let batch = Batch::of_rows(&documents.starts[run.start..=run.end], given.count);
                let input = x.padded(documents.of(run.clone()));
                let found = runner.run(&program, tail, &batch, vec![(x, input)]).await?;
                finite(&found, run.start)?;
                for (document, of_document) in run.zip(found.chunks_exact(given.count)) {
                    for (query, score) in group.clone().zip(of_document) {
                        scores[query * count + document] = *score;
                    }
                }
            }
        }
        Ok(scores)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn max_sim_adds_the_best_of_every_query_vector() {
        let vectors =
            |rows: &[[f32; 2]]| MultiVectors { data: rows.concat(), dimensions: 2, ..MultiVectors::default() };
        let query = vectors(&[[1.0, 0.0], [0.0, 1.0]]);
        let document = vectors(&[[0.5, 0.25], [0.25, 0.75], [-1.0, -1.0]]);
        assert_eq!(max_sim(&query, &document), Ok(1.25));
        assert_eq!(max_sim(&query, &vectors(&[])), Ok(0.0));
        let other = MultiVectors { dimensions: 3, ..vectors(&[]) };
        assert_eq!(max_sim(&query, &other).unwrap_err().code(), "invalid-argument");
    }
}
