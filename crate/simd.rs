//! Eight f32 lanes, what is done to the values of a row with them, and the tile of a product that both the products and the
//! attention of the host are made of.
//!
//! In the browser the lanes are two wasm vectors, spelled out so that inner loops do not depend on what an optimiser finds: the
//! package is compiled for size. Natively they are an array that the compiler vectorises.

use std::ops::Range;

/// Eight values that are worked on together.
#[derive(Clone, Copy)]
pub struct F32x8(Lanes);

#[cfg(not(target_arch = "wasm32"))]
type Lanes = [f32; 8];
#[cfg(target_arch = "wasm32")]
type Lanes = [core::arch::wasm32::v128; 2];

/// What an array and a pair of wasm vectors do differently.
#[cfg(not(target_arch = "wasm32"))]
impl F32x8 {
    /// The same value in every lane.
    #[inline(always)]
    pub fn splat(value: f32) -> Self {
        Self([value; 8])
    }

    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|lane| f(self.0[lane], other.0[lane])))
    }

    #[inline(always)]
    fn map(self, f: impl Fn(f32) -> f32) -> Self {
        Self(self.0.map(f))
    }

    /// `self + a * b`, rounded twice.
    #[inline(always)]
    pub fn mul_add(self, a: Self, b: Self) -> Self {
        self + a * b
    }

    /// The larger of each lane, of which neither should be NaN; NaN stays where `self` has it.
    #[inline(always)]
    pub fn max(self, other: Self) -> Self {
        // Not `f32::max`, which has a rule for NaN that no vector instruction has.
        self.zip(other, |a, b| if a < b { b } else { a })
    }

    /// The smaller of each lane, of which neither should be NaN; NaN stays where `self` has it.
    #[inline(always)]
    pub fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if b < a { b } else { a })
    }

    /// Without signs.
    #[inline(always)]
    pub fn abs(self) -> Self {
        self.map(f32::abs)
    }

    /// With the signs of another.
    #[inline(always)]
    pub fn copysign(self, sign: Self) -> Self {
        self.zip(sign, f32::copysign)
    }

    /// Zero in the lanes where `x` is less than `least`.
    #[inline(always)]
    fn where_at_least(self, x: Self, least: f32) -> Self {
        self.zip(x, |value, x| if x < least { 0.0 } else { value })
    }

    /// 2ⁿ, where the low bits of a lane are n.
    #[inline(always)]
    fn power_of_low_bits(self) -> Self {
        self.map(|x| f32::from_bits((x.to_bits() << 23).wrapping_add(127 << 23)))
    }
}

#[cfg(target_arch = "wasm32")]
use core::arch::wasm32 as wasm;

#[cfg(target_arch = "wasm32")]
impl F32x8 {
    /// The same value in every lane.
    #[inline(always)]
    pub fn splat(value: f32) -> Self {
        Self([wasm::f32x4_splat(value); 2])
    }

    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(wasm::v128, wasm::v128) -> wasm::v128) -> Self {
        Self([f(self.0[0], other.0[0]), f(self.0[1], other.0[1])])
    }

    #[inline(always)]
    fn map(self, f: impl Fn(wasm::v128) -> wasm::v128) -> Self {
        Self([f(self.0[0]), f(self.0[1])])
    }

    /// `self + a * b`, rounded once or twice, as the engine's machine does it best.
    #[inline(always)]
    pub fn mul_add(self, a: Self, b: Self) -> Self {
        Self([0, 1].map(|half| wasm::f32x4_relaxed_madd(a.0[half], b.0[half], self.0[half])))
    }

    /// The larger of each lane, of which neither should be NaN; NaN stays where `self` has it.
    #[inline(always)]
    pub fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| wasm::f32x4_pmax(a, b))
    }

    /// The smaller of each lane, of which neither should be NaN; NaN stays where `self` has it.
    #[inline(always)]
    pub fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| wasm::f32x4_pmin(a, b))
    }

    /// Without signs.
    #[inline(always)]
    pub fn abs(self) -> Self {
        self.map(|x| wasm::f32x4_abs(x))
    }

    /// With the signs of another.
    #[inline(always)]
    pub fn copysign(self, sign: Self) -> Self {
        self.zip(sign, |value, sign| wasm::v128_bitselect(sign, value, wasm::f32x4_splat(-0.0)))
    }

    /// Zero in the lanes where `x` is less than `least`.
    #[inline(always)]
    fn where_at_least(self, x: Self, least: f32) -> Self {
        self.zip(x, |value, x| wasm::v128_andnot(value, wasm::f32x4_lt(x, wasm::f32x4_splat(least))))
    }

    /// 2ⁿ, where the low bits of a lane are n.
    #[inline(always)]
    fn power_of_low_bits(self) -> Self {
        self.map(|x| wasm::i32x4_add(wasm::i32x4_shl(x, 23), wasm::i32x4_splat(127 << 23)))
    }
}

