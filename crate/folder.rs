//! The small files of a model folder: which are wanted, and what a sentence-transformers folder says.
//!
//! Reading is left to the caller (a directory natively, a network in the browser), so this is a set of files
//! that knows, from those it has, which it still wants. Weights are not among them.

mod multi;
mod sparse;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::config::{Config, json, limit, looks_like_html};
use crate::error::{Error, Result};
use crate::head::{Dense, End, Head, OwnVectors, Pooling};
use crate::ops::Lexical;
use crate::packed::{self, Packed};
use crate::sentence::{self, Sentence};
use crate::shards::Shards;
use crate::task::Task;

pub(crate) use self::sparse::TableRoute;

const MODULES: &str = "modules.json";
/// So many modules one after another.
const MODULES_MOST: usize = 16;
const SENTENCE: &str = "config_sentence_transformers.json";
/// The `model_type` of folders that hold a table of embeddings.
const TABLE: &str = "model2vec";
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// The small files of a model folder, by path.
#[derive(Debug, Clone, Default)]
pub struct Folder {
    files: BTreeMap<String, Option<Vec<u8>>>,
    /// Where the encoder is, whatever the modules are.
    encoder: Option<String>,
}

/// What sentence-transformers would load a folder as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    SentenceTransformer,
    CrossEncoder,
    SparseEncoder,
    MultiVectorEncoder,
}

struct Module {
    kind: String,
    path: String,
}

impl Module {
    fn new(class: &str, path: &str) -> Self {
        // Old and new spellings differ in the package path only: the class is the last segment.
        let kind = class.rsplit('.').next().unwrap_or(class).to_owned();
        Self { kind, path: path.trim_end_matches('/').into() }
    }
}

impl Folder {
    /// A folder of which nothing is known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives a file, or says that the folder does not have it.
    pub fn put(&mut self, path: &str, bytes: Option<Vec<u8>>) -> Result<()> {
        if let Some(bytes) = &bytes {
            if bytes.len() > limit::JSON_BYTES {
                let (found, limit) = (bytes.len() as u64, limit::JSON_BYTES as u64);
                return Err(Error::LimitExceeded { what: format!("bytes of {path}"), found, limit });
            }
            if looks_like_html(bytes) {
                return Err(Error::HtmlInsteadOfFile { path: path.into() });
            }
        }
        self.files.insert(path.into(), bytes);
        Ok(())
    }

    /// The files that it has.
    pub fn present(&self) -> impl Iterator<Item = &str> {
        self.files.iter().filter(|(_, bytes)| bytes.is_some()).map(|(path, _)| path.as_str())
    }

    /// The files still wanted; ask again after giving them. Empty when the folder is complete. Of a packed folder, which knows its
    /// files, no others.
    pub fn wanted(&self) -> Result<Vec<String>> {
        let description = self.files.get(packed::FILE).and_then(Option::as_deref);
        let packed = description.map(Packed::parse).transpose()?;
        let is_there = |path: &String| packed.as_ref().is_none_or(|packed| packed.files.contains_key(path));
        let missing = |paths: Vec<String>| -> Vec<String> {
            paths.into_iter().filter(|path| !self.files.contains_key(path) && is_there(path)).collect()
        };
        let first = missing(vec![MODULES.into(), SENTENCE.into(), packed::FILE.into()]);
        if !first.is_empty() {
            return Ok(first);
        }
        let listed = self.listed()?;
        let routers = missing(sparse::router_files(&listed));
        if !routers.is_empty() {
            return Ok(routers);
        }
        let modules = self.modules()?;
        let of_encoder = |name: &&str| join(&modules[0].path, name);
        let mut wanted: Vec<String> =
            ["config.json", "tokenizer.json", "tokenizer_config.json", INDEX].iter().map(of_encoder).collect();
        let described = self.has_modules() && modules[0].kind.ends_with("Transformer");
        if described {
            wanted.push(of_encoder(&sentence::NAMES[0]));
        }
        wanted.extend(modules[1..].iter().map(|module| join(&module.path, "config.json")));
        let mut tokenizers: Vec<String> = vec![modules[0].path.clone()];
        if let Some(sparse::Routes { table, .. }) = self.routes(&listed)? {
            let names = ["config.json", "tokenizer.json", "tokenizer_config.json"];
            wanted.extend(names.map(|name| join(&table.path, name)));
            tokenizers.push(table.path);
        }
        if self.is_stanford()? {
            wanted.push(multi::METADATA.into());
        }
        let wanted = missing(wanted);
        if !wanted.is_empty() {
            return Ok(wanted);
        }
        let mut wanted = Vec::new();
        for folder in tokenizers {
            wanted.extend(self.special_token_files(&folder)?);
        }
        // Where the name of today is not there, one of those before may be.
        if described && self.transformer()?.is_none() {
            wanted.extend(sentence::NAMES.iter().map(of_encoder));
        }
        Ok(missing(wanted))
    }

