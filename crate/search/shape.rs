//! What a row of a collection is: vectors to rows as they are stored, rows to words as they lie in memory, queries to what rows
//! are compared with.
//!
//! Everything here has an answer that does not depend on the machine: a row has the same bytes, and a query the same integers,
//! natively, in any browser, on any device.

use embedlet_host::CODES;

use crate::error::{Error, Result};

/// Most dimensions of a vector.
pub const MOST_DIMENSIONS: usize = 16_384;
/// Largest magnitude of a value, and of the scale of a row: with as many dimensions as there may be, no score is infinite.
const LARGEST: f32 = (1_u64 << 48) as f32;
/// Largest magnitude of the code of a value.
const MOST_CODE: f32 = 127.0;
/// Largest sum of the magnitudes of a query's integers: times the largest code it is still below 2³¹.
const MOST_QUERY: f64 = (i32::MAX / 127) as f64;

/// How the values of a row are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// As they are.
    Float32,
    /// In a byte each, with a scale a row.
    Int8,
    /// In a bit each, which says whether the value is above zero.
    Binary,
}

impl Precision {
    /// The one of this name.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "float32" => Ok(Self::Float32),
            "int8" => Ok(Self::Int8),
            "binary" => Ok(Self::Binary),
            _ => Err(Error::option("precision of a collection", name)),
        }
    }
}

/// How a row and a query are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Similarity {
    /// By the angle between them: both are scaled to unit length first. A vector of zeros stays one.
    Cosine,
    /// By their dot product.
    Dot,
}

impl Similarity {
    /// The one of this name.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "cosine" => Ok(Self::Cosine),
            "dot" => Ok(Self::Dot),
            _ => Err(Error::option("similarity of a collection", name)),
        }
    }
}

/// What all rows of a collection have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub(crate) dimensions: usize,
    pub(super) precision: Precision,
    similarity: Similarity,
}

#[cfg(not(target_arch = "wasm32"))]
impl Precision {
    /// As it is parsed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Int8 => "int8",
            Self::Binary => "binary",
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl Shape {
    /// How the values of a row are kept.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// How a row and a query are compared.
    pub fn similarity(&self) -> Similarity {
        self.similarity
    }

    /// What an encoded row stands for; of bits, which side of zero each value is on.
    pub(crate) fn decode(&self, row: &[u8], into: &mut Vec<f32>) {
        match self.precision {
            Precision::Float32 => into.extend(row.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value))),
            Precision::Int8 => {
                let (codes, scale) = row.split_at(self.dimensions);
                let scale = scale.as_chunks().0.first().map_or(0.0, |scale| f32::from_le_bytes(*scale));
                into.extend(codes.iter().map(|code| f32::from(*code as i8) * scale));
            }
            Precision::Binary => {
                let is_set = |at: usize| row[at / 8] >> (7 - at % 8) & 1 == 1;
                into.extend((0..self.dimensions).map(|at| if is_set(at) { 1.0 } else { -1.0 }));
            }
        }
    }
}

impl Shape {
    /// Of vectors of 1 to [`MOST_DIMENSIONS`] values.
    pub fn new(dimensions: usize, precision: Precision, similarity: Similarity) -> Result<Self> {
        if dimensions == 0 {
            return Err(Error::argument("a collection needs vectors of at least one dimension"));
        }
        if dimensions > MOST_DIMENSIONS {
            let (what, limit) = ("the number of dimensions".into(), MOST_DIMENSIONS as u64);
            return Err(Error::LimitExceeded { what, found: dimensions as u64, limit });
        }
        Ok(Self { dimensions, precision, similarity })
    }

    /// Bytes of an encoded row.
    pub fn row_bytes(&self) -> usize {
        match self.precision {
            Precision::Float32 => 4 * self.dimensions,
            Precision::Int8 => self.dimensions + 4,
            Precision::Binary => self.dimensions.div_ceil(8),
        }
    }

    /// Words of a row in memory: whole vectors of those who read it, the host's for floats, a GPU's for the others.
    pub(crate) fn stride(&self) -> usize {
        match self.precision {
            Precision::Float32 => self.dimensions.next_multiple_of(8),
            Precision::Int8 => self.dimensions.div_ceil(CODES) * (CODES / 4),
            Precision::Binary => self.dimensions.div_ceil(128) * 4,
        }
    }

    /// Whether rows have scales.
    pub(crate) fn scaled(&self) -> bool {
        self.precision == Precision::Int8
    }

