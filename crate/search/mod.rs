//! The nearest of many vectors, by comparing all of them: exact, without an index that takes time to build and to change.
//!
//! A [`Collection`] has rows of one [`Shape`], each with a number. On the host they are scanned with the vectors of the machine; where
//! the model beside it is on a GPU and they are many, they live there alone. Of int8 and binary rows the host and every GPU give the
//! same bits.
//!
//! ```
//! use embedlet::model::Device;
//! use embedlet::search::{Collection, Precision, Shape, Similarity};
//!
//! # fn main() -> embedlet::Result<()> {
//! let shape = Shape::new(2, Precision::Int8, Similarity::Cosine)?;
//! let mut collection = Collection::new(shape, Device::Cpu(None));
//! let rows = shape.encode(&[1.0, 0.0, 0.6, 0.8])?;
//! assert_eq!(pollster::block_on(collection.append(&rows))?, 0);
//! let found = pollster::block_on(collection.search(&[0.0, 2.0], 1, None))?;
//! assert_eq!(found.rows, [1]);
//! # Ok(())
//! # }
//! ```

#[cfg(not(target_arch = "wasm32"))]
pub mod bench;
mod best;
mod check;
mod host;
pub mod kernels;
pub(crate) mod shape;

pub(crate) use best::Hit;
pub(crate) use host::Run;
pub use shape::{MOST_DIMENSIONS, Precision, Shape, Similarity};

use host::HostRows;
pub(crate) use shape::reserved;

use crate::error::{Error, Result};
use crate::gpu::ResidentRows;
use crate::model::{Device, Model};

/// Most rows that a search finds.
pub const MOST_FOUND: usize = 4096;
/// Bytes of rows in memory from which on a GPU has them: the way there takes longer than fewer of them on the host.
const GPU_BYTES: usize = 8 << 20;
/// Bytes of encoded rows that are taken apart at once.
const PART_BYTES: usize = 256 << 10;
/// Most rows: numbers of 32 bits have room for more, so that their ends need no care.
const MOST_ROWS: usize = 1 << 31;
/// Rows of a word of a bitmap.
const WORD: usize = 32;

/// Encoded rows, wherever they lie.
pub trait Rows {
    /// Bytes of all of them.
    fn bytes(&self) -> usize;
    /// Copies the bytes from one on; an error where they are no longer there.
    fn copy(&self, from: usize, into: &mut [u8]) -> Result<()>;
}

impl Rows for &[u8] {
    fn bytes(&self) -> usize {
        self.len()
    }

    fn copy(&self, from: usize, into: &mut [u8]) -> Result<()> {
        into.copy_from_slice(&self[from..from + into.len()]);
        Ok(())
    }
}

/// What a search found, best first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Found {
    /// The numbers of the rows; of two with one score the lower comes first.
    pub rows: Vec<u32>,
    /// Of each: the dot product of query and row as they are kept, so the cosine where vectors are scaled to unit length; of binary
    /// rows the dimensions in which both have one sign less those in which they have not.
    pub scores: Vec<f32>,
}

/// Rows that can be searched, numbered from 0 in the order in which they came.
pub struct Collection {
    shape: Shape,
    device: Device,
    gpu_bytes: usize,
    /// Rows there were ever.
    count: usize,
    /// A bit a row: whether it is still there.
    live: Vec<u32>,
    place: Place,
}

/// Where the rows are.
enum Place {
    Host(HostRows),
    Gpu(Box<ResidentRows>),
}

impl Collection {
    /// Without rows.
    pub fn new(shape: Shape, device: Device) -> Self {
        let place = Place::Host(HostRows::new(&shape));
        Self { shape, device, gpu_bytes: GPU_BYTES, count: 0, live: Vec::new(), place }
    }

    /// The same, but that a GPU has the rows as soon as they are of so many bytes in memory.
    pub fn on_gpu_from(self, gpu_bytes: usize) -> Self {
        Self { gpu_bytes, ..self }
    }

    /// What its rows have in common; encodes vectors.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// How many rows were ever appended, those that were removed included.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether a GPU has the rows.
    pub fn is_on_gpu(&self) -> bool {
        matches!(self.place, Place::Gpu(_))
    }

    /// Appends encoded rows and returns the number of the first. All of them, or after an error none: where they are not whole or are no
    /// rows that a vector has (`invalid-argument`, `limit-exceeded`), where there is no memory (`out-of-memory`), or where the GPU fails.
    pub async fn append(&mut self, rows: &[u8]) -> Result<u32> {
        self.append_from(&rows).await
    }

    /// The same, of rows that are elsewhere.
    pub async fn append_from(&mut self, rows: &dyn Rows) -> Result<u32> {
        let (bytes, row_bytes) = (rows.bytes(), self.shape.row_bytes());
        if !bytes.is_multiple_of(row_bytes) {
            return Err(Error::argument(format!("{bytes} bytes are no rows of {row_bytes} bytes each")));
        }
        let first = self.count;
        let count = first.saturating_add(bytes / row_bytes);
        if count > MOST_ROWS {
            let (found, limit) = (count as u64, MOST_ROWS as u64);
            return Err(Error::LimitExceeded { what: "the number of rows".into(), found, limit });
        }
        let appended = self.put(rows, count).await;
        if let Err(error) = appended {
            match &mut self.place {
                Place::Host(host) => host.release(first),
                Place::Gpu(gpu) => gpu.release(first),
            }
            return Err(error);
        }
        for row in first..count {
            self.live[row / WORD] |= 1 << (row % WORD);
        }
        self.count = count;
        Ok(first as u32)
    }

