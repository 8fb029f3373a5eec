//! Rows of a collection on the GPU, and the scan of them: one submit compares them all and sorts, only the best are read back.
//!
//! Rows lie in pieces, each in a buffer that may be bound, so that a collection grows without a copy.

use std::sync::Arc;

use wgpu::BufferUsages as Usage;

use super::holding::too_large;
use super::{Gpu, lock, upload};
use crate::error::{Error, Result};
use crate::search::Hit;
use crate::search::kernels::{BLOCK, FRAME_WORDS, HIT_WORDS, KEPT, Kernels};
use crate::search::shape::Shape;
use crate::shader::{Held, Kernel};

/// Bytes of the rows of a piece, where a buffer can be so large.
const PIECE_BYTES: u64 = 32 << 20;
/// Rows of a word of a bitmap: a piece is of whole words.
const WORD: usize = 32;
/// Bytes of what is left of a block, at most.
const KEPT_BYTES: u64 = (4 * HIT_WORDS * KEPT) as u64;
/// In front of every hit.
const BEFORE_ALL: [u32; HIT_WORDS] = [f32::MAX.to_bits(), 0];

/// Rows of one shape on a device.
pub struct ResidentRows {
    gpu: Arc<Gpu>,
    kernels: Kernels,
    /// Of the kernels in order.
    pipelines: [wgpu::ComputePipeline; 3],
    /// Words of a row, and whether it has a scale.
    stride: usize,
    scaled: bool,
    rows_per_piece: usize,
    /// The WGSL of the kernels.
    text: String,
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

impl Drop for Piece {
    fn drop(&mut self) {
        // In a browser memory would wait for the garbage collector.
        [&self.rows, &self.scales, &self.keys, &self.frame].into_iter().for_each(wgpu::Buffer::destroy);
    }
}

/// What is left of blocks, and what is left of that, in turn.
#[derive(Default)]
struct Levels {
    /// The hits of a level are read from one and written to the other; there is a second where there is a second level.
    hits: Vec<wgpu::Buffer>,
    /// Of each piece.
    first: Vec<wgpu::BindGroup>,
    /// Of each further level, with its frame.
    next: Vec<(wgpu::Buffer, wgpu::BindGroup)>,
}

impl Drop for Levels {
    fn drop(&mut self) {
        self.hits.iter().chain(self.next.iter().map(|(frame, _)| frame)).for_each(wgpu::Buffer::destroy);
    }
}

impl ResidentRows {
    /// A place for rows. Kernels that this device has not compiled yet are compiled now.
    pub async fn new(gpu: Arc<Gpu>, shape: &Shape) -> Result<Self> {
        let row_bytes = 4 * shape.stride() as u64;
        let rows_per_piece = (PIECE_BYTES.min(gpu.limit) / row_bytes) as usize / WORD * WORD;
        if rows_per_piece == 0 {
            return Err(too_large(WORD as u64 * row_bytes, gpu.limit));
        }
        gpu.trouble()?;
        let kernels = Kernels::new(shape);
        let variant = |kernel: &Kernel| vec![(kernel.clone(), kernel.wgsl(&Held::VALUES))];
        let variants = kernels.all().map(variant);
        let prepared = gpu.compile(&variants).await?;
        let [scan, first, next] = &variants;
        let pipelines = [
            gpu.pipeline(&kernels.scan, &scan[0].1, &prepared).await?,
            gpu.pipeline(&kernels.first, &first[0].1, &prepared).await?,
            gpu.pipeline(&kernels.next, &next[0].1, &prepared).await?,
        ];
        // The words of a query are a row's, but that an integer has one of its own.
        let query_words = if shape.scaled() { 4 * shape.stride() } else { shape.stride() };
        let query = gpu.buffer("query", 4 * query_words as u64, Usage::STORAGE | Usage::COPY_DST);
        let last = gpu.buffer("last", 4 * HIT_WORDS as u64, Usage::STORAGE | Usage::COPY_DST);
        let (stride, scaled, levels) = (shape.stride(), shape.scaled(), Levels::default());
        let (text, pieces) = (variants.iter().map(|variant| variant[0].1.as_str()).collect(), Vec::new());
        Ok(Self { gpu, kernels, pipelines, stride, scaled, rows_per_piece, text, pieces, query, last, levels })
    }

