//! The small files of a model folder: which are wanted, and what a sentence-transformers folder says.
//!
//! Reading is left to the caller (a directory natively, a network in the browser), so this is a set of files
//! that knows, from those it has, which it still wants. Weights are not among them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::config::{Config, json, limit, looks_like_html};
use crate::error::{Error, Result};
use crate::head::{Dense, End, Head, OwnVectors, Pooling};
use crate::ops::Lexical;
use crate::packed::{self, Packed};
use crate::shards::Shards;
use crate::task::{MultiVector, Task};

const MODULES: &str = "modules.json";
const SENTENCE: &str = "config_sentence_transformers.json";
/// The `model_type` of folders that hold a table of embeddings.
const TABLE: &str = "model2vec";
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// The small files of a model folder, by path.
#[derive(Debug, Clone, Default)]
pub struct Folder {
    files: BTreeMap<String, Option<Vec<u8>>>,
}

/// What follows the encoder and how texts are prepared, as sentence-transformers writes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sentence {
    /// Pooling, projections, normalisation.
    pub head: Head,
    /// `max_seq_length`, special tokens included.
    pub max_seq_length: Option<usize>,
    /// Lowercase texts before they are tokenized.
    pub lowercase: bool,
    /// Texts put in front of the input, by name.
    pub prompts: BTreeMap<String, String>,
    /// The prompt used where the caller names none.
    pub default_prompt_name: Option<String>,
    /// `cosine`, `dot`, `euclidean` or `manhattan`; `maxsim` where a text has a vector a token.
    pub similarity: String,
    /// Whether it is a `CrossEncoder` of sentence-transformers, which puts prompts in front of the query.
    pub cross_encoder: bool,
    /// Most terms of a sparse vector where the caller does not say.
    pub max_active_dims: Option<usize>,
    /// Columns that vectors are cut to where the caller does not say.
    pub truncate_dim: Option<usize>,
    /// How token scores become term weights.
    pub lexical: Lexical,
    /// How a vector is made of every token, where the folder does that.
    pub multi: Option<MultiVector>,
    /// Which token's state becomes the vector, where the class makes vectors itself.
    pub end: Option<End>,
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

    /// The files still wanted; ask again after giving them. Empty when the folder is complete.
    pub fn wanted(&self) -> Result<Vec<String>> {
        let missing = |paths: Vec<String>| paths.into_iter().filter(|path| !self.files.contains_key(path)).collect();
        let first: Vec<String> = missing(vec![MODULES.into(), SENTENCE.into(), packed::FILE.into()]);
        if !first.is_empty() {
            return Ok(first);
        }
        let modules = self.modules()?;
        let mut second: Vec<String> =
            ["config.json", "tokenizer.json", "tokenizer_config.json", "sentence_bert_config.json", INDEX]
                .map(|name| join(&modules[0].path, name))
                .into();
        second.extend(modules[1..].iter().map(|module| join(&module.path, "config.json")));
        let second = missing(second);
        if second.is_empty() { Ok(missing(self.special_tokens()?)) } else { Ok(second) }
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

    /// The modules in order; the first is the encoder. A plain Hugging Face folder has only that.
    fn modules(&self) -> Result<Vec<Module>> {
        let Some(bytes) = self.files.get(MODULES).and_then(Option::as_deref) else {
            let module = |kind: &str| Module { kind: kind.into(), path: String::new() };
            return Ok(match self.optional("config.json")? {
                Some(config) if config.is("model_type", TABLE) => match config.flag_or("normalize", false)? {
                    true => vec![module("StaticEmbedding"), module("Normalize")],
                    false => vec![module("StaticEmbedding")],
                },
                _ => vec![module("Transformer")],
            });
        };
        let value = json(MODULES, bytes)?;
        let list = value.as_array().filter(|list| !list.is_empty() && list.len() <= 16);
        let list = list.ok_or_else(|| Error::file(MODULES, "expected a list of 1 to 16 modules"))?;
        let module = |value: &Value| {
            let field = |name: &str| value.get(name).and_then(Value::as_str);
            let kind = field("type").ok_or_else(|| Error::file(MODULES, "a module has no type"))?;
            let path = field("path").unwrap_or_default();
            if !inside(path) {
                return Err(Error::option("modules.json path", path));
            }
            // Old and new spellings differ in the package path only: the class is the last segment.
            let kind = kind.rsplit('.').next().unwrap_or(kind);
            Ok(Module { kind: kind.into(), path: path.trim_end_matches('/').into() })
        };
        let modules = list.iter().map(module).collect::<Result<Vec<_>>>()?;
        if !["Transformer", "MLMTransformer", "StaticEmbedding", "CLIPModel"].contains(&modules[0].kind.as_str()) {
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
            Kind::SentenceTransformer if self.files.get(MODULES).is_some_and(Option::is_some) => {
                return Ok(Task::Embed);
            }
            Kind::SentenceTransformer => {}
        }
        let config = self.config()?;
        let classes = config.texts("architectures")?.unwrap_or_default();
        let known = Task::CLASSES.iter().find(|(class, _)| classes.first().is_some_and(|first| first.ends_with(class)));
        Ok(known.map(|(_, task)| *task).filter(|task| *task != Task::Fill).unwrap_or(Task::Embed))
    }

    /// `config_sentence_transformers.json`, where the folder has one.
    pub fn sentence_config(&self) -> Result<Option<Config>> {
        self.optional(SENTENCE)
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

    /// Everything around the encoder, for an encoder of `hidden` columns.
    pub fn sentence(&self, hidden: usize) -> Result<Sentence> {
        let modules = self.modules()?;
        let mut sentence = Sentence {
            head: Head { pooling: vec![Pooling::Mean], include_prompt: true, dense: Vec::new(), normalize: false },
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
        match self.kind()? {
            Kind::SentenceTransformer => {}
            Kind::CrossEncoder => match modules.get(1) {
                Some(module) => return Err(Error::option("modules.json module", &module.kind)),
                None => {
                    sentence.cross_encoder = true;
                    return self.finish_sentence(&modules, sentence);
                }
            },
            Kind::SparseEncoder => {
                sentence.lexical = self.lexical(&modules)?;
                return self.finish_sentence(&modules, sentence);
            }
            Kind::MultiVectorEncoder => {
                sentence.multi = Some(self.multi(&modules, hidden)?);
                return self.finish_sentence(&modules, sentence);
            }
        }
        // Transformer, Pooling, any Dense, perhaps Normalize: the order in which these can be recorded.
        let order =
            |kind: &str| ["Transformer", "Pooling", "Dense", "Normalize"].iter().position(|known| *known == kind);
        // A table's vectors are pooled as they are looked up.
        let mut last = usize::from(modules[0].kind == "StaticEmbedding");
        let mut width = hidden;
        for module in &modules[1..] {
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
        self.finish_sentence(&modules, sentence)
    }

    /// Reads how texts are prepared, which does not depend on the modules.
    fn finish_sentence(&self, modules: &[Module], mut sentence: Sentence) -> Result<Sentence> {
        if let Some(config) = self.optional(&join(&modules[0].path, "sentence_bert_config.json"))? {
            if config.get("max_seq_length").is_some() {
                sentence.max_seq_length = Some(config.size("max_seq_length", limit::POSITIONS)?);
            }
            sentence.lowercase = config.flag_or("do_lower_case", false)?;
            match &mut sentence.multi {
                Some(multi) => multi.read_lengths(&config)?,
                None => {
                    for key in ["query_length", "document_length", "query_expansion"] {
                        config.require_empty(key)?;
                    }
                }
            }
            config.require_empty("processing_kwargs")?;
        }
        if let Some(config) = self.optional(SENTENCE)? {
            sentence.read_prompts(&config)?;
        }
        Ok(sentence)
    }

    /// The `SpladePooling` of a sparse encoder.
    fn lexical(&self, modules: &[Module]) -> Result<Lexical> {
        let [_, module] = modules else {
            return Err(Error::option("modules.json", "modules that are not one Transformer and one SpladePooling"));
        };
        if module.kind != "SpladePooling" {
            return Err(Error::option("modules.json module", &module.kind));
        }
        let path = join(&module.path, "config.json");
        let config = Config::parse(&path, self.bytes(&path)?)?;
        let sum = match config.text_or("pooling_strategy", "max")? {
            "max" => false,
            "sum" => true,
            _ => return Err(config.unsupported("pooling_strategy")),
        };
        let logs = match config.text_or("activation_function", "relu")? {
            "relu" => 1,
            "log1p_relu" => 2,
            _ => return Err(config.unsupported("activation_function")),
        };
        Ok(Lexical { sum, logs })
    }

    /// The modules of a multi-vector encoder behind the transformer.
    fn multi(&self, modules: &[Module], hidden: usize) -> Result<MultiVector> {
        let mut multi = MultiVector::default();
        if let Some(config) =
            self.optional(SENTENCE)?.filter(|config| config.get("model_type") == Some(&"ColBERT".into()))
        {
            multi.read_pylate(&config)?;
        }
        let mut width = hidden;
        for module in &modules[1..] {
            let path = join(&module.path, "config.json");
            let config = || Config::parse(&path, self.bytes(&path)?);
            match module.kind.as_str() {
                "Dense" => {
                    let dense = Dense::read(&config()?, &module.path, "token_embeddings")?;
                    if dense.inputs != width {
                        let reason = format!("in_features is {} where {width} columns come in", dense.inputs);
                        return Err(Error::file(path, reason));
                    }
                    width = dense.outputs;
                    multi.dense.push(dense);
                }
                "MultiVectorMask" => multi.read_mask(&config()?)?,
                "Normalize" => multi.normalize = true,
                _ => return Err(Error::option("modules.json module", &module.kind)),
            }
        }
        Ok(multi)
    }
}

impl Sentence {
    fn read_prompts(&mut self, config: &Config) -> Result<()> {
        if config.get("truncate_dim").is_some() {
            self.truncate_dim = Some(config.size("truncate_dim", limit::INNER)?);
        }
        if config.get("max_active_dims").is_some() {
            self.max_active_dims = Some(config.size("max_active_dims", limit::VOCAB)?);
        }
        if let Some(prompts) = config.get("prompts") {
            let prompts = prompts.as_object().ok_or_else(|| config.unsupported("prompts"))?;
            for (name, prompt) in prompts.iter().filter(|(_, prompt)| !prompt.is_null()) {
                let prompt = prompt.as_str().ok_or_else(|| config.unsupported("prompts"))?;
                self.prompts.insert(name.clone(), prompt.into());
            }
        }
        // PyLate puts these in front of the prompts.
        for (key, name) in [("query_prefix", "query"), ("document_prefix", "document")] {
            if config.get(key).is_some() {
                let prefix = config.text_or(key, "")?;
                let prompt = self.prompts.entry(name.into()).or_default();
                if !prompt.starts_with(prefix) {
                    prompt.insert_str(0, prefix);
                }
            }
        }
        if config.get("default_prompt_name").is_some() {
            let name = config.text_or("default_prompt_name", "")?;
            if !self.prompts.contains_key(name) {
                return Err(config.unsupported("default_prompt_name"));
            }
            self.default_prompt_name = Some(name.into());
        }
        // PyLate writes it so.
        let similarity = match config.text_or("similarity_fn_name", "cosine")? {
            "MaxSim" => "maxsim",
            other => other,
        };
        if !["cosine", "dot", "euclidean", "manhattan", "maxsim"].contains(&similarity) {
            return Err(config.unsupported("similarity_fn_name"));
        }
        self.similarity = similarity.into();
        Ok(())
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
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> Folder {
        let mut folder = Folder::new();
        for (path, text) in files {
            folder.put(path, Some(text.as_bytes().to_vec())).unwrap();
        }
        loop {
            let wanted = folder.wanted().unwrap();
            if wanted.is_empty() {
                return folder;
            }
            wanted.iter().for_each(|path| folder.put(path, None).unwrap());
        }
    }

    const OLD: &str = r#"[
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}]"#;

    #[test]
    fn asks_for_what_modules_name() {
        let mut folder = Folder::new();
        assert_eq!(folder.wanted().unwrap(), [MODULES, SENTENCE, packed::FILE]);
        folder.put(MODULES, Some(OLD.replace("\"path\": \"\"", "\"path\": \"0_Transformer\"").into())).unwrap();
        folder.put(SENTENCE, None).unwrap();
        folder.put(packed::FILE, None).unwrap();
        let expected =
            ["0_Transformer/config.json", "0_Transformer/tokenizer.json", "0_Transformer/tokenizer_config.json"];
        let wanted = folder.wanted().unwrap();
        assert_eq!(wanted[..3], expected);
        let rest = [
            "0_Transformer/sentence_bert_config.json",
            "0_Transformer/model.safetensors.index.json",
            "1_Pooling/config.json",
            "2_Normalize/config.json",
        ];
        assert_eq!(wanted[3..], rest);
        let told = |text: Option<&str>| {
            let mut folder = folder.clone();
            for path in &wanted {
                let text = text.filter(|_| path.ends_with("tokenizer_config.json"));
                folder.put(path, text.map(|text| text.into())).unwrap();
            }
            folder.wanted().unwrap()
        };
        let older = ["0_Transformer/special_tokens_map.json", "0_Transformer/added_tokens.json"];
        assert_eq!(told(None), older);
        assert_eq!(told(Some("{}")), older);
        assert!(told(Some(r#"{"added_tokens_decoder": {}}"#)).is_empty());
    }

    #[test]
    fn reads_a_sentence_transformers_folder() {
        let sentence = folder(&[
            (MODULES, OLD),
            (SENTENCE, r#"{"prompts": {"query": "q: "}, "default_prompt_name": "query", "similarity_fn_name": "dot"}"#),
            (
                "1_Pooling/config.json",
                r#"{"pooling_mode_cls_token": true, "pooling_mode_max_tokens": true, "include_prompt": false}"#,
            ),
            ("sentence_bert_config.json", r#"{"max_seq_length": 256, "do_lower_case": true}"#),
        ])
        .sentence(8)
        .unwrap();
        assert_eq!(sentence.head.pooling, [Pooling::Cls, Pooling::Max]);
        assert!(sentence.head.normalize && !sentence.head.include_prompt && sentence.lowercase);
        assert_eq!((sentence.max_seq_length, sentence.similarity.as_str()), (Some(256), "dot"));
        assert_eq!(sentence.default_prompt_name.as_deref(), Some("query"));
    }

    #[test]
    fn a_plain_folder_has_mean_pooling() {
        let sentence = folder(&[]).sentence(8).unwrap();
        assert_eq!(sentence.head.pooling, [Pooling::Mean]);
        assert!(!sentence.head.normalize);
    }

    #[test]
    fn names_what_it_does_not_understand() {
        let with =
            |modules: String| folder(&[(MODULES, &modules), ("1_Pooling/config.json", "{}")]).sentence(8).unwrap_err();
        for (old, new) in [("Normalize\"", "LayerNorm\""), ("models.Pooling", "models.WeightedLayerPooling")] {
            assert_eq!(with(OLD.replace(old, new)).code(), "unsupported-option", "{new}");
        }
        let folder = |path: &str| {
            let mut folder = Folder::new();
            folder.put(MODULES, Some(OLD.replace("1_Pooling", path).into())).unwrap();
            folder.put(SENTENCE, None).unwrap();
            folder.put(packed::FILE, None).unwrap();
            folder.wanted().unwrap_err().code()
        };
        for path in ["../secret", "/etc", "https://elsewhere"] {
            assert_eq!(folder(path), "unsupported-option", "{path}");
        }
    }
}
