//! A model with fewer tokens: those that a corpus uses, and what any text can be spelled with.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use serde_json::{Map, Value};

use super::checkpoint::{Checkpoint, serialize};
use super::{Device, native};
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::model::Model;
use crate::program::Precision;
use crate::task::Task;
use crate::weights::Layout;

/// Texts whose vectors are compared.
const CHECKED: usize = 64;

/// How many tokens there were, and how many are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pruned {
    /// Rows of the token table before.
    pub tokens_before: usize,
    /// Rows that are left.
    pub tokens: usize,
}

/// New ids by old ones.
type Ids = BTreeMap<u64, u64>;

/// Writes the model in `from` to `to` with the tokens of these texts alone. They give the same vectors as before; other texts are
/// spelled in more pieces.
pub fn prune(from: &Path, to: &Path, texts: &[String], task: Option<Task>) -> Result<Pruned> {
    let model = native::load(from, Device::Cpu(None), Some(Precision::F32), task, &mut |_, _| {})?;
    let folder = native::folder(from)?;
    if let Some((route, _)) = folder.table_route()? {
        return Err(Error::option("prune-vocab of the tokenizer in", route.path));
    }
    let tables = tables(&model, &folder)?;
    let tokenizer: Value = parse("tokenizer.json", folder.tokenizer()?)?;
    let mut kept: BTreeSet<u64> = BTreeSet::new();
    for text in texts {
        // The model's own prompts stand in front of some texts.
        for prompt in model.info().prompts.values().map(String::as_str).chain([""]) {
            let encoding = model.parts.tokens.encode_behind(prompt, text, usize::MAX)?;
            kept.extend(encoding.ids.iter().map(|id| u64::from(*id)));
        }
    }
    let vocabulary = Vocabulary::read(&tokenizer)?;
    vocabulary.close(&tokenizer, &mut kept);
    kept.extend(model.parts.tokens.always().map(u64::from));
    let before = model.parts.spec.tables.vocab;
    let ids: Ids = kept.into_iter().filter(|id| *id < before as u64).zip(0..).collect();

    let own = super::weight_files(&folder)?;
    let mut files = super::other_files(from, &folder, &model, &own)?;
    for (path, bytes) in &mut files {
        let rewritten = match path.rsplit('/').next() {
            Some("tokenizer.json") => rewrite_tokenizer(tokenizer.clone(), &ids)?,
            Some("config.json") => rewrite_config(parse(path, bytes)?, before, &ids),
            Some("tokenizer_config.json") => rewrite_tokenizer_config(parse(path, bytes)?, &ids),
            _ => continue,
        };
        *bytes = rewritten.to_string().into_bytes();
    }
    let checkpoint = Checkpoint::read(from, &own)?;
    let mut tensors = Vec::new();
    for name in checkpoint.names() {
        let mut tensor = checkpoint.tensor(name)?.clone();
        if tables.iter().any(|table| name.ends_with(table.as_str())) && tensor.shape.first() == Some(&before) {
            let row = tensor.data.len() / before;
            tensor.data = ids.keys().flat_map(|id| &tensor.data[*id as usize * row..][..row]).copied().collect();
            tensor.shape[0] = ids.len();
        } else if tensor.shape.first() == Some(&before) {
            return Err(Error::option(
                "prune-vocab",
                format!("tensor {name}, which has a row a token and is no table"),
            ));
        }
        tensors.push(tensor);
    }
    files.insert(folder.weights()?, serialize(&tensors));
    super::write_files(to, &files)?;
    let pruned = native::load(to, Device::Cpu(None), Some(Precision::F32), task, &mut |_, _| {})?;
    same_vectors(&model, &pruned, &texts[..texts.len().min(CHECKED)])?;
    Ok(Pruned { tokens_before: before, tokens: ids.len() })
}

