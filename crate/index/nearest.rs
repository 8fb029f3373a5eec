//! Which of many centroids is nearest to a row: by products of matrices on all cores, of very many centroids in two steps; or on a GPU
//! with all of them. The same rows have the same centroids however many cores there are.

use std::sync::Arc;

use rayon::prelude::*;

use super::kmeans::{BLOCK, Centroids, members, train};
use crate::batch::Batch;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::model::Device;
use crate::ops::Epilogue;
use crate::program::{Buf, Program, Rows, TailId, padded};
use crate::reader::place;
use crate::runner::Runner;
use crate::weights::{Axis, Layout, Rounding, Weight};

/// Rows that are compared at once: their products with a block of centroids stay in a cache.
const ROWS: usize = 128;
/// From so many centroids on, rows are compared with groups of them first: all of them would be most of a build's time.
const MANY: usize = 4096;
/// The share of the groups that a row looks into is one of so many. Of fewer, rows of which each is nearly as near to many groups, as
/// all are where there is no order among centroids, would be given to distant ones.
const LOOKED: usize = 4;
/// Rows that are shared out among groups at once, so that each gets some.
const SHARED: usize = 2048;
/// Most bytes of the products of a batch on a GPU.
const BATCH_BYTES: usize = 64 << 20;

/// Finds the nearest of some centroids.
pub enum Nearest<'a> {
    /// Compares all of them.
    All(&'a Centroids),
    /// Compares groups of them first: a row may be given to a centroid that is but nearly the nearest.
    Groups(Groups),
    /// Compares all of them.
    Gpu(Box<Products>),
}

/// Centroids that are near one another.
pub struct Groups {
    heads: Centroids,
    /// Of each head, its centroids and their numbers among all.
    members: Vec<(Centroids, Vec<u32>)>,
}

/// Centroids on a GPU: their products with rows, and the largest of each row.
pub struct Products {
    program: Arc<Program>,
    x: Buf,
    runner: Runner,
    /// Rows of a batch.
    room: usize,
}

impl<'a> Nearest<'a> {
    /// Rows of unit length are compared where it is spherical. Errors are those of a GPU.
    pub fn new(centroids: &'a Centroids, spherical: bool, device: &Device) -> Result<Self> {
        Ok(match device {
            Device::Gpu(gpu) => Self::Gpu(Box::new(Products::new(centroids, gpu)?)),
            Device::Cpu(_) if centroids.count() < MANY => Self::All(centroids),
            Device::Cpu(_) => Self::Groups(Groups::new(centroids, spherical)?),
        })
    }

    /// Of each row its nearest centroid, of two the lower, and how near it is: higher is nearer.
    pub fn of(&self, rows: &[f32]) -> Result<Vec<(u32, f32)>> {
        Ok(match self {
            Self::All(centroids) => in_parts(rows, ROWS, centroids.dimensions(), |rows, best| {
                centroids.scores(rows, |row, first, scores| {
                    (first..).zip(scores).for_each(|(index, score)| offer(&mut best[row], index, *score));
                });
            }),
            Self::Groups(groups) => {
                in_parts(rows, SHARED, groups.heads.dimensions(), |rows, best| groups.offer(rows, best))
            }
            Self::Gpu(products) => products.of(rows)?,
        })
    }
}

