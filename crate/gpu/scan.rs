//! Rows of a collection on the GPU, and the scan of them: one submit compares them all and sorts, only the best are read back.
//!
//! Rows lie in pieces, each in a buffer that may be bound, so that a collection grows without a copy.

use std::sync::Arc;

use wgpu::BufferUsages as Usage;

use super::holding::{Variant, too_large};
use super::{Gpu, lock, upload};
use crate::error::{Error, Result};
use crate::search::kernels::{BLOCK, FRAME_WORDS, HIT_WORDS, KEPT, kernels, rows_per_group};
use crate::search::shape::Shape;
use crate::search::{Hit, Run};
use crate::shader::Held;

/// Bytes of the rows of a piece, where a buffer can be so large.
const PIECE_BYTES: u64 = 32 << 20;
/// Rows of a word of a bitmap: a piece is of whole words.
const WORD: usize = 32;
/// Bytes of a hit.
const HIT_BYTES: u64 = 4 * HIT_WORDS as u64;
/// In front of every hit.
const BEFORE_ALL: [u32; HIT_WORDS] = [f32::MAX.to_bits(), 0];

/// Rows of one shape on a device.
pub struct ResidentRows {
    gpu: Arc<Gpu>,
    shape: Shape,
    /// The kernels of the shape, in order.
    variants: Vec<Variant>,
    pipelines: Vec<wgpu::ComputePipeline>,
    /// Most rows of a piece.
    pub rows_per_piece: usize,
    pieces: Vec<Piece>,
    query: wgpu::Buffer,
    /// The hit that all others have to be behind.
    last: wgpu::Buffer,
    levels: Levels,
}

/// Rows in buffers that may be bound.
struct Piece {
    rows: wgpu::Buffer,
    scales: wgpu::Buffer,
    keys: wgpu::Buffer,
    frame: wgpu::Buffer,
    scan: wgpu::BindGroup,
}

/// What is left of blocks, and what is left of that, in turn.
#[derive(Default)]
struct Levels {
    /// The hits of a level are read from one and written to the other; there is a second where there is a second level.
    hits: Vec<wgpu::Buffer>,
    /// Of each piece.
    first: Vec<wgpu::BindGroup>,
    /// Of each further level, and its frame.
    next: Vec<wgpu::BindGroup>,
    frames: Vec<wgpu::Buffer>,
}

/// In a browser memory would wait for the garbage collector.
fn destroy<'a>(buffers: impl IntoIterator<Item = &'a wgpu::Buffer>) {
    buffers.into_iter().for_each(wgpu::Buffer::destroy);
}

impl Drop for Piece {
    fn drop(&mut self) {
        destroy([&self.rows, &self.scales, &self.keys, &self.frame]);
    }
}

impl Drop for Levels {
    fn drop(&mut self) {
        destroy(self.hits.iter().chain(&self.frames));
    }
}

impl Drop for ResidentRows {
    fn drop(&mut self) {
        destroy([&self.query, &self.last]);
    }
}

impl ResidentRows {
    /// A place for rows. Kernels that this device has not compiled yet are compiled now.
    pub async fn new(gpu: Arc<Gpu>, shape: &Shape) -> Result<Self> {
        let row_bytes = 4 * shape.stride() as u64;
        let rows_per_piece = (PIECE_BYTES.min(gpu.limits.binding) / row_bytes) as usize / WORD * WORD;
        if rows_per_piece == 0 {
            return Err(too_large(WORD as u64 * row_bytes, gpu.limits.binding));
        }
        gpu.trouble()?;
        let mut variants = Vec::new();
        for kernel in kernels(shape) {
            let text = kernel.wgsl(&Held::VALUES);
            variants.push((kernel, text));
        }
        let prepared = gpu.compile(&variants).await?;
        let mut pipelines = Vec::new();
        for (kernel, text) in &variants {
            pipelines.push(gpu.pipeline(kernel, text, &prepared).await?);
        }
        // An integer of a query is a word.
        let query_bytes = if shape.scaled() { 4 * row_bytes } else { row_bytes };
        let query = gpu.buffer("query", query_bytes, Usage::STORAGE | Usage::COPY_DST);
        let last = gpu.buffer("last", HIT_BYTES, Usage::STORAGE | Usage::COPY_DST);
        let (shape, pieces, levels) = (*shape, Vec::new(), Levels::default());
        Ok(Self { gpu, shape, variants, pipelines, rows_per_piece, pieces, query, last, levels })
    }

