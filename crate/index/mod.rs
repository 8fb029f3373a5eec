//! Indexes for static hosts: documents in, files out that a browser searches without a server. docs/static-index.md is for who wants
//! one, docs/index-format.md says what is in the files.
//!
//! [`build`] reads documents once, embeds those that bring no vector, and keeps what it needs beside the output; then it divides them into
//! cells, writes segments, measures recall, and writes the manifest last. The folder takes its name when all of it is there.
//!
//! ```no_run
//! use std::io::BufReader;
//! use std::ops::ControlFlow;
//! use std::path::Path;
//!
//! use embedlet::index::{self, Keys, Lines, Options};
//! use embedlet::model::Device;
//! use embedlet::native;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let model = native::load(Path::new("model"), Device::Cpu(None), None, None, &mut |_, _| {})?;
//! let documents = Lines::new(BufReader::new(std::fs::File::open("notes.jsonl")?), "notes.jsonl", Keys::default());
//! let go_on = &mut |_, _, _| ControlFlow::Continue(());
//! let report = index::build(&model, documents, Path::new("notes"), &Options::default(), go_on)?;
//! println!("{} documents in {} segments", report.documents, report.segments);
//! # Ok(())
//! # }
//! ```

pub mod bench;
mod cells;
mod document;
mod file;
mod kmeans;
mod made;
mod nearest;
mod random;
mod reader;
mod recall;
mod segment;
mod spill;

use std::collections::HashSet;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;
use serde_json::{Map, Value, json};

pub use document::{Document, Keys, Lines};
pub use made::Made;
pub use reader::{Hit, Index, NamedCells};
pub use segment::{MOST_BYTES, Named};

use cells::{Layout, Plan, SEGMENT, Tick};
use file::{failed, frame, xxh32};
use kmeans::{Centroids, mean};
use recall::{Measured, Subject, measure};
use segment::Stored;
use spill::Spill;

use crate::error::{Error, Result};
use crate::model::{Device, Kind, Model};
use crate::packed::Sum;
use crate::search::Precision;
use crate::tokens::TEXT_BYTES;

/// Segments that are made side by side.
const PART: usize = 8;
/// Most bytes of a manifest that the package reads (`pkg/src/search/folder.ts`).
const MOST_MANIFEST: u64 = 1 << 24;
/// Most documents: their numbers have 32 bits.
const MOST_DOCUMENTS: u64 = 1 << 31;

/// What an index is to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Names the model in the index; a browser that gives a name must give this one.
    pub name: Option<String>,
    /// How rows are kept.
    pub precision: Precision,
    /// Keeps the first so many dimensions of vectors (Matryoshka models).
    pub dimensions: Option<usize>,
    /// Whether float32 vectors are kept beside the rows, to compare what a scan of int8 or binary finds by them. Absent: in a single file
    /// they are, in a folder not.
    pub vectors: Option<bool>,
    /// How many cells; 1 means none. Absent: one for about 2 MB, and none where the index is not larger than a segment.
    pub cells: Option<usize>,
    /// What share of the nearest ten a search is to find that reads as many cells as the manifest says, above 0 to 1.
    pub recall: f64,
    /// Bytes that segments aim for, of 1 KB to 4 MB. Large ones are fewer requests, small ones less that is read in vain.
    pub segment: u64,
    /// One file instead of a folder, for `SearchIndex.open({ storage: file })`; it has no cells.
    pub single: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: None,
            precision: Precision::Int8,
            dimensions: None,
            vectors: None,
            cells: None,
            recall: 0.95,
            segment: SEGMENT,
            single: false,
        }
    }
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Documents are read and embedded; how many there are is not known.
    Read,
    /// Centroids are found, in rounds.
    Cluster,
    /// Rows are given to cells.
    Assign,
    /// Segments are written.
    Write,
    /// Segments are searched, for the recall.
    Measure,
}

/// Gets what is being done, how much of it is done, and of how much (0: not known). What it breaks off leaves nothing behind.
pub type Progress<'a> = dyn FnMut(Stage, u64, u64) -> ControlFlow<()> + 'a;

/// What was built.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// In the index.
    pub documents: u64,
    /// Whose texts were longer than the model reads; their vectors are of the beginning.
    pub truncated: u64,
    /// Of all files.
    pub bytes: u64,
    /// How many there are.
    pub segments: usize,
    /// How many there are; none: a search reads everything.
    pub cells: Option<NamedCells>,
    /// Bytes of the segments that a search reads, on average over those of the measurement, when none of them is there yet.
    pub query_bytes: f64,
}

