//! A file of documents, docs/index-format.md: one passage a document, which is its whole text.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::file::{Framed, damaged, frame, parts, unframe, xxh32};
use super::made::Made;
use crate::error::Result;

/// Most bytes of a segment.
pub const MOST_BYTES: u64 = 8 << 20;
/// Room for frame and header.
const HEADER: u64 = 1024;
/// Most bytes of documents in one segment.
pub const MOST_DOCUMENTS: u64 = MOST_BYTES - HEADER;
/// Bytes of a document's record and of its passage's place, and what stands between two entries.
pub const BESIDE: u64 = 6 * 4 + 3 * 4 + 1;
/// The flag of a document that came with a vector.
const GIVEN: u32 = 1;

/// A document as a segment takes it.
pub struct Stored {
    /// `[id, metadata]` as JSON.
    pub entry: Vec<u8>,
    /// UTF-8.
    pub text: Vec<u8>,
    /// Whether its vector came with it.
    pub given: bool,
    /// What is scanned.
    pub row: Vec<u8>,
    /// In float32, where vectors are kept; else nothing.
    pub vector: Vec<u8>,
}

/// What a manifest says of a segment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Named {
    /// Of the file.
    pub name: String,
    /// Of the file.
    pub bytes: u64,
    /// Of its header.
    pub checksum: u32,
    /// In it.
    pub documents: u64,
    /// None are.
    pub removed: Option<String>,
    /// Of the file, 64 hex digits.
    pub sha256: String,
}

/// The file of some documents, and the checksum of its header.
pub fn write(documents: &[Stored], made: &Made) -> Result<(Vec<u8>, u32)> {
    let [mut entries, mut records, mut places, mut rows, mut texts, mut vectors] = [const { Vec::new() }; 6];
    entries.push(b'[');
    for document in documents {
        let Stored { entry, text, given, row, vector } = document;
        if entries.len() > 1 {
            entries.push(b',');
        }
        entries.extend_from_slice(entry);
        let units = String::from_utf8_lossy(text).encode_utf16().count() as u32;
        put(&mut records, [text.len() as u32, xxh32(text), 0, 0, 1, if *given { GIVEN } else { 0 }]);
        put(&mut places, [0, units, if made.vectors { xxh32(vector) } else { 0 }]);
        rows.extend_from_slice(row);
        texts.extend_from_slice(text);
        vectors.extend_from_slice(vector);
    }
    entries.push(b']');
    let mut named = Map::new();
    for (name, part) in [("entries", &entries), ("records", &records), ("places", &places), ("rows", &rows)] {
        named.insert(name.into(), json!([part.len(), xxh32(part)]));
    }
    named.insert("texts".into(), json!([texts.len()]));
    named.insert("vectors".into(), json!([vectors.len()]));
    let (mut file, checksum) = frame(&json!({
        "kind": "segment",
        "documents": documents.len(),
        "passages": documents.len(),
        "dimensions": made.dimensions,
        "rowBytes": made.row_bytes,
        "vectors": made.vectors,
        "parts": named,
    }))?;
    [entries, records, places, rows, texts, vectors].iter().for_each(|part| file.extend_from_slice(part));
    Ok((file, checksum))
}

fn put<const N: usize>(part: &mut Vec<u8>, numbers: [u32; N]) {
    numbers.iter().for_each(|number| part.extend_from_slice(&number.to_le_bytes()));
}

/// A segment that was read.
pub struct Segment<'a> {
    /// `[id, metadata]`
    pub entries: Vec<(String, Option<Map<String, Value>>)>,
    /// Row after row.
    pub rows: &'a [u8],
    /// Where each text ends in `texts`.
    ends: Vec<usize>,
    texts: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Reads a file that this crate wrote; what is in it is checked against what the manifest says.
    pub fn read(named: &Named, file: &'a [u8], made: &Made) -> Result<Self> {
        let wrong = || damaged(&named.name);
        let framed: Framed<'a> = unframe(&named.name, file)?;
        let header = &framed.header;
        let number = |key: &str| header[key].as_u64();
        let documents = usize::try_from(named.documents).map_err(|_| wrong())?;
        let is_ours = header["kind"] == "segment" && framed.checksum == named.checksum;
        let is_shaped = number("documents") == Some(named.documents)
            && number("passages") == Some(named.documents)
            && number("dimensions") == Some(made.dimensions as u64)
            && number("rowBytes") == Some(made.row_bytes as u64)
            && header["vectors"] == made.vectors;
        if !is_ours || !is_shaped {
            return Err(wrong());
        }
        let names = ["entries", "records", "places", "rows", "texts", "vectors"];
        let [entries, records, places, rows, texts, vectors] = parts(&named.name, &framed, names)?;
        let sized = |part: &[u8], each: usize| documents.checked_mul(each) == Some(part.len());
        let each = if made.vectors { 4 * made.dimensions } else { 0 };
        if !sized(records, 24) || !sized(places, 12) || !sized(rows, made.row_bytes) || !sized(vectors, each) {
            return Err(wrong());
        }
        let entries: Vec<_> = serde_json::from_slice(entries).map_err(|_| wrong())?;
        let mut ends = Vec::with_capacity(documents);
        let mut end = 0_usize;
        for record in records.as_chunks::<24>().0 {
            let [a, b, c, d, ..] = *record;
            end = end.saturating_add(u32::from_le_bytes([a, b, c, d]) as usize);
            ends.push(end);
        }
        match entries.len() == documents && end == texts.len() {
            true => Ok(Self { entries, rows, ends, texts }),
            false => Err(wrong()),
        }
    }

    /// The text of a document.
    pub fn text(&self, index: usize) -> String {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        String::from_utf8_lossy(&self.texts[start..self.ends[index]]).into_owned()
    }
}
