//! Documents as they come: what one is, what is refused, and how lines of JSON become them.

use std::io::{BufRead, Read};

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Longest name of a document, and most JSON of its metadata, in UTF-16 units: what the index in a browser takes.
const MOST_ID: usize = 1024;
const MOST_METADATA: usize = 8192;
/// Deepest nesting of metadata.
const MOST_NESTED: usize = 16;
/// Most bytes of a text: it lies in one segment, whatever is beside it.
pub const MOST_TEXT: usize = 2 << 20;
/// Most bytes of a line.
const MOST_LINE: u64 = 16 << 20;
/// Documents of a batch, unless their lines have more bytes than these.
const BATCH: usize = 1024;
const BATCH_BYTES: u64 = 8 << 20;

/// A document on its way into an index.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Document {
    /// Names it; no other has this name.
    pub id: String,
    /// What is embedded, and shown. May be empty beside a vector.
    pub text: String,
    /// What it is filtered by.
    pub metadata: Option<Map<String, Value>>,
    /// Taken instead of the text's own, `dimensions` of the index long.
    pub vector: Option<Vec<f32>>,
    /// Where it comes from, for messages: `notes.jsonl, line 7`.
    pub place: String,
}

impl Document {
    /// Refuses what the index in a browser would refuse, and what the model would. `dimensions` are those of a vector, `readable` the
    /// most bytes of a text without one.
    pub(super) fn check(&self, dimensions: usize, readable: usize) -> Result<()> {
        let place = &self.place;
        let limit = |what: &str, found: usize, limit: usize| match found > limit {
            true => {
                let (what, found, limit) = (format!("{place}: {what}"), found as u64, limit as u64);
                Err(Error::LimitExceeded { what, found, limit })
            }
            false => Ok(()),
        };
        let most_text = if self.vector.is_some() { MOST_TEXT } else { MOST_TEXT.min(readable) };
        limit("the length of the id in UTF-16 units", self.id.encode_utf16().count(), MOST_ID)?;
        limit("the size of the text in bytes", self.text.len(), most_text)?;
        if let Some(metadata) = &self.metadata {
            limit("the nesting of the metadata", metadata.values().map(nesting).max().unwrap_or(0) + 1, MOST_NESTED)?;
            limit("the length of the metadata as JSON", json(metadata)?.encode_utf16().count(), MOST_METADATA)?;
        }
        let Some(vector) = &self.vector else { return Ok(()) };
        if vector.len() != dimensions {
            let found = vector.len();
            let advice = "embed the texts with this model, or leave the vectors out";
            return Err(Error::argument(format!(
                "{place}: the vector has {found} dimensions, and those of the model {dimensions}: {advice}"
            )));
        }
        match vector.iter().all(|value| value.is_finite()) {
            true => Ok(()),
            false => Err(Error::argument(format!("{place}: the vector has a value that is not finite"))),
        }
    }

    /// `[id, metadata]`
    pub(super) fn entry(&self) -> Result<String> {
        json(&(&self.id, &self.metadata))
    }
}

fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::argument(error.to_string()))
}

fn nesting(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(nesting).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(nesting).max().unwrap_or(0),
        _ => 0,
    }
}

/// Which keys of a line are what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The text.
    pub text: String,
    /// The name, a string or a whole number.
    pub id: String,
    /// The vector, if there is one.
    pub vector: Option<String>,
}

impl Default for Keys {
    fn default() -> Self {
        Self { text: "text".into(), id: "id".into(), vector: None }
    }
}

/// Lines of JSON objects as batches of documents. Metadata is the key `metadata` where a line has it, else all keys that are nothing else.
/// Empty lines are skipped; a line that is anything else is an error (`invalid-argument`, `limit-exceeded`), and the last item.
pub struct Lines<R> {
    from: R,
    name: String,
    keys: Keys,
    line: u64,
    failed: bool,
}

impl<R: BufRead> Lines<R> {
    /// `name` is what messages call the input.
    pub fn new(from: R, name: impl Into<String>, keys: Keys) -> Self {
        Self { from, name: name.into(), keys, line: 0, failed: false }
    }

    fn batch(&mut self) -> Result<Vec<Document>> {
        let (mut documents, mut bytes, mut line) = (Vec::new(), 0, Vec::new());
        while documents.len() < BATCH && bytes < BATCH_BYTES {
            line.clear();
            self.line += 1;
            let place = format!("{}, line {}", self.name, self.line);
            let read = self.from.by_ref().take(MOST_LINE + 1).read_until(b'\n', &mut line);
            let read = read.map_err(|error| Error::file(&place, error))? as u64;
            if read == 0 {
                break;
            }
            if read > MOST_LINE {
                return Err(Error::LimitExceeded {
                    what: format!("{place}: its bytes"),
                    found: read,
                    limit: MOST_LINE,
                });
            }
            bytes += read;
            let bare = line.strip_prefix(b"\xef\xbb\xbf").filter(|_| self.line == 1).unwrap_or(&line);
            if !bare.trim_ascii().is_empty() {
                documents.push(self.document(bare, place)?);
            }
        }
        Ok(documents)
    }

    fn document(&self, line: &[u8], place: String) -> Result<Document> {
        let Keys { text, id, vector } = &self.keys;
        let wrong = |reason: String| Error::argument(format!("{place}: {reason}"));
        let line: Value = serde_json::from_slice(line).map_err(|error| wrong(format!("no JSON: {error}")))?;
        let Value::Object(mut line) = line else { return Err(wrong("no JSON object".into())) };
        let id = match line.remove(id) {
            Some(Value::String(id)) => id,
            Some(Value::Number(id)) if id.is_u64() || id.is_i64() => id.to_string(),
            Some(_) => return Err(wrong(format!("\"{id}\" is neither a string nor a whole number"))),
            None => return Err(wrong(format!("there is no \"{id}\": name the key of the ids with --id"))),
        };
        let vector = match vector.as_ref().map(|key| (key, line.remove(key))) {
            None | Some((_, None | Some(Value::Null))) => None,
            Some((key, Some(value))) => {
                let values = value.as_array().into_iter().flatten();
                let values = values.map(|value| value.as_f64().map(|value| value as f32)).collect::<Option<Vec<_>>>();
                let values = values.filter(|_| value.is_array());
                Some(values.ok_or_else(|| wrong(format!("\"{key}\" is no array of numbers")))?)
            }
        };
        let text = match line.remove(text) {
            Some(Value::String(text)) => text,
            None | Some(Value::Null) if vector.is_some() => String::new(),
            Some(_) => return Err(wrong(format!("\"{text}\" is no string"))),
            None => return Err(wrong(format!("there is no \"{text}\": name the key of the texts with --column"))),
        };
        let metadata = match line.remove("metadata") {
            Some(Value::Object(metadata)) => Some(metadata),
            Some(Value::Null) => None,
            Some(_) => return Err(wrong("\"metadata\" is no object".into())),
            None => Some(line).filter(|line| !line.is_empty()),
        };
        Ok(Document { id, text, metadata, vector, place })
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<Vec<Document>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let batch = self.batch();
        self.failed = batch.is_err();
        Some(batch).filter(|batch| !batch.as_ref().is_ok_and(Vec::is_empty))
    }
}