/// Builds an index of documents in `out`, which must be empty or not there (with [`Options::single`]: not there). Rows are divided into
/// cells on the model's device.
///
/// Errors name the place of the document that is to blame: one whose id is there already, or that lacks something (`invalid-argument`), one
/// that is too large (`limit-exceeded`). The disk's are `invalid-file`; `aborted` is what `progress` asked for. After an error there is
/// nothing in `out`.
pub fn build(
    model: &Model,
    documents: impl Iterator<Item = Result<Vec<Document>>>,
    out: &Path,
    options: &Options,
    progress: &mut Progress,
) -> Result<Report> {
    options.check()?;
    let kept = options.single && options.precision != Precision::Float32;
    let vectors = options.vectors.unwrap_or(kept);
    let made = Made::by(model, options.name.as_deref(), options.dimensions, options.precision, vectors)?;
    let dimensions = made.dimensions;
    let embed = |texts: &[String]| made::embed(model, texts, Kind::Document, dimensions);
    write(made, documents, &embed, &model.runner.device(), out, options, progress)
}

impl Options {
    fn check(&self) -> Result<()> {
        if !(self.recall > 0.0 && self.recall <= 1.0) {
            return Err(Error::argument(format!("the recall is a share above 0 and up to 1, not {}", self.recall)));
        }
        if self.cells == Some(0) {
            return Err(Error::argument("an index has at least one cell"));
        }
        if !(1 << 10..=SEGMENT).contains(&self.segment) {
            let found = self.segment;
            return Err(Error::argument(format!("segments aim for 1024 to {SEGMENT} bytes, not for {found}")));
        }
        if self.single && self.cells.is_some_and(|cells| cells > 1) {
            return Err(Error::argument("a single file is read as a whole and has no cells: write a folder"));
        }
        if self.vectors == Some(true) && self.precision == Precision::Float32 {
            return Err(Error::argument("float32 rows are the vectors: there are none to be kept beside them"));
        }
        Ok(())
    }
}

/// Gives vectors to texts, and says how many of these were cut.
type Embed<'a> = dyn Fn(&[String]) -> Result<(Vec<f32>, u64)> + 'a;

/// The same as [`build`], of vectors by whomever; `device` divides rows into cells.
fn write(
    made: Made,
    documents: impl Iterator<Item = Result<Vec<Document>>>,
    embed: &Embed,
    device: &Device,
    out: &Path,
    options: &Options,
    progress: &mut Progress,
) -> Result<Report> {
    let mut tick = |stage, done, total| match progress(stage, done, total) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::Aborted),
    };
    let enough = |count: usize| {
        let (found, limit) = (count as u64, cells::most(made.dimensions));
        let what = || "the number of cells of so many dimensions".into();
        if found > limit { Err(Error::LimitExceeded { what: what(), found, limit }) } else { Ok(()) }
    };
    enough(options.cells.unwrap_or(1))?;
    let scratch = Scratch::beside(out, options.single)?;
    let mut spill = Spill::new(&scratch.0, &made)?;
    let truncated = read(documents, embed, &made, &mut spill, &mut tick)?;
    let count =
        options.cells.unwrap_or_else(|| if options.single { 1 } else { cells::wanted(&spill, options.segment) });
    let plan = match count.min(spill.count()) {
        0 | 1 => cells::plain(&spill, options.segment),
        count => cells::grouped(&spill, count, options.segment, device, &mut tick)?,
    };
    enough(plan.iter().map(Vec::len).sum())?;
    let folder = scratch.0.join("index");
    std::fs::create_dir(&folder).map_err(failed(&folder))?;
    let written = segments(&plan, &spill, &made, &folder, &mut tick)?;
    let (mut cells, mut query_bytes) = (None, written.named.iter().map(|named| named.bytes).sum::<u64>() as f64);
    if count.min(spill.count()) > 1 {
        let rows = |segment: usize| {
            let path = folder.join(&written.named[segment].name);
            let file = std::fs::read(&path).map_err(failed(&path))?;
            let (from, bytes) = written.rows[segment];
            Ok(file[from..from + bytes].to_vec())
        };
        let bytes: Vec<u64> = written.named.iter().map(|named| named.bytes).collect();
        let layout = written.layout(made.dimensions);
        let (plan, spill, layout, shape) = (&plan, &spill, &layout, made.shape()?);
        let subject = Subject { plan, spill, layout, shape, bytes: &bytes, rows: &rows };
        let found = measure(&subject, options.recall, &mut tick)?;
        query_bytes = found.query_bytes;
        cells = Some(write_cells(layout, &made, found, &folder)?);
    }
    let named = &written.named;
    let mut manifest = json!({ "kind": "manifest", "generation": 1, "made": made, "segments": named, "next": null });
    if let (Some(cells), Some(manifest)) = (&cells, manifest.as_object_mut()) {
        manifest.insert("cells".into(), json!(cells));
    }
    let (manifest, _) = frame(&manifest)?;
    if manifest.len() as u64 > MOST_MANIFEST {
        let what = "the manifest of so many segments, which --segment-bytes makes larger and fewer".into();
        return Err(Error::LimitExceeded { what, found: manifest.len() as u64, limit: MOST_MANIFEST });
    }
    save(&folder.join("manifest-1"), &manifest)?;
    let mut bytes = named.iter().map(|named| named.bytes).sum::<u64>() + manifest.len() as u64;
    bytes += cells.as_ref().map_or(0, |cells| cells.bytes);
    match options.single {
        true => bytes = pack(&folder, named, manifest.len() as u64, &scratch.0.join("file"), out)?,
        false => {
            // Some systems rename a folder only to where there is none.
            let _ = std::fs::remove_dir(out);
            std::fs::rename(&folder, out).map_err(failed(out))?;
        }
    }
    Ok(Report { documents: spill.count() as u64, truncated, bytes, segments: named.len(), cells, query_bytes })
}

