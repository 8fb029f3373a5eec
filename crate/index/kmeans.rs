//! Cells: k-means, on the sphere where vectors are compared by their angle. Everything has the same bits however many cores there are.

use rayon::prelude::*;

use embedlet_host::{Matrix, PANEL, product};

use super::nearest::Nearest;
use super::random::Random;
use crate::error::Result;
use crate::model::Device;

/// Rounds, unless nothing changes any more.
const ROUNDS: usize = 10;
/// Centroids that rows are compared with at once: their products stay in a cache.
pub const BLOCK: usize = 512;

/// Centroids, laid out for products.
pub struct Centroids {
    dimensions: usize,
    /// `[count][dimensions]`
    values: Vec<f32>,
    /// Inputs of a product: dimensions, and zeros up to a multiple of four.
    inputs: usize,
    /// `[count / 8][inputs][8]`
    panels: Vec<f32>,
    /// What makes the nearest the largest: nothing on the sphere.
    pub bias: Vec<f32>,
}

impl Centroids {
    /// Of these values, one centroid after another; rows of unit length are compared where it is spherical.
    pub fn new(values: Vec<f32>, dimensions: usize, spherical: bool) -> Self {
        let (count, inputs) = (values.len() / dimensions, dimensions.next_multiple_of(4));
        // A product takes panels in pairs.
        let mut panels = vec![0.0; count.next_multiple_of(2 * PANEL) * inputs];
        for (index, centroid) in values.chunks_exact(dimensions).enumerate() {
            let panel = &mut panels[index / PANEL * PANEL * inputs..];
            for (input, value) in centroid.iter().enumerate() {
                panel[input * PANEL + index % PANEL] = *value;
            }
        }
        let half = |row: &[f32]| -0.5 * row.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>();
        let bias = match spherical {
            true => vec![0.0; count],
            false => values.chunks_exact(dimensions).map(|row| half(row) as f32).collect(),
        };
        Self { dimensions, values, inputs, panels, bias }
    }

    /// Of each.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.bias.len()
    }

    /// A centroid.
    pub fn of(&self, index: usize) -> &[f32] {
        &self.values[index * self.dimensions..(index + 1) * self.dimensions]
    }

    /// All values, one centroid after another.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// How near a vector is to each of them.
    pub fn to_all(&self, vector: &[f32]) -> Vec<f32> {
        let mut found = vec![0.0; self.count()];
        self.scores(vector, |_, first, scores| found[first as usize..][..scores.len()].copy_from_slice(scores));
        found
    }

    /// Shows of each row its scores with a block of centroids, from the first of them on.
    pub fn scores(&self, rows: &[f32], mut show: impl FnMut(usize, u32, &[f32])) {
        let mut padded = Vec::new();
        let rows = match self.inputs == self.dimensions {
            true => rows,
            false => {
                for row in rows.chunks_exact(self.dimensions) {
                    padded.extend_from_slice(row);
                    padded.resize(padded.len().next_multiple_of(self.inputs), 0.0);
                }
                &padded
            }
        };
        let mut scores = vec![0.0; rows.len() / self.inputs * BLOCK.min(self.count())];
        for first in (0..self.count()).step_by(BLOCK) {
            let width = BLOCK.min(self.count() - first);
            let scores = &mut scores[..rows.len() / self.inputs * width];
            let weight = Matrix::F32(&self.panels[first * self.inputs..]);
            product(rows, self.inputs, weight, &self.bias[first..first + width], scores, width);
            scores.chunks_exact(width).enumerate().for_each(|(row, scores)| show(row, first as u32, scores));
        }
    }
}

/// The mean of some rows, of unit length where it is spherical and there is one.
pub fn mean<'a>(rows: impl Iterator<Item = &'a [f32]>, dimensions: usize, spherical: bool) -> Vec<f32> {
    let (mut sums, mut count) = (vec![0.0_f64; dimensions], 0.0);
    for row in rows {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
        count += 1.0;
    }
    let length = sums.iter().map(|sum| sum * sum).sum::<f64>().sqrt();
    let scale = if spherical && length > 0.0 { length } else { f64::max(count, 1.0) };
    sums.into_iter().map(|sum| (sum / scale) as f32).collect()
}

/// At most `count` centroids of rows that are there. `tick` is called before every round, and its error ends them.
pub fn train(
    rows: &[f32],
    dimensions: usize,
    count: usize,
    spherical: bool,
    device: &Device,
    tick: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Centroids> {
    let of = |row: usize| &rows[row * dimensions..(row + 1) * dimensions];
    let total = rows.len() / dimensions;
    let start: Vec<f32> = Random(0).some(count, total).iter().flat_map(|row| of(*row as usize)).copied().collect();
    let mut centroids = Centroids::new(start, dimensions, spherical);
    let mut last = Vec::new();
    for round in 0..ROUNDS {
        tick(round, ROUNDS)?;
        let found = Nearest::new(&centroids, spherical, device)?.of(rows)?;
        let cells: Vec<u32> = found.iter().map(|(cell, _)| *cell).collect();
        if cells == last {
            break;
        }
        let mut members = members(&cells, centroids.count());
        // A cell without rows begins anew where another serves worst.
        let mut worst: Vec<usize> = Vec::new();
        if members.iter().any(Vec::is_empty) {
            worst = (0..total).collect();
            worst.sort_by(|a, b| found[*b].1.total_cmp(&found[*a].1).then(b.cmp(a)));
        }
        for cell in members.iter_mut().filter(|cell| cell.is_empty()) {
            cell.extend(worst.pop().map(|row| row as u32));
        }
        let means =
            members.par_iter().map(|members| mean(members.iter().map(|row| of(*row as usize)), dimensions, spherical));
        centroids = Centroids::new(means.collect::<Vec<_>>().concat(), dimensions, spherical);
        last = cells;
    }
    Ok(centroids)
}

/// The rows of each cell, in rising order.
pub fn members(cells: &[u32], count: usize) -> Vec<Vec<u32>> {
    let mut members = vec![Vec::new(); count];
    (0..).zip(cells).for_each(|(row, cell)| members[*cell as usize].push(row));
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: usize, dimensions: usize) -> Vec<f32> {
        let mut random = Random(7);
        (0..count * dimensions).map(|_| (random.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0).collect()
    }

    #[test]
    fn bits_do_not_depend_on_threads() {
        let rows = rows(2000, 12);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| train(&rows, 12, 30, true, &Device::Cpu(None), &mut |_, _| Ok(())).unwrap().values)
        };
        let one = run(1);
        assert_eq!(one.len(), 30 * 12);
        assert!(run(2) == one && run(7) == one);
    }
}
