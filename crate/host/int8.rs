//! Products of 8-bit integers on the host, for those who take speed for a little exactness: a matrix is rounded when it is
//! loaded, and what it multiplies when it is multiplied, both in runs of 64 inputs. A run of a column (an output) has a scale, a
//! run of a row (a token) has a lowest value and a step, so that a column of the activations that is much larger than the
//! others, which encoders have, costs only its neighbours their exactness.
//!
//! Weights are in -127..=127, activations in 0..=127. Products of the two, and sums of two such, fit in 16 bits, which is what
//! relaxed SIMD asks for to give the same integers on every machine. With `x = low + step q` and `w = scale v`,
//! `Σ x w = step scale Σ q v + low scale Σ v`.

use crate::PANEL;
use crate::product::start_of;
use crate::simd::{F32x8, inlined, vectorized};

/// Inputs that are multiplied at once.
const GROUP: usize = 4;

/// Inputs of a run.
const RUN: usize = 64;

/// Largest magnitude of a weight, and largest value of an activation.
const MOST: f32 = 127.0;

/// A matrix in integers, in panels of eight columns like those of [`crate::Matrix::F32`], with four inputs of a column side by side.
#[derive(Debug, Clone, Default)]
pub struct Int8Matrix {
    /// `[outputs / 8][inputs / 4][8][4]`
    panels: Vec<[i8; PANEL * GROUP]>,
    /// `[outputs / 8][inputs / 64]`
    runs: Vec<Run>,
}

/// What the integers of a run stand for, column by column.
#[derive(Debug, Clone, Copy)]
struct Run {
    scales: [f32; PANEL],
    /// The sum of the run's integers times its scale.
    sums: [f32; PANEL],
}

impl Run {
    /// Adds to a row what the sums of its integers' products stand for.
    #[inline(always)]
    fn add(&self, y: F32x8, sums: I32x8, [low, step]: [f32; 2]) -> F32x8 {
        let steps = F32x8::splat(step) * F32x8::load(&self.scales);
        y.mul_add(F32x8::splat(low), F32x8::load(&self.sums)).mul_add(steps, sums.to_f32())
    }
}

impl Int8Matrix {
    /// Rounds `values: [outputs / 8][inputs][8]`; inputs are a multiple of four. A run with a value that is no number has
    /// products that are none.
    #[inline(never)]
    pub fn quantize(values: &[f32], inputs: usize) -> Self {
        let mut matrix = Self::default();
        for panel in values.chunks_exact(inputs * PANEL) {
            for rows in panel.as_chunks::<PANEL>().0.chunks(RUN) {
                let zero = F32x8::splat(0.0);
                let largest = rows.iter().fold(zero, |most, row| most.max(F32x8::load(row).abs())).to_array();
                let factors = largest.map(|largest| if largest > 0.0 { MOST / largest } else { 0.0 });
                let finite = rows.iter().fold(zero, |finite, row| finite + F32x8::load(row) * zero);
                let scales = (F32x8::load(&largest) / F32x8::splat(MOST) + finite).to_array();
                let mut sums = [0; PANEL];
                for group in rows.chunks_exact(GROUP) {
                    let mut integers = [0; PANEL * GROUP];
                    for (input, row) in group.iter().enumerate() {
                        for column in 0..PANEL {
                            let rounded = (row[column] * factors[column]).round_ties_even() as i8;
                            integers[column * GROUP + input] = rounded;
                            sums[column] += i32::from(rounded);
                        }
                    }
                    matrix.panels.push(integers);
                }
                matrix
                    .runs
                    .push(Run { scales, sums: std::array::from_fn(|column| sums[column] as f32 * scales[column]) });
            }
        }
        matrix
    }

