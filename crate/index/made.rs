//! What made the vectors of an index, and whether a model is that: what is compared in a browser when the index is opened there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::{EmbedOptions, Kind, Model};
use crate::search::{Precision, Shape, Similarity};

/// Its vector says which model it was, whatever its name.
const PROBE: &str = "The quick brown fox jumps over the lazy dog, and 42 others watch.";
/// Devices and precisions of weights differ less than this, models more.
const LEAST_COSINE: f64 = 0.999;

/// The key `made` of a manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Made {
    /// A name, if it was given one.
    pub model: Option<String>,
    /// `model_type`.
    pub architecture: String,
    /// Of a vector.
    pub dimensions: usize,
    /// Bytes of a row.
    pub row_bytes: usize,
    /// Whether float32 vectors are kept beside the rows.
    pub vectors: bool,
    /// `cosine` or `dot`.
    pub similarity: String,
    /// Of rows.
    pub precision: String,
    /// The model's prompts by name.
    pub prompts: BTreeMap<String, String>,
    /// The vector of a text that never changes.
    pub probe: Vec<f32>,
}

impl Made {
    /// What `model` makes, cut to so many dimensions.
    pub fn by(
        model: &Model,
        name: Option<&str>,
        dimensions: Option<usize>,
        precision: Precision,
        vectors: bool,
    ) -> Result<Self> {
        let info = model.info();
        let similarity = match info.similarity.as_str() {
            "cosine" | "dot" => info.similarity,
            other => return Err(Error::option("similarity of an index", other)),
        };
        let dimensions = dimensions.unwrap_or(info.dimensions);
        let shape = Shape::new(dimensions, precision, Similarity::parse(&similarity)?)?;
        Ok(Self {
            model: name.map(str::to_owned),
            architecture: info.architecture,
            dimensions,
            row_bytes: shape.row_bytes(),
            vectors,
            similarity,
            precision: precision.name().into(),
            prompts: info.prompts,
            probe: embed(model, &[PROBE.to_owned()], Kind::Document, dimensions)?.0,
        })
    }

    /// The shape of its rows.
    pub fn shape(&self) -> Result<Shape> {
        Shape::new(self.dimensions, Precision::parse(&self.precision)?, Similarity::parse(&self.similarity)?)
    }

    /// The vector of a query.
    pub fn query(&self, model: &Model, text: &str) -> Result<Vec<f32>> {
        Ok(embed(model, &[text.to_owned()], Kind::Query, self.dimensions)?.0)
    }

    /// Refuses a model whose vectors cannot be compared with these.
    pub fn check(&self, model: &Model) -> Result<()> {
        let own = Self::by(model, None, Some(self.dimensions), Precision::parse(&self.precision)?, self.vectors)?;
        let named = Self { probe: self.probe.clone(), model: self.model.clone(), ..own.clone() };
        match named == *self && cosine(&own.probe, &self.probe) > LEAST_COSINE {
            true => Ok(()),
            false => {
                Err(Error::argument("the model is not the one that made the index: use that one, or build it again"))
            }
        }
    }
}

/// Vectors of texts, and how many of these were cut.
pub fn embed(model: &Model, texts: &[String], kind: Kind, dimensions: usize) -> Result<(Vec<f32>, u64)> {
    let options = EmbedOptions { kind: Some(kind), dimensions: Some(dimensions), ..EmbedOptions::default() };
    let made = pollster::block_on(model.embed(texts, &options)?.run(model))?;
    let truncated = made.truncated.iter().filter(|truncated| **truncated).count();
    Ok((made.data, truncated as u64))
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    if a.len() == b.len() { dot(a, b) / (dot(a, a) * dot(b, b)).sqrt() } else { 0.0 }
}