    /// Vectors, one after another, as rows of [`Shape::row_bytes`] each, all little-endian:
    /// - float32: the values;
    /// - int8: the values as multiples, -127 to 127, of the row's scale, which is an f32 behind them;
    /// - binary: a bit a value, the first in the highest bit of the first byte, zeros behind the last.
    ///
    /// An error where a vector is not whole, a value is not finite (`non-finite`), or one is above 2⁴⁸ that is not to be scaled to
    /// unit length (`limit-exceeded`).
    pub fn encode(&self, vectors: &[f32]) -> Result<Vec<u8>> {
        self.encode_part(vectors, 0)
    }

    /// The same, where the vectors are those from the `first` of a call on.
    pub(crate) fn encode_part(&self, vectors: &[f32], first: usize) -> Result<Vec<u8>> {
        if !vectors.len().is_multiple_of(self.dimensions) {
            let (found, dimensions) = (vectors.len(), self.dimensions);
            return Err(Error::argument(format!("{found} values are no vectors of {dimensions} dimensions")));
        }
        let count = vectors.len() / self.dimensions;
        let mut rows = reserved(count * self.row_bytes(), "encoding vectors")?;
        let mut values = vec![0.0; self.dimensions];
        for (index, vector) in (first..).zip(vectors.chunks_exact(self.dimensions)) {
            values.copy_from_slice(vector);
            self.prepare(&mut values, index)?;
            match self.precision {
                Precision::Float32 => rows.extend_from_slice(bytemuck::cast_slice(&values)),
                Precision::Int8 => {
                    let scale = scale_of(&values);
                    rows.extend(values.iter().map(|value| code_of(*value, scale)));
                    rows.extend_from_slice(&scale.to_le_bytes());
                }
                Precision::Binary => rows.extend(values.chunks(8).map(byte_of)),
            }
        }
        Ok(rows)
    }

    /// Checks the values of a vector, the one of this `index` in its call, and scales it to unit length where that is asked for.
    fn prepare(&self, values: &mut [f32], index: usize) -> Result<()> {
        let largest = largest_of(values);
        if !largest.is_finite() {
            return Err(Error::NonFinite { text: index, reason: "NaN or infinity".into() });
        }
        if self.similarity == Similarity::Cosine {
            let squares: f64 = values.iter().map(|value| f64::from(*value) * f64::from(*value)).sum();
            let length = if squares > 0.0 { squares.sqrt() } else { 1.0 };
            values.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
        } else if largest > LARGEST {
            return Err(too_large(largest));
        }
        Ok(())
    }

    /// Takes an encoded row apart, of [`Shape::row_bytes`], into words and a scale; it comes from anywhere.
    pub(super) fn unpack(&self, row: &[u8], words: &mut [u32], scale: &mut f32) -> Result<()> {
        words.fill(0);
        match self.precision {
            Precision::Float32 => {
                bytemuck::cast_slice_mut(words)[..row.len()].copy_from_slice(row);
                let largest = largest_of(bytemuck::cast_slice(words));
                if !largest.is_finite() {
                    return Err(Error::argument("an encoded row has a value that is not finite"));
                }
                if largest > LARGEST {
                    return Err(too_large(largest));
                }
            }
            Precision::Int8 => {
                let (codes, last) = row.split_at(self.dimensions);
                // -128 would overflow the sums.
                if codes.contains(&0x80) {
                    return Err(Error::argument("an encoded row has the code -128, which no vector gives"));
                }
                *scale = last.as_chunks().0.first().map_or(f32::NAN, |bytes| f32::from_le_bytes(*bytes));
                if !(*scale == 0.0 || scale.is_normal() && *scale > 0.0) {
                    return Err(Error::argument("an encoded row has a scale that no vector gives"));
                }
                if *scale > LARGEST {
                    return Err(too_large(*scale));
                }
                bytemuck::cast_slice_mut(words)[..codes.len()].copy_from_slice(codes);
            }
            Precision::Binary => {
                let unused = 8 * row.len() - self.dimensions;
                if row.last().is_some_and(|last| last & ((1_u32 << unused) - 1) as u8 != 0) {
                    return Err(Error::argument("an encoded row has bits behind its last dimension"));
                }
                bytemuck::cast_slice_mut(words)[..row.len()].copy_from_slice(row);
            }
        }
        Ok(())
    }

