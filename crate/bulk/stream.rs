//! Batches of Arrow's streaming format, as they come through a pipe.

use std::io::{BufWriter, Read, Write};
use std::path::Path;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, SchemaRef};

use super::encode::Encoder;
use super::parts::{damaged, guarded};
use super::{Options, Progress, Report, chunks};
use crate::error::{Error, Result};
use crate::model::Model;

/// Bytes read at once.
const BYTES: usize = 1 << 20;

/// Reads batches. It takes memory for what has come, never for what is announced.
struct Batches<R> {
    input: R,
    decoder: StreamDecoder,
    rest: Buffer,
}

impl<R: Read> Batches<R> {
    fn new(input: R) -> Self {
        Self { input, decoder: StreamDecoder::new(), rest: Buffer::from(Vec::<u8>::new()) }
    }

    /// The schema, once its message was read.
    fn schema(&self) -> Option<SchemaRef> {
        self.decoder.schema()
    }

    /// The next batch; none: the stream has ended.
    fn read(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        loop {
            if let Some(batch) = self.decoder.decode(&mut self.rest)? {
                return Ok(Some(batch));
            }
            if !self.fill()? {
                self.decoder.finish()?;
                return Ok(None);
            }
        }
    }

    /// Reads what there is; false: nothing, and nothing will come.
    fn fill(&mut self) -> Result<bool, ArrowError> {
        let mut bytes = vec![0; BYTES];
        let count = self.input.read(&mut bytes)?;
        bytes.truncate(count);
        self.rest = Buffer::from(bytes);
        Ok(count > 0)
    }
}

/// Embeds a stream of Arrow batches from `input` to `output`: the columns that [`Options::keep`] names, then `embedding`. Each batch
/// is written, in pieces of at most 1024 rows, before the next is read. Parts and shards have no part in it.
pub fn stream(
    model: &Model,
    input: impl Read,
    output: impl Write,
    options: &Options,
    progress: &mut dyn FnMut(Progress) -> Result<()>,
) -> Result<Report> {
    let encoder = Encoder::new(model, options)?;
    // What errors call it.
    let path = Path::new("the stream");
    let mut batches = Batches::new(input);
    let mut next = guarded(path, || batches.read())?;
    let schema = batches.schema().ok_or_else(|| damaged(path, "it ends before its schema"))?;
    let columns = encoder.columns(&schema, path)?.noting(encoder.made());
    let failed = |error: ArrowError| Error::argument(format!("the stream cannot be written: {error}"));
    let mut writer = StreamWriter::try_new(BufWriter::new(output), &columns.schema).map_err(failed)?;
    let mut report = Report::default();
    while let Some(batch) = next {
        let batch = guarded(path, || batch.project(&columns.read))?;
        for chunk in chunks(&batch) {
            let (made, nulls) = encoder.embed(&chunk, &columns, path, report.rows)?;
            writer.write(&made).map_err(failed)?;
            report.rows += chunk.num_rows() as u64;
            report.nulls += nulls;
            progress(Progress { input: path, rows: report.rows, of: report.rows })?;
        }
        writer.flush().map_err(failed)?;
        next = guarded(path, || batches.read())?;
    }
    writer.finish().map_err(failed)?;
    writer.flush().map_err(failed)?;
    Ok(report)
}
