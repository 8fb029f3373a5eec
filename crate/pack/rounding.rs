//! Matrices to integers of a few bits, with the least error of what the matrix gives, not of the matrix.
//!
//! A row `w` is rounded to `v` so that `(w - v) H (w - v)ᵀ` is small, where `H = XᵀX` over what the matrix multiplied in texts for
//! calibration: the squared error of its output. With `H = U D Uᵀ`, U unit upper triangular, that is
//! `Σ D_k (e_k + Σ_{j<k} e_j U_jk)²` with `e = w - v`. So each column is rounded after it was moved by what the columns in front of
//! it were off, which is the best that can be done in this order. Source: LDLQ of QuIP (arXiv 2307.13304), of which GPTQ
//! (arXiv 2210.17323) is another form.

use half::f16;
use rayon::prelude::*;

use crate::packed::Packing;
use crate::sparsity::Sparsity;

/// How far from the range of a group's values the range of its integers is tried.
const RANGES: [f32; 10] = [1.0, 0.96, 0.92, 0.88, 0.84, 0.80, 0.76, 0.72, 0.68, 0.64];

/// What is added to the diagonal of H, in parts of its mean: texts for calibration do not show everything.
const DAMPING: f64 = 0.01;

/// What the inputs of a matrix were.
pub struct Inputs {
    columns: usize,
    /// `XᵀX`, `[columns, columns]`
    sums: Vec<f64>,
}

impl Inputs {
    /// None yet.
    pub fn new(columns: usize) -> Self {
        Self { columns, sums: vec![0.0; columns * columns] }
    }

    /// Adds rows, of which column c is at `places[c]` of `stride`.
    pub fn add(&mut self, rows: &[f32], stride: usize, places: &[usize]) {
        let x: Vec<f32> = rows.chunks_exact(stride).flat_map(|row| places.iter().map(|place| row[*place])).collect();
        self.sums.par_chunks_mut(self.columns).enumerate().for_each(|(column, sums)| {
            let mut products = vec![0.0; sums.len()];
            for row in x.chunks_exact(places.len()) {
                embedlet_host::add_scaled(&mut products, row[column], row);
            }
            sums.iter_mut().zip(products).for_each(|(sum, product)| *sum += f64::from(product));
        });
    }

    /// Its factors.
    pub fn metric(self) -> Metric {
        let Self { columns: n, mut sums } = self;
        let more = DAMPING * (0..n).map(|k| sums[k * n + k]).sum::<f64>() / n as f64;
        // All zero where no text came by: then columns are alike.
        (0..n).for_each(|k| sums[k * n + k] += if more > 0.0 { more } else { 1.0 });
        // From the last column on: D_k is what is left on the diagonal, and its column of U goes out of what is above.
        let mut weights = vec![0.0; n];
        for k in (0..n).rev() {
            let own = sums[k * n + k].max(f64::MIN_POSITIVE);
            let column: Vec<f64> = (0..k).map(|j| sums[j * n + k] / own).collect();
            sums[..k * n].par_chunks_exact_mut(n).zip(&column).with_min_len(64).for_each(|(row, factor)| {
                let by = factor * own;
                row[..k].iter_mut().zip(&column).for_each(|(sum, other)| *sum -= by * other);
            });
            (0..k).for_each(|j| sums[j * n + k] = column[j]);
            weights[k] = own as f32;
        }
        Metric { columns: n, weights, upper: sums.into_iter().map(|value| value as f32).collect() }
    }
}

/// `H = U D Uᵀ`
pub struct Metric {
    columns: usize,
    /// D
    weights: Vec<f32>,
    /// U above its diagonal; anything elsewhere.
    upper: Vec<f32>,
}

impl Metric {
    /// Of columns that are alike: what is rounded is to stay near.
    pub fn plain(columns: usize) -> Self {
        Self { columns, weights: vec![1.0; columns], upper: Vec::new() }
    }

    /// `U_jk` for `k` from `from` to `until`.
    fn row(&self, j: usize, from: usize, until: usize) -> &[f32] {
        match self.upper.is_empty() {
            true => &[],
            false => &self.upper[j * self.columns..][from..until],
        }
    }
}

