//! Products with matrices, and the tile that they and attention are made of.

use std::ops::Range;

use crate::PANEL;
use crate::int8::{self, Int8Part};
use crate::simd::{F32x8, inlined, vectorized};

/// A matrix that something is multiplied by.
#[derive(Debug, Clone, Copy)]
pub enum Matrix<'a> {
    /// `[outputs / 8][inputs][8]`
    F32(&'a [f32]),
    /// Rounded.
    Int8(Int8Part<'a>),
}

impl Matrix<'_> {
    /// The columns from `first` on, a multiple of eight.
    pub fn behind_column(self, inputs: usize, first: usize) -> Self {
        match self {
            Self::F32(weight) => Self::F32(&weight[first * inputs..]),
            Self::Int8(weight) => Self::Int8(weight.behind_panel(inputs, first / PANEL)),
        }
    }
}

/// out = x Wᵀ + b, `[rows, width]`, of `x: [rows, inputs]`. Inputs are a multiple of four; what a bias lacks is zero.
#[inline(never)]
pub fn product(x: &[f32], inputs: usize, weight: Matrix, bias: &[f32], out: &mut [f32], width: usize) {
    let weight = match weight {
        Matrix::F32(weight) => weight,
        Matrix::Int8(weight) => return int8::product(x, inputs, weight, bias, out, width),
    };
    let mut packed = vec![[0.0; 4]; (x.len() / inputs).div_ceil(4) * inputs];
    fours(x, inputs, 0..inputs, &mut packed);
    #[cfg(target_arch = "x86_64")]
    if crate::fused::product(&packed, inputs, weight, bias, out, width) {
        return;
    }
    for (panel, weight) in weight.chunks_exact(inputs * PANEL).enumerate().take(width.div_ceil(PANEL)) {
        let columns = panel * PANEL..((panel + 1) * PANEL).min(width);
        let start = F32x8::load(&start_of(bias, panel));
        for (x, out) in packed.chunks_exact(inputs).zip(out.chunks_mut(4 * width)) {
            let sums = tile_in_runs(x, weight.as_chunks().0, [start; 4]);
            for (out, sums) in out.chunks_exact_mut(width).zip(sums) {
                out[columns.clone()].copy_from_slice(&sums.to_array()[..columns.len()]);
            }
        }
    }
}

/// The bias of a panel's columns; what it lacks is zero.
pub(crate) fn start_of(bias: &[f32], panel: usize) -> [f32; PANEL] {
    let mut start = [0.0; PANEL];
    start.iter_mut().zip(bias.iter().skip(panel * PANEL)).for_each(|(start, bias)| *start = *bias);
    start
}

/// Adds to four rows of sums the products of four rows, `x: [k][4]`, with eight columns, `w: [k][8]`, one after another in the
/// order of k. Eight vector registers of sums are as many as x64 can spare; they are named one by one so that each is one at
/// any optimisation level.
#[inline(always)]
fn add_tile(x: &[[f32; 4]], w: &[[f32; 8]], sums: [F32x8; 4]) -> [F32x8; 4] {
    let [mut sum0, mut sum1, mut sum2, mut sum3] = sums;
    for (x, w) in x.iter().zip(w) {
        let w = F32x8::load(w);
        sum0 = sum0.mul_add(F32x8::splat(x[0]), w);
        sum1 = sum1.mul_add(F32x8::splat(x[1]), w);
        sum2 = sum2.mul_add(F32x8::splat(x[2]), w);
        sum3 = sum3.mul_add(F32x8::splat(x[3]), w);
    }
    [sum0, sum1, sum2, sum3]
}

/// Products that are summed before their sum is added to the others: rounds less than one running sum.
pub(crate) const RUN: usize = 64;

/// As [`add_tile`], for a k that is the same whatever the batch: the sums of runs of products are added.
#[inline(always)]
fn tile_in_runs(x: &[[f32; 4]], w: &[[f32; 8]], sums: [F32x8; 4]) -> [F32x8; 4] {
    x.chunks(RUN).zip(w.chunks(RUN)).fold(sums, |[sum0, sum1, sum2, sum3], (x, w)| {
        let [run0, run1, run2, run3] = vectorized(inlined!(|| add_tile(x, w, [F32x8::splat(0.0); 4])));
        [sum0 + run0, sum1 + run1, sum2 + run2, sum3 + run3]
    })
}

/// The products of rows, `[rows / 4][width][4]`, with eight columns, `[width][8]`, to `out: [rows][8]`. The first `skipped`
/// rows, and those that `out` has no place for, are not written.
#[inline(never)]
pub fn products_with_eight(
    rows: &[[f32; 4]],
    width: usize,
    columns: &[[f32; 8]],
    skipped: usize,
    out: &mut [[f32; 8]],
) {
    #[cfg(target_arch = "x86_64")]
    if crate::fused::products_with_eight(rows, width, columns, skipped, out) {
        return;
    }
    for (four, rows) in rows.chunks_exact(width).enumerate() {
        let sums = tile_in_runs(rows, columns, [F32x8::splat(0.0); 4]);
        for (row, sums) in (4 * four..).zip(sums) {
            if let Some(out) = row.checked_sub(skipped).and_then(|row| out.get_mut(row)) {
                *out = sums.to_array();
            }
        }
    }
}