    /// Its bytes for a GPU, panel by panel: the integers, then of every run the scales and the sums. `inputs` as they were.
    pub fn bytes(&self, inputs: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::size(self.panels.len() * PANEL * GROUP, inputs));
        let panels = self.panels.chunks_exact(inputs / GROUP).zip(self.runs.chunks_exact(inputs.div_ceil(RUN)));
        for (integers, runs) in panels {
            bytes.extend_from_slice(bytemuck::cast_slice(integers));
            for run in runs {
                bytes.extend_from_slice(bytemuck::cast_slice(&run.scales));
                bytes.extend_from_slice(bytemuck::cast_slice(&run.sums));
            }
        }
        bytes
    }

    /// How many bytes a matrix of so many values has there.
    pub fn size(values: usize, inputs: usize) -> usize {
        values + values / (inputs * PANEL) * inputs.div_ceil(RUN) * size_of::<Run>()
    }

    /// One of `count` equal matrices that lie below one another.
    pub fn part(&self, index: usize, count: usize) -> Int8Part<'_> {
        let (panels, runs) = (self.panels.len() / count, self.runs.len() / count);
        Int8Part { panels: &self.panels[index * panels..][..panels], runs: &self.runs[index * runs..][..runs] }
    }
}

/// Some columns of an [`Int8Matrix`].
#[derive(Debug, Clone, Copy)]
pub struct Int8Part<'a> {
    panels: &'a [[i8; PANEL * GROUP]],
    runs: &'a [Run],
}

impl Int8Part<'_> {
    /// Its panels from one on.
    pub(crate) fn behind_panel(self, inputs: usize, panel: usize) -> Self {
        let Self { panels, runs } = self;
        Self { panels: &panels[panel * (inputs / GROUP)..], runs: &runs[panel * inputs.div_ceil(RUN)..] }
    }
}

/// Rows in integers: `x = low + step q`.
struct Rounded {
    /// `[rows / 4][inputs / 4][4]` of four inputs each. What the last four lack is zero.
    packed: Vec<[u32; 4]>,
    /// `[rows / 4][inputs / 64][4]`: low and step.
    ranges: Vec<[[f32; 2]; 4]>,
}

impl Rounded {
    /// Rounds `x: [rows, inputs]`. A run with a value that is no number, or infinite, has products that are no numbers.
    fn new(x: &[f32], inputs: usize) -> Self {
        let (fours, groups, runs) = ((x.len() / inputs).div_ceil(4), inputs / GROUP, inputs.div_ceil(RUN));
        let (mut packed, mut ranges) = (vec![[0; 4]; fours * groups], vec![[[0.0; 2]; 4]; fours * runs]);
        for (row, x) in x.chunks_exact(inputs).enumerate() {
            let packed = packed[row / 4 * groups..][..groups].chunks_mut(RUN / GROUP);
            let ranges = &mut ranges[row / 4 * runs..][..runs];
            for ((x, packed), ranges) in x.chunks(RUN).zip(packed).zip(ranges) {
                let (low, high) = range(x);
                let step = (high - low) / MOST;
                ranges[row % 4] = [low, step];
                round(x, low, if step > 0.0 { 1.0 / step } else { 0.0 }, |group, four| packed[group][row % 4] = four);
            }
        }
        Self { packed, ranges }
    }
}

/// Rounds `(x - low) factor`, and gives each four of them in turn.
#[inline(always)]
fn round(x: &[f32], low: f32, factor: f32, mut give: impl FnMut(usize, u32)) {
    // The low bits of a sum with it are the other, rounded.
    let shift = F32x8::splat(12_582_912.0);
    let rounded = |x: &[f32; 8]| {
        let scaled = (F32x8::load(x) - F32x8::splat(low)) * F32x8::splat(factor);
        let bytes = (scaled.min(F32x8::splat(MOST)) + shift).low_bytes();
        bytemuck::cast::<_, [u32; 2]>(bytes)
    };
    let (eights, rest) = x.as_chunks();
    for (index, x) in eights.iter().enumerate() {
        let [first, second] = rounded(x);
        give(2 * index, first);
        give(2 * index + 1, second);
    }
    if let &[a, b, c, d] = rest {
        let [first, _] = rounded(&[a, b, c, d, low, low, low, low]);
        give(2 * eights.len(), first);
    }
}

/// The lowest and the highest value; no numbers where one is none, or infinite.
fn range(x: &[f32]) -> (f32, f32) {
    let (eights, rest) = x.as_chunks::<8>();
    let first = F32x8::splat(x.first().copied().unwrap_or_default());
    let (mut low, mut high, mut finite) = (first, first, F32x8::splat(0.0));
    for x in eights.iter().map(F32x8::load) {
        (low, high, finite) = (low.min(x), high.max(x), finite + x * F32x8::splat(0.0));
    }
    let lowest = low.to_array().iter().chain(rest).copied().fold(f32::MAX, f32::min);
    let highest = high.to_array().iter().chain(rest).copied().fold(f32::MIN, f32::max);
    let finite = rest.iter().fold(finite.sum(), |finite, x| finite + x * 0.0);
    (lowest + finite, highest + finite)
}

