//! Finds the zeros of a matrix that need not be stored, and writes down which.

use serde_json::{Value, json};

use crate::sparsity::{BLOCKS, Blocks, Sparsity};

/// Fewest rows, or columns, of a block: heads are multiples of it.
const LEAST: usize = 16;

/// What of `values: [rows, columns]` is to be stored in so many bits each: what takes least.
pub fn of(values: &[f32], rows: usize, columns: usize, bits: usize) -> Sparsity {
    let is_zero = |value: &f32| *value == 0.0;
    if values.iter().all(is_zero) {
        return Sparsity::None;
    }
    let two = |four: &[f32; 4]| four.iter().filter(|value| is_zero(value)).count() >= 2;
    let two_of_four = columns.is_multiple_of(4) && values.as_chunks::<4>().0.iter().all(two);
    let blocks = Sparsity::Blocks {
        rows: blocks(rows, |row| values[row * columns..][..columns].iter().all(is_zero)),
        columns: blocks(columns, |column| values[column..].iter().step_by(columns).all(is_zero)),
    };
    let size = |sparsity: &Sparsity| sparsity.rows(rows) * sparsity.row_bits(columns, bits).div_ceil(8);
    let kinds = [Some(Sparsity::None), two_of_four.then_some(Sparsity::TwoOfFour), Some(blocks)];
    // The first of equals is the simplest.
    kinds.into_iter().flatten().min_by_key(size).unwrap_or_default()
}

/// Blocks without those that are zeros.
fn blocks(count: usize, is_zero: impl Fn(usize) -> bool) -> Blocks {
    let size = count.div_ceil(BLOCKS).next_power_of_two().max(LEAST);
    let zeros: Vec<bool> = (0..count).map(is_zero).collect();
    let kept = zeros.chunks(size).enumerate().filter(|(_, block)| block.contains(&false));
    Blocks { size, kept: kept.fold(0, |kept, (block, _)| kept | 1 << block) }
}

/// As docs/format.md has it; none where all is stored.
pub fn written(sparsity: Sparsity) -> Option<Value> {
    let blocks = |blocks: Blocks| {
        let kept: Vec<usize> = (0..BLOCKS).filter(|block| blocks.kept >> block & 1 == 1).collect();
        json!({ "size": blocks.size, "kept": kept })
    };
    match sparsity {
        Sparsity::None => None,
        Sparsity::TwoOfFour => Some(json!("2:4")),
        Sparsity::Blocks { rows, columns } => Some(json!({ "rows": blocks(rows), "columns": blocks(columns) })),
    }
}
