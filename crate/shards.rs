//! Checkpoints in several files, and the index that says which tensor is in which. Source: `save_pretrained` of
//! `transformers`.

use std::collections::HashMap;

use serde_json::Value;

use crate::checkpoint::{prefix, todays_name};
use crate::config::json;
use crate::error::{Error, Result, printable};
use crate::folder::{inside, join};
use crate::sort::sort_by;
use crate::weights::Weight;

/// Most files of a checkpoint.
const FILES: usize = 256;
/// Most tensors in all of them.
const TENSORS: usize = 65_536;

/// The index of a checkpoint in several files.
#[derive(Debug)]
pub struct Shards {
    /// File inside the model folder, by tensor.
    files: HashMap<String, String>,
}

impl Shards {
    /// Reads `model.safetensors.index.json`, whose files are those beside it in `folder`. Errors name `path`.
    pub fn parse(path: &str, folder: &str, bytes: &[u8]) -> Result<Self> {
        let index = json(path, bytes)?;
        let map = index.get("weight_map").and_then(Value::as_object);
        let map = map.ok_or_else(|| Error::file(path, "it has no weight_map"))?;
        let limited = |what: &str, found: usize, limit: usize| match found > limit {
            true => Err(Error::LimitExceeded {
                what: format!("number of {what} in {path}"),
                found: found as u64,
                limit: limit as u64,
            }),
            false => Ok(()),
        };
        limited("tensors", map.len(), TENSORS)?;
        let mut names: Vec<&str> = Vec::new();
        let mut files = HashMap::with_capacity(map.len());
        for (tensor, file) in map {
            let file = file.as_str().ok_or_else(|| Error::file(path, "a tensor is in no file"))?;
            if !inside(file) || !file.ends_with(".safetensors") {
                return Err(Error::option(format!("{path} file"), file));
            }
            if !names.contains(&file) {
                names.push(file);
                limited("files", names.len(), FILES)?;
            }
            files.insert(todays_name(tensor), join(folder, file));
        }
        Ok(Self { files })
    }

    /// The files, each once.
    pub fn files(&self) -> Vec<String> {
        let mut files: Vec<String> = self.files.values().cloned().collect();
        sort_by(&mut files, Ord::cmp);
        files.dedup();
        files
    }

    /// Tells the parts that are in `file`, which stands for the whole checkpoint, the file that each is in.
    pub fn assign(&self, file: &str, prefixes: &[&'static str], weights: &mut [Weight]) -> Result<()> {
        let parts = weights.iter().flat_map(|weight| &weight.parts).filter(|part| part.file == file);
        let prefix = prefix(prefixes, parts, |name| self.files.contains_key(name));
        for weight in weights.iter_mut().filter(|weight| weight.computed.is_some()) {
            // What a checkpoint may have in the place of what is computed.
            weight.parts.retain(|part| part.file != file || self.files.contains_key(&part.full_name(prefix)));
        }
        for part in weights.iter_mut().flat_map(|weight| &mut weight.parts).filter(|part| part.file == file) {
            let name = part.full_name(prefix);
            let shard = self.files.get(&name).ok_or_else(|| Error::MissingTensor { name: printable(&name) })?;
            (part.file, part.name) = (shard.clone(), format!("/{name}"));
        }
        Ok(())
    }
}
