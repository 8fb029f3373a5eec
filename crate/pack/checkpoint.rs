//! A checkpoint on disk as it was, and as it is written.

use std::collections::BTreeMap;
use std::path::Path;

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

use crate::checkpoint::{prefix, todays_name};
use crate::error::{Error, Result, printable};
use crate::weights::Part;

/// Tensors by their names.
pub struct Checkpoint {
    /// The files they were in.
    pub files: Vec<String>,
    tensors: BTreeMap<String, Stored>,
}

/// A tensor as it is in a file.
#[derive(Clone)]
pub struct Stored {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub data: Vec<u8>,
}

impl Checkpoint {
    /// Reads all tensors of these files.
    pub fn read(folder: &Path, files: &[String]) -> Result<Self> {
        let mut checkpoint = Self { files: files.to_vec(), tensors: BTreeMap::new() };
        for path in files {
            let bytes = super::read(folder, path)?;
            let tensors = SafeTensors::deserialize(&bytes).map_err(|error| Error::file(path, error))?;
            for (name, tensor) in tensors.iter() {
                let name = todays_name(name);
                let (dtype, shape, data) = (tensor.dtype(), tensor.shape().to_vec(), tensor.data().to_vec());
                checkpoint.tensors.insert(name.clone(), Stored { name, dtype, shape, data });
            }
        }
        Ok(checkpoint)
    }

    /// Whether there is such a tensor.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Every tensor's name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// A tensor's shape.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|tensor| tensor.shape.as_slice())
    }

    /// A tensor.
    pub fn tensor(&self, name: &str) -> Result<&Stored> {
        self.tensors.get(name).ok_or_else(|| Error::MissingTensor { name: printable(name) })
    }

    /// A tensor's values.
    pub fn values(&self, name: &str) -> Result<Vec<f32>> {
        let tensor = self.tensor(name)?;
        let halves = || tensor.data.as_chunks().0.iter();
        match tensor.dtype {
            Dtype::F32 => Ok(tensor.data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()),
            Dtype::F16 => Ok(halves().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect()),
            Dtype::BF16 => Ok(halves().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()).collect()),
            dtype => Err(Error::UnsupportedDtype { name: name.into(), dtype: format!("{dtype:?}") }),
        }
    }

    /// A tensor to be written: in halves, if that is allowed and all of its values have one.
    pub fn stored(&self, name: &str, halves: bool) -> Result<Stored> {
        let tensor = self.tensor(name)?;
        let values = self.values(name)?;
        let fits = values.iter().all(|value| value.abs() <= f16::MAX.to_f32());
        if !halves || !fits {
            return Ok(tensor.clone());
        }
        let data = values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect();
        Ok(Stored { name: name.into(), dtype: Dtype::F16, shape: tensor.shape.clone(), data })
    }
}

/// Which of the `prefixes` the names of a checkpoint have.
pub fn prefix_of<'a>(
    prefixes: &[&'static str],
    parts: impl Iterator<Item = &'a Part> + Clone,
    checkpoint: &Checkpoint,
) -> &'static str {
    prefix(prefixes, parts, |name| checkpoint.has(name))
}

/// The file of these tensors, in this order within their types: those of wide types come first, so that each is aligned.
pub fn serialize(tensors: &[Stored]) -> Vec<u8> {
    let mut order: Vec<&Stored> = tensors.iter().collect();
    order.sort_by_key(|tensor| std::cmp::Reverse(tensor.dtype.bitsize()));
    // As transformers writes it.
    let mut header = serde_json::Map::from_iter([("__metadata__".to_owned(), json!({ "format": "pt" }))]);
    let mut end = 0;
    for Stored { name, dtype, shape, data } in &order {
        let entry = json!({ "dtype": dtype, "shape": shape, "data_offsets": [end, end + data.len()] });
        header.insert(name.clone(), entry);
        end += data.len();
    }
    let mut header = Value::Object(header).to_string();
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    order.iter().for_each(|tensor| file.extend(&tensor.data));
    file
}