/// out = x Wᵀ + b, `[rows, width]`, of `x: [rows, inputs]`. What a bias lacks is zero.
#[inline(never)]
pub fn product(x: &[f32], inputs: usize, weight: Int8Part, bias: &[f32], out: &mut [f32], width: usize) {
    vectorized(inlined!(|| {
        let (groups, runs) = (inputs / GROUP, inputs.div_ceil(RUN));
        let Rounded { packed, ranges } = Rounded::new(x, inputs);
        let panels = weight.panels.chunks_exact(groups).zip(weight.runs.chunks_exact(runs));
        for (panel, (weight, scales)) in panels.enumerate().take(width.div_ceil(PANEL)) {
            let columns = panel * PANEL..((panel + 1) * PANEL).min(width);
            let start = F32x8::load(&start_of(bias, panel));
            let fours = packed.chunks_exact(groups).zip(ranges.chunks_exact(runs)).zip(out.chunks_mut(4 * width));
            for ((x, ranges), out) in fours {
                let [mut y0, mut y1, mut y2, mut y3] = [start; 4];
                let of_run = x.chunks(RUN / GROUP).zip(weight.chunks(RUN / GROUP));
                for (((x, weight), ranges), run) in of_run.zip(ranges).zip(scales) {
                    let [sums0, sums1, sums2, sums3] = tile(x, weight);
                    y0 = run.add(y0, sums0, ranges[0]);
                    y1 = run.add(y1, sums1, ranges[1]);
                    y2 = run.add(y2, sums2, ranges[2]);
                    y3 = run.add(y3, sums3, ranges[3]);
                }
                let y = [y0, y1, y2, y3];
                for (out, y) in out.chunks_exact_mut(width).zip(y) {
                    out[columns.clone()].copy_from_slice(&y.to_array()[..columns.len()]);
                }
            }
        }
    }));
}

/// The sums of products of four rows, `x: [inputs / 4][4]`, with eight columns. As in [`crate::tile`], each has a name.
#[inline(always)]
fn tile(x: &[[u32; 4]], w: &[[i8; PANEL * GROUP]]) -> [I32x8; 4] {
    let zero = I32x8::zero();
    let (mut sum0, mut sum1, mut sum2, mut sum3) = (zero, zero, zero, zero);
    for (x, w) in x.iter().zip(w) {
        sum0 = sum0.dot_add(w, x[0]);
        sum1 = sum1.dot_add(w, x[1]);
        sum2 = sum2.dot_add(w, x[2]);
        sum3 = sum3.dot_add(w, x[3]);
    }
    [sum0, sum1, sum2, sum3]
}

/// Eight sums.
#[derive(Clone, Copy)]
struct I32x8(Lanes);

#[cfg(not(target_arch = "wasm32"))]
type Lanes = [i32; 8];
#[cfg(target_arch = "wasm32")]
type Lanes = [core::arch::wasm32::v128; 2];

#[cfg(not(target_arch = "wasm32"))]
impl I32x8 {
    fn zero() -> Self {
        Self([0; 8])
    }

    /// Adds to each lane its four weights times four activations.
    #[inline(always)]
    fn dot_add(self, weights: &[i8; PANEL * GROUP], x: u32) -> Self {
        let x = x.to_le_bytes().map(i16::from);
        Self(std::array::from_fn(|lane| {
            let product = |input: usize| i32::from(i16::from(weights[lane * GROUP + input]) * x[input]);
            self.0[lane] + ((product(0) + product(1)) + (product(2) + product(3)))
        }))
    }

    #[inline(always)]
    fn to_f32(self) -> F32x8 {
        F32x8::load(&self.0.map(|sum| sum as f32))
    }
}

#[cfg(target_arch = "wasm32")]
impl I32x8 {
    fn zero() -> Self {
        let four = core::arch::wasm32::i32x4_splat(0);
        Self([four, four])
    }

