//! Which rows lie together: cells of rows that are near one another, segments of cells that are.

use super::Stage;
use super::kmeans::{Centroids, members, train};
use super::nearest::Nearest;
use super::random::Random;
use super::segment::MOST_DOCUMENTS;
use super::spill::Spill;
use crate::error::Result;
use crate::model::Device;

/// Bytes that segments aim for, unless less is asked for. Cells are half of it where nobody says how many there are to be: with 384
/// dimensions in int8 a centroid is a thousandth of its cell.
pub const SEGMENT: u64 = 4 << 20;
/// Rows a cell that it is learned from.
const SAMPLE: usize = 100;
/// Rows that are assigned at once.
const PART: usize = 1 << 14;

/// Most bytes of the file of cells.
const MOST_BYTES: u64 = 64 << 20;

/// Reports what is being done, of how much; its error ends it.
pub type Tick<'a> = dyn FnMut(Stage, u64, u64) -> Result<()> + 'a;

/// The rows of each cell of each segment.
pub type Plan = Vec<Vec<Vec<u32>>>;

/// How many cells are worth their centroids.
pub fn wanted(spill: &Spill, segment: u64) -> usize {
    let bytes: u64 = (0..spill.count()).map(|index| spill.bytes(index)).sum();
    match bytes <= large(segment) {
        true => 1,
        // Those that are too large and divided are more.
        false => bytes.div_ceil(segment / 2).min(most(spill.dimensions()) / 2) as usize,
    }
}

/// How many cells a browser takes.
pub fn most(dimensions: usize) -> u64 {
    (MOST_BYTES - 1024) / (4 * dimensions as u64 + 8)
}

/// From which on they are divided.
fn large(segment: u64) -> u64 {
    segment / 2 * 3
}

/// All rows in their order, a cell a segment.
pub fn plain(spill: &Spill, segment: u64) -> Plan {
    let all: Vec<u32> = (0..spill.count() as u32).collect();
    filled(spill, &all, segment).into_iter().map(|rows| vec![rows]).collect()
}

/// Rows near one another in cells, these in segments.
pub fn grouped(spill: &Spill, count: usize, segment: u64, device: &Device, tick: &mut Tick) -> Result<Plan> {
    let all: Vec<u32> = (0..spill.count() as u32).collect();
    let (mut open, mut cells) = (divided(spill, &all, count, device, tick)?, Vec::new());
    while let Some((centroid, rows)) = open.pop() {
        let bytes = bytes_of(spill, &rows);
        if bytes <= MOST_DOCUMENTS {
            cells.push((centroid, rows));
            continue;
        }
        let parts = divided(spill, &rows, bytes.div_ceil(SEGMENT) as usize + 1, device, tick)?;
        match parts.len() {
            // Rows that nothing tells apart.
            0 | 1 => cells.extend(filled(spill, &rows, SEGMENT).into_iter().map(|rows| (centroid.clone(), rows))),
            _ => open.extend(parts),
        }
    }
    // Popped from behind.
    cells.reverse();
    let sizes: Vec<u64> = cells.iter().map(|(_, rows)| bytes_of(spill, rows)).collect();
    let mut segments = Vec::new();
    bisect((0..cells.len()).collect(), &cells, &sizes, large(segment), &mut segments);
    let mut take = |cell: usize| std::mem::take(&mut cells[cell].1);
    Ok(segments.into_iter().map(|segment| segment.into_iter().map(&mut take).collect()).collect())
}

fn bytes_of(spill: &Spill, rows: &[u32]) -> u64 {
    rows.iter().map(|row| spill.bytes(*row as usize)).sum()
}

