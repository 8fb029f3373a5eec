//! Products on x86-64 with AVX2 and fused multiplication, which nearly every such machine has and the compiler may not assume:
//! the same sums as in `product.rs`, of two panels at a time, each product rounded once with its addition.

use pulp::{NullaryFnOnce, cast, f32x8, x86::V3};

use crate::PANEL;
use crate::product::{RUN, start_of};

/// out = x Wᵀ + b, of four rows of x side by side, `[rows / 4][inputs][4]`, and panels of W. False where the machine cannot.
pub(crate) fn product(
    x: &[[f32; 4]],
    inputs: usize,
    weight: &[f32],
    bias: &[f32],
    out: &mut [f32],
    width: usize,
) -> bool {
    let Some(simd) = V3::try_new() else { return false };
    let panels = weight.as_chunks::<PANEL>().0;
    simd.vectorize(Product { simd, x, inputs, panels, bias, out, width });
    true
}

struct Product<'a> {
    simd: V3,
    x: &'a [[f32; 4]],
    inputs: usize,
    panels: &'a [[f32; PANEL]],
    bias: &'a [f32],
    out: &'a mut [f32],
    width: usize,
}

impl NullaryFnOnce for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { simd, x, inputs, panels, bias, out, width } = self;
        // A matrix has whole tiles of panels, so there are two of each pair.
        for (pair, panels) in panels.chunks_exact(2 * inputs).enumerate().take(width.div_ceil(2 * PANEL)) {
            let (first, second) = panels.split_at(inputs);
            let start = [2 * pair, 2 * pair + 1].map(|panel| cast::<[f32; PANEL], f32x8>(start_of(bias, panel)));
            for (x, out) in x.chunks_exact(inputs).zip(out.chunks_mut(4 * width)) {
                let mut sums = [start; 4];
                for ((x, first), second) in x.chunks(RUN).zip(first.chunks(RUN)).zip(second.chunks(RUN)) {
                    let run = tile(simd, x, first, second);
                    for (sums, run) in sums.iter_mut().zip(run) {
                        *sums = [simd.add_f32x8(sums[0], run[0]), simd.add_f32x8(sums[1], run[1])];
                    }
                }
                for (out, sums) in out.chunks_exact_mut(width).zip(sums) {
                    let sums: [f32; 2 * PANEL] = cast(sums);
                    let columns = &mut out[2 * pair * PANEL..];
                    let count = columns.len().min(2 * PANEL);
                    columns[..count].copy_from_slice(&sums[..count]);
                }
            }
        }
    }
}

/// The sums of products of four rows, `x: [k][4]`, with eight columns of each of two panels, `[k][8]`.
#[inline(always)]
fn tile(simd: V3, x: &[[f32; 4]], first: &[[f32; PANEL]], second: &[[f32; PANEL]]) -> [[f32x8; 2]; 4] {
    let mut sums = [[simd.splat_f32x8(0.0); 2]; 4];
    for ((x, first), second) in x.iter().zip(first).zip(second) {
        let (first, second) = (cast(*first), cast(*second));
        for (sums, x) in sums.iter_mut().zip(x) {
            let x = simd.splat_f32x8(*x);
            *sums = [simd.mul_add_f32x8(x, first, sums[0]), simd.mul_add_f32x8(x, second, sums[1])];
        }
    }
    sums
}
