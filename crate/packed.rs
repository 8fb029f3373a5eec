//! `embedlet.json` of a packed folder: which tensors are integers, what its files are, and vectors that it must give. The
//! format is described in docs/format.md; `pack/` writes it.

use std::collections::BTreeMap;

use half::f16;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::checkpoint::{prefix, todays_name};
use crate::config::{json, limit};
use crate::error::{Error, Result};
use crate::model::{EmbedOptions, Model};
use crate::program::Precision;
use crate::sparsity::Sparsity;
use crate::weights::Weight;

/// Its name.
pub const FILE: &str = "embedlet.json";
/// The version of the format that is read and written.
pub const VERSION: u32 = 1;
/// What follows a tensor's name where its scales are.
pub const SCALES: &str = ".scales";
/// What follows a tensor's name where its zero points are.
pub const ZEROS: &str = ".zeros";
/// Widths of integers that are read.
pub const BITS: [u32; 4] = [4, 5, 6, 8];

const TENSORS: usize = 4096;
const FILES: usize = 300;
const GOLDEN: usize = 16;

/// What `embedlet.json` says, less what is for people.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Packed {
    /// The tensors that are integers, by name.
    pub tensors: BTreeMap<String, Packing>,
    /// The folder's other files, by path.
    pub files: BTreeMap<String, Sum>,
    /// Texts with the vectors that the folder gives in f32.
    pub golden: Vec<Golden>,
}

/// How a matrix `[rows, columns]` is stored in integers of a few bits. Rows are cut into groups of columns, which have a scale
/// each and, where there are zero points, one of those: `value = scale (q - zero)`. Without, zero is `2^(bits - 1)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packing {
    /// Of the matrix; the stored tensor has those that are stored.
    pub rows: usize,
    /// Of the matrix; the stored tensor has as many bytes as a row needs.
    pub columns: usize,
    /// Width of an integer.
    pub bits: u32,
    /// Columns that share a scale; the last group of a row may have fewer.
    pub group: usize,
    /// Whether there are zero points.
    pub zeros: bool,
    /// What of it is stored. Scales are, of all.
    pub sparsity: Sparsity,
}

/// Size and hash of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sum {
    /// Bytes.
    pub bytes: u64,
    /// 64 hex digits.
    pub sha256: String,
}

impl Sum {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len() as u64, sha256: hex(Sha256::digest(bytes)) }
    }

    /// Refuses other bytes.
    pub fn check(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let found = Self::of(bytes);
        match found.bytes == self.bytes && found.sha256 == self.sha256 {
            true => Ok(()),
            false => Err(Error::WrongHash { path: path.into(), expected: self.sha256.clone(), found: found.sha256 }),
        }
    }
}