    /// Bytes of a file that must be there.
    pub(crate) fn bytes(&self, path: &str) -> Result<&[u8]> {
        let bytes = self.files.get(path).and_then(Option::as_deref);
        bytes.ok_or_else(|| Error::MissingFile { path: path.into() })
    }

    pub(crate) fn optional(&self, path: &str) -> Result<Option<Config>> {
        let bytes = self.files.get(path).and_then(Option::as_deref);
        bytes.map(|bytes| Config::parse(path, bytes)).transpose()
    }

    /// The modules in order; the first is the encoder, of a router those of the route that has one.
    fn modules(&self) -> Result<Vec<Module>> {
        let listed = self.listed()?;
        Ok(self.routes(&listed)?.map_or(listed, |routes| routes.encoder))
    }

    /// The modules that `modules.json` lists. A plain Hugging Face folder has only the encoder.
    fn listed(&self) -> Result<Vec<Module>> {
        if let Some(path) = &self.encoder {
            return Ok(vec![Module::new("Transformer", path)]);
        }
        let Some(bytes) = self.files.get(MODULES).and_then(Option::as_deref) else {
            let module = |kind: &str| Module::new(kind, "");
            return Ok(match self.optional("config.json")? {
                Some(config) if config.is("model_type", TABLE) => match config.flag_or("normalize", false)? {
                    true => vec![module("StaticEmbedding"), module("Normalize")],
                    false => vec![module("StaticEmbedding")],
                },
                _ => vec![module("Transformer")],
            });
        };
        let value = json(MODULES, bytes)?;
        let list = value.as_array().filter(|list| !list.is_empty() && list.len() <= MODULES_MOST);
        let list =
            list.ok_or_else(|| Error::file(MODULES, format!("expected a list of 1 to {MODULES_MOST} modules")))?;
        let module = |value: &Value| {
            let field = |name: &str| value.get(name).and_then(Value::as_str);
            let kind = field("type").ok_or_else(|| Error::file(MODULES, "a module has no type"))?;
            let path = field("path").unwrap_or_default();
            if !inside(path) {
                return Err(Error::option("modules.json path", path));
            }
            Ok(Module::new(kind, path))
        };
        let modules = list.iter().map(module).collect::<Result<Vec<_>>>()?;
        let known =
            ["Transformer", "MLMTransformer", "StaticEmbedding", "CLIPModel"].contains(&modules[0].kind.as_str());
        if !known && !sparse::is_router(&modules[0]) {
            return Err(Error::option("modules.json first module", &modules[0].kind));
        }
        Ok(modules)
    }

    /// Whether the encoder is a table of embeddings and has no configuration.
    pub fn is_table(&self) -> Result<bool> {
        Ok(self.modules()?[0].kind == "StaticEmbedding")
    }

    /// What such an encoder is called: as its configuration says, where it has one.
    pub fn table_type(&self) -> Result<String> {
        let config = self.optional(&join(&self.modules()?[0].path, "config.json"))?;
        Ok(config.as_ref().map_or(Ok("static"), |config| config.text_or("model_type", "static"))?.to_owned())
    }

    /// What `embedlet.json` says, where the folder was packed. Then every file has to be the one that it knows.
    pub fn packed(&self) -> Result<Option<Packed>> {
        let Some(bytes) = self.files.get(packed::FILE).and_then(Option::as_deref) else { return Ok(None) };
        let packed = Packed::parse(bytes)?;
        for (path, bytes) in self.files.iter().filter(|(path, _)| *path != packed::FILE) {
            match (packed.files.get(path), bytes) {
                (Some(sum), Some(bytes)) => sum.check(path, bytes)?,
                (Some(_), None) => return Err(Error::MissingFile { path: path.clone() }),
                (None, Some(_)) => return Err(Error::file(path, "embedlet.json does not know it")),
                (None, None) => {}
            }
        }
        Ok(Some(packed))
    }

    /// `config.json` of the encoder.
    pub fn config(&self) -> Result<Config> {
        let path = self.of_encoder("config.json")?;
        Config::parse(&path, self.bytes(&path)?)
    }

    /// The path of a file of the encoder.
    pub(crate) fn of_encoder(&self, name: &str) -> Result<String> {
        Ok(join(&self.modules()?[0].path, name))
    }

