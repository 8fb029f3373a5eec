//! For every document and query the sum, over the vectors of the query, of the best dot product of each with a vector of the
//! document. Source: ColBERT, arXiv 2004.12832 §3.3.

use embedlet_host::dot;

use super::GROUP;
use crate::batch::Batch;
use crate::cpu::{Memory, for_row_blocks};
use crate::fragment;
use crate::program::{Buf, Op, Operand, Output, Program, Rows, WeightId};
use crate::shader::{Const, Grid, Kernel};
use crate::weights::{Axis, Layout, Rounding, Weight};

/// Vectors of queries as parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queries {
    /// `[rows, stride]`, query after query.
    pub vectors: WeightId,
    /// First row of each query, and one past the last row of the last; in f32 whole numbers up to 2²⁴.
    pub starts: WeightId,
    /// How many queries.
    pub count: usize,
}

/// See the module.
pub struct MaxSim {
    x: Buf,
    queries: Queries,
}

impl Program {
    /// Queries of `width` columns, of which each begins at a row of `starts`, and the last ends there.
    pub fn queries(&mut self, starts: &[usize], width: usize) -> Queries {
        let rows = Axis::blocks(starts.last().copied().unwrap_or(0), width);
        let vectors = self.weight(Weight::new(Layout::Vector { axis: rows }, Vec::new(), Rounding::Never));
        let count = starts.len().saturating_sub(1);
        let starts = self.weight(Weight::values(starts.iter().map(|start| *start as f32).collect()));
        Queries { vectors, starts, count }
    }

    /// x: `[tokens, width]`, the vectors of documents, to the scores that are read back, `[texts, queries]`
    pub fn max_sim(&mut self, x: Buf, queries: Queries) {
        self.output = Output { width: queries.count, modes: 0 };
        self.push(MaxSim { x, queries });
    }
}

impl Op for MaxSim {
    fn kernel(&self) -> Kernel {
        Kernel {
            name: "max_sim",
            fragments: vec![fragment!("max_sim.wgsl"), fragment!("lib/reduce.wgsl")],
            consts: vec![("GROUP", Const::Count(GROUP)), ("STRIDE4", Const::Count(self.x.stride / 4))],
            operands: vec![
                Operand::Read(self.x),
                Operand::Weight(self.queries.vectors),
                Operand::Weight(self.queries.starts),
                Operand::Output,
            ],
            grid: Grid { rows: Rows::Texts, per_group: 1, y: self.queries.count as u32, z: 1 },
        }
    }

    fn run(&self, batch: &Batch, memory: &mut Memory) {
        let (columns, stride) = (batch.pooling.dimensions as usize, self.x.stride);
        memory.write_output(batch.texts() * columns, |memory, out| {
            let (x, queries) = (memory.read(self.x), memory.weight(self.queries.vectors));
            let starts = memory.weight(self.queries.starts);
            for_row_blocks(out, columns, 1, |text, scores| {
                let documents = batch.text(text);
                let document = &x[documents.start * stride..documents.end * stride];
                for (score, bounds) in scores.iter_mut().zip(starts.windows(2)) {
                    let query = &queries[bounds[0] as usize * stride..bounds[1] as usize * stride];
                    *score = late_interaction(query, document, stride);
                }
            });
        });
    }
}

/// The score of a document for a query, both whole rows; a document without vectors matches nothing.
pub fn late_interaction(query: &[f32], document: &[f32], stride: usize) -> f32 {
    if document.is_empty() {
        return 0.0;
    }
    let best = |row: &[f32]| document.chunks_exact(stride).map(|other| dot(row, other)).fold(f32::MIN, f32::max);
    query.chunks_exact(stride).map(best).sum()
}
