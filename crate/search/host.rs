//! Rows on the host, and the scan of them. They lie in chunks, so that a collection grows without a copy and without a second
//! place for what it had.

use embedlet_host::{scan_bits, scan_f32, scan_int8};
use rayon::prelude::*;

use super::best::{Best, Hit};
use super::shape::{Query, Shape};
use crate::cpu::THREADS;
use crate::error::{Error, Result};

/// Bytes of a chunk, unless [`BLOCK`] rows are more.
const CHUNK_BYTES: usize = 1 << 20;
/// Rows that are looked at together: those of a word of the bitmap.
const BLOCK: usize = 32;
/// Rows that are compared together.
const FOUR: usize = 4;

/// Rows of one shape.
pub(super) struct HostRows {
    chunks: Vec<Chunk>,
    /// Words of a row.
    stride: usize,
    /// Whole blocks.
    rows_per_chunk: usize,
}

/// Rows from one on that lie one after another.
pub(crate) struct Run<'a> {
    pub first: usize,
    /// `[rows][stride]`
    pub words: &'a [u32],
    /// Of each row, where rows have them.
    pub scales: &'a [f32],
}

struct Chunk {
    /// `[rows][stride]`
    words: Vec<u32>,
    /// Of each row; none where rows have none.
    scales: Vec<f32>,
}

impl HostRows {
    pub fn new(shape: &Shape) -> Self {
        let stride = shape.stride();
        Self { chunks: Vec::new(), stride, rows_per_chunk: (CHUNK_BYTES / (4 * stride)).max(BLOCK) / BLOCK * BLOCK }
    }

    /// Makes room for so many rows in all; what is new is zero. Nothing changes where there is no memory.
    pub fn reserve(&mut self, shape: &Shape, rows: usize) -> Result<()> {
        let before = self.chunks.len();
        let added = self.add_chunks(shape, rows.div_ceil(self.rows_per_chunk));
        if added.is_none() {
            self.chunks.truncate(before);
            return Err(Error::OutOfMemory { doing: "appending rows".into() });
        }
        Ok(())
    }

    fn add_chunks(&mut self, shape: &Shape, chunks: usize) -> Option<()> {
        while self.chunks.len() < chunks {
            let mut chunk = Chunk { words: Vec::new(), scales: Vec::new() };
            let scales = if shape.scaled() { self.rows_per_chunk } else { 0 };
            chunk.words.try_reserve_exact(self.rows_per_chunk * self.stride).ok()?;
            chunk.scales.try_reserve_exact(scales).ok()?;
            self.chunks.try_reserve(1).ok()?;
            chunk.words.resize(self.rows_per_chunk * self.stride, 0);
            chunk.scales.resize(scales, 0.0);
            self.chunks.push(chunk);
        }
        Some(())
    }

    /// Gives back the room behind so many rows.
    pub fn release(&mut self, rows: usize) {
        self.chunks.truncate(rows.div_ceil(self.rows_per_chunk));
    }

    /// Puts encoded rows in their places from one on, for which there is room.
    pub fn put(&mut self, shape: &Shape, first: usize, encoded: &[u8]) -> Result<()> {
        for (row, encoded) in (first..).zip(encoded.chunks_exact(shape.row_bytes())) {
            let (chunk, row) = (&mut self.chunks[row / self.rows_per_chunk], row % self.rows_per_chunk);
            let words = &mut chunk.words[row * self.stride..(row + 1) * self.stride];
            shape.unpack(encoded, words, chunk.scales.get_mut(row).unwrap_or(&mut 0.0))?;
        }
        Ok(())
    }

    /// The first so many rows in runs that lie one after another.
    pub fn runs(&self, count: usize) -> Vec<Run<'_>> {
        let mut runs = Vec::new();
        for (chunk, first) in self.chunks.iter().zip((0..count).step_by(self.rows_per_chunk)) {
            let rows = self.rows_per_chunk.min(count - first);
            let scales = &chunk.scales[..rows.min(chunk.scales.len())];
            runs.push(Run { first, words: &chunk.words[..rows * self.stride], scales });
        }
        runs
    }

    /// The best of the rows whose bits are set, 32 a word.
    pub fn search(&self, shape: &Shape, query: &Query, allowed: &[u32], most: usize) -> Vec<Hit> {
        let words = self.rows_per_chunk / BLOCK;
        let search = |best: &mut Best, index: usize, allowed: &[u32]| {
            let first = (index * self.rows_per_chunk) as u32;
            self.chunks[index].search(shape, query, allowed, first, best);
        };
        if !THREADS {
            let mut best = Best::new(most);
            allowed.chunks(words).enumerate().for_each(|(index, allowed)| search(&mut best, index, allowed));
            return best.into_sorted();
        }
        let best_of = |(index, allowed): (usize, &[u32])| {
            let mut best = Best::new(most);
            search(&mut best, index, allowed);
            best
        };
        let all = allowed.par_chunks(words).enumerate().map(best_of).reduce_with(Best::merged);
        all.map_or_else(Vec::new, Best::into_sorted)
    }
}

impl Chunk {
    /// Offers the rows whose bits are set; the chunk's own first is this one of all.
    fn search(&self, shape: &Shape, query: &Query, allowed: &[u32], first: u32, best: &mut Best) {
        let mut keys = [[0.0; FOUR]; BLOCK / FOUR];
        for ((block, bits), first) in allowed.iter().enumerate().zip((first..).step_by(BLOCK)) {
            if *bits == u32::MAX {
                self.compare(shape, query, block * BLOCK, &mut keys);
            } else {
                for (four, keys) in keys.chunks_exact_mut(1).enumerate() {
                    if bits >> (FOUR * four) & 0b1111 != 0 {
                        self.compare(shape, query, block * BLOCK + four * FOUR, keys);
                    }
                }
            }
            let mut left = *bits;
            while left != 0 {
                let row = left.trailing_zeros();
                best.offer(Hit { key: keys.as_flattened()[row as usize], row: first + row });
                left &= left - 1;
            }
        }
    }

    /// The keys of rows from one on.
    fn compare(&self, shape: &Shape, query: &Query, row: usize, keys: &mut [[f32; FOUR]]) {
        let (stride, end) = (shape.stride(), row + keys.len() * FOUR);
        let words = &self.words[row * stride..end * stride];
        match query {
            Query::Floats(query) => scan_f32(bytemuck::cast_slice(words), query.as_chunks().0, keys),
            Query::Integers { codes, .. } => {
                scan_int8(bytemuck::cast_slice(words), self.scales[row..end].as_chunks().0, codes.as_chunks().0, keys);
            }
            Query::Bits(query) => scan_bits(words, query, shape.dimensions, keys),
        }
    }
}
