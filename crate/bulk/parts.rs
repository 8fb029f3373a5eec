//! Files of rows, whatever their format: what parts they have, and the rows of a part in batches.
//!
//! Files come from anywhere. What is wrong with one is an error that names it.

use std::fmt::Display;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_ipc::reader::FileReader;
use arrow_schema::SchemaRef;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::reader::Length;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::lines::{self, Lines, Shape, Start};
use super::source::Source;
use super::{CHUNK, Options};
use crate::error::{Error, Result};
use crate::packed::hex;

/// Bytes at the end of a file that tell it from others: in Parquet they say where everything lies.
pub(super) const TAIL: u64 = 1 << 16;

/// Neighbouring rows of a file.
pub(super) struct Part {
    pub(super) path: PathBuf,
    /// What tells the file from others: the name, the length and the end.
    pub(super) input: Value,
    /// Which of the file's.
    pub(super) index: usize,
    pub(super) schema: SchemaRef,
    /// Which rows of the file.
    pub(super) rows: Range<u64>,
    place: Place,
}

/// Where the rows of a part lie.
enum Place {
    RowGroups(Range<usize>),
    Batches(Range<usize>),
    /// From this one on, lines that make these columns.
    Lines(Start, Arc<Shape>),
}

/// The formats, by the endings of their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Parquet,
    Lines,
    Arrow,
}

impl Format {
    pub(super) fn of(path: &Path) -> Result<Self> {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("parquet") => Ok(Self::Parquet),
            Some("jsonl" | "ndjson") => Ok(Self::Lines),
            Some("arrow" | "feather") => Ok(Self::Arrow),
            _ => {
                let reason = "its name ends in none of .parquet, .jsonl, .ndjson, .arrow and .feather";
                Err(Error::file(path.display().to_string(), reason))
            }
        }
    }
}

/// Rows in batches.
pub(super) type Rows = Box<dyn Iterator<Item = Result<RecordBatch>>>;

/// The parts of a file, in order: row groups, batches or lines as they lie, as many as make [`Options::part_rows`]. A file without
/// rows has none.
pub(super) fn parts(path: &Path, options: &Options) -> Result<Vec<Part>> {
    let format = Format::of(path)?;
    let mut source = Source::open(path)?;
    let input = identity(path, &mut source)?;
    let part = |(index, (schema, rows, place)): (usize, (&SchemaRef, Range<u64>, Place))| Part {
        path: path.into(),
        input: input.clone(),
        index,
        schema: schema.clone(),
        rows,
        place,
    };
    let least = options.part_rows;
    match format {
        Format::Parquet => {
            let metadata = parquet(path, &source)?;
            let counts = metadata.metadata().row_groups().iter().map(|group| u64::try_from(group.num_rows()));
            let counts: Result<Vec<u64>, _> = counts.collect();
            let counts = counts.map_err(|_| damaged(path, "a row group has a negative number of rows"))?;
            let parts = grouped(counts, least);
            let parts = parts.into_iter().map(|(rows, groups)| (metadata.schema(), rows, Place::RowGroups(groups)));
            Ok(parts.enumerate().map(part).collect())
        }
        Format::Arrow => {
            let mut batches = arrow(path, source, None)?;
            let (schema, mut counts) = (batches.schema(), Vec::new());
            while let Some(batch) = guarded(path, || batches.next().transpose())? {
                counts.push(batch.num_rows() as u64);
            }
            let parts = grouped(counts, least).into_iter();
            let parts = parts.map(|(rows, batches)| (&schema, rows, Place::Batches(batches)));
            Ok(parts.enumerate().map(part).collect())
        }
        Format::Lines => {
            let (shape, starts) = lines::scan(path, source, options)?;
            let (schema, shape) = (Arc::new(shape.schema()), Arc::new(shape));
            let ends = starts.iter().skip(1).map(|start| start.rows).chain([shape.rows]);
            let rows = starts.iter().zip(ends).map(|(start, end)| (start, start.rows..end));
            let parts = rows.map(|(start, rows)| (&schema, rows, Place::Lines(*start, shape.clone())));
            Ok(parts.enumerate().map(part).collect())
        }
    }
}

impl Part {
    /// How many rows it has.
    pub(super) fn count(&self) -> u64 {
        self.rows.end - self.rows.start
    }

    /// Its rows, of the columns of these indices, which rise.
    pub(super) fn read(&self, columns: &[usize]) -> Result<Rows> {
        let (path, columns) = (self.path.clone(), columns.to_vec());
        let source = Source::open(&path)?;
        match &self.place {
            Place::RowGroups(groups) => {
                let metadata = parquet(&path, &source)?;
                let mask = ProjectionMask::roots(metadata.parquet_schema(), columns);
                let source = guarded(&path, || Ok::<_, Error>(within(source, &metadata, groups, &mask)))?;
                let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(source, metadata);
                let builder = builder.with_row_groups(groups.clone().collect()).with_projection(mask);
                let mut reader = guarded(&path, || builder.with_batch_size(CHUNK).build())?;
                Ok(Box::new(until_error(move || guarded(&path, || reader.next().transpose()))))
            }
            Place::Batches(range) => {
                let mut batches = arrow(&path, source, Some(columns))?;
                guarded(&path, || batches.set_index(range.start))?;
                let mut batches = batches.take(range.len());
                Ok(Box::new(until_error(move || guarded(&path, || batches.next().transpose()))))
            }
            Place::Lines(start, shape) => {
                let mut lines = Lines::new(&path, source, *start, self.rows.end)?;
                let shape = shape.clone();
                Ok(Box::new(until_error(move || shape.batch(&mut lines, &columns))))
            }
        }
    }
}

