//! Rows of files as documents: a name, a text, a vector where there is one, and everything else as JSON.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::temporal_conversions::as_datetime;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Date64Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, TimeUnit};
use serde_json::{Map, Value};

use super::encode::EMBEDDING;
use super::parts::{Part, Rows, parts};
use super::texts::texts;
use super::{Options, chunks};
use crate::error::{Error, Result};
use crate::index::{Document, Keys};

/// The documents of a file, in batches of at most 1024; after an error there are no more.
pub struct Documents {
    path: PathBuf,
    keys: Keys,
    parts: std::vec::IntoIter<Part>,
    rows: Rows,
    row: u64,
}

/// Reads the documents of a Parquet or Arrow file, or of JSON lines whose objects count as JSON text.
///
/// Errors name the file, and the row where it is one (`invalid-file`): columns that are not there or of types that have no JSON
/// (binary, intervals …), rows without a name, rows with neither text nor vector.
pub fn documents(path: &Path, keys: Keys) -> Result<Documents> {
    let options = Options { column: keys.text.clone(), ..Options::default() };
    let parts = parts(path, &options)?.into_iter();
    Ok(Documents { path: path.into(), keys, parts, rows: Box::new(std::iter::empty()), row: 0 })
}

impl Iterator for Documents {
    type Item = Result<Vec<Document>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let made = match self.rows.next() {
                Some(batch) => batch.and_then(|batch| self.read(&batch)),
                None => {
                    let part = self.parts.next()?;
                    let all: Vec<usize> = (0..part.schema.fields().len()).collect();
                    match part.read(&all) {
                        Ok(rows) => {
                            let pieces = |batch: RecordBatch| chunks(&batch).map(Ok).collect();
                            let pieces = move |batch: Result<_>| batch.map_or_else(|error| vec![Err(error)], pieces);
                            self.rows = Box::new(rows.flat_map(pieces));
                            continue;
                        }
                        Err(error) => Err(error),
                    }
                }
            };
            if made.is_err() {
                (self.parts, self.rows) = (Vec::new().into_iter(), Box::new(std::iter::empty()));
            }
            return Some(made);
        }
    }
}

impl Documents {
    fn read(&mut self, batch: &RecordBatch) -> Result<Vec<Document>> {
        let Keys { id, text, vector } = &self.keys;
        let refuse = |reason: String| Error::file(self.path.display().to_string(), reason);
        let column = |name: &String| batch.column_by_name(name);
        let missing = |name: &String, option| refuse(format!("it has no column \"{name}\": see {option}"));
        let ids = column(id).ok_or_else(|| missing(id, "--id"))?;
        let ids = values(ids).ok_or_else(|| refuse(format!("column \"{id}\" is neither text nor whole numbers")))?;
        let lines = match column(text) {
            Some(column) => {
                texts(column.as_ref()).ok_or_else(|| refuse(format!("column \"{text}\" is not text: see --column")))?
            }
            None if vector.is_some() => vec![None; batch.num_rows()],
            None => return Err(missing(text, "--column")),
        };
        let vectors = match vector {
            Some(name) => {
                let column = column(name).ok_or_else(|| missing(name, "--vectors"))?;
                let lists = |row: usize| {
                    let row = self.row + row as u64;
                    refuse(format!("row {row}: column \"{name}\" is not of lists of floats without nulls inside"))
                };
                floats(column).map_err(lists)?
            }
            None => vec![None; batch.num_rows()],
        };
        let (mut others, mut has_own) = (vec![Map::new(); batch.num_rows()], false);
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            let name = field.name();
            if name == id || name == text || vector.as_ref().is_some_and(|vector| name == vector) {
                continue;
            }
            if name == EMBEDDING && matches!(field.data_type(), DataType::FixedSizeList(..)) {
                continue;
            }
            has_own |= name == "metadata";
            let kind = field.data_type();
            let values = values(column).ok_or_else(|| refuse(format!("column \"{name}\" is {kind}: leave it out")))?;
            for (others, value) in others.iter_mut().zip(values).filter(|(_, value)| !value.is_null()) {
                others.insert(name.clone(), value);
            }
        }
        let mut made = Vec::with_capacity(batch.num_rows());
        let rows = ids.into_iter().zip(lines).zip(vectors.into_iter().zip(others));
        for (((id, text), (vector, others)), row) in rows.zip(self.row..) {
            let place = format!("{}, row {row}", self.path.display());
            let refuse = |reason: &str| Error::file(place.clone(), reason);
            let id = match id {
                Value::String(id) => id,
                Value::Number(id) if !id.is_f64() => id.to_string(),
                _ => return Err(refuse("its id is neither text nor a whole number")),
            };
            if text.is_none() && vector.is_none() {
                return Err(refuse("it has no text"));
            }
            let metadata = metadata(others, has_own).ok_or_else(|| refuse("its metadata is no object"))?;
            made.push(Document { id, text: text.unwrap_or_default().into(), metadata, vector, place });
        }
        self.row += batch.num_rows() as u64;
        Ok(made)
    }
}

/// What is searched by, of the columns that are nothing else; `has_own`: one of them is for that, whatever a row has there.
fn metadata(mut others: Map<String, Value>, has_own: bool) -> Option<Option<Map<String, Value>>> {
    match others.remove("metadata") {
        Some(Value::Object(metadata)) => Some(Some(metadata)),
        Some(Value::String(text)) => serde_json::from_str(&text).ok().map(Some),
        Some(_) => None,
        None => Some(Some(others).filter(|others| !has_own && !others.is_empty())),
    }
}

