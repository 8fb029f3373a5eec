//! How much of what is nearest a search finds that reads some cells alone: measured, with rows of the index as queries.

use rayon::prelude::*;

use super::Stage;
use super::cells::{Layout, Plan, Tick};
use super::random::Random;
use super::spill::Spill;
use crate::error::Result;
use crate::model::Device;
use crate::search::{Collection, Shape};

/// Rows that are searched for.
const QUERIES: usize = 256;
/// Nearest rows that are to be found.
const NEAREST: usize = 10;
/// Segments that are scanned between two reports.
const PART: usize = 16;

/// What was measured.
#[derive(Debug)]
pub struct Measured {
    /// Of so many cells, the share of the nearest rows that they have; the last are all cells.
    pub recall: Vec<(usize, f64)>,
    /// The least of these that reach what was asked for.
    pub probes: usize,
    /// Bytes of the segments that so many cells of a query are in, on average.
    pub query_bytes: f64,
}

/// An index as it was written.
pub struct Subject<'a> {
    /// What lies where.
    pub plan: &'a Plan,
    /// The vectors of queries.
    pub spill: &'a Spill,
    /// Which cells are read.
    pub layout: &'a Layout,
    /// Of rows.
    pub shape: Shape,
    /// Bytes of each segment.
    pub bytes: &'a [u64],
    /// Reads the rows of a segment.
    pub rows: &'a (dyn Fn(usize) -> Result<Vec<u8>> + Sync),
}

/// Searches for rows in all that were written.
pub fn measure(subject: &Subject, asked: f64, tick: &mut Tick) -> Result<Measured> {
    let Subject { plan, spill, layout, shape, bytes, rows } = *subject;
    let queries = Random(2).some(QUERIES, spill.count());
    let values = spill.values(&queries)?;
    let vectors: Vec<&[f32]> = values.chunks_exact(spill.dimensions()).collect();
    // Rows are told by their place among all, behind which is nothing that would change the order of two that are equally near.
    let mut places = vec![0; queries.len()];
    let mut firsts = Vec::with_capacity(plan.len());
    let mut place = 0;
    for segment in plan {
        firsts.push(place);
        for row in segment.iter().flatten() {
            if let Ok(query) = queries.binary_search(row) {
                places[query] = place;
            }
            place += 1;
        }
    }
    let mut found: Vec<Vec<(f32, usize)>> = vec![Vec::new(); queries.len()];
    for part in (0..plan.len()).collect::<Vec<_>>().chunks(PART) {
        tick(Stage::Measure, part[0] as u64, plan.len() as u64)?;
        let search = |segment: &usize| {
            let mut collection = Collection::new(shape, Device::Cpu(None));
            pollster::block_on(collection.append(&rows(*segment)?))?;
            let search = |query: &&[f32]| {
                let hits = pollster::block_on(collection.search(query, NEAREST + 1, None))?;
                let places = hits.rows.iter().map(|row| firsts[*segment] + *row as usize);
                Ok(hits.scores.into_iter().zip(places).collect::<Vec<_>>())
            };
            vectors.iter().map(search).collect::<Result<Vec<_>>>()
        };
        for hits in part.par_iter().map(search).collect::<Result<Vec<_>>>()? {
            found.iter_mut().zip(hits).for_each(|(found, hits)| found.extend(hits));
        }
        for (found, own) in found.iter_mut().zip(&places) {
            found.retain(|(_, place)| place != own);
            found.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            found.truncate(NEAREST);
        }
    }
    let mut ends: Vec<usize> = layout.rows.iter().map(|rows| *rows as usize).collect();
    let mut sum = 0;
    ends.iter_mut().for_each(|end| {
        sum += *end;
        *end = sum;
    });
    // Of each query the cells in the order in which they are read, and of what it found the place of the cell in this order.
    let count = layout.rows.len();
    let mut ranks = Vec::new();
    let mut orders = Vec::new();
    for (vector, found) in vectors.iter().zip(&found) {
        let order = nearest_cells(layout, vector);
        let mut rank = vec![0; count];
        order.iter().enumerate().for_each(|(at, cell)| rank[*cell] = at);
        ranks.extend(found.iter().map(|(_, place)| rank[ends.partition_point(|end| end <= place)]));
        orders.push(order);
    }
    let share = |probes: usize| {
        let within = ranks.iter().filter(|rank| **rank < probes).count();
        if ranks.is_empty() { 1.0 } else { within as f64 / ranks.len() as f64 }
    };
    let recall: Vec<(usize, f64)> = steps(count).map(|probes| (probes, share(probes))).collect();
    let probes = recall.iter().find(|(_, share)| *share >= asked).map_or(count, |(probes, _)| *probes);
    let read = |order: &Vec<usize>| {
        let mut segments: Vec<u32> = order[..probes].iter().map(|cell| layout.segments[*cell]).collect();
        segments.sort_unstable();
        segments.dedup();
        segments.into_iter().map(|segment| bytes[segment as usize]).sum::<u64>() as f64
    };
    let query_bytes = orders.iter().map(read).sum::<f64>() / orders.len().max(1) as f64;
    Ok(Measured { recall, probes, query_bytes })
}

/// Cells by how near they are to a vector.
pub fn nearest_cells(layout: &Layout, vector: &[f32]) -> Vec<usize> {
    let dots = layout.centroids.to_all(vector);
    let mut order: Vec<usize> = (0..dots.len()).collect();
    order.sort_by(|a, b| dots[*b].total_cmp(&dots[*a]).then(a.cmp(b)));
    order
}

/// 1, 2, 3, 4, 6, 8, 12, 16 and so on, and the last.
fn steps(count: usize) -> impl Iterator<Item = usize> {
    let powers = (0..usize::BITS - 1).flat_map(|power| [1 << power, (1 << power) + (1 << power) / 2]);
    let mut below: Vec<usize> = powers.take_while(|step| *step < count).collect();
    below.dedup();
    below.push(count);
    below.into_iter()
}

#[cfg(test)]
mod tests {
    #[test]
    fn steps_rise_to_the_last() {
        let steps = |count| super::steps(count).collect::<Vec<_>>();
        assert_eq!(steps(1), [1]);
        assert_eq!(steps(2), [1, 2]);
        assert_eq!(steps(12), [1, 2, 3, 4, 6, 8, 12]);
        assert_eq!(steps(13), [1, 2, 3, 4, 6, 8, 12, 13]);
    }
}