    /// Whether its kernels have shown on this device that they find what the host finds.
    pub fn is_checked(&self) -> bool {
        lock(&self.gpu.checked).contains(&self.variants[0].1)
    }

    /// They have.
    pub fn set_checked(&self) {
        lock(&self.gpu.checked).insert(self.variants[0].1.clone());
    }

    /// Makes room for so many rows in all. Nothing changes where there is none.
    pub async fn reserve(&mut self, rows: usize) -> Result<()> {
        let (before, pieces) = (self.pieces.len(), rows.div_ceil(self.rows_per_piece));
        if pieces <= before {
            return Ok(());
        }
        let hits = (pieces * self.rows_per_piece.div_ceil(BLOCK) * KEPT) as u64 * HIT_BYTES;
        if hits > self.gpu.limits.binding {
            return Err(too_large(hits, self.gpu.limits.binding));
        }
        self.gpu.trouble()?;
        let memory = self.gpu.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        while self.pieces.len() < pieces {
            self.pieces.push(self.piece());
        }
        self.levels = self.levels();
        if let Some(error) = memory.pop().await {
            self.release(before * self.rows_per_piece);
            return Err(upload::refused(error, "appending rows"));
        }
        Ok(())
    }

    /// Gives back the room behind so many rows.
    pub fn release(&mut self, rows: usize) {
        let pieces = rows.div_ceil(self.rows_per_piece);
        if pieces < self.pieces.len() {
            self.pieces.truncate(pieces);
            self.levels = self.levels();
        }
    }

    fn bind(&self, kernel: usize, buffers: &[&wgpu::Buffer]) -> wgpu::BindGroup {
        self.gpu.bind(&self.variants[kernel].0, &self.pipelines[kernel], buffers)
    }

    fn piece(&self) -> Piece {
        let count = self.rows_per_piece;
        let buffer = |label, words| self.gpu.buffer(label, 4 * words as u64, Usage::STORAGE | Usage::COPY_DST);
        let rows = buffer("rows", count * self.shape.stride());
        let scales = buffer("scales", if self.shape.scaled() { count } else { 0 });
        let keys = buffer("keys", count);
        let frame = buffer("piece", FRAME_WORDS + count / WORD);
        let scan = self.bind(0, &[&frame, &rows, &scales, &self.query, &keys]);
        Piece { rows, scales, keys, frame, scan }
    }

    /// The levels above the pieces that there are.
    fn levels(&self) -> Levels {
        let mut levels = Levels::default();
        let mut blocks = self.pieces.len() * self.rows_per_piece.div_ceil(BLOCK);
        let buffer = |label, bytes, usage| self.gpu.buffer(label, bytes, Usage::STORAGE | usage);
        loop {
            if levels.hits.len() < 2 {
                levels.hits.push(buffer("hits", (blocks * KEPT) as u64 * HIT_BYTES, Usage::COPY_SRC));
            }
            if let Some(frame) = levels.frames.last() {
                let level = levels.frames.len();
                let (from, to) = (&levels.hits[(level + 1) % 2], &levels.hits[level % 2]);
                levels.next.push(self.bind(2, &[frame, from, to]));
            }
            if blocks <= 1 {
                break;
            }
            blocks = (blocks * KEPT).div_ceil(BLOCK);
            levels.frames.push(buffer("level", 4 * FRAME_WORDS as u64, Usage::COPY_DST));
        }
        for piece in &self.pieces {
            levels.first.push(self.bind(1, &[&piece.frame, &piece.keys, &self.last, &levels.hits[0]]));
        }
        levels
    }