/// Refuses what does not give the same vectors: an id may mean something where nobody looked.
fn same_vectors(model: &Model, pruned: &Model, texts: &[String]) -> Result<()> {
    let (expected, found) = (super::embed(model, texts)?.data, super::embed(pruned, texts)?.data);
    let largest = expected.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let wrong = expected.iter().zip(&found).any(|(a, b)| (a - b).abs() > 1e-4 * largest);
    match wrong || expected.len() != found.len() {
        true => {
            Err(Error::option("prune-vocab", "a tokenizer or configuration that gives other vectors with fewer tokens"))
        }
        false => Ok(()),
    }
}

fn parse(path: &str, bytes: &[u8]) -> Result<Value> {
    crate::config::json(path, bytes)
}

/// Names of the tensors that have a row a token.
fn tables(model: &Model, folder: &Folder) -> Result<Vec<String>> {
    if folder.packed()?.is_some() {
        return Err(Error::argument("the model is packed already: prune the original"));
    }
    let (program, vocab) = (&model.parts.program, model.parts.spec.tables.vocab);
    let is_table = |layout: Layout| matches!(layout, Layout::Table { rows, .. } if rows == vocab);
    let tables = program.weights.iter().filter(|weight| is_table(weight.layout)).flat_map(|weight| &weight.parts);
    Ok(tables.map(|part| part.name.trim_start_matches('/').to_owned()).collect())
}

/// The tokens of a tokenizer's model.
struct Vocabulary {
    ids: HashMap<String, u64>,
}

impl Vocabulary {
    fn read(tokenizer: &Value) -> Result<Self> {
        let unusable = || Error::option("prune-vocab", "a tokenizer whose vocabulary is neither a list nor a map");
        let pairs: Vec<(String, u64)> = match &tokenizer["model"]["vocab"] {
            Value::Object(map) => map.iter().filter_map(|(token, id)| Some((token.clone(), id.as_u64()?))).collect(),
            Value::Array(list) => {
                let token = |entry: &Value| entry.get(0).and_then(Value::as_str).map(str::to_owned);
                list.iter().zip(0..).filter_map(|(entry, id)| Some((token(entry)?, id))).collect()
            }
            _ => return Err(unusable()),
        };
        Ok(Self { ids: pairs.into_iter().collect() })
    }

    /// Adds what no text can do without: tokens by name, single characters and bytes, and what longer tokens are merged of.
    fn close(&self, tokenizer: &Value, kept: &mut BTreeSet<u64>) {
        let model = &tokenizer["model"];
        kept.extend(
            tokenizer["added_tokens"].as_array().into_iter().flatten().filter_map(|token| token["id"].as_u64()),
        );
        kept.extend(model["unk_token"].as_str().and_then(|token| self.ids.get(token)));
        kept.extend(model["unk_id"].as_u64());
        let prefix = model["continuing_subword_prefix"].as_str().unwrap_or_default();
        let suffix = model["end_of_word_suffix"].as_str().unwrap_or_default();
        for (token, id) in &self.ids {
            let bare = token.strip_prefix(prefix).unwrap_or(token);
            let bare = bare.strip_suffix(suffix).unwrap_or(bare);
            let is_byte = token.len() == 6 && token.starts_with("<0x") && token.ends_with('>');
            if bare.chars().count() <= 1 || is_byte {
                kept.insert(*id);
            }
        }
        // Every way to make a token of two is kept, and so on down: whatever was merged in a text still is, in the same order.
        let mut parts: HashMap<u64, Vec<[u64; 2]>> = HashMap::new();
        for merge in model["merges"].as_array().into_iter().flatten() {
            if let Some((pair, made)) = self.merge(merge, prefix) {
                parts.entry(made).or_default().push(pair);
            }
        }
        let mut open: Vec<u64> = kept.iter().copied().collect();
        while let Some(id) = open.pop() {
            for part in parts.get(&id).into_iter().flatten().flatten() {
                if kept.insert(*part) {
                    open.push(*part);
                }
            }
        }
    }

