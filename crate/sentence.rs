//! What sentence-transformers puts around an encoder: how texts are prepared and what follows the states.

use std::collections::BTreeMap;

use crate::config::{Config, limit};
use crate::error::Result;
use crate::head::{End, Head};
use crate::ops::Lexical;
use crate::task::MultiVector;

/// The names of the configuration of a `Transformer` module, in the order in which sentence-transformers looks for them.
pub(crate) const NAMES: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];

/// Arguments with which `Transformer` makes its encoder, by today's name and the one before: those that change no vector.
const ARGUMENTS: [(&str, &str, &[&str]); 3] = [
    (
        "model_kwargs",
        "model_args",
        &["add_pooling_layer", "device_map", "low_cpu_mem_usage", "use_safetensors", "use_cache"],
    ),
    ("processor_kwargs", "tokenizer_args", &["model_max_length", "padding_side", "use_fast"]),
    (
        "config_kwargs",
        "config_args",
        &["output_attentions", "output_hidden_states", "reference_compile", "unpad_inputs", "use_cache"],
    ),
];
/// Those that change none wherever they are.
const EVERYWHERE: [&str; 11] = [
    "attn_implementation",
    "cache_dir",
    "code_revision",
    "dtype",
    "local_files_only",
    "revision",
    "subfolder",
    "token",
    "torch_dtype",
    "trust_remote_code",
    "use_memory_efficient_attention",
];

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

impl Sentence {
    /// Reads the configuration of a `Transformer` module: how its encoder is made and what it is called with.
    pub(crate) fn read_transformer(&mut self, config: &Config) -> Result<()> {
        if config.get("max_seq_length").is_some() {
            self.max_seq_length = Some(config.size("max_seq_length", limit::POSITIONS)?);
        }
        for (name, former, harmless) in ARGUMENTS {
            let former = config.object(former)?;
            for arguments in [former, config.object(name)?].into_iter().flatten() {
                let mut given = arguments.entries().filter(|(_, value)| !value.is_null());
                if let Some((key, _)) = given.find(|(key, _)| !harmless.contains(key) && !EVERYWHERE.contains(key)) {
                    return Err(arguments.unsupported(key));
                }
                if arguments.get("model_max_length").is_some() {
                    self.max_seq_length = arguments.length("model_max_length");
                }
            }
        }
        self.lowercase = config.flag_or("do_lower_case", false)?;
        match &mut self.multi {
            Some(multi) => multi.read_lengths(config)?,
            None => {
                for key in ["query_length", "document_length", "query_expansion"] {
                    config.require_empty(key)?;
                }
            }
        }
        config.require_empty("processing_kwargs")
    }

    /// Reads `config_sentence_transformers.json`.
    pub(crate) fn read_prompts(&mut self, config: &Config) -> Result<()> {
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
