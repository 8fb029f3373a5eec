//! Products on x86-64 with AVX2 and fused multiplication, which nearly every such machine has and the compiler may not assume:
//! the same sums as in `product.rs`, each product rounded once with its addition. Those with matrices are of two panels at a
//! time.

use pulp::{NullaryFnOnce, cast, f32x8, x86::V3};

use crate::PANEL;
use crate::product::{RUN, start_of};
use crate::simd::F32x8;

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
    let zero = simd.splat_f32x8(0.0);
    // Named one by one so that each is in a register.
    let (mut a0, mut a1, mut a2, mut a3) = (zero, zero, zero, zero);
    let (mut b0, mut b1, mut b2, mut b3) = (zero, zero, zero, zero);
    for ((x, first), second) in x.iter().zip(first).zip(second) {
        let (first, second) = (cast(*first), cast(*second));
        let (x0, x1) = (simd.splat_f32x8(x[0]), simd.splat_f32x8(x[1]));
        (a0, b0) = (simd.mul_add_f32x8(x0, first, a0), simd.mul_add_f32x8(x0, second, b0));
        (a1, b1) = (simd.mul_add_f32x8(x1, first, a1), simd.mul_add_f32x8(x1, second, b1));
        let (x2, x3) = (simd.splat_f32x8(x[2]), simd.splat_f32x8(x[3]));
        (a2, b2) = (simd.mul_add_f32x8(x2, first, a2), simd.mul_add_f32x8(x2, second, b2));
        (a3, b3) = (simd.mul_add_f32x8(x3, first, a3), simd.mul_add_f32x8(x3, second, b3));
    }
    [[a0, b0], [a1, b1], [a2, b2], [a3, b3]]
}

/// As [`crate::product::tile`]. None where the machine cannot.
#[inline(always)]
pub(crate) fn add_tile(x: &[[f32; 4]], w: &[[f32; 8]], sums: [F32x8; 4]) -> Option<[F32x8; 4]> {
    let simd = V3::try_new()?;
    let sums = simd.vectorize(Tile { simd, x, w, sums: sums.map(|sums| cast(sums.to_array())) });
    Some(sums.map(|sums| F32x8::load(&cast(sums))))
}

struct Tile<'a> {
    simd: V3,
    x: &'a [[f32; 4]],
    w: &'a [[f32; 8]],
    sums: [f32x8; 4],
}

impl NullaryFnOnce for Tile<'_> {
    type Output = [f32x8; 4];

    #[inline(always)]
    fn call(self) -> [f32x8; 4] {
        let Self { simd, x, w, sums } = self;
        let [mut sum0, mut sum1, mut sum2, mut sum3] = sums;
        for (x, w) in x.iter().zip(w) {
            let w = cast(*w);
            sum0 = simd.mul_add_f32x8(simd.splat_f32x8(x[0]), w, sum0);
            sum1 = simd.mul_add_f32x8(simd.splat_f32x8(x[1]), w, sum1);
            sum2 = simd.mul_add_f32x8(simd.splat_f32x8(x[2]), w, sum2);
            sum3 = simd.mul_add_f32x8(simd.splat_f32x8(x[3]), w, sum3);
        }
        [sum0, sum1, sum2, sum3]
    }
}

/// As [`crate::product::chains`]. None where the machine cannot.
pub(crate) fn chains(loops: usize) -> Option<[f32; 8]> {
    let simd = V3::try_new()?;
    Some(simd.vectorize(Chains { simd, loops }))
}

struct Chains {
    simd: V3,
    loops: usize,
}

impl NullaryFnOnce for Chains {
    type Output = [f32; 8];

    #[inline(always)]
    fn call(self) -> [f32; 8] {
        let Self { simd, loops } = self;
        let (factor, more) = (simd.splat_f32x8(0.999), simd.splat_f32x8(1e-3));
        // Named one by one so that each is in a register.
        let (mut chain0, mut chain1, mut chain2, mut chain3) = (more, more, more, more);
        let (mut chain4, mut chain5, mut chain6, mut chain7) = (more, more, more, more);
        for _ in 0..loops {
            chain0 = simd.mul_add_f32x8(chain0, factor, more);
            chain1 = simd.mul_add_f32x8(chain1, factor, more);
            chain2 = simd.mul_add_f32x8(chain2, factor, more);
            chain3 = simd.mul_add_f32x8(chain3, factor, more);
            chain4 = simd.mul_add_f32x8(chain4, factor, more);
            chain5 = simd.mul_add_f32x8(chain5, factor, more);
            chain6 = simd.mul_add_f32x8(chain6, factor, more);
            chain7 = simd.mul_add_f32x8(chain7, factor, more);
        }
        let mut sum = chain0;
        for chain in [chain1, chain2, chain3, chain4, chain5, chain6, chain7] {
            sum = simd.add_f32x8(sum, chain);
        }
        cast(sum)
    }
}