    /// Writes runs of rows from the row `start` on, for which there is room.
    pub fn write(&self, start: usize, runs: Vec<Run>) {
        let (queue, stride) = (&self.gpu.queue, self.shape.stride());
        for Run { first, mut words, mut scales } in runs {
            let mut first = start + first;
            while !words.is_empty() {
                let (piece, row) = (&self.pieces[first / self.rows_per_piece], first % self.rows_per_piece);
                let count = (words.len() / stride).min(self.rows_per_piece - row);
                let (now, later) = words.split_at(count * stride);
                queue.write_buffer(&piece.rows, (4 * row * stride) as u64, bytemuck::cast_slice(now));
                words = later;
                if self.shape.scaled() {
                    let (now, later) = scales.split_at(count);
                    queue.write_buffer(&piece.scales, 4 * row as u64, bytemuck::cast_slice(now));
                    scales = later;
                }
                first += count;
            }
            // So that natively the memory on the way stays small.
            queue.submit([]);
        }
    }

    /// The best so many of the first rows whose bits are set, of which there are no fewer; `query` is what the kernels read.
    pub async fn search(&self, query: &[u32], rows: usize, allowed: &[u32], most: usize) -> Result<Vec<Hit>> {
        let (gpu, queue) = (&self.gpu, &self.gpu.queue);
        gpu.trouble()?;
        let kept = if most <= 16 { 16 } else { KEPT };
        let bytes = kept as u64 * HIT_BYTES;
        let write = |buffer, offset, words: &[u32]| queue.write_buffer(buffer, offset, bytemuck::cast_slice(words));
        let frame = |count: usize, first: usize, block: usize| [count, first, block, kept].map(|word| word as u32);
        write(&self.query, 0, query);
        write(&self.last, 0, &BEFORE_ALL);
        // What is dispatched in every round: kernel, buffers, workgroups.
        let (mut scans, mut sorts) = (Vec::new(), Vec::new());
        let (mut first, mut blocks) = (0, 0);
        let pieces = self.pieces.iter().zip(&self.levels.first).zip(allowed.chunks(self.rows_per_piece / WORD));
        for ((piece, group), allowed) in pieces {
            let count = self.rows_per_piece.min(rows - first);
            write(&piece.frame, 0, &frame(count, first, blocks));
            write(&piece.frame, 4 * FRAME_WORDS as u64, allowed);
            scans.push((0, &piece.scan, count.div_ceil(rows_per_group(&self.shape))));
            sorts.push((1, group, count.div_ceil(BLOCK)));
            first += count;
            blocks += count.div_ceil(BLOCK);
        }
        let mut level = 0;
        while blocks > 1 {
            write(&self.levels.frames[level], 0, &frame(blocks * kept, 0, 0));
            blocks = (blocks * kept).div_ceil(BLOCK);
            sorts.push((2, &self.levels.next[level], blocks));
            level += 1;
        }
        let left = &self.levels.hits[level % 2];
        let rounds = most.div_ceil(kept) as u64;
        let staging = gpu.buffer("best", rounds * bytes, Usage::MAP_READ | Usage::COPY_DST);
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        for round in 0..rounds {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            for (kernel, group, workgroups) in scans.drain(..).chain(sorts.iter().copied()) {
                pass.set_pipeline(&self.pipelines[kernel]);
                pass.set_bind_group(0, group, &[]);
                pass.dispatch_workgroups(workgroups as u32, 1, 1);
            }
            drop(pass);
            encoder.copy_buffer_to_buffer(left, 0, &staging, round * bytes, bytes);
            encoder.copy_buffer_to_buffer(left, bytes - HIT_BYTES, &self.last, 0, HIT_BYTES);
        }
        queue.submit([encoder.finish()]);
        let words = gpu.read(&staging, rounds * bytes).await;
        staging.destroy();
        let mut hits = Vec::new();
        for [key, row] in &words?.as_chunks().0[..most] {
            let hit = Hit { key: *key, row: row.to_bits() };
            if hit.row as usize >= rows || !key.is_finite() {
                return Err(Error::Shader { kernel: "scan".into(), reason: "it found what is not there".into() });
            }
            hits.push(hit);
        }
        Ok(hits)
    }
}