/// Bytes of a hash as hexadecimal digits.
pub(crate) fn hex(hash: impl IntoIterator<Item = u8>) -> String {
    hash.into_iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A text and its vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Golden {
    /// The text, as a caller would give it.
    pub text: String,
    /// The vector, by the folder's own weights on the CPU in f32.
    pub vector: Vec<f32>,
}

impl Packed {
    /// Reads `embedlet.json`.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let value = json(FILE, bytes)?;
        let wrong = |what: &str| Error::file(FILE, format!("{what} is missing or not as docs/format.md has it"));
        let version = value.get("embedlet").and_then(Value::as_u64).ok_or_else(|| wrong("embedlet"))?;
        if version != u64::from(VERSION) {
            return Err(Error::option("embedlet.json embedlet (the version of the format)", version));
        }
        let entries = |key: &str, most: usize| match value.get(key) {
            Some(Value::Object(entries)) if entries.len() <= most => Ok(entries),
            _ => Err(wrong(key)),
        };
        let mut packed = Self::default();
        for (name, entry) in entries("tensors", TENSORS)? {
            let packing = Packing::parse(entry).ok_or_else(|| wrong(&format!("tensors {name}")))?;
            packed.tensors.insert(todays_name(name), packing);
        }
        for (path, entry) in entries("files", FILES)? {
            let bytes = entry.get("bytes").and_then(Value::as_u64);
            let sha256 = entry.get("sha256").and_then(Value::as_str);
            let sha256 = sha256.filter(|hex| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let sum = bytes.zip(sha256).map(|(bytes, sha256)| Sum { bytes, sha256: sha256.to_ascii_lowercase() });
            packed.files.insert(path.clone(), sum.ok_or_else(|| wrong(&format!("files {path}")))?);
        }
        let golden = value.get("golden").and_then(Value::as_array).filter(|list| list.len() <= GOLDEN);
        for entry in golden.ok_or_else(|| wrong("golden"))? {
            packed.golden.push(Golden::parse(entry).ok_or_else(|| wrong("golden"))?);
        }
        Ok(packed)
    }

    /// Tells the parts that are in `file`, that of the encoder, how they are stored.
    pub fn assign(&self, file: &str, prefixes: &[&'static str], weights: &mut [Weight]) {
        let parts = weights.iter().flat_map(|weight| &weight.parts).filter(|part| part.file == file);
        let prefix = prefix(prefixes, parts, |name| self.tensors.contains_key(name));
        for part in weights.iter_mut().flat_map(|weight| &mut weight.parts).filter(|part| part.file == file) {
            part.packing = self.tensors.get(&part.full_name(prefix)).copied();
        }
    }
}

impl Golden {
    fn parse(entry: &Value) -> Option<Self> {
        let text = entry.get("text")?.as_str()?.to_owned();
        let number = |value: &Value| value.as_f64().map(|number| number as f32).filter(|number| number.is_finite());
        let vector = entry.get("vector")?.as_array().filter(|vector| vector.len() <= limit::INNER)?;
        Some(Self { text, vector: vector.iter().map(number).collect::<Option<_>>()? })
    }
}

impl Packing {
    fn parse(entry: &Value) -> Option<Self> {
        let size = |value: &Value| value.as_u64().and_then(|size| usize::try_from(size).ok()).filter(|size| *size > 0);
        let [rows, columns] = entry.get("shape")?.as_array()?.as_slice() else { return None };
        let (rows, columns) = (size(rows)?, size(columns).filter(|columns| *columns <= 1 << 20)?);
        let packing = Self {
            rows,
            columns,
            bits: u32::try_from(entry.get("bits")?.as_u64()?).ok().filter(|bits| BITS.contains(bits))?,
            group: size(entry.get("group")?)?,
            zeros: entry.get("zeros")?.as_bool()?,
            sparsity: Sparsity::parse(entry.get("stored"), rows, columns)?,
        };
        // What is not stored is the middle, which is zero where there are no other zero points.
        let zero = packing.sparsity == Sparsity::None || !packing.zeros;
        (packing.group <= packing.columns && zero).then_some(packing)
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.sparsity.row_bits(self.columns, self.bits as usize).div_ceil(8)
    }

    /// Rows of the stored tensor.
    pub fn stored_rows(&self) -> usize {
        self.sparsity.rows(self.rows)
    }

    /// Groups of a row.
    pub fn groups(&self) -> usize {
        self.columns.div_ceil(self.group)
    }

    /// The zero point where there are none stored.
    pub fn middle(&self) -> u8 {
        1 << (self.bits - 1)
    }

    /// The integers of stored rows: in each row integer i has the bits from `i bits` on, the lowest first. Of two in four columns the
    /// places come first, two bits each. What is not stored is the middle.
    pub fn integers(&self, bytes: &[u8]) -> Vec<u8> {
        if self.bits == 8 && self.sparsity == Sparsity::None {
            return bytes.to_vec();
        }
        let mut integers = Vec::with_capacity(bytes.len() / self.row_bytes() * self.columns);
        for row in bytes.chunks_exact(self.row_bytes()) {
            let mut row = Bits { held: 0, count: 0, bytes: row.iter() };
            match self.sparsity {
                Sparsity::None => integers.extend((0..self.columns).map(|_| row.take(self.bits))),
                Sparsity::Blocks { columns, .. } => {
                    let integer = |column| if columns.has(column) { row.take(self.bits) } else { self.middle() };
                    integers.extend((0..self.columns).map(integer));
                }
                Sparsity::TwoOfFour => {
                    for _ in 0..self.columns / 4 {
                        let mut four = [self.middle(); 4];
                        let places = [row.take(2), row.take(2)];
                        for place in places {
                            four[usize::from(place)] = row.take(self.bits);
                        }
                        integers.extend(four);
                    }
                }
            }
        }
        integers
    }

    /// The bytes that [`Packing::integers`] reads, of all rows.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn bytes(&self, integers: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.stored_rows() * self.row_bytes());
        for (_, integers) in
            integers.chunks_exact(self.columns).enumerate().filter(|(row, _)| self.sparsity.has_row(*row))
        {
            let mut fields: Vec<(u8, u32)> = Vec::new();
            match self.sparsity {
                Sparsity::TwoOfFour => {
                    for four in integers.as_chunks::<4>().0 {
                        // Those that are not zero, filled up with others.
                        let mut places = [0, 1, 2, 3];
                        places.sort_by_key(|place| four[*place] == self.middle());
                        fields.extend([0, 1].map(|at| (places[at] as u8, 2)));
                        fields.extend([0, 1].map(|at| (four[places[at]], self.bits)));
                    }
                }
                sparsity => {
                    let stored = integers.iter().enumerate().filter(|(column, _)| sparsity.has_column(*column));
                    fields.extend(stored.map(|(_, integer)| (*integer, self.bits)));
                }
            }
            let (mut held, mut count) = (0u32, 0);
            for (field, width) in fields {
                held |= u32::from(field) << count;
                count += width;
                while count >= 8 {
                    bytes.push(held as u8);
                    held >>= 8;
                    count -= 8;
                }
            }
            if count > 0 {
                bytes.push(held as u8);
            }
        }
        bytes
    }

    /// What integers of whole rows stand for. `scales` are halves, `zeros` may be empty; both are those of these rows.
    pub fn values(&self, integers: &[u8], scales: &[u8], zeros: &[u8]) -> Vec<f32> {
        let scales = scales.as_chunks().0;
        let mut values = Vec::with_capacity(integers.len());
        for (row, integers) in integers.chunks_exact(self.columns).enumerate() {
            for (group, integers) in integers.chunks(self.group).enumerate() {
                let at = row * self.groups() + group;
                let scale = f16::from_le_bytes(scales[at]).to_f32();
                let zero = f32::from(zeros.get(at).copied().unwrap_or(self.middle()));
                values.extend(integers.iter().map(|integer| scale * (f32::from(*integer) - zero)));
            }
        }
        values
    }
}

/// The bits of a row, the lowest of a byte first; zeros behind its end.
struct Bits<'a> {
    held: u32,
    count: u32,
    bytes: std::slice::Iter<'a, u8>,
}

