//! Cells: k-means, on the sphere where vectors are compared by their angle. What is nearest is found by products of matrices, on all
//! cores, and of many centroids in two steps; everything has the same bits however many cores there are.

use std::convert::Infallible;

use rayon::prelude::*;

use embedlet_host::{Matrix, PANEL, product};

use super::random::Random;

/// Rounds, unless nothing changes any more.
const ROUNDS: usize = 10;
/// Rows that are compared at once, and centroids: their products stay in a cache.
const ROWS: usize = 128;
const BLOCK: usize = 512;
/// From so many centroids on, rows are compared with groups of them first.
const MANY: usize = 512;
/// Groups that a row looks into.
const LOOKED: usize = 6;
/// Rows that are shared out among groups at once, so that each gets some.
const SHARED: usize = 2048;

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
    bias: Vec<f32>,
    groups: Option<Box<Groups>>,
}

/// Centroids that are near one another.
struct Groups {
    heads: Centroids,
    /// Of each head, its centroids and their numbers among all.
    members: Vec<(Centroids, Vec<u32>)>,
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
        Self { dimensions, values, inputs, panels, bias, groups: None }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.bias.len()
    }

    /// A centroid.
    pub fn of(&self, index: usize) -> &[f32] {
        &self.values[index * self.dimensions..(index + 1) * self.dimensions]
    }

    /// The same, but that many of them are in groups, and [`Centroids::nearest`] looks only into those of the nearest heads: a row may
    /// then be given to a centroid that is but nearly the nearest.
    pub fn grouped(mut self, spherical: bool) -> Self {
        if self.count() < MANY {
            return self;
        }
        let dimensions = self.dimensions;
        let quiet = &mut |_, _| Ok::<_, Infallible>(());
        let Ok(heads) = train(&self.values, dimensions, self.count().isqrt().min(BLOCK), spherical, quiet);
        let own: Vec<u32> = heads.nearest(&self.values).into_iter().map(|(head, _)| head).collect();
        let member = |numbers: Vec<u32>| {
            let values = numbers.iter().flat_map(|number| self.of(*number as usize)).copied().collect();
            (Self::new(values, dimensions, spherical), numbers)
        };
        let members = members(&own, heads.count()).into_iter().map(member).collect();
        self.groups = Some(Box::new(Groups { heads, members }));
        self
    }

    /// Of each row its nearest centroid, of two the lower, and how near it is: higher is nearer.
    pub fn nearest(&self, rows: &[f32]) -> Vec<(u32, f32)> {
        let part = if self.groups.is_some() { SHARED } else { ROWS };
        let found = rows.par_chunks(part * self.dimensions).map(|rows| {
            let mut best = vec![NOTHING; rows.len() / self.dimensions];
            match &self.groups {
                Some(groups) => groups.offer(rows, self.dimensions, &mut best),
                None => self.scores(rows, |row, first, scores| {
                    (first..).zip(scores).for_each(|(index, score)| offer(&mut best[row], index, *score));
                }),
            }
            best
        });
        found.collect::<Vec<_>>().concat()
    }

    /// How near a vector is to each of them.
    pub fn to_all(&self, vector: &[f32]) -> Vec<f32> {
        let mut found = vec![0.0; self.count()];
        self.scores(vector, |_, first, scores| found[first as usize..][..scores.len()].copy_from_slice(scores));
        found
    }

    /// Shows of each row its scores with a block of centroids, from the first of them on.
    fn scores(&self, rows: &[f32], mut show: impl FnMut(usize, u32, &[f32])) {
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

/// Worse than every centroid.
const NOTHING: (u32, f32) = (0, f32::NEG_INFINITY);

/// Takes a centroid that is nearer, or as near and of a lower number.
#[inline]
fn offer(best: &mut (u32, f32), index: u32, score: f32) {
    if score > best.1 || score == best.1 && index < best.0 {
        *best = (index, score);
    }
}

impl Groups {
    /// Offers rows the centroids of the groups that they look into.
    fn offer(&self, rows: &[f32], dimensions: usize, best: &mut [(u32, f32)]) {
        let count = self.heads.count();
        let mut lookers = vec![Vec::new(); count];
        for (part, rows) in rows.chunks(ROWS * dimensions).enumerate() {
            self.heads.scores(rows, |row, _, scores| {
                // There are fewer heads than a block has room for.
                let mut order: Vec<usize> = (0..count).collect();
                let nearer = |a: &usize, b: &usize| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b));
                order.select_nth_unstable_by(LOOKED.min(count) - 1, nearer);
                order.into_iter().take(LOOKED).for_each(|head| lookers[head].push(part * ROWS + row));
            });
        }
        for (lookers, (centroids, numbers)) in lookers.iter().zip(&self.members).filter(|(_, (_, own))| !own.is_empty())
        {
            for lookers in lookers.chunks(ROWS) {
                let own = lookers.iter().flat_map(|row| &rows[row * dimensions..(row + 1) * dimensions]);
                centroids.scores(&own.copied().collect::<Vec<_>>(), |looker, first, scores| {
                    for (number, score) in numbers[first as usize..].iter().zip(scores) {
                        offer(&mut best[lookers[looker]], *number, *score);
                    }
                });
            }
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
pub fn train<E>(
    rows: &[f32],
    dimensions: usize,
    count: usize,
    spherical: bool,
    tick: &mut dyn FnMut(usize, usize) -> Result<(), E>,
) -> Result<Centroids, E> {
    let of = |row: usize| &rows[row * dimensions..(row + 1) * dimensions];
    let total = rows.len() / dimensions;
    let start: Vec<f32> = Random(0).some(count, total).iter().flat_map(|row| of(*row as usize)).copied().collect();
    let mut centroids = Centroids::new(start, dimensions, spherical).grouped(spherical);
    let mut last = Vec::new();
    for round in 0..ROUNDS {
        tick(round, ROUNDS)?;
        let found = centroids.nearest(rows);
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
        centroids = Centroids::new(means.collect::<Vec<_>>().concat(), dimensions, spherical).grouped(spherical);
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
    fn nearest_is_what_a_plain_loop_finds() {
        for (count, dimensions, cells) in [(1, 1, 1), (5, 3, 2), (300, 10, 7), (40, 8, 600), (200, 12, 20)] {
            let (rows, values) = (rows(count, dimensions), rows(cells, dimensions));
            for spherical in [true, false] {
                let centroids = Centroids::new(values.clone(), dimensions, spherical);
                for (row, (cell, _)) in rows.chunks_exact(dimensions).zip(centroids.nearest(&rows)) {
                    let score = |cell: usize| {
                        let pairs = row.iter().zip(centroids.of(cell)).map(|(a, b)| (f64::from(*a), f64::from(*b)));
                        pairs.map(|(a, b)| if spherical { a * b } else { -(a - b) * (a - b) / 2.0 }).sum::<f64>()
                    };
                    let best = (0..cells).map(score).fold(f64::NEG_INFINITY, f64::max);
                    assert!(score(cell as usize) > best - 1e-5);
                }
            }
        }
    }

    #[test]
    fn groups_find_nearly_what_all_have() {
        let (rows, values) = (rows(3000, 6), rows(700, 6));
        let exact = Centroids::new(values.clone(), 6, false).nearest(&rows);
        let centroids = Centroids::new(values, 6, false).grouped(false);
        assert!(centroids.groups.is_some());
        let found = centroids.nearest(&rows);
        assert!(found.iter().zip(&exact).all(|(found, exact)| found.1 <= exact.1 + 1e-5));
        let same = found.iter().zip(&exact).filter(|(found, exact)| found.0 == exact.0).count();
        assert!(same > 2700, "{same} of {}", rows.len() / 6);
    }

    #[test]
    fn bits_do_not_depend_on_threads() {
        let rows = rows(2000, 12);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| train::<()>(&rows, 12, 30, true, &mut |_, _| Ok(())).unwrap().values)
        };
        let one = run(1);
        assert_eq!(one.len(), 30 * 12);
        assert!(run(2) == one && run(7) == one);
    }
}