    /// What rows are compared with.
    pub(super) fn query(&self, vector: &[f32]) -> Result<Query> {
        if vector.len() != self.dimensions {
            let (found, dimensions) = (vector.len(), self.dimensions);
            return Err(Error::argument(format!("the query has {found} dimensions, the collection {dimensions}")));
        }
        let mut values = vector.to_vec();
        self.prepare(&mut values, 0)?;
        Ok(match self.precision {
            Precision::Float32 => {
                values.resize(self.stride(), 0.0);
                Query::Floats(values)
            }
            Precision::Int8 => {
                let factor = factor_of(&values);
                let mut codes = vec![0; 4 * self.stride()];
                for (code, value) in codes.iter_mut().zip(&values) {
                    *code = (f64::from(*value) * factor).round_ties_even() as i16;
                }
                Query::Integers { codes, scale: (1.0 / factor) as f32 }
            }
            Precision::Binary => {
                let mut words = vec![0; self.stride()];
                let bytes = bytemuck::cast_slice_mut(&mut words);
                bytes.iter_mut().zip(values.chunks(8)).for_each(|(byte, values)| *byte = byte_of(values));
                Query::Bits(words)
            }
        })
    }
}

/// A query as rows are compared with it.
pub(super) enum Query {
    Floats(Vec<f32>),
    /// Their sums with a row times its scale and theirs are the score.
    Integers {
        codes: Vec<i16>,
        scale: f32,
    },
    Bits(Vec<u32>),
}

impl Query {
    /// The score that a key stands for; keys are in the same order.
    pub fn score(&self, key: f32) -> f32 {
        let scale = if let Self::Integers { scale, .. } = self { *scale } else { 1.0 };
        // Of the two zeros the positive.
        key * scale + 0.0
    }

    /// The words that a GPU reads.
    pub fn words(&self) -> Vec<u32> {
        match self {
            Self::Floats(values) => bytemuck::cast_slice(values).to_vec(),
            Self::Integers { codes, .. } => codes.iter().map(|code| i32::from(*code) as u32).collect(),
            Self::Bits(words) => words.clone(),
        }
    }
}

/// The largest magnitude; infinite where a value is NaN.
fn largest_of(values: &[f32]) -> f32 {
    // As integers magnitudes are in the same order, NaN behind infinity.
    let bits = values.iter().fold(0, |most: u32, value| most.max(value.to_bits() & !(1 << 31)));
    f32::from_bits(bits.min(f32::INFINITY.to_bits()))
}

/// What the codes of values are multiples of; zero for values so small that a GPU may take them for zero.
fn scale_of(values: &[f32]) -> f32 {
    let scale = largest_of(values) / MOST_CODE;
    if scale.is_normal() { scale } else { 0.0 }
}

/// The nearest multiple of a scale, as a byte.
fn code_of(value: f32, scale: f32) -> u8 {
    let code = if scale > 0.0 { (value / scale).round_ties_even().clamp(-MOST_CODE, MOST_CODE) } else { 0.0 };
    code as i8 as u8
}

/// What the integers of a query are, divided by its values: as large as they may be.
fn factor_of(values: &[f32]) -> f64 {
    let largest = f64::from(largest_of(values));
    if largest == 0.0 {
        return 1.0;
    }
    let sum: f64 = values.iter().map(|value| f64::from(value.abs())).sum();
    // Rounding can add a half to each.
    let room = MOST_QUERY - 0.5 * values.len() as f64;
    (f64::from(i16::MAX) / largest).min(room / sum)
}

/// Eight values, or the last, as bits.
fn byte_of(values: &[f32]) -> u8 {
    values.iter().enumerate().fold(0, |byte, (bit, value)| byte | u8::from(*value > 0.0) << (7 - bit))
}

fn too_large(found: f32) -> Error {
    Error::LimitExceeded { what: "the magnitude of a value".into(), found: found as u64, limit: LARGEST as u64 }
}

