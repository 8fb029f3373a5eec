//! Eight f32 lanes, and the tile of a product that both the products and the attention of the host are made of.
//!
//! In the browser the lanes are two wasm vectors, spelled out so that the inner loop does not depend on what an optimiser
//! finds; natively they are an array that the compiler vectorises.

use std::ops::Range;

/// Eight values that are worked on together.
#[derive(Clone, Copy)]
pub struct F32x8(Lanes);

#[cfg(not(target_arch = "wasm32"))]
type Lanes = [f32; 8];
#[cfg(target_arch = "wasm32")]
type Lanes = [core::arch::wasm32::v128; 2];

#[cfg(not(target_arch = "wasm32"))]
impl F32x8 {
    /// The same value in every lane.
    #[inline(always)]
    pub fn splat(value: f32) -> Self {
        Self([value; 8])
    }

    /// Eight values in order.
    #[inline(always)]
    pub fn load(values: &[f32; 8]) -> Self {
        Self(*values)
    }

    /// The lanes in order.
    #[inline(always)]
    pub fn to_array(self) -> [f32; 8] {
        self.0
    }

    /// Lane by lane.
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] + other.0[lane]))
    }

    /// `self + a * b`, rounded twice.
    #[inline(always)]
    pub fn mul_add(self, a: f32, b: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] + a * b.0[lane]))
    }
}

#[cfg(target_arch = "wasm32")]
impl F32x8 {
    /// The same value in every lane.
    #[inline(always)]
    pub fn splat(value: f32) -> Self {
        use core::arch::wasm32::f32x4_splat;
        Self([f32x4_splat(value); 2])
    }

    /// Eight values in order.
    #[inline(always)]
    pub fn load(values: &[f32; 8]) -> Self {
        Self(bytemuck::cast(*values))
    }

    /// The lanes in order.
    #[inline(always)]
    pub fn to_array(self) -> [f32; 8] {
        bytemuck::cast(self.0)
    }

    /// Lane by lane.
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        use core::arch::wasm32::f32x4_add;
        let ([low, high], [other_low, other_high]) = (self.0, other.0);
        Self([f32x4_add(low, other_low), f32x4_add(high, other_high)])
    }

    /// `self + a * b`, rounded once or twice, as the engine's machine does it best.
    #[inline(always)]
    pub fn mul_add(self, a: f32, b: Self) -> Self {
        use core::arch::wasm32::{f32x4_relaxed_madd, f32x4_splat};
        let (a, [low, high], [b_low, b_high]) = (f32x4_splat(a), self.0, b.0);
        Self([f32x4_relaxed_madd(a, b_low, low), f32x4_relaxed_madd(a, b_high, high)])
    }
}

/// Adds to four rows of sums the products of four rows, `x: [k][4]`, with eight columns, `w: [k][8]`, one after another in the
/// order of k. Eight vector registers of sums are as many as x64 can spare; they are named one by one so that each is one at
/// any optimisation level.
#[inline]
pub fn tile(x: &[[f32; 4]], w: &[[f32; 8]], sums: [F32x8; 4]) -> [F32x8; 4] {
    let [mut sum0, mut sum1, mut sum2, mut sum3] = sums;
    for (x, w) in x.iter().zip(w) {
        let w = F32x8::load(w);
        sum0 = sum0.mul_add(x[0], w);
        sum1 = sum1.mul_add(x[1], w);
        sum2 = sum2.mul_add(x[2], w);
        sum3 = sum3.mul_add(x[3], w);
    }
    [sum0, sum1, sum2, sum3]
}

/// Products that are summed before their sum is added to the others: rounds less than one running sum.
const RUN: usize = 64;

/// As [`tile`], for a k that is the same whatever the batch: the sums of runs of products are added.
#[inline]
pub fn tile_in_runs(x: &[[f32; 4]], w: &[[f32; 8]], sums: [F32x8; 4]) -> [F32x8; 4] {
    x.chunks(RUN).zip(w.chunks(RUN)).fold(sums, |[sum0, sum1, sum2, sum3], (x, w)| {
        let [run0, run1, run2, run3] = tile(x, w, [F32x8::splat(0.0); 4]);
        [sum0.add(run0), sum1.add(run1), sum2.add(run2), sum3.add(run3)]
    })
}

/// Rows as a [`tile`] takes them: some columns of `x: [rows, stride]` to `[rows / 4][columns][4]`. What the last four lack is
/// zero.
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

/// Strides are multiples of four, so four lanes of sums lose nothing and vectorise.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; 4];
    for (a, b) in a.as_chunks::<4>().0.iter().zip(b.as_chunks::<4>().0) {
        for lane in 0..4 {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    (lanes[0] + lanes[1]) + (lanes[2] + lanes[3])
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
        let sums = tile(&packed[..3], &w, [F32x8::splat(0.5); 4]).map(F32x8::to_array);
        assert_eq!(tile_in_runs(&packed[..3], &w, [F32x8::splat(0.5); 4]).map(F32x8::to_array), sums);
        for (row, sums) in sums.iter().enumerate() {
            for (column, sum) in sums.iter().enumerate() {
                let exact: f32 = (0..3).map(|k| x[row * stride + 1 + k] * w[k][column]).sum();
                assert_eq!(*sum, 0.5 + exact);
            }
        }
    }
}