    fn kind(&self) -> Result<Kind> {
        let Some(config) = self.optional(SENTENCE)? else { return Ok(Kind::SentenceTransformer) };
        match config.text_or("model_type", "SentenceTransformer")? {
            "SentenceTransformer" => Ok(Kind::SentenceTransformer),
            "CrossEncoder" => Ok(Kind::CrossEncoder),
            "SparseEncoder" => Ok(Kind::SparseEncoder),
            "MultiVectorEncoder" | "ColBERT" => Ok(Kind::MultiVectorEncoder),
            _ => Err(config.unsupported("model_type")),
        }
    }

    /// What the folder is for: as its modules say, else as `architectures` of `config.json` names a class with a head. A head
    /// for masks is as large as the token table, and most folders that name one are there for their encoder (some lack the
    /// head's weights): it is loaded where it is asked for.
    pub fn task(&self) -> Result<Task> {
        match self.kind()? {
            Kind::CrossEncoder => return Ok(Task::Classify),
            Kind::SparseEncoder => return Ok(Task::Sparse),
            Kind::MultiVectorEncoder => return Ok(Task::Multi),
            Kind::SentenceTransformer if self.has_modules() => return Ok(Task::Embed),
            Kind::SentenceTransformer => {}
        }
        let config = self.config()?;
        let classes = config.texts("architectures")?.unwrap_or_default();
        let known = Task::CLASSES.iter().find(|(class, _)| classes.first().is_some_and(|first| first.ends_with(class)));
        Ok(known.map(|(_, task)| *task).filter(|task| *task != Task::Fill).unwrap_or(Task::Embed))
    }

    /// `config_sentence_transformers.json`, where the folder has one that counts: sentence-transformers reads it beside modules.
    pub fn sentence_config(&self) -> Result<Option<Config>> {
        if self.has_modules() { self.optional(SENTENCE) } else { Ok(None) }
    }

    /// The file that holds the encoder's weights.
    pub fn weights(&self) -> Result<String> {
        Ok(join(&self.modules()?[0].path, "model.safetensors"))
    }

    /// Where the parts of [`Folder::weights`] are, if it is no single file.
    pub fn shards(&self) -> Result<Option<Shards>> {
        let folder = &self.modules()?[0].path;
        let path = join(folder, INDEX);
        let bytes = self.files.get(&path).and_then(Option::as_deref);
        bytes.map(|bytes| Shards::parse(&path, folder, bytes)).transpose()
    }

    /// Leaves the vectors to the encoder's class, which makes them itself, unless there are modules that pool.
    pub fn leave_vectors(&self, own: OwnVectors, sentence: &mut Sentence) -> Result<()> {
        if self.modules()?.len() > 1 {
            return Ok(());
        }
        let file = self.weights()?;
        sentence.head.pooling = vec![Pooling::LastToken];
        sentence.head.dense = vec![Dense { file, ..own.dense }];
        sentence.end = Some(match own.end {
            End::Padded(..) => self.padding()?,
            end => end,
        });
        Ok(())
    }

    /// How `tokenizer.json` fills texts up to one length.
    fn padding(&self) -> Result<End> {
        let tokenizer = Config::parse("tokenizer.json", self.tokenizer()?)?;
        let padding = tokenizer.object("padding")?;
        let fixed = padding.as_ref().map(|padding| padding.object("strategy").ok().flatten());
        let (Some(padding), Some(Some(fixed))) = (&padding, fixed) else { return Ok(End::Padded(0, 0)) };
        padding.require("direction", &"Right".into())?;
        Ok(End::Padded(fixed.size("Fixed", limit::POSITIONS)?, padding.index_or("pad_id", 0, limit::VOCAB)?))
    }