/// An empty list with room, or a typed error.
pub(crate) fn reserved<T>(count: usize, doing: &str) -> Result<Vec<T>> {
    let mut list = Vec::new();
    list.try_reserve_exact(count).map_err(|_| Error::OutOfMemory { doing: doing.into() })?;
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(dimensions: usize, precision: Precision, similarity: Similarity) -> Shape {
        Shape::new(dimensions, precision, similarity).unwrap()
    }

    #[test]
    fn rows_are_what_the_documentation_says() {
        let dot = |precision| shape(3, precision, Similarity::Dot);
        let vector = [127.0, -63.6, 0.4];
        let floats: Vec<u8> = vector.iter().flat_map(|value: &f32| value.to_le_bytes()).collect();
        assert_eq!(dot(Precision::Float32).encode(&vector).unwrap(), floats);
        assert_eq!(dot(Precision::Int8).encode(&vector).unwrap(), [127, 192, 0, 0, 0, 128, 63]);
        assert_eq!(dot(Precision::Binary).encode(&vector).unwrap(), [0b1010_0000]);
        // Squares of such lengths are no f32.
        let long = 2_f32.powi(120);
        let vectors = [3.0 * long, -4.0 * long, 0.0, 0.0];
        let cosine = shape(2, Precision::Float32, Similarity::Cosine).encode(&vectors).unwrap();
        let expected: Vec<u8> = [0.6_f32, -0.8, 0.0, 0.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(cosine, expected);
        let nine = shape(9, Precision::Binary, Similarity::Cosine);
        assert_eq!(nine.encode(&[1.0; 9]).unwrap(), [255, 128]);
        assert_eq!((nine.row_bytes(), nine.stride()), (2, 4));
    }

    #[test]
    fn sums_of_a_query_fit_whatever_the_row() {
        for dimensions in [1, 2, 384, MOST_DIMENSIONS] {
            for values in [vec![1.0; dimensions], (0..dimensions).map(|at| 1e-3 + (at % 7) as f32).collect()] {
                let shape = shape(dimensions, Precision::Int8, Similarity::Dot);
                let Query::Integers { codes, scale } = shape.query(&values).unwrap() else { panic!("integers") };
                let sum: i64 = codes.iter().map(|code| i64::from(code.abs())).sum();
                assert!(127 * sum < 1 << 31, "{dimensions}: {sum}");
                let error = |(code, value): (&i16, &f32)| (f32::from(*code) * scale - value).abs();
                let worst = codes.iter().zip(&values).map(error).fold(0.0, f32::max);
                assert!(worst <= 0.51 * scale, "{dimensions}: {worst}");
            }
        }
    }

    #[test]
    fn what_no_vector_gives_is_refused() {
        let code = |shape: Shape, vector: &[f32]| shape.encode(vector).unwrap_err().code();
        for precision in [Precision::Float32, Precision::Int8, Precision::Binary] {
            for similarity in [Similarity::Cosine, Similarity::Dot] {
                let shape = shape(2, precision, similarity);
                for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    assert_eq!(code(shape, &[0.0, 1.0, wrong, 1.0]), "non-finite");
                    assert_eq!(shape.query(&[1.0, wrong]).err().map(|error| error.code()), Some("non-finite"));
                }
                assert_eq!(code(shape, &[1.0; 3]), "invalid-argument");
                assert_eq!(shape.query(&[1.0]).err().map(|error| error.code()), Some("invalid-argument"));
            }
            assert_eq!(code(shape(2, precision, Similarity::Dot), &[1.0, 1e30]), "limit-exceeded");
        }
        let unpack = |precision, row: &[u8]| {
            let shape = shape(3, precision, Similarity::Dot);
            assert_eq!(row.len(), shape.row_bytes());
            shape.unpack(row, &mut vec![0; shape.stride()], &mut 0.0).map_err(|error| error.code())
        };
        let float = |value: f32| [[0; 4], value.to_le_bytes(), [0; 4]].concat();
        let int8 = |code: u8, scale: f32| [&[0, code, 0][..], &scale.to_le_bytes()].concat();
        assert_eq!(unpack(Precision::Float32, &float(1.0)), Ok(()));
        assert_eq!(unpack(Precision::Float32, &float(f32::NAN)), Err("invalid-argument"));
        assert_eq!(unpack(Precision::Float32, &float(1e30)), Err("limit-exceeded"));
        assert_eq!(unpack(Precision::Int8, &int8(0x81, 1.0)), Ok(()));
        assert_eq!(unpack(Precision::Int8, &int8(0, 0.0)), Ok(()));
        assert_eq!(unpack(Precision::Int8, &int8(0x80, 1.0)), Err("invalid-argument"));
        for scale in [f32::NAN, f32::INFINITY, -1.0, 1e-40] {
            assert_eq!(unpack(Precision::Int8, &int8(1, scale)), Err("invalid-argument"));
        }
        assert_eq!(unpack(Precision::Int8, &int8(1, 1e30)), Err("limit-exceeded"));
        assert_eq!(unpack(Precision::Binary, &[0b1110_0000]), Ok(()));
        assert_eq!(unpack(Precision::Binary, &[0b1111_0000]), Err("invalid-argument"));
        assert_eq!(Shape::new(0, Precision::Int8, Similarity::Dot).unwrap_err().code(), "invalid-argument");
        let most = Shape::new(MOST_DIMENSIONS + 1, Precision::Int8, Similarity::Dot);
        assert_eq!(most.unwrap_err().code(), "limit-exceeded");
        assert_eq!(Precision::parse("float16").unwrap_err().code(), "unsupported-option");
        assert_eq!(Similarity::parse("euclidean").unwrap_err().code(), "unsupported-option");
    }
}
