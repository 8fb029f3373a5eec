//! Rows to the same rows with vectors: which columns go through, what the schema says of the model, and the model's work.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, RecordBatchOptions};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use serde_json::{Value, json};

use super::Options;
use super::parts::Part;
use super::texts::{is_text, texts};
use crate::chunk::ChunkPooling;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::tokens::TEXT_BYTES;

/// The column of vectors.
pub(super) const EMBEDDING: &str = "embedding";
/// The key of the metadata that says how vectors were made, as JSON.
pub(super) const KEY: &str = "embedlet";

/// A model and what it is asked.
pub(super) struct Encoder<'a> {
    model: &'a Model,
    options: &'a Options,
    dimensions: usize,
    /// What the metadata says of every vector.
    made: Value,
}

/// The columns of a file.
pub(super) struct Columns {
    /// Indices of those that are read.
    pub(super) read: Vec<usize>,
    /// What is written, without metadata.
    pub(super) schema: SchemaRef,
    /// Of those that are read, the one with the texts.
    text: usize,
    /// Of those that are read, the ones that go through.
    kept: Vec<usize>,
}

impl Columns {
    /// The same, where the schema of what is written has a note under [`KEY`].
    pub(super) fn noting(self, note: String) -> Self {
        let schema = self.schema.as_ref().clone().with_metadata([(KEY.to_owned(), note)]);
        Self { schema: Arc::new(schema), ..self }
    }
}

impl<'a> Encoder<'a> {
    /// Checks the options.
    pub(super) fn new(model: &'a Model, options: &'a Options) -> Result<Self> {
        if options.embed.tokens || options.embed.chunk_pooling == Some(ChunkPooling::None) {
            return Err(Error::argument("a row of a file has one vector: choose a pooling other than \"none\""));
        }
        model.embed::<&str>(&[], &options.embed)?;
        let dimensions = model.pooling(&options.embed)?.dimensions as usize;
        let made = json!({
            "model": options.name,
            "fingerprint": options.fingerprint,
            "precision": model.precision().name(),
            "dimensions": dimensions,
            "prompt": model.prompt_of(&options.embed)?,
            "options": serde_json::to_value(&options.embed).unwrap_or_default(),
            "column": options.column,
        });
        Ok(Self { model, options, dimensions, made })
    }

    /// What the metadata of a stream says.
    pub(super) fn made(&self) -> String {
        self.made.to_string()
    }

    /// What the metadata of a part's file says: equal where the bytes are.
    pub(super) fn identity(&self, part: &Part) -> String {
        let mut identity = self.made.clone();
        identity["keep"] = json!(self.options.keep);
        identity["input"] = part.input.clone();
        identity["rows"] = json!([part.rows.start, part.rows.end]);
        identity.to_string()
    }

    /// Finds the columns in a schema of `path`.
    pub(super) fn columns(&self, schema: &Schema, path: &Path) -> Result<Columns> {
        let refuse = |reason: String| Error::file(path.display().to_string(), reason);
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let find = |name: &str| {
            let mut found = (0..names.len()).filter(|index| names[*index] == name);
            match (found.next(), found.next()) {
                (Some(index), None) => Ok(index),
                (None, _) => Err(refuse(format!("it has no column \"{name}\" but {}: see --column", names.join(", ")))),
                _ => Err(refuse(format!("it has two columns \"{name}\""))),
            }
        };
        let text = find(&self.options.column)?;
        let kind = schema.field(text).data_type();
        if !is_text(kind) {
            let name = &self.options.column;
            return Err(refuse(format!("column \"{name}\" is {kind}, not text: name another, or cast it to a string")));
        }
        let kept = match &self.options.keep {
            None => (0..names.len()).collect(),
            Some(keep) => {
                let mut kept = keep.iter().map(|name| find(name)).collect::<Result<Vec<_>>>()?;
                kept.sort_unstable();
                kept.dedup();
                kept
            }
        };
        if kept.iter().any(|index| names[*index] == EMBEDDING) {
            let reason = "it has a column \"embedding\" already: leave that out by naming the columns to --keep";
            return Err(refuse(reason.into()));
        }
        let mut read = kept.clone();
        if let Err(place) = read.binary_search(&text) {
            read.insert(place, text);
        }
        let item = Arc::new(Field::new_list_field(DataType::Float32, true));
        let width = DataType::FixedSizeList(item, self.dimensions as i32);
        let mut fields: Vec<_> = kept.iter().map(|index| schema.fields()[*index].clone()).collect();
        fields.push(Arc::new(Field::new(EMBEDDING, width, true)));
        let place = |index: &usize| read.binary_search(index).unwrap_or_default();
        let (text, kept) = (place(&text), kept.iter().map(place).collect());
        Ok(Columns { schema: Arc::new(Schema::new(fields)), text, kept, read })
    }