impl F32x8 {
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

    /// The sum of the lanes, always in one order.
    #[inline(always)]
    pub fn sum(self) -> f32 {
        let [a, b, c, d, e, f, g, h] = self.to_array();
        ((a + e) + (c + g)) + ((b + f) + (d + h))
    }

    /// e^x as 2^n 2^f with a polynomial for 2^f, relative error below 2e-7; zero where x < -87, and as for 88 above that.
    #[inline(always)]
    pub fn exp(self) -> Self {
        let round = Self::splat(12_582_912.0);
        let clamped = self.max(Self::splat(-87.0)).min(Self::splat(88.0));
        // Adding 1.5 · 2^23 rounds to the nearest integer and leaves it in the low bits.
        let shifted = clamped * Self::splat(std::f32::consts::LOG2_E) + round;
        let whole = shifted - round;
        // ln 2 in two parts: the first has few enough bits for an exact product.
        let f = clamped.mul_add(whole, Self::splat(-0.693_359_4)).mul_add(whole, Self::splat(2.121_944_4e-4));
        let series = [0.008_333_334, 0.041_666_67, 0.166_666_67, 0.5, 1.0, 1.0]
            .into_iter()
            .fold(Self::splat(0.001_388_889), |sum, factor| Self::splat(factor).mul_add(f, sum));
        (series * shifted.power_of_low_bits()).where_at_least(self, -87.0)
    }
}

macro_rules! lane_by_lane {
    ($($operator:ident, $name:ident, $vector:ident;)*) => {$(
        impl std::ops::$operator for F32x8 {
            type Output = Self;
            #[inline(always)]
            fn $name(self, other: Self) -> Self {
                #[cfg(target_arch = "wasm32")]
                return self.zip(other, |a, b| wasm::$vector(a, b));
                #[cfg(not(target_arch = "wasm32"))]
                return self.zip(other, |a, b| std::ops::$operator::$name(a, b));
            }
        }
    )*};
}

lane_by_lane! {
    Add, add, f32x4_add;
    Sub, sub, f32x4_sub;
    Mul, mul, f32x4_mul;
    Div, div, f32x4_div;
}

/// Replaces each value by what a function of eight makes of it.
#[inline(always)]
pub fn map(values: &mut [f32], f: impl Fn(F32x8) -> F32x8) {
    let (eights, rest) = values.as_chunks_mut::<8>();
    for values in eights {
        *values = f(F32x8::load(values)).to_array();
    }
    if !rest.is_empty() {
        let made = f(F32x8::load(&eight(rest))).to_array();
        rest.copy_from_slice(&made[..rest.len()]);
    }
}

/// Replaces each value by what a function of eight makes of it and of the one in its place in `others`, which may be
/// more.
#[inline(always)]
pub fn zip(values: &mut [f32], others: &[f32], f: impl Fn(F32x8, F32x8) -> F32x8) {
    let others = &others[..values.len()];
    let (eights, rest) = values.as_chunks_mut::<8>();
    let (others, last) = others.as_chunks::<8>();
    for (values, others) in eights.iter_mut().zip(others) {
        *values = f(F32x8::load(values), F32x8::load(others)).to_array();
    }
    if !rest.is_empty() {
        let made = f(F32x8::load(&eight(rest)), F32x8::load(&eight(last))).to_array();
        rest.copy_from_slice(&made[..rest.len()]);
    }
}