    /// Puts rows behind those that there are, so that there would be `count`.
    async fn put(&mut self, rows: &dyn Rows, count: usize) -> Result<()> {
        let (first, row_bytes) = (self.count, self.shape.row_bytes());
        let words = count.div_ceil(WORD);
        if words > self.live.len() {
            let room = self.live.try_reserve(words - self.live.len());
            room.map_err(|_| Error::OutOfMemory { doing: "appending rows".into() })?;
            self.live.resize(words, 0);
        }
        self.move_to_gpu(count).await?;
        match &mut self.place {
            Place::Host(host) => host.reserve(&self.shape, count)?,
            Place::Gpu(gpu) => gpu.reserve(count).await?,
        }
        let part = (PART_BYTES / row_bytes).max(1).min(count - first);
        let mut encoded = reserved(part * row_bytes, "appending rows")?;
        encoded.resize(part * row_bytes, 0);
        // On their way to a GPU.
        let mut waiting = HostRows::new(&self.shape);
        for from in (first..count).step_by(part.max(1)) {
            let encoded = &mut encoded[..part.min(count - from) * row_bytes];
            rows.copy((from - first) * row_bytes, encoded)?;
            match &mut self.place {
                Place::Host(host) => host.put(&self.shape, from, encoded)?,
                Place::Gpu(gpu) => {
                    let count = encoded.len() / row_bytes;
                    waiting.reserve(&self.shape, count)?;
                    waiting.put(&self.shape, 0, encoded)?;
                    gpu.write(from, waiting.runs(count));
                }
            }
        }
        Ok(())
    }

    /// Moves the rows to the GPU where there is one and it is worth it for so many, once it finds there what the host finds.
    async fn move_to_gpu(&mut self, count: usize) -> Result<()> {
        let (Device::Gpu(device), Place::Host(host)) = (&self.device, &self.place) else { return Ok(()) };
        let bytes = count.saturating_mul(4 * self.shape.stride());
        if bytes < self.gpu_bytes || count == 0 {
            return Ok(());
        }
        let mut gpu = ResidentRows::new(device.clone(), &self.shape).await?;
        check::run(&self.shape, &mut gpu).await?;
        gpu.reserve(self.count).await?;
        gpu.write(0, host.runs(self.count));
        self.place = Place::Gpu(Box::new(gpu));
        Ok(())
    }

    /// Rows that are never found again; they keep their numbers. Nothing changes where there is no such row (`invalid-argument`).
    pub fn remove(&mut self, rows: &[u32]) -> Result<()> {
        if let Some(row) = rows.iter().find(|row| **row as usize >= self.count) {
            return Err(Error::argument(format!("there is no row {row}: {} were appended", self.count)));
        }
        for row in rows.iter().map(|row| *row as usize) {
            self.live[row / WORD] &= !(1 << (row % WORD));
        }
        Ok(())
    }

    /// The best `top_k` rows, 1 to [`MOST_FOUND`], or all where they are fewer. `allowed` is a bitmap over rows (bit `i % 32` of word
    /// `i / 32`), and rows behind its end are not allowed; absent, all are.
    pub async fn search(&self, query: &[f32], top_k: usize, allowed: Option<&[u32]>) -> Result<Found> {
        if top_k == 0 {
            return Err(Error::argument("topK must be at least 1"));
        }
        if top_k > MOST_FOUND {
            return Err(Error::LimitExceeded { what: "topK".into(), found: top_k as u64, limit: MOST_FOUND as u64 });
        }
        let query = self.shape.query(query)?;
        let words = self.count.div_ceil(WORD);
        let mut bits = reserved(words, "searching")?;
        bits.extend_from_slice(&self.live[..words]);
        if let Some(allowed) = allowed {
            let allowed = allowed.iter().chain(std::iter::repeat(&0));
            bits.iter_mut().zip(allowed).for_each(|(bits, allowed)| *bits &= allowed);
        }
        let most = bits.iter().map(|bits| bits.count_ones() as usize).sum::<usize>().min(top_k);
        if most == 0 {
            return Ok(Found::default());
        }
        let hits = match &self.place {
            Place::Host(host) => host.search(&self.shape, &query, &bits, most),
            Place::Gpu(gpu) => gpu.search(&query.words(), self.count, &bits, most).await?,
        };
        let mut found = Found::default();
        for Hit { key, row } in hits {
            found.rows.push(row);
            found.scores.push(query.score(key));
        }
        Ok(found)
    }
}

impl Model {
    /// A collection without rows, on the model's device.
    pub fn collection(&self, shape: Shape) -> Collection {
        Collection::new(shape, self.runner.device())
    }
}
