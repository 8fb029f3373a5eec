//! Lines of JSON objects as columns. A column has one type in all of a file, so a file is read twice: first for its types.
//!
//! Strings, booleans, and whole numbers and others are what they are; what is anything else, or not the same in all lines, is
//! JSON as text. A key that a line lacks is a null.

use std::collections::HashMap;
use std::fmt::{Display, Formatter};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray};
use arrow_schema::{DataType, Field, Schema};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::source::Source;
use super::{CHUNK, Options};
use crate::error::{Error, Result};

/// Most bytes of a line.
const MOST_LINE: usize = 64 << 20;
/// Most keys of a file.
const MOST_KEYS: usize = 4096;
/// Whole numbers up to this magnitude are the same as an f64.
const EXACT: u64 = 1 << 53;

/// What the values of a key have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Null,
    Bool,
    /// Whole, and exact as an f64 too.
    Whole,
    /// Whole.
    Long,
    Float,
    Text,
    Json,
}

impl Kind {
    fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Bool,
            Value::String(_) => Self::Text,
            Value::Number(number) => match number.as_i64() {
                Some(whole) if whole.unsigned_abs() <= EXACT => Self::Whole,
                Some(_) => Self::Long,
                None if number.is_f64() => Self::Float,
                None => Self::Json,
            },
            Value::Array(_) | Value::Object(_) => Self::Json,
        }
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (one, two) if one == two => one,
            (Self::Null, kind) | (kind, Self::Null) => kind,
            (Self::Whole, Self::Long) | (Self::Long, Self::Whole) => Self::Long,
            (Self::Whole, Self::Float) | (Self::Float, Self::Whole) => Self::Float,
            _ => Self::Json,
        }
    }
}

/// The columns of a file, in the order in which its lines first have them.
#[derive(Debug)]
pub(super) struct Shape {
    columns: Vec<(String, Kind)>,
    pub(super) rows: u64,
}

/// Where a row is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Start {
    byte: u64,
    /// Lines in front of it.
    lines: u64,
    /// Rows in front of it.
    pub(super) rows: u64,
}

/// Reads a file for its columns and where its parts start.
pub(super) fn scan(path: &Path, source: Source, options: &Options) -> Result<(Shape, Vec<Start>)> {
    let mut lines = Lines::new(path, source, Start::default(), u64::MAX)?;
    let (mut columns, mut places) = (Vec::new(), HashMap::new());
    let mut starts: Vec<Start> = Vec::new();
    while let Some((start, object)) = lines.next()? {
        if start.rows.is_multiple_of(options.part_rows.max(1)) {
            starts.push(start);
        }
        for (key, value) in object.0 {
            let kind = Kind::of(&value);
            if key == options.column && !matches!(kind, Kind::Null | Kind::Text) {
                return Err(lines.wrong(format!("\"{key}\" is not a string: name another key to --column")));
            }
            let place = *places.entry(key.clone()).or_insert(columns.len());
            match columns.get_mut(place) {
                Some((_, known)) => *known = kind.and(*known),
                None => columns.push((key, kind)),
            }
        }
        if columns.len() > MOST_KEYS {
            let (what, limit) = (format!("the number of keys in {}", path.display()), MOST_KEYS as u64);
            return Err(Error::LimitExceeded { what, found: columns.len() as u64, limit });
        }
    }
    Ok((Shape { columns, rows: lines.at.rows }, starts))
}

impl Shape {
    pub(super) fn schema(&self) -> Schema {
        let field = |(name, kind): &(String, Kind)| Field::new(name, data_type(*kind), true);
        Schema::new(self.columns.iter().map(field).collect::<Vec<_>>())
    }

    /// The next rows, of these columns; none: there are no more.
    pub(super) fn batch(&self, lines: &mut Lines, columns: &[usize]) -> Result<Option<RecordBatch>> {
        let names = columns.iter().map(|index| self.columns[*index].0.as_str());
        let places: HashMap<&str, usize> = names.zip(0..).collect();
        let mut values: Vec<Vec<Value>> = vec![Vec::with_capacity(CHUNK); columns.len()];
        let mut rows = 0;
        while rows < CHUNK
            && let Some((_, object)) = lines.next()?
        {
            rows += 1;
            for (key, value) in object.0 {
                if let Some(place) = places.get(key.as_str()) {
                    values[*place].push(value);
                }
            }
            values.iter_mut().for_each(|values| values.resize(rows, Value::Null));
        }
        if rows == 0 {
            return Ok(None);
        }
        let kinds = columns.iter().map(|index| self.columns[*index].1);
        let arrays: Option<Vec<ArrayRef>> = kinds.zip(values).map(|(kind, values)| array(kind, values)).collect();
        let changed = || Error::file(lines.path.display().to_string(), "it changed while it was read");
        let schema = self.schema().project(columns).map_err(|_| changed())?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::new(schema), arrays.ok_or_else(changed)?, &options);
        batch.map(Some).map_err(|_| changed())
    }
}

