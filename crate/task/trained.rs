//! Classifiers trained on the vectors of labelled texts, and the safetensors file that one is kept in.

use std::cell::RefCell;
use std::rc::Rc;

use safetensors::tensor::Dtype;
use serde::{Deserialize, Serialize};

use super::classify::{Classification, ClassifyOptions, Function, Scorer};
use super::labels::Labels;
use crate::checkpoint::{metadata, take_header};
use crate::chunk::Overflow;
use crate::error::{Error, Result};
use crate::job::Call;
use crate::model::{EmbedOptions, Embeddings, Model};
use crate::sort::sort_by;
use crate::train::{Method, TrainOptions, Training};

/// What errors call the file.
const FILE: &str = "the trained head";
const VERSION: u32 = 1;
/// A head knows its model by the vector of this text.
const PROBE: &str = "The quiet harbour, 7 boats and a letter from home.";
/// Largest squared distance of two probes of one model, of their squared length: a cosine of 0.99, where f16 has 0.999.
const APART: f32 = 0.02;

/// A text and its label.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// The text.
    pub text: String,
    /// What it is an example of.
    pub label: String,
}

/// What is known of a trained head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    version: u32,
    /// In the order of the columns, which is that of code points.
    pub labels: Vec<String>,
    /// How it was trained.
    pub method: Method,
    /// C; none for centroids.
    pub regularization: Option<f64>,
    /// The share of the examples that heads trained without them got right.
    pub accuracy: f64,
    /// The `model_type` that made the vectors.
    pub architecture: String,
    /// How texts become vectors.
    pub embed: EmbedOptions,
}

/// A linear classifier of a model's vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainedHead {
    /// What is known of it.
    pub about: About,
    /// `[labels, dimensions]`
    weight: Vec<f32>,
    /// `[labels]`
    bias: Vec<f32>,
    /// `[dimensions]`
    probe: Vec<f32>,
}

impl TrainedHead {
    /// The head as a safetensors file: `weight`, `bias` and `probe` in F32, [`About`] as JSON in the metadata.
    pub fn save(&self) -> Result<Vec<u8>> {
        let text = |error: serde_json::Error| Error::argument(error.to_string());
        let about = serde_json::to_string(&self.about).map_err(text)?;
        let about = serde_json::to_string(&about).map_err(text)?;
        let (labels, width) = (self.bias.len(), self.probe.len());
        let (first, second, end) = (4 * labels, 4 * (labels + width), 4 * (labels + width + labels * width));
        let mut header = format!(
            r#"{{"__metadata__":{{"embedlet_head":{about}}},"bias":{{"dtype":"F32","shape":[{labels}],"data_offsets":[0,{first}]}},"probe":{{"dtype":"F32","shape":[{width}],"data_offsets":[{first},{second}]}},"weight":{{"dtype":"F32","shape":[{labels},{width}],"data_offsets":[{second},{end}]}}}}"#
        );
        header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        for values in [&self.bias, &self.probe, &self.weight] {
            values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
        }
        Ok(bytes)
    }

    /// Reads what [`TrainedHead::save`] wrote. Whether it belongs to a model is not looked at: see [`Model::load_head`].
    pub(crate) fn read(bytes: &[u8]) -> Result<Self> {
        let mut header = Vec::new();
        let data = take_header(FILE, &mut header, bytes)?;
        let metadata = metadata(FILE, header.get(8..).unwrap_or_default())?;
        let expected = header.len() + metadata.data_len();
        if bytes.len() != expected {
            let (expected, found) = (expected as u64, bytes.len() as u64);
            return Err(Error::TruncatedFile { path: FILE.into(), expected, found });
        }
        let about = metadata.metadata().as_ref().and_then(|texts| texts.get("embedlet_head"));
        let about: About =
            serde_json::from_str(about.ok_or_else(|| wrong("it was not saved by embedlet"))?).map_err(wrong)?;
        if about.version != VERSION || about.embed.tokens || about.embed.overflow == Overflow::Chunk {
            return Err(wrong("it is of another version of embedlet"));
        }
        let floats = |name: &str, shape: &[usize]| {
            let info = metadata.info(name).filter(|info| info.dtype == Dtype::F32 && info.shape == shape);
            let (start, end) =
                info.ok_or_else(|| wrong(format!("it has no {name} of shape {shape:?} in F32")))?.data_offsets;
            let value = |bytes: &[u8]| bytes.first_chunk().map_or(f32::NAN, |bytes| f32::from_le_bytes(*bytes));
            let values: Vec<f32> = data[start..end].chunks_exact(4).map(value).collect();
            match values.iter().all(|value| value.is_finite()) {
                true => Ok(values),
                false => Err(wrong(format!("{name} has values that are not finite"))),
            }
        };
        let labels = about.labels.len();
        let width = metadata.info("probe").map_or(0, |info| info.shape.iter().product());
        let (weight, bias, probe) =
            (floats("weight", &[labels, width])?, floats("bias", &[labels])?, floats("probe", &[width])?);
        Ok(Self { about, weight, bias, probe })
    }