impl Bits<'_> {
    fn take(&mut self, width: u32) -> u8 {
        if self.count < width {
            self.held |= u32::from(self.bytes.next().copied().unwrap_or_default()) << self.count;
            self.count += 8;
        }
        let field = (self.held & ((1 << width) - 1)) as u8;
        self.held >>= width;
        self.count -= width;
        field
    }
}

impl Model {
    /// Refuses a model that gives other vectors than its folder gave where it was packed: another tokenizer, other weights or
    /// a device that miscomputes.
    pub(crate) async fn reproduces(&self, golden: &[Golden]) -> Result<()> {
        // What an encoder has is the rounding of its weights; thresholds are far from it and from any mistake.
        let allowed = match self.precision() {
            Precision::F32 | Precision::Packed => 0.01,
            Precision::F16 => 0.03,
            Precision::Int8 => 0.3,
        };
        let texts: Vec<&str> = golden.iter().map(|golden| golden.text.as_str()).collect();
        let found = self.embed(&texts, &EmbedOptions::default())?.run(self).await?;
        for (Golden { vector, .. }, found) in golden.iter().zip(found.data.chunks_exact(found.dimensions)) {
            if vector.len() != found.len() {
                return Err(Error::file(FILE, format!("its vectors have {} columns", vector.len())));
            }
            let length = |values: &mut dyn Iterator<Item = f32>| values.map(|value| value * value).sum::<f32>().sqrt();
            let difference = length(&mut vector.iter().zip(found).map(|(a, b)| a - b));
            let error = difference / length(&mut vector.iter().copied()).max(f32::MIN_POSITIVE);
            if error.is_nan() || error > allowed {
                return Err(Error::NotReproduced { error, allowed });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sparsity::Blocks;

    #[test]
    fn integers_of_every_width_come_back() {
        for bits in BITS {
            let packing = Packing { rows: 2, columns: 13, bits, group: 5, zeros: false, sparsity: Sparsity::None };
            let integers: Vec<u8> = (0..26u32).map(|i| (i * 37 % (1 << bits)) as u8).collect();
            let bytes = packing.bytes(&integers);
            assert_eq!(bytes.len(), 2 * packing.row_bytes(), "{bits} bits");
            assert_eq!(packing.integers(&bytes), integers, "{bits} bits");
        }
    }

    #[test]
    fn what_is_not_stored_is_zero() {
        let blocks = |size, kept| Blocks { size, kept };
        for bits in BITS {
            for sparsity in [
                Sparsity::TwoOfFour,
                Sparsity::Blocks { rows: blocks(2, 0b101), columns: blocks(3, 0b1110) },
                Sparsity::Blocks { rows: blocks(1, u64::MAX), columns: blocks(12, 1) },
            ] {
                let packing = Packing { rows: 5, columns: 12, bits, group: 5, zeros: false, sparsity };
                let is_kept = |row: usize, column: usize| match sparsity {
                    Sparsity::TwoOfFour => (row + column) % 4 == 1 || (row * column) % 4 == 2,
                    _ => sparsity.has_row(row) && sparsity.has_column(column),
                };
                let integer = |at: usize| {
                    let kept = is_kept(at / 12, at % 12);
                    if kept { (at * 37 % (1 << bits)) as u8 } else { packing.middle() }
                };
                let integers: Vec<u8> = (0..60).map(integer).collect();
                let bytes = packing.bytes(&integers);
                assert_eq!(bytes.len(), packing.stored_rows() * packing.row_bytes(), "{bits} bits, {sparsity:?}");
                let rows: Vec<u8> = integers
                    .chunks_exact(12)
                    .enumerate()
                    .filter(|(row, _)| sparsity.has_row(*row))
                    .flat_map(|(_, row)| row.to_vec())
                    .collect();
                assert_eq!(packing.integers(&bytes), rows, "{bits} bits, {sparsity:?}");
            }
        }
    }

    #[test]
    fn values_are_scaled_by_group() {
        let packing = Packing { rows: 1, columns: 3, bits: 4, group: 2, zeros: true, sparsity: Sparsity::None };
        let scales: Vec<u8> = [0.5, 2.0].iter().flat_map(|scale| f16::from_f32(*scale).to_le_bytes()).collect();
        assert_eq!(packing.values(&[0, 15, 7], &scales, &[1, 9]), [-0.5, 7.0, -4.0]);
        assert_eq!(packing.values(&[0, 15, 7], &scales, &[]), [-4.0, 3.5, -2.0]);
    }

    #[test]
    fn what_is_out_of_proportion_is_refused() {
        let with = |tensors: &str, files: &str, golden: &str| {
            let text = format!(r#"{{"embedlet": 1, "tensors": {tensors}, "files": {files}, "golden": {golden}}}"#);
            Packed::parse(text.as_bytes()).map_err(|error| error.code())
        };
        let good = r#"{"a": {"shape": [2, 8], "bits": 4, "group": 8, "zeros": true}}"#;
        let file = format!(r#"{{"config.json": {{"bytes": 3, "sha256": "{}"}}}}"#, "0A".repeat(32));
        let read = with(good, &file, r#"[{"text": "a", "vector": [1, 0.5]}]"#).unwrap();
        let expected = Packing { rows: 2, columns: 8, bits: 4, group: 8, zeros: true, sparsity: Sparsity::None };
        assert_eq!(read.tensors["a"], expected);
        assert_eq!(read.files["config.json"], Sum { bytes: 3, sha256: "0a".repeat(32) });
        assert_eq!(read.golden, [Golden { text: "a".into(), vector: vec![1.0, 0.5] }]);
        for (old, new) in [
            ("[2, 8]", "[2, 8, 1]"),
            ("[2, 8]", "[2, -8]"),
            ("[2, 8]", "[2, 18446744073709551615]"),
            ("\"bits\": 4", "\"bits\": 3"),
            ("\"bits\": 4", "\"bits\": 4294967300"),
            ("\"group\": 8", "\"group\": 0"),
            ("\"group\": 8", "\"group\": 9"),
            (", \"zeros\": true", ""),
            ("true", "false, \"stored\": \"4:8\""),
            ("true", "true, \"stored\": \"2:4\""),
            ("true", "false, \"stored\": {\"rows\": {\"size\": 1, \"kept\": [0]}}"),
            (
                "true",
                "false, \"stored\": {\"rows\": {\"size\": 0, \"kept\": [0]}, \"columns\": {\"size\": 8, \"kept\": [0]}}",
            ),
            (
                "true",
                "false, \"stored\": {\"rows\": {\"size\": 1, \"kept\": [2]}, \"columns\": {\"size\": 8, \"kept\": [0]}}",
            ),
            (
                "true",
                "false, \"stored\": {\"rows\": {\"size\": 1, \"kept\": []}, \"columns\": {\"size\": 8, \"kept\": [0]}}",
            ),
        ] {
            assert_eq!(with(&good.replace(old, new), "{}", "[]"), Err("invalid-file"), "{new}");
        }
        assert_eq!(with("{}", &file.replace("0A0A", "0G0A"), "[]"), Err("invalid-file"));
        assert_eq!(with("{}", "{}", r#"[{"text": "a", "vector": [1e40]}]"#), Err("invalid-file"));
        assert_eq!(with("[]", "{}", "[]"), Err("invalid-file"));
        assert_eq!(
            Packed::parse(br#"{"embedlet": 2}"#).map_err(|error| error.code()),
            Err("unsupported-option"),
            "a later format"
        );
    }
}