/// A matrix in integers.
pub struct Rounded {
    /// Of every row.
    pub integers: Vec<u8>,
    /// Halves, of every group.
    pub scales: Vec<u8>,
    /// Of every group, where there are zero points.
    pub zeros: Vec<u8>,
}

/// Rounds `values: [rows, columns]`.
pub fn round(values: &[f32], packing: &Packing, metric: &Metric) -> Rounded {
    let rows: Vec<_> = values.par_chunks_exact(packing.columns).map(|row| round_row(row, packing, metric)).collect();
    let mut rounded = Rounded { integers: Vec::new(), scales: Vec::new(), zeros: Vec::new() };
    for (integers, groups) in rows {
        rounded.integers.extend(integers);
        for Group { scale, zero } in groups {
            rounded.scales.extend(scale.to_le_bytes());
            if packing.zeros {
                rounded.zeros.push(zero);
            }
        }
    }
    rounded
}

#[derive(Clone, Copy)]
struct Group {
    scale: f16,
    zero: u8,
}

fn round_row(row: &[f32], packing: &Packing, metric: &Metric) -> (Vec<u8>, Vec<Group>) {
    // The values, moved by what the columns in front of them are off.
    let mut moved = row.to_vec();
    let (mut integers, mut groups) = (Vec::with_capacity(row.len()), Vec::new());
    for first in (0..row.len()).step_by(packing.group) {
        let until = row.len().min(first + packing.group);
        let tried = ranges(&moved[first..until], packing)
            .map(|group| try_group(row, &moved, first, until, group, packing, metric));
        let best = tried.min_by(|a, b| a.loss.total_cmp(&b.loss));
        // There is always a range to try.
        let Some(best) = best else { continue };
        for (j, error) in (first..until).zip(&best.errors) {
            let above = metric.row(j, until, row.len());
            moved[until..].iter_mut().zip(above).for_each(|(value, factor)| *value += error * factor);
        }
        integers.extend(best.integers);
        groups.push(best.group);
    }
    (integers, groups)
}

/// Scales and zero points that integers of a group may have.
fn ranges<'a>(values: &'a [f32], packing: &'a Packing) -> impl Iterator<Item = Group> + 'a {
    let most = ((1u32 << packing.bits) - 1) as f32;
    let low = values.iter().fold(0.0f32, |low, value| low.min(*value));
    let high = values.iter().fold(0.0f32, |high, value| high.max(*value));
    let group = move |range: f32| {
        let scale = match packing.zeros {
            true => (high - low) * range / most,
            // The middle is one off it: one side has a step more.
            false => high.max(-low) * range / (most / 2.0),
        };
        // Halves below this lose digits, and a scale of zero would be one for all.
        let scale = f16::from_f32(scale.clamp(6.2e-5, 65_000.0));
        let zero = match packing.zeros {
            true => (-low * range / scale.to_f32()).round().clamp(0.0, most) as u8,
            false => packing.middle(),
        };
        Group { scale, zero }
    };
    RANGES.into_iter().map(group)
}

struct Tried {
    group: Group,
    integers: Vec<u8>,
    /// By how much the values of the row are above what the integers stand for.
    errors: Vec<f32>,
    loss: f32,
}

