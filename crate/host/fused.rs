//! Products on x86-64 with AVX-512, or with AVX2 and fused multiplication, which nearly every such machine has and the compiler may
//! not assume: the same sums as in `product.rs`, each product rounded once with its addition, and on both the same bits. Those with
//! matrices are of two panels at a time.

use std::ops::Range;

use pulp::{NullaryFnOnce, Simd, cast, f32x8, x86::V3, x86::V4};

use crate::PANEL;
use crate::product::{CHAINS, RUN, start_of};
use crate::simd::F32x8;

/// Columns that are computed at once: of two panels.
const COLUMNS: usize = 2 * PANEL;

/// out = x Wᵀ + b, of four rows of x side by side, `[rows / 4][inputs][4]`, and panels of W. False where the machine cannot.
pub(crate) fn product(
    x: &[[f32; 4]],
    inputs: usize,
    weight: &[f32],
    bias: &[f32],
    out: &mut [f32],
    width: usize,
) -> bool {
    let panels = weight.as_chunks::<PANEL>().0;
    // Enough registers of sums to hide how long an addition takes, and to use a weight often: sixteen of 32, and eight of sixteen.
    if let Some(simd) = V4::try_new() {
        simd.vectorize(Product::<V4, 1, 4> { simd, x, inputs, panels, bias, out, width });
    } else if let Some(simd) = V3::try_new() {
        simd.vectorize(Product::<V3, 2, 1> { simd, x, inputs, panels, bias, out, width });
    } else {
        return false;
    }
    true
}

/// The columns of two panels in `REGISTERS`, of `FOURS` times four rows at once.
struct Product<'a, S, const REGISTERS: usize, const FOURS: usize> {
    simd: S,
    x: &'a [[f32; 4]],
    inputs: usize,
    panels: &'a [[f32; PANEL]],
    bias: &'a [f32],
    out: &'a mut [f32],
    width: usize,
}

/// Of four rows.
type Sums<S, const REGISTERS: usize> = [[<S as Simd>::f32s; REGISTERS]; 4];

impl<S: Simd, const REGISTERS: usize, const FOURS: usize> NullaryFnOnce for Product<'_, S, REGISTERS, FOURS> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { simd, x, inputs, panels, bias, out, width } = self;
        // A matrix has whole tiles of panels, so there are two of each pair.
        for (pair, panels) in panels.chunks_exact(2 * inputs).enumerate().take(width.div_ceil(COLUMNS)) {
            let (first, second) = panels.split_at(inputs);
            let second = &second[..first.len()];
            let weights = |k: usize| cast([first[k], second[k]]);
            let start: [f32; COLUMNS] = cast([2 * pair, 2 * pair + 1].map(|panel| start_of(bias, panel)));
            let (columns, start) = (pair * COLUMNS..((pair + 1) * COLUMNS).min(width), cast(start));
            for (x, out) in x.chunks(FOURS * inputs).zip(out.chunks_mut(FOURS * 4 * width)) {
                let fours = |index: usize| &x[index * inputs..(index + 1) * inputs];
                match x.len() == FOURS * inputs {
                    true => {
                        let sums = in_runs::<S, REGISTERS, FOURS>(simd, std::array::from_fn(fours), weights, start);
                        store::<S, REGISTERS>(sums.as_flattened(), out, width, columns.clone());
                    }
                    // Fewer rows at the end.
                    false => {
                        for (index, out) in out.chunks_mut(4 * width).enumerate() {
                            let sums = in_runs::<S, REGISTERS, 1>(simd, [fours(index)], weights, start);
                            store::<S, REGISTERS>(sums.as_flattened(), out, width, columns.clone());
                        }
                    }
                }
            }
        }
    }
}

/// The products of rows, each `x: [k][4]`, with columns, of which `weights` gives those of a k, in runs that are summed before they are
/// added to `start`.
#[inline(always)]
fn in_runs<S: Simd, const REGISTERS: usize, const FOURS: usize>(
    simd: S,
    x: [&[[f32; 4]]; FOURS],
    weights: impl Fn(usize) -> [S::f32s; REGISTERS],
    start: [S::f32s; REGISTERS],
) -> [Sums<S, REGISTERS>; FOURS] {
    let (mut sums, zeros) = ([[start; 4]; FOURS], [[[simd.splat_f32s(0.0); REGISTERS]; 4]; FOURS]);
    for from in (0..x[0].len()).step_by(RUN) {
        let until = (from + RUN).min(x[0].len());
        let run = add(simd, x.map(|x| &x[from..until]), |k| weights(from + k), zeros);
        for (sum, run) in sums.as_flattened_mut().as_flattened_mut().iter_mut().zip(run.as_flattened().as_flattened()) {
            *sum = simd.add_f32s(*sum, *run);
        }
    }
    sums
}