/// What `find` finds for rows, so many at once on every core.
fn in_parts(
    rows: &[f32],
    count: usize,
    dimensions: usize,
    find: impl Fn(&[f32], &mut [(u32, f32)]) + Sync,
) -> Vec<(u32, f32)> {
    let found = rows.par_chunks(count * dimensions).map(|rows| {
        let mut best = vec![NOTHING; rows.len() / dimensions];
        find(rows, &mut best);
        best
    });
    found.collect::<Vec<_>>().concat()
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
    fn new(centroids: &Centroids, spherical: bool) -> Result<Self> {
        let dimensions = centroids.dimensions();
        let count = centroids.count().isqrt().min(BLOCK);
        let heads = train(centroids.values(), dimensions, count, spherical, &Device::Cpu(None), &mut |_, _| Ok(()))?;
        let own = Nearest::All(&heads).of(centroids.values())?;
        let own: Vec<u32> = own.into_iter().map(|(head, _)| head).collect();
        let member = |numbers: Vec<u32>| {
            let values = numbers.iter().flat_map(|number| centroids.of(*number as usize)).copied().collect();
            (Centroids::new(values, dimensions, spherical), numbers)
        };
        let members = members(&own, heads.count()).into_iter().map(member).collect();
        Ok(Self { heads, members })
    }

    /// Offers rows the centroids of the groups that they look into.
    fn offer(&self, rows: &[f32], best: &mut [(u32, f32)]) {
        let (count, dimensions) = (self.heads.count(), self.heads.dimensions());
        let looked = count.div_ceil(LOOKED);
        let mut lookers = vec![Vec::new(); count];
        for (part, rows) in rows.chunks(ROWS * dimensions).enumerate() {
            self.heads.scores(rows, |row, _, scores| {
                // There are fewer heads than a block has room for.
                let mut order: Vec<usize> = (0..count).collect();
                let nearer = |a: &usize, b: &usize| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b));
                order.select_nth_unstable_by(looked - 1, nearer);
                order.into_iter().take(looked).for_each(|head| lookers[head].push(part * ROWS + row));
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

impl Products {
    fn new(centroids: &Centroids, gpu: &Arc<Gpu>) -> Result<Self> {
        let (width, count) = (centroids.dimensions(), centroids.count());
        let mut program = Program::default();
        let x = program.buf(Rows::Tokens, width);
        let layout = Layout::Linear { inputs: Axis::plain(width), outputs: Axis::plain(count) };
        let weight = program.weight(Weight::new(layout, Vec::new(), Rounding::Never));
        let bias = program.weight(Weight::values(centroids.bias.clone()));
        let trunk = program.begin_tail();
        let scores = program.linear(x, weight, bias, count, Epilogue::None);
        let nearest = program.max(scores);
        program.end_tail(trunk, Some(nearest));
        let mut values = vec![0.0; layout.elements()];
        place(layout, 0, width, centroids.values(), &mut values);
        let (program, room) = (Arc::new(program), (BATCH_BYTES / (4 * x.stride.max(scores.stride))).max(1));
        let device = Device::Gpu(gpu.clone());
        let runner = pollster::block_on(Runner::of(&program, device, room, (weight, &values)))?;
        Ok(Self { program, x, runner, room })
    }

    fn of(&self, rows: &[f32]) -> Result<Vec<(u32, f32)>> {
        let mut found = Vec::with_capacity(rows.len() / self.x.width);
        for rows in rows.chunks(self.room * self.x.width) {
            let batch = Batch::of_rows(&[0, rows.len() / self.x.width], 0);
            let rows = Some((self.x, padded(rows, self.x.width)));
            let nearest = pollster::block_on(self.runner.run(&self.program, TailId(0), &batch, rows))?;
            found.extend(nearest.as_chunks().0.iter().map(|[centroid, score]| (*centroid as u32, *score)));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::Random;
    use super::*;

    const CPU: Device = Device::Cpu(None);

    fn rows(count: usize, dimensions: usize) -> Vec<f32> {
        let mut random = Random(7);
        (0..count * dimensions).map(|_| (random.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0).collect()
    }

    #[test]
    fn nearest_is_what_a_plain_loop_finds() {
        let gpu = Device::Gpu(pollster::block_on(Gpu::open()).unwrap());
        for (count, dimensions, cells) in [(1, 1, 1), (5, 3, 2), (300, 10, 7), (40, 8, 600), (200, 12, 20)] {
            let (rows, values) = (rows(count, dimensions), rows(cells, dimensions));
            for (spherical, device) in [(true, &CPU), (false, &CPU), (true, &gpu), (false, &gpu)] {
                let centroids = Centroids::new(values.clone(), dimensions, spherical);
                let found = Nearest::new(&centroids, spherical, device).unwrap().of(&rows).unwrap();
                assert_eq!(found.len(), count);
                for (row, (cell, _)) in rows.chunks_exact(dimensions).zip(found) {
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
        let centroids = Centroids::new(values, 6, false);
        let exact = Nearest::All(&centroids).of(&rows).unwrap();
        let found = Nearest::Groups(Groups::new(&centroids, false).unwrap()).of(&rows).unwrap();
        assert!(found.iter().zip(&exact).all(|(found, exact)| found.1 <= exact.1 + 1e-5));
        let same = found.iter().zip(&exact).filter(|(found, exact)| found.0 == exact.0).count();
        assert!(same > 2700, "{same} of {}", rows.len() / 6);
    }
}
