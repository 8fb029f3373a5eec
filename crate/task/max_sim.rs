//! How texts of several vectors are compared: late interaction, on the host for a few texts and on the device for many.

use std::sync::Arc;

use super::MultiVectors;
use crate::error::{Error, Result};
use crate::job::{Call, Job, Ragged};
use crate::layout::{Axis, Layout};
use crate::model::Model;
use crate::ops::{Epilogue, late_interaction};
use crate::program::{Program, Rows, padded};
use crate::reader::place;
use crate::runner::Scan;
use crate::weights::{Rounding, Weight};

/// How well a document answers a query: for every vector of the query its best dot product with one of the document's, summed.
pub fn max_sim(query: &MultiVectors, document: &MultiVectors) -> Result<f32> {
    if query.dimensions != document.dimensions {
        let (a, b) = (query.dimensions, document.dimensions);
        return Err(Error::argument(format!("vectors of {a} columns cannot be compared with vectors of {b}")));
    }
    let [a, b] = [query, document].map(|text| padded(&text.data, text.dimensions));
    Ok(late_interaction(&a, &b, query.dimensions.next_multiple_of(4)))
}

impl Model {
    /// [`max_sim`] of the first `queries` texts, up to 65,535, and each of the others, `[others, queries]`, on the model's device.
    pub fn max_sim(&self, texts: Ragged, queries: usize) -> Result<Call<Ragged>> {
        // What WebGPU promises of a grid, and the whole numbers that an f32 holds.
        if !(1..=65_535).contains(&queries) || queries > texts.count() || texts.starts[queries] > 1 << 24 {
            return Err(Error::argument(format!("{queries} queries of such lengths cannot be compared at once")));
        }
        let width = texts.width;
        let mut program = Program::default();
        let x = program.buf(Rows::Tokens, width);
        // Of texts of one vector each it is a product.
        if texts.starts.windows(2).all(|bounds| bounds[1] == bounds[0] + 1) {
            let (inputs, outputs) = (Axis::plain(width), Axis::plain(queries));
            let layout = Layout::Linear { inputs, outputs };
            let weight = program.weight(Weight::new(layout, Vec::new(), Rounding::Never));
            let bias = program.weight(Weight::new(Layout::Vector { axis: outputs }, Vec::new(), Rounding::Never));
            let trunk = program.begin_tail();
            let scores = program.linear(x, weight, bias, queries, Epilogue::None);
            program.end_tail(trunk, Some(scores));
            let mut values = vec![0.0; layout.elements()];
            place(layout, 0, width, texts.of(0..queries), &mut values);
            let scan = Scan { program: Arc::new(program), given: (weight, values), x, texts, queries, runner: None };
            return Ok(Call::new(Job::scan(scan), |_, scores| Ok(scores)));
        }
        let given = program.queries(&texts.starts[..=queries], width);
        let trunk = program.begin_tail();
        program.max_sim(x, given);
        program.end_tail(trunk, None);
        let given = (given.vectors, padded(texts.of(0..queries), width));
        let scan = Scan { program: Arc::new(program), given, x, texts, queries, runner: None };
        Ok(Call::new(Job::scan(scan), |_, scores| Ok(scores)))
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
