//! Collections as the npm package sees them. Arrays of the caller's are read where they lie, in parts, so that their size is never a
//! reason to trap.

use js_sys::{Float32Array, Object, Reflect, Uint8Array, Uint32Array};
use wasm_bindgen::prelude::*;

use super::{Model, thrown};
use crate::error::{Error, Result};
use crate::search::{self, Found, Precision, Rows, Shape, Similarity};

/// Values of vectors that are encoded at once, unless one has more.
const PART_VALUES: usize = 1 << 16;

/// Rows that can be searched.
#[wasm_bindgen]
pub struct Collection(search::Collection);

impl Rows for Uint8Array {
    fn bytes(&self) -> usize {
        self.length() as usize
    }

    fn copy(&self, from: usize, into: &mut [u8]) -> Result<()> {
        let part = self.subarray(from as u32, (from + into.len()) as u32);
        if part.length() as usize != into.len() {
            return Err(Error::argument("the rows were taken away while they were appended"));
        }
        part.copy_to(into);
        Ok(())
    }
}

/// The numbers of an array, at most so many.
fn numbers(array: &Uint32Array, most: usize) -> Result<Vec<u32>> {
    let count = (array.length() as usize).min(most);
    let mut numbers = search::reserved(count, "reading an argument")?;
    numbers.resize(count, 0);
    array.subarray(0, count as u32).copy_to(&mut numbers);
    Ok(numbers)
}

#[wasm_bindgen]
impl Collection {
    /// Without rows, on the device of a model.
    #[wasm_bindgen(constructor)]
    pub fn new(model: &Model, dimensions: usize, precision: &str, similarity: &str) -> Result<Collection, JsValue> {
        let precision = Precision::parse(precision).map_err(thrown)?;
        let similarity = Similarity::parse(similarity).map_err(thrown)?;
        let shape = Shape::new(dimensions, precision, similarity).map_err(thrown)?;
        Ok(Self(model.0.collection(shape)))
    }

    /// Bytes of an encoded row.
    #[wasm_bindgen(getter, js_name = rowBytes)]
    pub fn row_bytes(&self) -> usize {
        self.0.shape().row_bytes()
    }

    /// Writes whole vectors as encoded rows, for which there is room.
    pub fn encode(&self, vectors: &Float32Array, rows: &Uint8Array) -> Result<(), JsValue> {
        let shape = self.0.shape();
        let most = (PART_VALUES / shape.dimensions).max(1) * shape.dimensions;
        let mut values = search::reserved(most, "encoding vectors").map_err(thrown)?;
        let (mut from, mut at) = (0, 0);
        while from < vectors.length() {
            let part = vectors.subarray(from, from + most as u32);
            values.resize(part.length() as usize, 0.0);
            part.copy_to(&mut values);
            let encoded = shape.encode_part(&values, from as usize / shape.dimensions).map_err(thrown)?;
            rows.subarray(at, at + encoded.len() as u32).copy_from(&encoded);
            (from, at) = (from + part.length(), at + encoded.len() as u32);
        }
        Ok(())
    }

    /// Appends encoded rows and gives the number of the first.
    pub async fn append(&mut self, rows: Uint8Array) -> Result<u32, JsValue> {
        self.0.append_from(&rows).await.map_err(thrown)
    }

    /// Rows that are never found again.
    pub fn remove(&mut self, rows: &Uint32Array) -> Result<(), JsValue> {
        let rows = numbers(rows, usize::MAX).map_err(thrown)?;
        self.0.remove(&rows).map_err(thrown)
    }

    /// `{ rows, scores }` of the best rows that a bitmap allows, or of all.
    pub async fn search(&self, query: Vec<f32>, top_k: usize, allowed: Option<Uint32Array>) -> Result<Object, JsValue> {
        let words = self.0.count().div_ceil(32);
        let allowed = allowed.map(|allowed| numbers(&allowed, words)).transpose().map_err(thrown)?;
        let Found { rows, scores } = self.0.search(&query, top_k, allowed.as_deref()).await.map_err(thrown)?;
        let found = Object::new();
        Reflect::set(&found, &"rows".into(), &Uint32Array::from(rows.as_slice()))?;
        Reflect::set(&found, &"scores".into(), &Float32Array::from(scores.as_slice()))?;
        Ok(found)
    }
}
