//! Eight f32 lanes, and what is done to the values of a row with them.
//!
//! In the browser the lanes are two wasm vectors, spelled out so that inner loops do not depend on what an optimiser finds: the
//! package is compiled for size. Natively they are an array that the compiler vectorises.

use std::collections::TryReserveError;

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

    /// The lowest byte of each lane.
    #[inline(always)]
    pub fn low_bytes(self) -> [u8; 8] {
        self.0.map(|x| x.to_bits() as u8)
    }
}

#[cfg(target_arch = "wasm32")]
use core::arch::wasm32 as wasm;

#[cfg(target_arch = "wasm32")]
impl F32x8 {
    /// The same value in every lane.
    #[inline(always)]
    pub fn splat(value: f32) -> Self {
        // `[x; 2]` would be a loop in a build for size.
        let four = wasm::f32x4_splat(value);
        Self([four, four])
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
        let ([low, high], [a_low, a_high], [b_low, b_high]) = (self.0, a.0, b.0);
        Self([wasm::f32x4_relaxed_madd(a_low, b_low, low), wasm::f32x4_relaxed_madd(a_high, b_high, high)])
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

    /// The lowest byte of each lane.
    #[inline(always)]
    pub fn low_bytes(self) -> [u8; 8] {
        let [low, high] = self.map(|x| wasm::v128_and(x, wasm::i32x4_splat(255))).0;
        let narrow = wasm::i16x8_narrow_i32x4(low, high);
        wasm::i64x2_extract_lane::<0>(wasm::u8x16_narrow_i16x8(narrow, narrow)).to_le_bytes()
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

    /// `self * x + c`: a step of a polynomial.
    #[inline(always)]
    pub fn times_plus(self, x: Self, c: f32) -> Self {
        Self::splat(c).mul_add(self, x)
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
        let series = Self::splat(0.001_388_889)
            .times_plus(f, 0.008_333_334)
            .times_plus(f, 0.041_666_67)
            .times_plus(f, 0.166_666_67)
            .times_plus(f, 0.5)
            .times_plus(f, 1.0)
            .times_plus(f, 1.0);
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

/// A closure that is inlined wherever it is called.
macro_rules! inlined {
    ($($closure:tt)*) => {
        #[inline(always)]
        $($closure)*
    };
}
pub(crate) use inlined;

/// Runs a function, compiled for the vectors of this machine where only that knows them. It and all that it calls have to be inlined,
/// closures too ([`inlined`]), or they are compiled for the vectors that every machine has.
#[inline(always)]
pub(crate) fn vectorized<R>(f: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "wasm32")]
    return f();
    #[cfg(not(target_arch = "wasm32"))]
    pulp::Arch::new().dispatch(f)
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
#[inline(never)]
pub fn add_scaled(values: &mut [f32], scale: f32, others: &[f32]) {
    vectorized(inlined!(|| zip(values, others, inlined!(|value, other| value.mul_add(F32x8::splat(scale), other)))));
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

/// Makes values at least so many; those that are new are zero. An error where there is no memory.
#[inline(never)]
pub fn extend_with_zeros(values: &mut Vec<f32>, count: usize) -> Result<(), TryReserveError> {
    if count > values.len() {
        values.try_reserve_exact(count - values.len())?;
        values.resize(count, 0.0);
    }
    Ok(())
}

/// e^x, as [`F32x8::exp`] computes it.
pub fn exp(x: f32) -> f32 {
    F32x8::splat(x).exp().to_array()[0]
}

/// The products of values in the same places, summed.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    vectorized(inlined!(|| {
        let ((a, a_rest), (b, b_rest)) = (a.as_chunks(), b.as_chunks());
        let sums = a.iter().zip(b).fold(F32x8::splat(0.0), |sums, (a, b)| sums.mul_add(F32x8::load(a), F32x8::load(b)));
        sums.mul_add(F32x8::load(&eight(a_rest)), F32x8::load(&eight(b_rest))).sum()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

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