/// The rows of a column of lists of floats, or the first that is none.
fn floats(column: &ArrayRef) -> Result<Vec<Option<Vec<f32>>>, usize> {
    let list = |values: ArrayRef| match values.data_type() {
        _ if values.null_count() > 0 => None,
        DataType::Float32 => Some(values.as_primitive_opt::<Float32Type>()?.values().to_vec()),
        DataType::Float64 => {
            Some(values.as_primitive_opt::<Float64Type>()?.values().iter().map(|value| *value as f32).collect())
        }
        _ => None,
    };
    let rows = |row: Box<dyn Fn(usize) -> ArrayRef + '_>| {
        let row = |index| match column.is_valid(index) {
            true => list(row(index)).map(Some).ok_or(index),
            false => Ok(None),
        };
        (0..column.len()).map(row).collect()
    };
    match column.data_type() {
        DataType::FixedSizeList(..) => rows(Box::new(|index| column.as_fixed_size_list().value(index))),
        DataType::List(_) => rows(Box::new(|index| column.as_list::<i32>().value(index))),
        DataType::LargeList(_) => rows(Box::new(|index| column.as_list::<i64>().value(index))),
        _ => Err(0),
    }
}

/// The rows of a column as JSON; none: its type has none.
fn values(column: &ArrayRef) -> Option<Vec<Value>> {
    if let Some(texts) = texts(column.as_ref()) {
        return Some(texts.into_iter().map(Value::from).collect());
    }
    match column.data_type() {
        DataType::Boolean => Some(column.as_boolean().iter().map(Value::from).collect()),
        DataType::Int8 => numbers::<Int8Type>(column, Value::from),
        DataType::Int16 => numbers::<Int16Type>(column, Value::from),
        DataType::Int32 => numbers::<Int32Type>(column, Value::from),
        DataType::Int64 => numbers::<Int64Type>(column, Value::from),
        DataType::UInt8 => numbers::<UInt8Type>(column, Value::from),
        DataType::UInt16 => numbers::<UInt16Type>(column, Value::from),
        DataType::UInt32 => numbers::<UInt32Type>(column, Value::from),
        DataType::UInt64 => numbers::<UInt64Type>(column, Value::from),
        DataType::Float16 => numbers::<Float16Type>(column, |value| Value::from(value.to_f32())),
        DataType::Float32 => numbers::<Float32Type>(column, Value::from),
        DataType::Float64 => numbers::<Float64Type>(column, Value::from),
        DataType::Date32 => times::<Date32Type>(column, "%Y-%m-%d"),
        DataType::Date64 => times::<Date64Type>(column, "%Y-%m-%d"),
        // With a time zone it is UTC, without one whatever it is.
        DataType::Timestamp(unit, zone) => {
            let format = if zone.is_some() { "%Y-%m-%dT%H:%M:%S%.fZ" } else { "%Y-%m-%dT%H:%M:%S%.f" };
            match unit {
                TimeUnit::Second => times::<TimestampSecondType>(column, format),
                TimeUnit::Millisecond => times::<TimestampMillisecondType>(column, format),
                TimeUnit::Microsecond => times::<TimestampMicrosecondType>(column, format),
                TimeUnit::Nanosecond => times::<TimestampNanosecondType>(column, format),
            }
        }
        DataType::List(_) => lists(column, |index| column.as_list::<i32>().value(index)),
        DataType::LargeList(_) => lists(column, |index| column.as_list::<i64>().value(index)),
        DataType::FixedSizeList(..) => lists(column, |index| column.as_fixed_size_list().value(index)),
        DataType::Struct(fields) => {
            let mut rows: Vec<Value> = vec![Value::Object(Map::new()); column.len()];
            for (field, child) in fields.iter().zip(column.as_struct().columns()) {
                for (row, value) in rows.iter_mut().zip(values(child)?) {
                    row[field.name()] = value;
                }
            }
            Some(rows.into_iter().enumerate().map(|(row, value)| valid(column, row, value)).collect())
        }
        _ => None,
    }
}

fn valid(column: &ArrayRef, row: usize, value: Value) -> Value {
    if column.is_valid(row) { value } else { Value::Null }
}

fn numbers<T: ArrowPrimitiveType>(column: &ArrayRef, json: impl Fn(T::Native) -> Value) -> Option<Vec<Value>> {
    Some(column.as_primitive_opt::<T>()?.iter().map(|value| value.map_or(Value::Null, &json)).collect())
}

fn times<T: ArrowPrimitiveType<Native: Into<i64>>>(column: &ArrayRef, format: &str) -> Option<Vec<Value>> {
    let text = |value: T::Native| as_datetime::<T>(value.into()).map(|time| time.format(format).to_string());
    numbers::<T>(column, |value| text(value).into())
}

fn lists(column: &ArrayRef, row: impl Fn(usize) -> Arc<dyn Array>) -> Option<Vec<Value>> {
    let list = |index| if column.is_valid(index) { Some(values(&row(index))?.into()) } else { Some(Value::Null) };
    (0..column.len()).map(list).collect()
}