    fn logits(&self, vector: &[f32]) -> Vec<f32> {
        let logit = |(weights, bias): (&[f32], &f32)| {
            let terms = weights.iter().zip(vector).map(|(weight, x)| f64::from(*weight) * f64::from(*x));
            (terms.sum::<f64>() + f64::from(*bias)) as f32
        };
        self.weight.chunks_exact(vector.len()).zip(&self.bias).map(logit).collect()
    }

    /// Whether vectors of this width may be its model's.
    fn fits(&self, width: usize) -> Result<()> {
        match width == self.probe.len() {
            true => Ok(()),
            false => Err(foreign(format!("{} dimensions, not {width}", self.probe.len()))),
        }
    }
}

fn wrong(reason: impl ToString) -> Error {
    Error::file(FILE, reason)
}

fn foreign(what: String) -> Error {
    Error::argument(format!("the head was trained on vectors of another model ({what}): load it with that model"))
}

impl Model {
    /// Trains a classifier on the vectors of labelled texts. The call's units are texts, and then fits.
    pub fn train_head(
        &self,
        examples: &[Example],
        options: &TrainOptions,
        embed: &EmbedOptions,
    ) -> Result<Call<TrainedHead>> {
        let mut labels: Vec<String> = examples.iter().map(|example| example.label.clone()).collect();
        sort_by(&mut labels, Ord::cmp);
        labels.dedup();
        let classes = examples.iter().filter_map(|example| labels.binary_search(&example.label).ok()).collect();
        let mut embed = embed.clone();
        if embed.tokens || embed.overflow == Overflow::Chunk {
            return Err(Error::argument("a head is trained on a vector a text, without tokens or chunks"));
        }
        if options.method == Method::Centroids {
            embed.normalize = Some(true);
        }
        let texts: Vec<&str> = examples.iter().map(|example| example.text.as_str()).chain([PROBE]).collect();
        let mut call = self.embed(&texts, &embed)?;
        let training = Training::new(classes, labels.len(), call.job().width(), options)?;
        let (units, method, architecture) = (training.units(), options.method, self.parts.architecture.clone());
        let training = Rc::new(RefCell::new(training));
        let trained = training.clone();
        call.job().and_then(units, move |rows| training.borrow_mut().step(&rows.data, rows.width));
        Ok(call.map(move |vectors: Embeddings| {
            let trained = trained.borrow().finish()?;
            let (regularization, accuracy) = (trained.regularization, trained.accuracy);
            let about = About { version: VERSION, labels, method, regularization, accuracy, architecture, embed };
            let probe = vectors.data[vectors.data.len() - vectors.dimensions..].to_vec();
            Ok(TrainedHead { about, weight: trained.weight, bias: trained.bias, probe })
        }))
    }

    /// Reads a head that was saved, and makes sure that it was trained on vectors of this model.
    pub fn load_head(&self, bytes: &[u8]) -> Result<Call<TrainedHead>> {
        let head = TrainedHead::read(bytes)?;
        let mut call = self.embed(&[PROBE], &head.about.embed)?;
        head.fits(call.job().width())?;
        Ok(call.map(move |vectors| {
            let apart: f32 = head.probe.iter().zip(&vectors.data).map(|(a, b)| (a - b) * (a - b)).sum();
            let length: f32 = vectors.data.iter().map(|x| x * x).sum();
            match apart <= APART * length {
                true => Ok(head),
                false => Err(foreign(format!("of type {}", head.about.architecture))),
            }
        }))
    }

    /// Scores the labels of a trained head for each text.
    pub fn classify_by(
        &self,
        head: TrainedHead,
        texts: &[String],
        options: &ClassifyOptions,
    ) -> Result<Call<Vec<Classification>>> {
        let mut call = self.embed(texts, &head.about.embed)?;
        head.fits(call.job().width())?;
        let scorer = Scorer::new(&Labels(head.about.labels.clone()), Function::Softmax, options)?;
        Ok(call.map(move |vectors| {
            let rows = vectors.data.chunks_exact(vectors.dimensions).zip(&vectors.truncated);
            Ok(rows.map(|(vector, truncated)| scorer.classification(&head.logits(vector), *truncated)).collect())
        }))
    }
}
