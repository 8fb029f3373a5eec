//! How long a search takes, for `embedlet bench`.

use serde::Serialize;

use super::{Collection, Precision, Shape, Similarity};
use crate::error::Result;
use crate::model::Model;
use crate::platform::now_ms;

/// Rows that are searched.
const ROWS: usize = 100_000;
/// Rows that are encoded at once.
const PART: usize = 10_000;
/// Searches that are timed.
const SEARCHES: usize = 30;

/// Searches of a collection of random vectors.
#[derive(Debug, Clone, Serialize)]
pub struct Scan {
    /// How its rows are kept.
    pub precision: &'static str,
    /// How many there are.
    pub rows: usize,
    /// Bytes of all of them in memory.
    pub bytes: f64,
    /// Milliseconds of a search for ten, the fastest.
    pub ms: f64,
}

/// Times searches of every precision, on the model's device, of vectors as long as its own.
pub fn run(model: &Model) -> Result<Vec<Scan>> {
    let kinds = [("float32", Precision::Float32), ("int8", Precision::Int8), ("binary", Precision::Binary)];
    kinds.into_iter().map(|(name, precision)| scan(model, name, precision)).collect()
}

fn scan(model: &Model, name: &'static str, precision: Precision) -> Result<Scan> {
    let dimensions = model.info().dimensions;
    let shape = Shape::new(dimensions, precision, Similarity::Cosine)?;
    let mut collection: Collection = model.collection(shape);
    let mut random = 0x9e37_79b9_u32;
    let mut values = |count: usize| -> Vec<f32> {
        let mut next = || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    };
    for _ in (0..ROWS).step_by(PART) {
        let rows = shape.encode(&values(PART * dimensions))?;
        pollster::block_on(collection.append(&rows))?;
    }
    let query = values(dimensions);
    let mut ms = f64::INFINITY;
    for _ in 0..SEARCHES {
        let start = now_ms();
        pollster::block_on(collection.search(&query, 10, None))?;
        ms = ms.min(now_ms() - start);
    }
    Ok(Scan { precision: name, rows: ROWS, bytes: (4 * shape.stride() * ROWS) as f64, ms })
}