/// Rows as products take them: some columns of `x: [rows, stride]` to `[rows / 4][columns][4]`. What the last four lack is
/// zero.
#[inline(never)]
pub fn fours(x: &[f32], stride: usize, columns: Range<usize>, packed: &mut [[f32; 4]]) {
    for (x, packed) in x.chunks(4 * stride).zip(packed.chunks_mut(columns.len())) {
        let row = |index: usize| x.get(index * stride + columns.start..index * stride + columns.end);
        if let (Some(a), Some(b), Some(c), Some(d)) = (row(0), row(1), row(2), row(3)) {
            for ((((packed, a), b), c), d) in packed.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                *packed = [*a, *b, *c, *d];
            }
        } else {
            packed.fill([0.0; 4]);
            for (index, row) in (0..4).filter_map(|index| Some((index, row(index)?))) {
                packed.iter_mut().zip(row).for_each(|(packed, value)| packed[index] = *value);
            }
        }
    }
}

/// Adds to sums, four rows for each of `sums`, the products of rows `x: [4 · sums][stride]`, four side by side as [`fours`] has them, of
/// which the columns `rows` count, with eight columns, one after another in their order.
#[inline(never)]
pub fn add_products_with_eight(
    x: &[[f32; 4]],
    stride: usize,
    rows: Range<usize>,
    columns: &[[f32; 8]],
    sums: &mut [[F32x8; 4]],
) {
    #[cfg(target_arch = "x86_64")]
    if crate::fused::add_products_with_eight(x, stride, rows.clone(), columns, sums) {
        return;
    }
    for (x, sums) in x.chunks_exact(stride).zip(sums) {
        *sums = vectorized(inlined!(|| add_tile(&x[rows.clone()], columns, *sums)));
    }
}

/// Chains that [`chains`] has side by side.
pub(crate) const CHAINS: usize = 8;

/// Chains of multiplications and additions, of which each waits for the one before, with the instructions of the products: what they
/// could do at most. Returns what only who computes them knows, and how many multiplications and additions they were.
pub fn chains(loops: usize) -> (f32, usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(done) = crate::fused::chains(loops) {
        return done;
    }
    let sums = vectorized(inlined!(|| {
        let c = F32x8::splat(1e-3);
        let (mut low, mut high) = ([c; 4], [c; 4]);
        for _ in 0..loops {
            let factors = [[0.999; 4]];
            low = add_tile(&factors, &[[1e-3; 8]], low);
            high = add_tile(&factors, &[[1e-3; 8]], high);
        }
        low.into_iter().chain(high).fold(c, |sum, chain| sum + chain).sum()
    }));
    (sums, loops * CHAINS * 2 * 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_of_packed_rows_is_a_product() {
        let (rows, stride) = (6, 5);
        let x: Vec<f32> = (0..rows * stride).map(|value| value as f32).collect();
        let mut packed = vec![[f32::NAN; 4]; 2 * 3];
        fours(&x, stride, 1..4, &mut packed);
        assert_eq!(packed[..3], [[1.0, 6.0, 11.0, 16.0], [2.0, 7.0, 12.0, 17.0], [3.0, 8.0, 13.0, 18.0]]);
        assert_eq!(packed[3..], [[21.0, 26.0, 0.0, 0.0], [22.0, 27.0, 0.0, 0.0], [23.0, 28.0, 0.0, 0.0]]);
        let w: Vec<[f32; 8]> = (0..3).map(|k| std::array::from_fn(|column| (k * 8 + column) as f32)).collect();
        let sums = tile_in_runs(&packed[..3], &w, [F32x8::splat(0.5); 4]).map(F32x8::to_array);
        for fours in [1, 2] {
            let mut added = vec![[F32x8::splat(0.5); 4]; fours];
            add_products_with_eight(&packed, 3, 0..3, &w, &mut added);
            assert_eq!(added[0].map(F32x8::to_array), sums);
        }
        let mut out = [[f32::NAN; 8]; 4];
        products_with_eight(&packed, 3, &w, 1, &mut out);
        for row in 0..5 {
            for column in 0..8 {
                let exact: f32 = (0..3).map(|k| x[row * stride + 1 + k] * w[k][column]).sum();
                if row < 4 {
                    assert_eq!(sums[row][column], 0.5 + exact);
                }
                if row > 0 {
                    assert_eq!(out[row - 1][column], exact);
                }
            }
        }
    }
}