fn try_group(
    row: &[f32],
    moved: &[f32],
    first: usize,
    until: usize,
    group: Group,
    packing: &Packing,
    metric: &Metric,
) -> Tried {
    let (scale, zero, most) = (group.scale.to_f32(), f32::from(group.zero), ((1u32 << packing.bits) - 1) as f32);
    let mut moved = moved[first..until].to_vec();
    let mut tried =
        Tried { group, integers: Vec::with_capacity(moved.len()), errors: Vec::with_capacity(moved.len()), loss: 0.0 };
    for k in first..until {
        let wanted = moved[k - first];
        // What is not stored is zero.
        let integer = match row[k] == 0.0 && packing.sparsity != Sparsity::None {
            true => zero,
            false => (wanted / scale + zero).round_ties_even().clamp(0.0, most),
        };
        let value = scale * (integer - zero);
        let error = row[k] - value;
        tried.loss += metric.weights[k] * (wanted - value) * (wanted - value);
        let above = metric.row(k, k + 1, until);
        moved[k + 1 - first..].iter_mut().zip(above).for_each(|(value, factor)| *value += error * factor);
        tried.integers.push(integer as u8);
        tried.errors.push(error);
    }
    tried
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

    /// Columns that depend on one another, as those of hidden states do.
    fn inputs(rows: usize, columns: usize) -> Vec<f32> {
        let (few, mix) = (values(rows * 6, 1), values(6 * columns, 2));
        let noise = values(rows * columns, 3);
        let value = |at: usize| {
            let (row, column) = (at / columns, at % columns);
            let mixed: f32 = (0..6).map(|k| few[row * 6 + k] * mix[k * columns + column]).sum();
            mixed + 0.1 * noise[at]
        };
        (0..rows * columns).map(value).collect()
    }

    fn squared_error_of_output(x: &[f32], columns: usize, w: &[f32], v: &[f32]) -> f64 {
        let dot = |x: &[f32], e: &[f32], f: &[f32]| -> f64 {
            x.iter().zip(e.iter().zip(f)).map(|(x, (e, f))| f64::from(*x) * f64::from(e - f)).sum()
        };
        let rows = || w.chunks_exact(columns).zip(v.chunks_exact(columns));
        x.chunks_exact(columns).flat_map(|x| rows().map(move |(w, v)| dot(x, w, v).powi(2))).sum()
    }

    #[test]
    fn the_factors_multiply_to_the_sums() {
        let (rows, n) = (50, 12);
        let x = inputs(rows, n);
        let mut inputs = Inputs::new(n);
        inputs.add(&x, n, &(0..n).collect::<Vec<_>>());
        let sums = inputs.sums.clone();
        let more = DAMPING * (0..n).map(|k| sums[k * n + k]).sum::<f64>() / n as f64;
        let metric = inputs.metric();
        let u = |j: usize, k: usize| match j.cmp(&k) {
            std::cmp::Ordering::Less => f64::from(metric.upper[j * n + k]),
            std::cmp::Ordering::Equal => 1.0,
            std::cmp::Ordering::Greater => 0.0,
        };
        for i in 0..n {
            for j in 0..n {
                let product: f64 = (0..n).map(|k| u(i, k) * f64::from(metric.weights[k]) * u(j, k)).sum();
                let expected = sums[i * n + j] + if i == j { more } else { 0.0 };
                assert!((product - expected).abs() < 1e-4 * (1.0 + expected.abs()), "{i} {j}: {product} {expected}");
            }
        }
    }

    #[test]
    fn what_comes_out_is_nearer_than_by_rounding_to_the_nearest() {
        let (rows, columns) = (200, 40);
        let (x, w) = (inputs(rows, columns), values(16 * columns, 4));
        for (bits, zeros) in [(4, false), (4, true), (5, true), (8, false)] {
            let packing = Packing { rows: 16, columns, bits, group: 16, zeros, sparsity: Sparsity::None };
            let mut seen = Inputs::new(columns);
            seen.add(&x, columns, &(0..columns).collect::<Vec<_>>());
            let error = |metric: &Metric| {
                let Rounded { integers, scales, zeros } = round(&w, &packing, metric);
                let v = packing.values(&integers, &scales, &zeros);
                assert!(v.iter().zip(&w).all(|(v, w)| (v - w).abs() < 4.0 / (1 << bits) as f32 * 4.0));
                squared_error_of_output(&x, columns, &w, &v)
            };
            let (nearest, best) = (error(&Metric::plain(columns)), error(&seen.metric()));
            assert!(best < 0.5 * nearest, "{bits} bits: {best} against {nearest}");
        }
    }

    #[test]
    fn zero_stays_zero_and_nothing_divides_by_it() {
        let packing = Packing { rows: 1, columns: 8, bits: 4, group: 4, zeros: true, sparsity: Sparsity::None };
        for values in [[0.0; 8], [1e-9; 8], [3e4; 8], [-1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 5.0]] {
            let Rounded { integers, scales, zeros } = round(&values, &packing, &Metric::plain(8));
            let back = packing.values(&integers, &scales, &zeros);
            for (back, value) in back.iter().zip(values) {
                assert!((back - value).abs() <= 0.04 * value.abs().max(1e-3), "{back} for {value}");
            }
        }
    }
}