    /// What a merge joins, and what it makes.
    fn merge(&self, merge: &Value, prefix: &str) -> Option<([u64; 2], u64)> {
        let (a, b) = match merge {
            Value::String(pair) => pair.split_once(' ')?,
            pair => (pair.get(0)?.as_str()?, pair.get(1)?.as_str()?),
        };
        let made = self.ids.get(&format!("{a}{}", b.strip_prefix(prefix).unwrap_or(b)))?;
        Some(([*self.ids.get(a)?, *self.ids.get(b)?], *made))
    }
}

fn rewrite_tokenizer(mut tokenizer: Value, ids: &Ids) -> Result<Value> {
    let vocabulary = Vocabulary::read(&tokenizer)?;
    let new = |id: &Value| id.as_u64().and_then(|id| ids.get(&id)).map(|id| Value::from(*id));
    let model = &mut tokenizer["model"];
    let prefix = model["continuing_subword_prefix"].as_str().unwrap_or_default().to_owned();
    if let Some(merges) = model["merges"].as_array_mut() {
        merges.retain(|merge| {
            let all = vocabulary.merge(merge, &prefix).map(|([a, b], made)| [a, b, made]);
            all.is_some_and(|all| all.iter().all(|id| ids.contains_key(id)))
        });
    }
    match &mut model["vocab"] {
        Value::Object(map) => *map = map.iter().filter_map(|(token, id)| Some((token.clone(), new(id)?))).collect(),
        Value::Array(list) => {
            // The place in the list is the id: what tokens are left are still in their order, less those that are only added.
            let mut place = 0..;
            list.retain(|_| place.next().is_some_and(|id| ids.contains_key(&id)));
        }
        _ => {}
    }
    if let Some(id) = model.get("unk_id").and_then(new) {
        model["unk_id"] = id;
    }
    for token in tokenizer["added_tokens"].as_array_mut().into_iter().flatten() {
        token["id"] =
            new(&token["id"]).ok_or_else(|| Error::option("prune-vocab", "an added token past the vocabulary"))?;
    }
    rewrite_post(&mut tokenizer["post_processor"], &new);
    Ok(tokenizer)
}

/// Ids in what puts special tokens around a text.
fn rewrite_post(post: &mut Value, new: &impl Fn(&Value) -> Option<Value>) {
    for processor in post.get_mut("processors").and_then(Value::as_array_mut).into_iter().flatten() {
        rewrite_post(processor, new);
    }
    for token in post.get_mut("special_tokens").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
        for id in token["ids"].as_array_mut().into_iter().flatten() {
            *id = new(id).unwrap_or(Value::Null);
        }
    }
    for key in ["cls", "sep"] {
        if let Some(id) = post.get_mut(key).and_then(|pair| pair.get_mut(1)) {
            *id = new(id).unwrap_or(Value::Null);
        }
    }
}

fn rewrite_config(mut config: Value, before: usize, ids: &Ids) -> Value {
    if let Some(config) = config.as_object_mut() {
        for (key, value) in config {
            if key == "vocab_size" && value.as_u64() == Some(before as u64) {
                *value = ids.len().into();
            } else if key.ends_with("token_id") {
                let new = |id: &Value| id.as_u64().and_then(|id| ids.get(&id)).map(|id| Value::from(*id));
                match value {
                    Value::Array(list) => *list = list.iter().filter_map(new).collect(),
                    // What is no token any more, or never was one, is none.
                    id => *id = new(id).unwrap_or(Value::Null),
                }
            }
        }
    }
    config
}

fn rewrite_tokenizer_config(mut config: Value, ids: &Ids) -> Value {
    if let Some(added) = config.get_mut("added_tokens_decoder").and_then(Value::as_object_mut) {
        let new = |id: &String| id.parse().ok().and_then(|id: u64| ids.get(&id));
        *added = added.iter().filter_map(|(id, token)| Some((new(id)?.to_string(), token.clone()))).collect();
    }
    config
}