/// Adds products to sums, one after another in the order of k.
#[inline(always)]
fn add<S: Simd, const REGISTERS: usize, const FOURS: usize>(
    simd: S,
    x: [&[[f32; 4]]; FOURS],
    weights: impl Fn(usize) -> [S::f32s; REGISTERS],
    mut sums: [Sums<S, REGISTERS>; FOURS],
) -> [Sums<S, REGISTERS>; FOURS] {
    let x = x.map(|row| &row[..x[0].len()]);
    for k in 0..x[0].len() {
        let weights = weights(k);
        for (x, sums) in x.iter().zip(&mut sums) {
            for (x, sums) in x[k].iter().zip(sums) {
                let x = simd.splat_f32s(*x);
                for (weight, sum) in weights.iter().zip(sums) {
                    *sum = simd.mul_add_f32s(x, *weight, *sum);
                }
            }
        }
    }
    sums
}

/// Writes columns of rows, as many as `out` has.
#[inline(always)]
fn store<S: Simd, const REGISTERS: usize>(
    sums: &[[S::f32s; REGISTERS]],
    out: &mut [f32],
    width: usize,
    columns: Range<usize>,
) {
    for (out, sums) in out.chunks_exact_mut(width).zip(sums) {
        let sums: [f32; COLUMNS] = cast(*sums);
        out[columns.clone()].copy_from_slice(&sums[..columns.len()]);
    }
}

/// As [`crate::product::products_with_eight`]. False where the machine cannot.
pub(crate) fn products_with_eight(
    rows: &[[f32; 4]],
    width: usize,
    columns: &[[f32; 8]],
    skipped: usize,
    out: &mut [[f32; 8]],
) -> bool {
    let Some(simd) = V3::try_new() else { return false };
    simd.vectorize(WithEight { simd, rows, width, columns, skipped, out });
    true
}

struct WithEight<'a> {
    simd: V3,
    rows: &'a [[f32; 4]],
    width: usize,
    columns: &'a [[f32; 8]],
    skipped: usize,
    out: &'a mut [[f32; 8]],
}

impl NullaryFnOnce for WithEight<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { simd, rows, width, columns, skipped, out } = self;
        let columns = &columns[..width];
        let (weights, start) = (|k: usize| [cast(columns[k])], [simd.splat_f32x8(0.0)]);
        for (pair, rows) in rows.chunks(2 * width).enumerate() {
            let (first, second) = rows.split_at(width);
            let mut write = |from: usize, sums: &[[f32x8; 1]]| {
                for (row, [sums]) in (8 * pair + from..).zip(sums) {
                    if let Some(out) = row.checked_sub(skipped).and_then(|row| out.get_mut(row)) {
                        *out = cast(*sums);
                    }
                }
            };
            match second.len() == width {
                true => write(0, in_runs::<V3, 1, 2>(simd, [first, second], weights, start).as_flattened()),
                false => write(0, in_runs::<V3, 1, 1>(simd, [first], weights, start).as_flattened()),
            }
        }
    }
}

/// As [`crate::product::add_products_with_eight`]. False where the machine cannot.
pub(crate) fn add_products_with_eight(
    x: &[[f32; 4]],
    stride: usize,
    rows: Range<usize>,
    columns: &[[f32; 8]],
    sums: &mut [[F32x8; 4]],
) -> bool {
    let Some(simd) = V3::try_new() else { return false };
    simd.vectorize(AddWithEight { simd, x, stride, rows, columns, sums });
    true
}

struct AddWithEight<'a> {
    simd: V3,
    x: &'a [[f32; 4]],
    stride: usize,
    rows: Range<usize>,
    columns: &'a [[f32; 8]],
    sums: &'a mut [[F32x8; 4]],
}