    /// Whether its kernels have shown on this device that they find what the host finds.
    pub fn is_checked(&self) -> bool {
        lock(&self.gpu.checked).contains(&self.text)
    }

    /// They have.
    pub fn set_checked(&self) {
        lock(&self.gpu.checked).insert(self.text.clone());
    }

    /// Most rows of a piece.
    pub fn rows_per_piece(&self) -> usize {
        self.rows_per_piece
    }

    /// Makes room for so many rows in all. Nothing changes where there is none.
    pub async fn reserve(&mut self, rows: usize) -> Result<()> {
        let pieces = rows.div_ceil(self.rows_per_piece);
        if pieces <= self.pieces.len() {
            return Ok(());
        }
        let hits = (pieces * self.blocks(self.rows_per_piece)) as u64 * KEPT_BYTES;
        if hits > self.gpu.limit {
            return Err(too_large(hits, self.gpu.limit));
        }
        self.gpu.trouble()?;
        let memory = self.gpu.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let before = self.pieces.len();
        self.pieces.extend((before..pieces).map(|_| self.piece()).collect::<Vec<_>>());
        let levels = self.levels();
        if let Some(error) = memory.pop().await {
            self.pieces.truncate(before);
            return Err(upload::refused(error, "appending rows"));
        }
        self.levels = levels;
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

    /// Blocks of so many rows of a piece.
    fn blocks(&self, rows: usize) -> usize {
        rows.div_ceil(BLOCK)
    }

    fn piece(&self) -> Piece {
        let (gpu, rows) = (&self.gpu, self.rows_per_piece);
        let words = |label, words: usize, more| gpu.buffer(label, 4 * words as u64, Usage::STORAGE | more);
        let frame = words("piece", FRAME_WORDS + rows / WORD, Usage::COPY_DST);
        let scales = words("scales", if self.scaled { rows } else { 0 }, Usage::COPY_DST);
        let keys = words("keys", rows, Usage::empty());
        let rows = words("rows", rows * self.stride, Usage::COPY_DST);
        let bound = [&frame, &rows, &scales, &self.query, &keys];
        let scan = gpu.bind(&self.kernels.scan, &self.pipelines[0], &bound);
        Piece { rows, scales, keys, frame, scan }
    }

    /// The levels above the pieces that there are.
    fn levels(&self) -> Levels {
        let (gpu, Kernels { first, next, .. }) = (&self.gpu, &self.kernels);
        let [_, of_first, of_next] = &self.pipelines;
        let mut levels = Levels::default();
        let mut blocks = self.pieces.len() * self.blocks(self.rows_per_piece);
        let hits = |blocks: usize| gpu.buffer("hits", blocks as u64 * KEPT_BYTES, Usage::STORAGE | Usage::COPY_SRC);
        levels.hits.push(hits(blocks));
        for piece in &self.pieces {
            let bound = [&piece.frame, &piece.keys, &self.last, &levels.hits[0]];
            levels.first.push(gpu.bind(first, of_first, &bound));
        }
        while blocks > 1 {
            blocks = (blocks * KEPT).div_ceil(BLOCK);
            if levels.hits.len() == 1 {
                levels.hits.push(hits(blocks));
            }
            let frame = gpu.buffer("level", 4 * FRAME_WORDS as u64, Usage::STORAGE | Usage::COPY_DST);
            let (from, to) = (levels.next.len() % 2, (levels.next.len() + 1) % 2);
            let group = gpu.bind(next, of_next, &[&frame, &levels.hits[from], &levels.hits[to]]);
            levels.next.push((frame, group));
        }
        levels
    }

    /// Writes rows from one on, for which there is room: their words, and their scales where they have any.
    pub fn write(&self, mut first: usize, mut words: &[u32], mut scales: &[f32]) {
        while !words.is_empty() {
            let (piece, row) = (&self.pieces[first / self.rows_per_piece], first % self.rows_per_piece);
            let count = (words.len() / self.stride).min(self.rows_per_piece - row);
            let (now, later) = words.split_at(count * self.stride);
            let (now_scales, later_scales) = scales.split_at(count.min(scales.len()));
            let queue = &self.gpu.queue;
            queue.write_buffer(&piece.rows, (4 * row * self.stride) as u64, bytemuck::cast_slice(now));
            if self.scaled {
                queue.write_buffer(&piece.scales, 4 * row as u64, bytemuck::cast_slice(now_scales));
            }
            (first, words, scales) = (first + count, later, later_scales);
        }
        // So that natively the memory on the way stays small.
        self.gpu.queue.submit([]);
    }

    /// The best of the first rows whose bits are set, best first; `query` is what the kernels read, and one that is not found has no
    /// finite key.
    pub async fn search(&self, query: &[u32], rows: usize, allowed: &[u32], most: usize) -> Result<Vec<Hit>> {
        let gpu = &self.gpu;
        gpu.trouble()?;
        let kept = if most <= 16 { 16 } else { KEPT };
        let rounds = most.div_ceil(kept);
        let bytes = (4 * HIT_WORDS * kept) as u64;
        let queue = &gpu.queue;
        queue.write_buffer(&self.query, 0, bytemuck::cast_slice(query));
        queue.write_buffer(&self.last, 0, bytemuck::cast_slice(&BEFORE_ALL));
        let (mut first, mut blocks) = (0, 0);
        let mut pieces = Vec::new();
        for (piece, allowed) in self.pieces.iter().zip(allowed.chunks(self.rows_per_piece / WORD)) {
            let count = self.rows_per_piece.min(rows - first);
            let frame = [count, first, blocks, kept].map(|word| word as u32);
            queue.write_buffer(&piece.frame, 0, bytemuck::cast_slice(&frame));
            queue.write_buffer(&piece.frame, 4 * FRAME_WORDS as u64, bytemuck::cast_slice(allowed));
            pieces.push((piece, count));
            first += count;
            blocks += self.blocks(count);
        }
        // The frame of each further level that is needed, and its workgroups.
        let mut levels = Vec::new();
        for (frame, group) in &self.levels.next {
            if blocks == 1 {
                break;
            }
            queue.write_buffer(frame, 0, bytemuck::cast_slice(&[blocks * kept, 0, 0, kept].map(|word| word as u32)));
            blocks = (blocks * kept).div_ceil(BLOCK);
            levels.push((group, blocks));
        }
        let staging = gpu.buffer("best", rounds as u64 * bytes, Usage::MAP_READ | Usage::COPY_DST);
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        for round in 0..rounds {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            let mut run = |pipeline, group, workgroups: usize| {
                pass.set_pipeline(pipeline);
                pass.set_bind_group(0, group, &[]);
                pass.dispatch_workgroups(workgroups as u32, 1, 1);
            };
            let [scan, first, next] = &self.pipelines;
            if round == 0 {
                for (piece, count) in &pieces {
                    run(scan, &piece.scan, count.div_ceil(self.kernels.rows_per_group));
                }
            }
            for ((_, count), group) in pieces.iter().zip(&self.levels.first) {
                run(first, group, self.blocks(*count));
            }
            for (group, blocks) in &levels {
                run(next, *group, *blocks);
            }
            drop(pass);
            let left = &self.levels.hits[levels.len() % 2];
            encoder.copy_buffer_to_buffer(left, 0, &staging, round as u64 * bytes, bytes);
            let hit = 4 * HIT_WORDS as u64;
            encoder.copy_buffer_to_buffer(left, bytes - hit, &self.last, 0, hit);
        }
        queue.submit([encoder.finish()]);
        let words = gpu.read(&staging, rounds as u64 * bytes).await;
        staging.destroy();
        let hit = |[key, row]: &[f32; HIT_WORDS]| Hit { key: *key, row: row.to_bits() };
        let mut hits: Vec<Hit> = words?.as_chunks().0.iter().map(hit).collect();
        // Behind the last that was found there is none.
        hits.truncate(most);
        hits.retain(|hit| hit.row != u32::MAX);
        match hits.iter().all(|hit| hit.key.is_finite() && (hit.row as usize) < rows) {
            true => Ok(hits),
            false => Err(Error::Shader { kernel: "scan".into(), reason: "it gave what no row can have".into() }),
        }
    }
}

impl Drop for ResidentRows {
    fn drop(&mut self) {
        // In a browser memory would wait for the garbage collector.
        [&self.query, &self.last].into_iter().for_each(wgpu::Buffer::destroy);
    }
}
