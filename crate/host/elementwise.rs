//! Activations, norms and the softmax of attention.

use crate::simd::{F32x8, inlined, map, sum, vectorized, zip};

/// `x/2 (1 + erf(x/√2))`
#[inline(never)]
pub fn gelu(values: &mut [f32]) {
    let [half, one, root] = [0.5, 1.0, std::f32::consts::FRAC_1_SQRT_2].map(F32x8::splat);
    vectorized(inlined!(|| map(values, inlined!(|x| half * x * (one + erf(x * root))))));
}

/// `x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))`
#[inline(never)]
pub fn gelu_tanh(values: &mut [f32]) {
    let [half, one, factor, cubed] = [0.5, 1.0, 0.797_884_6, 0.044_715].map(F32x8::splat);
    vectorized(inlined!(|| map(
        values,
        inlined!(|x| half * x * (one + tanh_of(factor * x.mul_add(cubed * x * x, x))))
    )));
}

/// `x / (1 + exp(-1.702 x))`
#[inline(never)]
pub fn quick_gelu(values: &mut [f32]) {
    let [one, factor] = [1.0, -1.702].map(F32x8::splat);
    vectorized(inlined!(|| map(values, inlined!(|x| x / (one + (factor * x).exp())))));
}

/// `max(x, 0)`
#[inline(never)]
pub fn relu(values: &mut [f32]) {
    vectorized(inlined!(|| map(values, inlined!(|x| x.max(F32x8::splat(0.0))))));
}

/// `x / (1 + exp(-x))`
#[inline(never)]
pub fn silu(values: &mut [f32]) {
    let [one, minus] = [1.0, -1.0].map(F32x8::splat);
    vectorized(inlined!(|| map(values, inlined!(|x| x / (one + (minus * x).exp())))));
}

/// `tanh(x)`
#[inline(never)]
pub fn tanh(values: &mut [f32]) {
    vectorized(inlined!(|| map(values, tanh_of)));
}

/// Abramowitz & Stegun 7.1.26, absolute error 5e-7 in f32: the same formula as the kernel.
#[inline(always)]
fn erf(x: F32x8) -> F32x8 {
    let one = F32x8::splat(1.0);
    let t = one / one.mul_add(F32x8::splat(0.327_591_1), x.abs());
    let poly = F32x8::splat(1.061_405_4)
        .times_plus(t, -1.453_152_1)
        .times_plus(t, 1.421_413_8)
        .times_plus(t, -0.284_496_72)
        .times_plus(t, 0.254_829_6);
    (one - t * poly * (F32x8::splat(-1.0) * x * x).exp()).copysign(x)
}

/// By exp, within 2e-7 of the exact value.
#[inline(always)]
fn tanh_of(x: F32x8) -> F32x8 {
    let (one, e) = (F32x8::splat(1.0), (F32x8::splat(-2.0) * x.abs()).exp());
    ((one - e) / (one + e)).copysign(x)
}

/// `(x - mean(x)) / sqrt(var(x) + eps) * gain + bias`, in place. `gain` and `bias` may have more values.
#[inline(never)]
pub fn layer_norm(row: &mut [f32], gain: &[f32], bias: &[f32], eps: f32) {
    vectorized(inlined!(|| {
        let mean = sum(row, inlined!(|x| x)) / row.len() as f32;
        normalize(row, mean, (gain, 0.0), bias, eps);
    }));
}

/// `x / sqrt(mean(x²) + eps) * (more + gain) + bias`, in place. `gain` and `bias` may have more values.
#[inline(never)]
pub fn rms_norm(row: &mut [f32], gain: &[f32], more: f32, bias: &[f32], eps: f32) {
    vectorized(inlined!(|| normalize(row, 0.0, (gain, more), bias, eps)));
}

#[inline(always)]
fn normalize(row: &mut [f32], mean: f32, (gain, more): (&[f32], f32), bias: &[f32], eps: f32) {
    let mean = F32x8::splat(mean);
    let variance = sum(row, inlined!(|x| (x - mean) * (x - mean))) / row.len() as f32;
    let (scale, more) = (F32x8::splat(1.0 / (variance + eps).sqrt()), F32x8::splat(more));
    zip(row, gain, inlined!(|x, gain| (x - mean) * scale * (more + gain)));
    zip(row, bias, inlined!(|x, bias| x + bias));
}

/// Makes the exponentials of scores, each multiplied by `sharpness`, relative to the highest of its lane. Returns their sums.
#[inline(never)]
pub fn softmax(scores: &mut [[f32; 8]], sharpness: f32) -> [f32; 8] {
    vectorized(inlined!(|| {
        let mut highest = F32x8::splat(f32::MIN);
        for score in scores.iter() {
            highest = highest.max(F32x8::load(score));
        }
        let (sharpness, mut totals) = (F32x8::splat(sharpness), F32x8::splat(0.0));
        for score in scores {
            let share = ((F32x8::load(score) - highest) * sharpness).exp();
            *score = share.to_array();
            totals = totals + share;
        }
        totals.to_array()
    }))
}