impl NullaryFnOnce for AddWithEight<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { simd, x, stride, rows, columns, sums } = self;
        let columns = &columns[..rows.len()];
        let weights = |k: usize| [cast(columns[k])];
        let load = |sums: [F32x8; 4]| sums.map(|sums| [cast::<_, f32x8>(sums.to_array())]);
        let store = |sums: [[f32x8; 1]; 4]| sums.map(|[sums]| F32x8::load(&cast(sums)));
        for (x, sums) in x.chunks(2 * stride).zip(sums.chunks_mut(2)) {
            match sums {
                [first, second] => {
                    let x = [&x[rows.clone()], &x[stride..][rows.clone()]];
                    let [low, high] = add::<V3, 1, 2>(simd, x, weights, [load(*first), load(*second)]);
                    (*first, *second) = (store(low), store(high));
                }
                rest => {
                    for sums in rest {
                        let [four] = add::<V3, 1, 1>(simd, [&x[rows.clone()]], weights, [load(*sums)]);
                        *sums = store(four);
                    }
                }
            }
        }
    }
}

/// As [`crate::product::chains`]. None where the machine cannot.
pub(crate) fn chains(loops: usize) -> Option<(f32, usize)> {
    if let Some(simd) = V4::try_new() {
        return Some((simd.vectorize(Chains { simd, loops }), loops * CHAINS * 2 * 16));
    }
    let simd = V3::try_new()?;
    Some((simd.vectorize(Chains { simd, loops }), loops * CHAINS * 2 * 8))
}

struct Chains<S> {
    simd: S,
    loops: usize,
}

impl<S: Simd> NullaryFnOnce for Chains<S> {
    type Output = f32;

    #[inline(always)]
    fn call(self) -> f32 {
        let Self { simd, loops } = self;
        let (factor, more) = (simd.splat_f32s(0.999), simd.splat_f32s(1e-3));
        let mut chains = [more; CHAINS];
        for _ in 0..loops {
            // Not by `map`, whose closure would be compiled without the instructions.
            for chain in &mut chains {
                *chain = simd.mul_add_f32s(*chain, factor, more);
            }
        }
        let mut sum = more;
        for chain in chains {
            sum = simd.add_f32s(sum, chain);
        }
        simd.reduce_sum_f32s(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::product::fours;

    fn values(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|index| ((index * 7919 + seed) % 1009) as f32 / 504.5 - 1.0).collect()
    }

    /// A machine with AVX-512 takes only the wide one otherwise, whose rest of rows has a way of its own.
    #[test]
    fn every_width_of_vectors_gives_the_same_bits() {
        for (rows, inputs, width) in [(1_usize, 4, 1_usize), (4, 64, 16), (15, 68, 17), (16, 200, 40), (37, 132, 33)] {
            let (x, weight) = (values(rows * inputs, 1), values(width.next_multiple_of(16) * inputs, 2));
            let bias = values(width, 3);
            let mut packed = vec![[0.0; 4]; rows.div_ceil(4) * inputs];
            fours(&x, inputs, 0..inputs, &mut packed);
            let panels = weight.as_chunks::<PANEL>().0;
            let (mut narrow, mut wide) = (vec![0.0; rows * width], vec![0.0; rows * width]);
            if let Some(simd) = V3::try_new() {
                let (x, bias, out) = (&packed[..], &bias[..], &mut narrow[..]);
                simd.vectorize(Product::<V3, 2, 1> { simd, x, inputs, panels, bias, out, width });
                for (at, found) in narrow.iter().enumerate() {
                    let (row, column) = (at / width, at % width);
                    let pairs = x_of(&packed, inputs, row).zip(&panels[column / PANEL * inputs..]);
                    let exact: f64 = pairs.map(|(x, panel)| f64::from(x) * f64::from(panel[column % PANEL])).sum();
                    assert!((f64::from(*found) - exact - f64::from(bias[column])).abs() < 1e-4);
                }
            }
            if let Some(simd) = V4::try_new() {
                let (x, bias, out) = (&packed[..], &bias[..], &mut wide[..]);
                simd.vectorize(Product::<V4, 1, 4> { simd, x, inputs, panels, bias, out, width });
                assert!(wide == narrow, "{rows} rows of {inputs} to {width}");
            }
        }
    }

    fn x_of(packed: &[[f32; 4]], inputs: usize, row: usize) -> impl Iterator<Item = f32> + '_ {
        packed[row / 4 * inputs..][..inputs].iter().map(move |four| four[row % 4])
    }
}