/// A folder beside the output that is gone at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn beside(out: &Path, single: bool) -> Result<Self> {
        let name = out.file_name().ok_or_else(|| Error::argument(format!("{} has no name", out.display())))?;
        let taken = match std::fs::read_dir(out) {
            Ok(mut entries) => single || entries.next().is_some(),
            Err(_) => out.exists(),
        };
        if taken {
            return Err(Error::argument(format!("{} is there already: name another, or delete it", out.display())));
        }
        let parent = out.parent().unwrap_or(Path::new(""));
        std::fs::create_dir_all(parent).map_err(failed(parent))?;
        let folder = parent.join(format!("{}.partial-{}", name.to_string_lossy(), std::process::id()));
        std::fs::create_dir(&folder).map_err(failed(&folder))?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be deleted has a name that says what it is.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Takes all documents; says how many were cut.
fn read(
    documents: impl Iterator<Item = Result<Vec<Document>>>,
    embed: &Embed,
    made: &Made,
    spill: &mut Spill,
    tick: &mut Tick,
) -> Result<u64> {
    let mut truncated = 0;
    let readable = TEXT_BYTES.saturating_sub(made.prompts.get("document").map_or(0, String::len));
    let mut names = Names::default();
    for batch in documents {
        let batch = batch?;
        tick(Stage::Read, spill.count() as u64, 0)?;
        let found = (spill.count() + batch.len()) as u64;
        if found > MOST_DOCUMENTS {
            return Err(Error::LimitExceeded { what: "the number of documents".into(), found, limit: MOST_DOCUMENTS });
        }
        for document in &batch {
            document.check(made.dimensions, readable)?;
            if !names.is_new(&document.id) {
                let Document { id, place, .. } = document;
                return Err(Error::argument(format!(
                    "{place}: the id \"{id}\" is there already: ids name one document each"
                )));
            }
        }
        let texts: Vec<String> =
            batch.iter().filter(|document| document.vector.is_none()).map(|document| document.text.clone()).collect();
        let (vectors, cut) = if texts.is_empty() { (Vec::new(), 0) } else { embed(&texts)? };
        truncated += cut;
        let mut vectors = vectors.chunks_exact(made.dimensions);
        let own = |document: &'_ Document| document.vector.is_none().then(|| vectors.next());
        let embedded: Vec<Option<&[f32]>> = batch.iter().map(own).map(Option::flatten).collect();
        let record = |(document, embedded): (&Document, Option<&[f32]>)| {
            let vector = document.vector.as_deref().or(embedded);
            let vector = vector.ok_or_else(|| Error::argument("the model gave too few vectors"))?;
            spill.record(vector).map_err(|error| match error {
                Error::LimitExceeded { what, found, limit } => {
                    Error::LimitExceeded { what: format!("{}: {what}", document.place), found, limit }
                }
                other => other,
            })
        };
        let records = batch.par_iter().zip(embedded).map(record).collect::<Result<Vec<_>>>()?;
        for (document, record) in batch.iter().zip(records) {
            spill.push(&record, &document.entry()?, &document.text, document.vector.is_some())?;
        }
    }
    spill.flush()?;
    Ok(truncated)
}

/// Which names there are, in sixteen bytes each: hashes that nobody can foresee and that are never the same by chance.
#[derive(Default)]
struct Names {
    keys: [RandomState; 2],
    taken: HashSet<[u64; 2]>,
}

impl Names {
    fn is_new(&mut self, name: &str) -> bool {
        self.taken.insert([0, 1].map(|key| self.keys[key].hash_one(name)))
    }
}