fn identity(path: &Path, source: &mut Source) -> Result<Value> {
    let failed = |error| Error::file(path.display().to_string(), error);
    let bytes = source.len();
    source.seek(SeekFrom::Start(bytes.saturating_sub(TAIL))).map_err(failed)?;
    let mut tail = Vec::new();
    source.take(TAIL).read_to_end(&mut tail).map_err(failed)?;
    let tail = hex(Sha256::digest(&tail));
    let name = path.file_name().map(|name| name.to_string_lossy());
    Ok(json!({ "name": name, "bytes": bytes, "tail": tail }))
}

/// Neighbours that have at least so many rows together: their rows, and which they are.
fn grouped(counts: Vec<u64>, least: u64) -> Vec<(Range<u64>, Range<usize>)> {
    let (mut groups, mut rows, mut first) = (Vec::new(), 0..0, 0);
    let last = counts.len();
    for (count, next) in counts.into_iter().zip(1..) {
        rows.end = u64::saturating_add(rows.end, count);
        if rows.end > rows.start && (rows.end - rows.start >= least || next == last) {
            groups.push((rows.clone(), first..next));
            (rows.start, first) = (rows.end, next);
        }
    }
    groups
}

fn parquet(path: &Path, source: &Source) -> Result<ArrowReaderMetadata> {
    guarded(path, || ArrowReaderMetadata::load(source, ArrowReaderOptions::default()))
}

/// A source of which only these columns of these row groups are read.
fn within(source: Source, metadata: &ArrowReaderMetadata, groups: &Range<usize>, mask: &ProjectionMask) -> Source {
    let columns = |group| metadata.metadata().row_group(group).columns().iter().enumerate();
    let columns = groups.clone().flat_map(columns).filter(|(column, _)| mask.leaf_included(*column));
    let runs: Vec<Range<u64>> =
        columns.map(|(_, column)| column.byte_range()).map(|(at, bytes)| at..at + bytes).collect();
    let by_turns = runs.len() / groups.len().max(1) + 1;
    source.within(runs, by_turns)
}

/// An Arrow file, of these columns.
fn arrow(path: &Path, mut source: Source, columns: Option<Vec<usize>>) -> Result<FileReader<Source>> {
    const MARK: &[u8] = b"ARROW1";
    const END: u64 = 10;
    if source.len() < MARK.len() as u64 + END {
        return Err(damaged(path, "it is too short for an Arrow file"));
    }
    let mut mark = [0; MARK.len()];
    let read = source.rewind().and_then(|()| source.read_exact(&mut mark));
    read.map_err(|error| Error::file(path.display().to_string(), error))?;
    if mark != MARK {
        return Err(damaged(path, "it is no Arrow file; a stream is read from stdin by --ipc"));
    }
    guarded(path, || FileReader::try_new(source, columns))
}

pub(super) fn damaged(path: &Path, reason: &str) -> Error {
    Error::file(path.display().to_string(), reason)
}

/// Items until there are no more, or one cannot be had.
pub(super) fn until_error<T>(mut next: impl FnMut() -> Result<Option<T>>) -> impl Iterator<Item = Result<T>> {
    let mut ended = false;
    std::iter::from_fn(move || {
        let item = if ended { None } else { next().transpose() };
        ended = !matches!(item, Some(Ok(_)));
        item
    })
}

/// What decoders say is wrong with a file is an error of the file. They should not panic; where one does, that is one too.
pub(super) fn guarded<T, E: Display>(path: &Path, decode: impl FnOnce() -> Result<T, E>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(decode)) {
        Ok(result) => result.map_err(|error| Error::file(path.display().to_string(), error)),
        Err(_) => Err(damaged(path, "it is damaged in a way that its decoder does not expect")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{grouped, guarded};
    use crate::error::Result;

    #[test]
    fn parts_have_enough_rows_and_all_of_them() {
        let parts = |counts: &[u64], least| grouped(counts.to_vec(), least);
        assert_eq!(parts(&[], 1), []);
        assert_eq!(parts(&[0, 0], 1), []);
        assert_eq!(parts(&[3, 0, 4, 1, 9, 2], 5), [(0..7, 0..3), (7..17, 3..5), (17..19, 5..6)]);
        assert_eq!(parts(&[3, 4], 1), [(0..3, 0..1), (3..7, 1..2)]);
        assert_eq!(parts(&[u64::MAX, 7], 5), [(0..u64::MAX, 0..1)]);
    }

    #[test]
    fn a_panic_of_a_decoder_is_an_error_of_its_file() {
        let path = Path::new("in/a.parquet");
        let panics = || -> Result<()> { panic!("negative length") };
        let error = guarded(path, panics).unwrap_err();
        assert!(error.code() == "invalid-file" && error.to_string().contains("in/a.parquet"), "{error}");
        assert_eq!(
            guarded(path, || Err::<(), _>("short")).unwrap_err().to_string(),
            "in/a.parquet cannot be read: short"
        );
        assert_eq!(guarded(path, || Ok::<_, String>(7)), Ok(7));
    }
}