    /// Adds to each lane its four weights times four activations.
    #[inline(always)]
    fn dot_add(self, weights: &[i8; PANEL * GROUP], x: u32) -> Self {
        use core::arch::wasm32::{i32x4_relaxed_dot_i8x16_i7x16_add, u32x4_splat};
        let (weights, x): (Lanes, _) = (bytemuck::cast(*weights), u32x4_splat(x));
        let ([first, second], [sums, more]) = (weights, self.0);
        let dot_add = i32x4_relaxed_dot_i8x16_i7x16_add;
        Self([dot_add(first, x, sums), dot_add(second, x, more)])
    }

    #[inline(always)]
    fn to_f32(self) -> F32x8 {
        use core::arch::wasm32::f32x4_convert_i32x4;
        let [sums, more] = self.0;
        F32x8::load(&bytemuck::cast([f32x4_convert_i32x4(sums), f32x4_convert_i32x4(more)]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Between -1 and 1, the same everywhere.
    fn values(count: usize, seed: u32) -> Vec<f32> {
        let next = |state: &mut u32| {
            *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            Some((*state >> 8) as f32 / (1 << 23) as f32 - 1.0)
        };
        std::iter::repeat_n((), count).scan(seed, |state, ()| next(state)).collect()
    }

    #[test]
    fn a_product_is_off_by_the_rounding_of_its_operands_and_no_more() {
        for (rows, inputs, width) in [(1, 4, 8_usize), (5, 12, 4), (3, 384, 20), (7, 100, 64)] {
            let x: Vec<f32> = values(rows * inputs, 1).iter().map(|x| 3.0 * x + 1.0).collect();
            let weight = values(inputs * width.next_multiple_of(PANEL), 2);
            let bias = values(width, 3);
            let matrix = Int8Matrix::quantize(&weight, inputs);
            let mut out = vec![f32::NAN; rows * width];
            product(&x, inputs, matrix.part(0, 1), &bias, &mut out, width);
            for (row, out) in out.chunks_exact(width).enumerate() {
                for (column, found) in out.iter().enumerate() {
                    let w = |input: usize| weight[(column / PANEL * inputs + input) * PANEL + column % PANEL];
                    let x = &x[row * inputs..][..inputs];
                    let exact: f64 = (0..inputs).map(|input| f64::from(x[input]) * f64::from(w(input))).sum();
                    // Half a step of each, times the other: 3 of 127 steps, and 1/127, at most.
                    let error = (f64::from(*found) - exact - f64::from(bias[column])).abs();
                    let (of_x, of_w) = (0.5 * 6.0 / 127.0, 0.5 / 127.0);
                    let bound: f64 = (0..inputs).map(|input| of_x * f64::from(w(input).abs()) + of_w * 4.1).sum();
                    assert!(error <= bound, "{rows} x {inputs} x {width}: {error:e}");
                    assert!(error <= 4.0 * (inputs as f64).sqrt() * (of_x + 4.1 * of_w), "rounding is not random");
                }
            }
        }
    }

    #[test]
    fn integers_come_back_exactly() {
        let weight: Vec<f32> = (0..4 * PANEL).map(|at| if at < PANEL { 127.0 } else { -((at % 97) as f32) }).collect();
        let x = [0.0, 127.0, 3.0, 64.0, 5.0, 5.0, 5.0, 5.0];
        let matrix = Int8Matrix::quantize(&weight, 4);
        let mut out = [0.0; 2 * PANEL];
        product(&x, 4, matrix.part(0, 1), &[], &mut out, PANEL);
        for (at, found) in out.iter().enumerate() {
            let (row, column) = (at / PANEL, at % PANEL);
            let exact: f32 = (0..4).map(|input| x[row * 4 + input] * weight[input * PANEL + column]).sum();
            assert!((found - exact).abs() <= 1e-3, "{found} for {exact}");
        }
    }

    #[test]
    fn what_is_no_number_is_not_rounded_to_one() {
        let matrix = Int8Matrix::quantize(&[1.0; 12 * PANEL], 12);
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in 0..12 {
                let mut x = [1.0; 24];
                x[at] = wrong;
                let mut out = [0.0; 2 * PANEL];
                product(&x, 12, matrix.part(0, 1), &[], &mut out, PANEL);
                assert!(out[..PANEL].iter().all(|x| x.is_nan()) && out[PANEL..].iter().all(|x| *x == 12.0));
            }
        }
    }
}