fn data_type(kind: Kind) -> DataType {
    match kind {
        Kind::Bool => DataType::Boolean,
        Kind::Whole | Kind::Long => DataType::Int64,
        Kind::Float => DataType::Float64,
        Kind::Null | Kind::Text | Kind::Json => DataType::Utf8,
    }
}

/// The values of a column; none: they are of another kind.
fn array(kind: Kind, values: Vec<Value>) -> Option<ArrayRef> {
    if values.iter().any(|value| Kind::of(value).and(kind) != kind) {
        return None;
    }
    Some(match kind {
        Kind::Bool => Arc::new(values.iter().map(Value::as_bool).collect::<BooleanArray>()),
        Kind::Whole | Kind::Long => Arc::new(values.iter().map(Value::as_i64).collect::<Int64Array>()),
        Kind::Float => Arc::new(values.iter().map(Value::as_f64).collect::<Float64Array>()),
        Kind::Null | Kind::Text => Arc::new(values.iter().map(Value::as_str).collect::<StringArray>()),
        Kind::Json => {
            let text = |value: &Value| (!value.is_null()).then(|| value.to_string());
            Arc::new(values.iter().map(text).collect::<StringArray>())
        }
    })
}

/// An object with its keys in order.
pub(super) struct Object(pub(super) Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Object;

            fn expecting(&self, formatter: &mut Formatter) -> std::fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut object = Vec::<(String, Value)>::new();
                while let Some((key, value)) = map.next_entry()? {
                    if object.len() > MOST_KEYS {
                        return Err(A::Error::custom("an object with too many keys"));
                    }
                    object.push((key, value));
                }
                let mut keys: Vec<&str> = object.iter().map(|(key, _)| key.as_str()).collect();
                keys.sort_unstable();
                match keys.windows(2).find(|pair| pair[0] == pair[1]) {
                    Some(pair) => Err(A::Error::custom(format!("the key \"{}\" is there twice", pair[0]))),
                    None => Ok(Object(object)),
                }
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// The objects of a file, line by line. Lines without anything are none.
pub(super) struct Lines {
    path: PathBuf,
    reader: BufReader<Source>,
    /// Where the next line is.
    at: Start,
    /// One past the last row.
    end: u64,
    line: Vec<u8>,
}

impl Lines {
    /// Those from one on, up to the row `end` of the file.
    pub(super) fn new(path: &Path, mut source: Source, at: Start, end: u64) -> Result<Self> {
        let sought = source.seek(SeekFrom::Start(at.byte));
        sought.map_err(|error| Error::file(path.display().to_string(), error))?;
        Ok(Self { path: path.into(), reader: BufReader::new(source), at, end, line: Vec::new() })
    }

    /// The next object, and where it is.
    fn next(&mut self) -> Result<Option<(Start, Object)>> {
        while self.at.rows < self.end {
            let start = self.at;
            self.line.clear();
            self.at.lines += 1;
            let read = self.reader.by_ref().take(MOST_LINE as u64 + 1).read_until(b'\n', &mut self.line);
            let read = read.map_err(|error| self.wrong(error))?;
            if read == 0 {
                return Ok(None);
            }
            if read > MOST_LINE {
                return Err(self.wrong(format!("it has more than {MOST_LINE} bytes")));
            }
            self.at.byte += read as u64;
            let bare = self.line.strip_prefix(b"\xef\xbb\xbf").filter(|_| start.byte == 0);
            let line = bare.unwrap_or(&self.line);
            if !line.trim_ascii().is_empty() {
                let object = serde_json::from_slice(line).map_err(|error| self.wrong(error))?;
                self.at.rows += 1;
                return Ok(Some((start, object)));
            }
        }
        Ok(None)
    }

    /// Something is wrong with the line that was read last.
    fn wrong(&self, reason: impl Display) -> Error {
        Error::file(self.path.display().to_string(), format!("line {}: {reason}", self.at.lines))
    }
}