/// Segments that were written.
struct Written {
    named: Vec<Named>,
    /// Where the rows of each are in its file, and their bytes.
    rows: Vec<(usize, usize)>,
    /// The mean of each cell's rows, cell after cell.
    centroids: Vec<f32>,
    /// Of each cell, its segment and its rows.
    cells: Vec<(u32, u32)>,
}

impl Written {
    fn layout(&self, dimensions: usize) -> Layout {
        let (segments, rows) = self.cells.iter().copied().unzip();
        Layout { centroids: Centroids::new(self.centroids.clone(), dimensions, true), segments, rows }
    }
}

/// Writes the segments of a plan.
fn segments(plan: &Plan, spill: &Spill, made: &Made, folder: &Path, tick: &mut Tick) -> Result<Written> {
    let (dimensions, spherical) = (made.dimensions, spill.is_spherical());
    let mut written = Written { named: Vec::new(), rows: Vec::new(), centroids: Vec::new(), cells: Vec::new() };
    let numbered: Vec<_> = plan.iter().enumerate().collect();
    for part in numbered.chunks(PART) {
        tick(Stage::Write, part[0].0 as u64, plan.len() as u64)?;
        let one = |(index, cells): &(usize, &Vec<Vec<u32>>)| {
            let documents =
                cells.iter().flatten().map(|row| spill.stored(*row as usize)).collect::<Result<Vec<_>>>()?;
            let (file, checksum) = segment::write(&documents, made)?;
            let name = format!("segment-1-{index}-{checksum:x}");
            save(&folder.join(&name), &file)?;
            let Sum { bytes, sha256 } = Sum::of(&file);
            let (count, beside) = (documents.len(), |stored: &Stored| stored.text.len() + stored.vector.len());
            let rows = count * made.row_bytes;
            let from = file.len() - documents.iter().map(beside).sum::<usize>() - rows;
            let mut centroids = Vec::new();
            for cell in *cells {
                centroids.extend(mean(spill.values(cell)?.chunks_exact(dimensions), dimensions, spherical));
            }
            let named = Named { name, bytes, checksum, documents: count as u64, removed: None, sha256 };
            Ok((named, (from, rows), centroids))
        };
        let made = part.par_iter().map(one).collect::<Result<Vec<_>>>()?;
        for ((index, cells), (named, rows, centroids)) in part.iter().zip(made) {
            written.named.push(named);
            written.rows.push(rows);
            written.centroids.extend(centroids);
            written.cells.extend(cells.iter().map(|rows| (*index as u32, rows.len() as u32)));
        }
    }
    Ok(written)
}

/// Writes the file of cells.
fn write_cells(layout: &Layout, made: &Made, found: Measured, folder: &Path) -> Result<NamedCells> {
    let count = layout.rows.len();
    let centroids: Vec<f32> = (0..count).flat_map(|cell| layout.centroids.of(cell)).copied().collect();
    let bytes = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let centroids = centroids.iter().flat_map(|value| value.to_le_bytes()).collect();
    let all = [("centroids", centroids), ("segments", bytes(&layout.segments)), ("rows", bytes(&layout.rows))];
    let named: Map<String, Value> =
        all.iter().map(|(name, part)| ((*name).to_owned(), json!([part.len(), xxh32(part)]))).collect();
    let header = json!({ "kind": "cells", "count": count, "dimensions": made.dimensions, "parts": named });
    let (mut file, checksum) = frame(&header)?;
    all.iter().for_each(|(_, part)| file.extend_from_slice(part));
    let name = format!("cells-1-{checksum:x}");
    save(&folder.join(&name), &file)?;
    let Sum { bytes, sha256 } = Sum::of(&file);
    Ok(NamedCells { name, bytes, sha256, count, probes: found.probes, recall: found.recall })
}

fn save(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).map_err(failed(path))
}

/// Makes one file of a folder, and gives it its name; returns its bytes.
fn pack(folder: &Path, named: &[Named], manifest: u64, scratch: &Path, out: &Path) -> Result<u64> {
    let mut files: Vec<(&str, u64)> = named.iter().map(|named| (named.name.as_str(), named.bytes)).collect();
    files.push(("manifest-1", manifest));
    let (header, _) = frame(&json!({ "kind": "index", "files": files }))?;
    let mut file = BufWriter::new(File::create_new(scratch).map_err(failed(scratch))?);
    file.write_all(&header).map_err(failed(scratch))?;
    for (name, _) in &files {
        let path = folder.join(name);
        let mut from = File::open(&path).map_err(failed(&path))?;
        std::io::copy(&mut from, &mut file).map_err(failed(scratch))?;
    }
    file.into_inner().map_err(|error| failed(scratch)(error.into_error()))?;
    std::fs::rename(scratch, out).map_err(failed(out))?;
    Ok(header.len() as u64 + files.iter().map(|(_, bytes)| bytes).sum::<u64>())
}