    /// Embeds a batch of the columns that are read, which begins with the row `first` of `path`. Returns what is written of it, and
    /// how many rows have no text.
    pub(super) fn embed(
        &self,
        batch: &RecordBatch,
        columns: &Columns,
        path: &Path,
        first: u64,
    ) -> Result<(RecordBatch, u64)> {
        let refuse = |reason: String| Error::file(path.display().to_string(), reason);
        let texts = batch.columns().get(columns.text).and_then(|column| texts(column.as_ref()));
        let texts = texts.ok_or_else(|| refuse(format!("column \"{}\" is not text", self.options.column)))?;
        let rows: Vec<u64> = (first..).zip(&texts).filter(|(_, text)| text.is_some()).map(|(row, _)| row).collect();
        let present: Vec<&str> = texts.iter().copied().flatten().collect();
        let limit = TEXT_BYTES.saturating_sub(self.model.prompt_of(&self.options.embed)?.len());
        if let Some((row, text)) = rows.iter().zip(&present).find(|(_, text)| text.len() > limit) {
            let what = format!("{}, row {row}: the size of the text in bytes", path.display());
            return Err(Error::LimitExceeded { what, found: text.len() as u64, limit: limit as u64 });
        }
        // What is wrong with a text is said of its row.
        let row = |text: &usize| rows.get(*text).copied().unwrap_or(first);
        let result = self.model.embed(&present, &self.options.embed);
        let result = result.and_then(|call| pollster::block_on(call.run(self.model)));
        let result = result.map_err(|error| match &error {
            Error::TextTooLong { text, tokens, limit } => {
                let reason = "shorten it, or have it cut or read in chunks (--overflow)";
                refuse(format!("row {} has {tokens} tokens, the model reads {limit}: {reason}", row(text)))
            }
            Error::NonFinite { text, reason } => {
                refuse(format!("the vector of row {} is not usable ({reason})", row(text)))
            }
            _ => error,
        })?;
        let mut vectors = result.data.chunks_exact(self.dimensions);
        let mut values = Vec::with_capacity(texts.len() * self.dimensions);
        for text in &texts {
            match text {
                Some(_) => values.extend_from_slice(vectors.next().unwrap_or_default()),
                None => values.resize(values.len() + self.dimensions, 0.0),
            }
        }
        let nulls = texts.iter().filter(|text| text.is_none()).count();
        let valid = (nulls > 0).then(|| texts.iter().map(Option::is_some).collect::<NullBuffer>());
        let item = Arc::new(Field::new_list_field(DataType::Float32, true));
        let values = Arc::new(Float32Array::from(values));
        let vectors = FixedSizeListArray::try_new(item, self.dimensions as i32, values, valid);
        let vectors = vectors.map_err(|error| refuse(error.to_string()))?;
        let mut arrays: Vec<ArrayRef> = columns.kept.iter().map(|index| batch.column(*index).clone()).collect();
        arrays.push(Arc::new(vectors));
        let rows = RecordBatchOptions::new().with_row_count(Some(texts.len()));
        let made = RecordBatch::try_new_with_options(columns.schema.clone(), arrays, &rows);
        Ok((made.map_err(|error| refuse(error.to_string()))?, nulls as u64))
    }
}
