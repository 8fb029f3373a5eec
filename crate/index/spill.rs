//! What was read and embedded, on disk: of every document a record of fixed size with its numbers, and its texts one after another. Memory
//! has a few words a document.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::file::failed;
use super::made::Made;
use super::segment::{BESIDE, Stored};
use crate::error::Result;
use crate::search::{Precision, Shape, Similarity};

/// Where a document's strings are.
struct Place {
    offset: u64,
    entry: u32,
    text: u32,
    given: bool,
}

/// Documents in two files.
pub struct Spill {
    shape: Shape,
    /// How rows are compared with centroids: of rows in bits the vectors are kept in bytes beside them.
    near: Shape,
    vectors: bool,
    records: Side,
    strings: Side,
    places: Vec<Place>,
}

struct Side {
    path: PathBuf,
    out: BufWriter<File>,
    file: File,
    end: u64,
}

impl Side {
    fn new(path: PathBuf) -> Result<Self> {
        let file = File::create_new(&path).map_err(failed(&path))?;
        let out = BufWriter::with_capacity(1 << 20, file);
        let file = File::open(&path).map_err(failed(&path))?;
        Ok(Self { path, out, file, end: 0 })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.end += bytes.len() as u64;
        self.out.write_all(bytes).map_err(failed(&self.path))
    }

    fn read(&self, from: u64, bytes: usize) -> Result<Vec<u8>> {
        let mut into = vec![0; bytes];
        read_at(&self.file, &mut into, from).map_err(failed(&self.path))?;
        Ok(into)
    }
}

#[cfg(unix)]
fn read_at(file: &File, into: &mut [u8], from: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, into, from)
}

#[cfg(windows)]
fn read_at(file: &File, mut into: &mut [u8], mut from: u64) -> std::io::Result<()> {
    while !into.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, into, from)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => (into, from) = (&mut into[read..], from + read as u64),
        }
    }
    Ok(())
}

impl Spill {
    /// Without documents, in a folder that is there.
    pub fn new(folder: &Path, made: &Made) -> Result<Self> {
        let shape = made.shape()?;
        let near = match shape.precision() {
            Precision::Binary => Shape::new(made.dimensions, Precision::Int8, shape.similarity())?,
            _ => shape,
        };
        let (records, strings) = (Side::new(folder.join("records"))?, Side::new(folder.join("strings"))?);
        Ok(Self { shape, near, vectors: made.vectors, records, strings, places: Vec::new() })
    }

    /// How many documents there are.
    pub fn count(&self) -> usize {
        self.places.len()
    }

    /// Whether centroids are of unit length.
    pub fn is_spherical(&self) -> bool {
        self.shape.similarity() == Similarity::Cosine
    }

    /// Values of a vector.
    pub fn dimensions(&self) -> usize {
        self.shape.dimensions
    }

    fn near_bytes(&self) -> usize {
        if self.near == self.shape { 0 } else { self.near.row_bytes() }
    }

    fn record_bytes(&self) -> usize {
        let vector = if self.vectors { 4 * self.shape.dimensions } else { 0 };
        vector + self.near_bytes() + self.shape.row_bytes()
    }

    /// The numbers of a document as they are kept.
    pub fn record(&self, vector: &[f32]) -> Result<Vec<u8>> {
        let mut record = Vec::with_capacity(self.record_bytes());
        if self.vectors {
            record.extend_from_slice(bytemuck::cast_slice(vector));
        }
        if self.near != self.shape {
            record.extend(self.near.encode(vector)?);
        }
        record.extend(self.shape.encode(vector)?);
        Ok(record)
    }

    /// Takes a document.
    pub fn push(&mut self, record: &[u8], entry: &str, text: &str, given: bool) -> Result<()> {
        self.records.write(record)?;
        let place = Place { offset: self.strings.end, entry: entry.len() as u32, text: text.len() as u32, given };
        self.strings.write(entry.as_bytes())?;
        self.strings.write(text.as_bytes())?;
        self.places.push(place);
        Ok(())
    }

    /// Everything that was taken can be read from here on.
    pub fn flush(&mut self) -> Result<()> {
        for side in [&mut self.records, &mut self.strings] {
            side.out.flush().map_err(failed(&side.path))?;
        }
        Ok(())
    }

    /// Bytes of a document in a segment.
    pub fn bytes(&self, index: usize) -> u64 {
        let Place { entry, text, .. } = self.places[index];
        let vector = if self.vectors { 4 * self.shape.dimensions } else { 0 };
        u64::from(entry) + u64::from(text) + BESIDE + (vector + self.shape.row_bytes()) as u64
    }

    /// A document as a segment takes it.
    pub fn stored(&self, index: usize) -> Result<Stored> {
        let place = &self.places[index];
        let bytes = self.record_bytes();
        let mut vector = self.records.read((index * bytes) as u64, bytes)?;
        let row = vector.split_off(bytes - self.shape.row_bytes());
        vector.truncate(vector.len() - self.near_bytes());
        let mut entry = self.strings.read(place.offset, (place.entry + place.text) as usize)?;
        let text = entry.split_off(place.entry as usize);
        Ok(Stored { entry, text, given: place.given, row, vector })
    }

    /// What the rows of some documents stand for, one vector after another. Neighbours are read at once.
    pub fn values(&self, indices: &[u32]) -> Result<Vec<f32>> {
        let (bytes, near) = (self.record_bytes(), self.near.row_bytes());
        let from = bytes - self.shape.row_bytes() - self.near_bytes();
        let mut values = Vec::with_capacity(indices.len() * self.shape.dimensions);
        for run in indices.chunk_by(|a, b| a + 1 == *b) {
            let records = self.records.read(run[0] as u64 * bytes as u64, run.len() * bytes)?;
            for record in records.chunks_exact(bytes) {
                self.near.decode(&record[from..from + near], &mut values);
            }
        }
        Ok(values)
    }
}
