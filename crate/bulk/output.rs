//! A file of results: whether it is there whole, and how it comes to be.

use std::env;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use serde_json::Value;

use super::encode::{EMBEDDING, KEY};
use super::object;
use super::parts::guarded;
use super::source::{Source, url};
use crate::error::{Error, Result};

/// Bytes of a row group, all of which are in memory before they are written.
const GROUP: usize = 64 << 20;

/// Where a part goes, and what its metadata says.
pub(super) struct Output {
    path: PathBuf,
    identity: String,
}

/// A file that is being written. Dropped before it is finished, it is gone.
pub(super) struct Writer {
    output: Output,
    temporary: Temporary,
    writer: ArrowWriter<File>,
}

/// A path at which there is nothing in the end.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename there is nothing to remove.
        let _ = fs::remove_file(&self.0);
    }
}

impl Output {
    pub(super) fn new(path: PathBuf, identity: String) -> Self {
        Self { path, identity }
    }

    /// Whether the file is there, whole, and of the same part by the same options. One that was made otherwise is an error; one
    /// that is not whole counts as not there.
    pub(super) fn is_there(&self) -> Result<bool> {
        let Some(source) = Source::find(&self.path)? else { return Ok(false) };
        let reader = guarded(&self.path, || match ParquetRecordBatchReaderBuilder::try_new(source) {
            // What cannot be had may well be whole.
            Err(ParquetError::External(error)) if !ended(error.as_ref()) => Ok(Err(error)),
            read => read.map(Ok),
        });
        let reader = match reader {
            Ok(read) => read.map_err(|error| Error::file(self.path.display().to_string(), error))?,
            Err(_) => return Ok(false),
        };
        let differs = |what: String| {
            let advice = "choose another folder for --out, or delete what is in this one";
            Err(Error::argument(format!("{} was made {what}: {advice}", self.path.display())))
        };
        let Some(found) = reader.schema().metadata().get(KEY) else {
            return differs("by something else".into());
        };
        if *found == self.identity {
            return Ok(true);
        }
        let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
        let (found, wanted) = (parse(found), parse(&self.identity));
        let keys =
            wanted.as_object().into_iter().flatten().filter(|(key, value)| found.get(key.as_str()) != Some(value));
        let keys: Vec<&str> = keys.map(|(key, _)| key.as_str()).collect();
        differs(format!("with another {}", if keys.is_empty() { "version".into() } else { keys.join(", ") }))
    }

    /// Starts the file, under a name that no other run has.
    pub(super) fn begin(self, schema: &SchemaRef) -> Result<Writer> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let own = format!("{}-{}", std::process::id(), now.as_nanos());
        let name = format!("{}{own}", self.prefix());
        let temporary = match url(&self.path) {
            None => self.path.with_file_name(name),
            Some(url) => {
                object::probe(url).map_err(|error| unwritten(&self.path, error))?;
                env::temp_dir().join(name)
            }
        };
        let temporary = Temporary(temporary);
        let file = || -> io::Result<File> {
            temporary.0.parent().map_or(Ok(()), fs::create_dir_all)?;
            let file = File::options().read(true).write(true).create_new(true).open(&temporary.0)?;
            if url(&self.path).is_some() {
                // It is never renamed. Without a name a kill leaves nothing of it, where the system allows that.
                let _ = fs::remove_file(&temporary.0);
            }
            Ok(file)
        };
        let file = file().map_err(|error| unwritten(&temporary.0, error))?;
        let vectors = || ColumnPath::from(vec![EMBEDDING.into(), "list".into(), "item".into()]);
        // Vectors are neither alike nor compared.
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_column_compression(vectors(), Compression::UNCOMPRESSED)
            .set_column_dictionary_enabled(vectors(), false)
            .set_column_statistics_enabled(vectors(), EnabledStatistics::None)
            .set_max_row_group_bytes(Some(GROUP))
            .set_key_value_metadata(Some(vec![KeyValue::new(KEY.to_owned(), self.identity.clone())]));
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties.build()));
        let writer = writer.map_err(|error| unwritten(&self.path, error))?;
        Ok(Writer { output: self, temporary, writer })
    }

    /// What the names of its unfinished files begin with.
    fn prefix(&self) -> String {
        format!(".{}.", self.path.file_name().unwrap_or_default().to_string_lossy())
    }

    /// Removes what runs that were killed have left of it.
    fn sweep(&self) {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&self.prefix()) {
                // What cannot be removed is in nobody's way.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

impl Writer {
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer.write(batch).map_err(|error| unwritten(&self.output.path, error))
    }

    /// Ends the file, and gives it its name once the disk has it; or sends it to its store.
    pub(super) fn finish(self) -> Result<()> {
        let Self { output, temporary, writer } = self;
        let file = writer.into_inner().map_err(|error| unwritten(&output.path, error))?;
        if let Some(url) = url(&output.path) {
            return object::put(url, file).map_err(|error| unwritten(&output.path, error));
        }
        match file.sync_all().and_then(|()| fs::rename(&temporary.0, &output.path)) {
            // Another run was as far with the same part, and swept.
            Err(error) if error.kind() == io::ErrorKind::NotFound && output.is_there()? => {}
            done => done.map_err(|error| unwritten(&output.path, error))?,
        }
        output.sweep();
        Ok(())
    }
}

/// Whether a file is shorter than it says.
fn ended(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof)
}

fn unwritten(path: &Path, error: impl std::fmt::Display) -> Error {
    Error::argument(format!("{} cannot be written: {error}", path.display()))
}