/// Adds to each value the one in its place in `others`, which may be more, times `scale`.
#[inline(always)]
pub fn add_scaled(values: &mut [f32], scale: f32, others: &[f32]) {
    zip(values, others, |value, other| value.mul_add(F32x8::splat(scale), other));
}

/// Sums what a function of eight makes of values: in eight lanes, which rounds less than one running sum.
#[inline(always)]
pub fn sum(values: &[f32], f: impl Fn(F32x8) -> F32x8) -> f32 {
    let (eights, rest) = values.as_chunks::<8>();
    let mut sums = eights.iter().fold(F32x8::splat(0.0), |sums, values| sums + f(F32x8::load(values)));
    if !rest.is_empty() {
        let mut made = f(F32x8::load(&eight(rest))).to_array();
        made[rest.len()..].fill(0.0);
        sums = sums + F32x8::load(&made);
    }
    sums.sum()
}

/// Fewer than eight values, and zeros.
#[inline(always)]
fn eight(values: &[f32]) -> [f32; 8] {
    let mut eight = [0.0; 8];
    eight[..values.len()].copy_from_slice(values);
    eight
}

/// e^x, as [`F32x8::exp`] computes it.
pub fn exp(x: f32) -> f32 {
    F32x8::splat(x).exp().to_array()[0]
}

/// The products of values in the same places, summed.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks(), b.as_chunks());
    let sums = a.iter().zip(b).fold(F32x8::splat(0.0), |sums, (a, b)| sums.mul_add(F32x8::load(a), F32x8::load(b)));
    sums.mul_add(F32x8::load(&eight(a_rest)), F32x8::load(&eight(b_rest))).sum()
}

/// Adds to four rows of sums the products of four rows, `x: [k][4]`, with eight columns, `w: [k][8]`, one after another in the
/// order of k. Eight vector registers of sums are as many as x64 can spare; they are named one by one so that each is one at
/// any optimisation level.
#[inline]
pub fn tile(x: &[[f32; 4]], w: &[[f32; 8]], sums: [F32x8; 4]) -> [F32x8; 4] {
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
const RUN: usize = 64;

/// As [`tile`], for a k that is the same whatever the batch: the sums of runs of products are added.
#[inline]
pub fn tile_in_runs(x: &[[f32; 4]], w: &[[f32; 8]], sums: [F32x8; 4]) -> [F32x8; 4] {
    x.chunks(RUN).zip(w.chunks(RUN)).fold(sums, |[sum0, sum1, sum2, sum3], (x, w)| {
        let [run0, run1, run2, run3] = tile(x, w, [F32x8::splat(0.0); 4]);
        [sum0 + run0, sum1 + run1, sum2 + run2, sum3 + run3]
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
    #[test]
    fn exp_is_accurate_over_its_range() {
        for step in -8700..=8800 {
            let x = step as f32 / 100.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() < 3e-7, "{x}");
        }
        assert_eq!((exp(-1e30), exp(0.0)), (0.0, 1.0));
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn values_behind_the_last_eight_are_worked_on_and_nothing_else() {
        for length in 0..20 {
            let values: Vec<f32> = (0..length).map(|value| value as f32).collect();
            let (mut mapped, mut zipped) = (values.clone(), values.clone());
            map(&mut mapped, |x| x + F32x8::splat(1.0));
            zip(&mut zipped, &mapped, |x, y| y - x);
            assert!(mapped.iter().zip(&values).all(|(y, x)| *y == x + 1.0));
            assert_eq!(zipped, vec![1.0; length]);
            assert_eq!(sum(&values, |x| x + F32x8::splat(1.0)), mapped.iter().sum::<f32>());
            assert_eq!(dot(&values, &mapped), values.iter().map(|x| x * (x + 1.0)).sum::<f32>());
        }
    }
}