    /// Everything around the encoder for a task, for an encoder of `hidden` columns.
    pub fn sentence(&self, hidden: usize, task: Task) -> Result<Sentence> {
        let modules = self.modules()?;
        let pooling = if self.has_modules() { Pooling::Mean } else { self.usual_pooling()? };
        let mut sentence = Sentence {
            head: Head { pooling: vec![pooling], include_prompt: true, dense: Vec::new(), normalize: false },
            max_seq_length: None,
            lowercase: false,
            prompts: BTreeMap::new(),
            default_prompt_name: None,
            similarity: "cosine".into(),
            cross_encoder: false,
            max_active_dims: None,
            truncate_dim: None,
            lexical: Lexical { sum: false, logs: 1 },
            multi: None,
            end: None,
        };
        let kind = self.kind()?;
        if task == Task::Multi || kind == Kind::MultiVectorEncoder {
            return self.multi(&modules, hidden, sentence);
        }
        match kind {
            Kind::SentenceTransformer | Kind::MultiVectorEncoder => {}
            Kind::CrossEncoder => match modules.get(1) {
                Some(module) => return Err(Error::option("modules.json module", &module.kind)),
                None => {
                    sentence.cross_encoder = true;
                    return self.finish_sentence(sentence);
                }
            },
            Kind::SparseEncoder => {
                sentence.lexical = self.lexical(&modules)?;
                return self.finish_sentence(sentence);
            }
        }
        // Transformer, Pooling, any Dense, perhaps Normalize: the order in which these can be recorded.
        let order =
            |kind: &str| ["Transformer", "Pooling", "Dense", "Normalize"].iter().position(|known| *known == kind);
        // A table's vectors are pooled as they are looked up.
        let mut last = usize::from(modules[0].kind == "StaticEmbedding");
        let mut width = hidden;
        // Dropout is for training.
        for module in modules[1..].iter().filter(|module| module.kind != "Dropout") {
            let place = order(&module.kind).filter(|&place| place > last || (place == last && module.kind == "Dense"));
            let skipped_pooling = last == 0 && module.kind != "Pooling";
            let Some(place) = place.filter(|_| !skipped_pooling) else {
                return Err(Error::option("modules.json module", &module.kind));
            };
            last = place;
            let path = join(&module.path, "config.json");
            match module.kind.as_str() {
                "Pooling" => {
                    let config = Config::parse(&path, self.bytes(&path)?)?;
                    sentence.head.pooling = Pooling::read(&config)?;
                    sentence.head.include_prompt = config.flag_or("include_prompt", true)?;
                    width = hidden * sentence.head.pooling.len();
                }
                "Dense" => {
                    let config = Config::parse(&path, self.bytes(&path)?)?;
                    let dense = Dense::read(&config, &module.path, "sentence_embedding")?;
                    if dense.inputs != width {
                        let reason = format!("in_features is {} where {width} columns come in", dense.inputs);
                        return Err(Error::file(path, reason));
                    }
                    width = dense.outputs;
                    sentence.head.dense.push(dense);
                }
                _ => {
                    if let Some(config) = self.optional(&path)? {
                        config.require("module_input_name", &"sentence_embedding".into())?;
                        config.require("module_output_name", &"sentence_embedding".into())?;
                    }
                    sentence.head.normalize = true;
                }
            }
        }
        self.finish_sentence(sentence)
    }

    /// Reads how texts are prepared, which does not depend on the modules. A folder without a list of them says nothing of it:
    /// sentence-transformers makes modules of its own for one.
    fn finish_sentence(&self, mut sentence: Sentence) -> Result<Sentence> {
        if let Some(config) = self.transformer()? {
            sentence.read_transformer(&config)?;
        }
        if let Some(config) = self.sentence_config()? {
            sentence.read_prompts(&config)?;
        }
        Ok(sentence)
    }

    fn has_modules(&self) -> bool {
        self.files.get(MODULES).is_some_and(Option::is_some)
    }

    /// The configuration of the first module, where it is listed.
    fn transformer(&self) -> Result<Option<Config>> {
        if !self.has_modules() {
            return Ok(None);
        }
        let folder = &self.modules()?[0].path;
        let found = sentence::NAMES.iter().find_map(|name| self.optional(&join(folder, name)).transpose());
        found.transpose()
    }

    /// Refuses an encoder of which the modules do not take the last states of its tokens.
    pub fn require_states(&self) -> Result<()> {
        if matches!(self.kind()?, Kind::CrossEncoder | Kind::SparseEncoder) {
            return Ok(());
        }
        if let Some(config) = self.transformer()? {
            config.require("transformer_task", &"feature-extraction".into())?;
            config.require("module_output_name", &"token_embeddings".into())?;
            if let Some(all) = config.object("modality_config")? {
                let text = all.object("text")?.ok_or_else(|| config.unsupported("modality_config"))?;
                text.require("method", &"forward".into())?;
                text.require("method_output_name", &"last_hidden_state".into())?;
            }
        }
        Ok(())
    }

    /// How a plain folder is pooled: as a causal language model, unless its configuration says that it is none.
    fn usual_pooling(&self) -> Result<Pooling> {
        let Some(config) = self.optional("config.json")? else { return Ok(Pooling::Mean) };
        let classes = config.texts("architectures")?.unwrap_or_default();
        let is_causal = classes.first().is_some_and(|class| class.ends_with("ForCausalLM"));
        Ok(if is_causal && config.flag_or("is_causal", true)? { Pooling::LastToken } else { Pooling::Mean })
    }
}

/// Whether a path from a file stays inside the folder.
pub(crate) fn inside(path: &str) -> bool {
    !path.starts_with('/') && !path.split('/').any(|part| part == "..") && !path.contains(['\\', ':', '?', '#'])
}

pub(crate) fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() || folder == "." { name.into() } else { format!("{folder}/{name}") }
}

#[cfg(test)]
mod tests;
