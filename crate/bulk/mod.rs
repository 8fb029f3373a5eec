//! Files of rows in bulk: a column of texts in, the same rows with their vectors out.
//!
//! Inputs are Parquet, JSON lines or Arrow files. Each is cut into parts, runs of neighbouring rows, and each part becomes one
//! Parquet file whose bytes depend on the part, the model and the options alone. Files are written under a temporary name and
//! renamed at the end, so what has its name is whole, and a run that was ended goes on where it was.
//!
//! Nothing is distributed here: a [`Shard`] takes every N-th part, and who starts the shards is another's business
//! (docs/bulk.md has recipes). [`stream`] does the same for a pipe of Arrow batches, [`documents`] reads the files that come out.
//!
//! Where there is a path, there may be a URL of an object in a store, with the feature `object-store`.

mod documents;
mod encode;
mod lines;
#[cfg_attr(not(feature = "object-store"), path = "no_object.rs")]
mod object;
mod output;
mod parts;
mod ranges;
mod source;
mod stream;
mod texts;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use arrow_array::RecordBatch;

use crate::error::{Error, Result};
use crate::model::{EmbedOptions, Model};

pub use documents::{Documents, documents};
use encode::Encoder;
use output::Output;
use parts::Part;
pub use source::{expand, open};
pub use stream::stream;

/// Most rows that are read, embedded (longest first) and written at once.
const CHUNK: usize = 1024;

/// What is embedded, how, and what becomes of the other columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The column of texts; a null has a null for a vector.
    pub column: String,
    /// The columns to pass through, in the order of the file. None: all.
    pub keep: Option<Vec<String>>,
    /// How texts become vectors, one each.
    pub embed: EmbedOptions,
    /// What the model is called in the metadata of what is written.
    pub name: String,
    /// What tells the model from others: [`native::fingerprint`](crate::native::fingerprint).
    pub fingerprint: String,
    /// Least rows of a part, but for the last of a file.
    pub part_rows: u64,
    /// Which parts.
    pub shard: Shard,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            column: "text".into(),
            keep: None,
            embed: EmbedOptions::default(),
            name: String::new(),
            fingerprint: String::new(),
            part_rows: 1 << 16,
            shard: Shard { index: 0, count: 1 },
        }
    }
}

/// The parts k, of those of all inputs in order, with k mod `count` = `index`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: usize,
    count: usize,
}

impl Shard {
    /// Reads `i/N`, with i from 0 to N - 1.
    pub fn parse(text: &str) -> Result<Self> {
        let numbers = text.split_once('/').map(|(index, count)| (index.parse().ok(), count.parse().ok()));
        match numbers {
            Some((Some(index), Some(count))) if index < count => Ok(Self { index, count }),
            _ => Err(Error::argument(format!("a shard is i/N with i from 0 to N - 1, as in 0/4, not \"{text}\""))),
        }
    }
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The input that is read.
    pub input: &'a Path,
    /// Rows embedded by this run.
    pub rows: u64,
    /// Rows that this run has to embed: those of the shard, less what was there.
    pub of: u64,
}

/// What a run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Parts written.
    pub parts: usize,
    /// Parts of the shard that were there.
    pub skipped: usize,
    /// Rows written.
    pub rows: u64,
    /// Rows among them without a text.
    pub nulls: u64,
}

/// Embeds the files `inputs` (`.parquet`; `.jsonl`, `.ndjson`; `.arrow`, `.feather`), as [`expand`] has them, to files below the
/// folder `out`.
///
/// A part of `DIR/a.parquet` becomes `out/a-00000.parquet` and so on, in the folders that inputs have below the one that all
/// are in: the columns, then `embedding`, a fixed-size list of f32. All inputs are looked at before anything is embedded, so a
/// missing column is found at once. A file of the same name that holds the same part by the same options is left as it is; one
/// of other options is an error, one that is not whole is made again.
///
/// `progress` is called for every chunk; what error it gives ends the run, and leaves whole files alone.
pub fn run(
    model: &Model,
    inputs: &[PathBuf],
    out: &Path,
    options: &Options,
    progress: &mut dyn FnMut(Progress) -> Result<()>,
) -> Result<Report> {
    let encoder = Encoder::new(model, options)?;
    let mut report = Report::default();
    let mut wanted = Vec::new();
    for (k, (name, part)) in plan(&expand(inputs)?, options)?.into_iter().enumerate() {
        let columns = encoder.columns(&part.schema, &part.path)?;
        if k % options.shard.count != options.shard.index {
            continue;
        }
        let identity = encoder.identity(&part);
        let (columns, path) = (columns.noting(identity.clone()), source::join(out, &name));
        let output = Output::new(path, identity);
        match output.is_there()? {
            true => report.skipped += 1,
            false => wanted.push((part, columns, output)),
        }
    }
    let of = wanted.iter().map(|(part, ..)| part.count()).sum();
    for (part, columns, output) in wanted {
        let mut writer = output.begin(&columns.schema)?;
        let mut rows = 0;
        for batch in part.read(&columns.read)? {
            for chunk in chunks(&batch?) {
                let (made, nulls) = encoder.embed(&chunk, &columns, &part.path, part.rows.start + rows)?;
                writer.write(&made)?;
                rows += chunk.num_rows() as u64;
                report.rows += chunk.num_rows() as u64;
                report.nulls += nulls;
                progress(Progress { input: &part.path, rows: report.rows, of })?;
            }
        }
        if rows != part.count() {
            let reason = format!("{rows} rows where its own index says {}", part.count());
            return Err(Error::file(part.path.display().to_string(), reason));
        }
        writer.finish()?;
        report.parts += 1;
    }
    Ok(report)
}

/// A batch in pieces of at most [`CHUNK`] rows.
fn chunks(batch: &RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let rows = batch.num_rows();
    (0..rows).step_by(CHUNK).map(move |start| batch.slice(start, CHUNK.min(rows - start)))
}

/// The parts of all inputs in order, each with the name of its file below the folder of the results.
fn plan(inputs: &[PathBuf], options: &Options) -> Result<Vec<(PathBuf, Part)>> {
    let plain: Vec<PathBuf> = inputs.iter().map(|path| lexical(path)).collect();
    let common =
        plain.iter().filter_map(|path| path.parent()).map(Path::to_path_buf).reduce(shared).unwrap_or_default();
    let mut stems = BTreeMap::new();
    for (path, plain) in inputs.iter().zip(&plain) {
        let stem = plain.strip_prefix(&common).unwrap_or(plain).with_extension("");
        if let Some(other) = stems.insert(stem, path) {
            let (path, other) = (path.display(), other.display());
            return Err(Error::argument(format!("{other} and {path} would become the same files: embed them apart")));
        }
    }
    let mut plan = Vec::new();
    for (stem, path) in stems {
        for part in parts::parts(path, options)? {
            let mut name = stem.clone().into_os_string();
            name.push(format!("-{:05}.parquet", part.index));
            plan.push((name.into(), part));
        }
    }
    Ok(plan)
}

/// The names of a path from its root on, without `.` and `..`, by its letters alone: it names what is written and opens nothing.
fn lexical(path: &Path) -> PathBuf {
    let path = match source::url(path) {
        Some(url) => url.replacen("://", "/", 1).into(),
        None => std::path::absolute(path).unwrap_or_else(|_| path.into()),
    };
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => _ = plain.pop(),
            Component::Normal(name) => plain.push(name),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    plain
}

/// The folder that two folders are in.
fn shared(a: PathBuf, b: PathBuf) -> PathBuf {
    a.components().zip(b.components()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
}
