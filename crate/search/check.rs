//! The check of the kernels on a device, before it has the rows of a collection: they must find what the host finds.

use super::host::HostRows;
use super::kernels::{BLOCK, KEPT};
use super::shape::{Precision, Shape};
use crate::error::{Error, Result};
use crate::gpu::ResidentRows;

/// Values of the rows that are compared: then some are there several times.
const VALUES: usize = 1 << 17;
/// Most words of all rows.
const WORDS: usize = 4 << 20;
/// Largest error of a key of floats, relative to the largest magnitude: they are summed up in another order.
const TOLERANCE: f32 = 1e-4;

/// Compares the first rows of a place on the GPU, which are overwritten, with the same on the host.
pub async fn run(shape: &Shape, gpu: &mut ResidentRows) -> Result<()> {
    if gpu.is_checked() {
        return Ok(());
    }
    // More than a block, where that is not too large, and more than one round finds.
    let (stride, row_bytes) = (shape.stride(), shape.row_bytes());
    let count = (BLOCK + 65).min(gpu.rows_per_piece).min((WORDS / stride).max(1));
    let vectors = (VALUES / shape.dimensions).clamp(1, count);
    let mut random = 0x9e37_79b9_u32;
    let mut next = || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut values = |count: usize| (0..count).map(|_| next()).collect::<Vec<f32>>();
    let encoded = shape.encode(&values(vectors * shape.dimensions))?;
    let query = shape.query(&values(shape.dimensions))?;
    let mut host = HostRows::new(shape);
    host.reserve(shape, count)?;
    for row in (0..count).step_by(vectors) {
        host.put(shape, row, &encoded[..vectors.min(count - row) * row_bytes])?;
    }
    gpu.reserve(count).await?;
    gpu.write(0, host.runs(count));
    // One word in eight is of rows that are not to be found.
    let word = |word| if word % 8 == 3 { 0 } else { u32::MAX };
    let mut allowed: Vec<u32> = (0..count.div_ceil(32)).map(word).collect();
    if let Some(last) = allowed.last_mut() {
        *last &= u32::MAX >> (count.wrapping_neg() % 32);
    }
    let expected = host.search(shape, &query, &allowed, KEPT + KEPT / 4);
    let found = gpu.search(&query.words(), count, &allowed, expected.len()).await?;
    let (mut error, mut largest) = (0.0_f32, f32::MIN_POSITIVE);
    for (found, expected) in found.iter().zip(&expected) {
        error = error.max((found.key - expected.key).abs());
        largest = largest.max(expected.key.abs());
    }
    error /= largest;
    let allowed = if shape.precision == Precision::Float32 { TOLERANCE } else { 0.0 };
    if error > allowed || allowed == 0.0 && found != expected {
        return Err(Error::SelfCheckFailed { kernel: "scan".into(), error, allowed });
    }
    gpu.set_checked();
    Ok(())
}