/// Runs of rows of about so many bytes; none is too large for a segment.
fn filled(spill: &Spill, rows: &[u32], most: u64) -> Vec<Vec<u32>> {
    let (mut runs, mut run, mut bytes) = (Vec::new(), Vec::new(), 0);
    for row in rows {
        let own = spill.bytes(*row as usize);
        if bytes + own > most && !run.is_empty() {
            runs.push(std::mem::take(&mut run));
            bytes = 0;
        }
        run.push(*row);
        bytes += own;
    }
    if !run.is_empty() {
        runs.push(run);
    }
    runs
}

type Cell = (Vec<f32>, Vec<u32>);

/// Rows in at most `count` cells, none of them empty.
fn divided(spill: &Spill, rows: &[u32], count: usize, device: &Device, tick: &mut Tick) -> Result<Vec<Cell>> {
    let sample = Random(1).some(count.saturating_mul(SAMPLE), rows.len());
    let sample: Vec<u32> = sample.into_iter().map(|at| rows[at as usize]).collect();
    let centroids = {
        let values = spill.values(&sample)?;
        let mut tick = |round, rounds| tick(Stage::Cluster, round as u64, rounds as u64);
        train(&values, spill.dimensions(), count, spill.is_spherical(), device, &mut tick)?
    };
    let nearest = Nearest::new(&centroids, spill.is_spherical(), device)?;
    let mut assigned = Vec::with_capacity(rows.len());
    for part in rows.chunks(PART) {
        tick(Stage::Assign, assigned.len() as u64, rows.len() as u64)?;
        assigned.extend(nearest.of(&spill.values(part)?)?.into_iter().map(|(cell, _)| cell));
    }
    let members = members(&assigned, centroids.count());
    let cell = |(cell, members): (usize, Vec<u32>)| {
        let own: Vec<u32> = members.into_iter().map(|at| rows[at as usize]).collect();
        (!own.is_empty()).then(|| (centroids.of(cell).to_vec(), own))
    };
    Ok(members.into_iter().enumerate().filter_map(cell).collect())
}

/// Halves cells, by bytes, across the line along which they are farthest from one another, until they fit into a segment.
fn bisect(mut own: Vec<usize>, cells: &[Cell], sizes: &[u64], most: u64, segments: &mut Vec<Vec<usize>>) {
    let total: u64 = own.iter().map(|cell| sizes[*cell]).sum();
    let (Some(first), true) = (own.first(), own.len() > 1 && total > most) else {
        segments.extend(Some(own).filter(|own| !own.is_empty()));
        return;
    };
    let of = |cell: usize| cells[cell].0.iter().map(|value| f64::from(*value));
    let distance = |a: usize, b: usize| of(a).zip(of(b)).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
    let farthest = |from: usize| {
        let better = |a: &(usize, f64), b: &(usize, f64)| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0));
        own.iter().map(|cell| (*cell, distance(from, *cell))).max_by(better).map_or(from, |(cell, _)| cell)
    };
    let start = farthest(*first);
    let end = farthest(start);
    let along = |cell: usize| of(cell).zip(of(end).zip(of(start))).map(|(x, (b, a))| x * (b - a)).sum::<f64>();
    let mut keyed: Vec<(f64, usize)> = own.iter().map(|cell| (along(*cell), *cell)).collect();
    keyed.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    own = keyed.into_iter().map(|(_, cell)| cell).collect();
    let mut before = 0;
    let middle = |cell: &usize| {
        before += sizes[*cell];
        // The one in which the middle is goes where the more of it is.
        2 * before - sizes[*cell] < total
    };
    let left = own.iter().map(middle).take_while(|is_left| *is_left).count().clamp(1, own.len() - 1);
    let right = own.split_off(left);
    bisect(own, cells, sizes, most, segments);
    bisect(right, cells, sizes, most, segments);
}

/// The centroids of cells, and where these are, as the file of cells has them.
pub struct Layout {
    /// What queries are compared with, by dot products alone whatever rows were assigned by.
    pub centroids: Centroids,
    /// The segment of each.
    pub segments: Vec<u32>,
    /// How many rows each has.
    pub rows: Vec<u32>,
}
