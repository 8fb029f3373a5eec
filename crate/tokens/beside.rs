//! What other files of a folder say of its tokenizer.

use super::classes::{self, Class};
use crate::config::{Config, limit};
use crate::error::Result;
use crate::folder::{Folder, join};

/// Those that say, in older folders, what `tokenizer_config.json` says of special tokens in newer ones.
const OLDER: [&str; 2] = ["special_tokens_map.json", "added_tokens.json"];

/// What other files of a folder say of its tokenizer.
#[derive(Debug, Clone, Default)]
pub struct Beside {
    /// A lowercasing in front of the tokenizer's own normalizer: `do_lower_case` of `sentence_bert_config.json`.
    pub lowercase: bool,
    /// Whether the front of a long text is cut off instead of its end. None: as `tokenizer.json` says.
    pub cut_left: Option<bool>,
    /// The class that makes the tokenizer.
    pub class: Class,
    /// Whether a file names it; otherwise it is what is usual for the model's type, and stands where the file has what it takes.
    pub names_class: bool,
    /// Whether token types are given: as the files list the model's inputs, else as the class does that they name.
    pub types: Option<bool>,
    /// Whether a class reads it at all: to it what texts are filled with is a special token.
    pub has_class: bool,
    /// `tokenizer_config.json`.
    pub config: Config,
    /// `special_tokens_map.json`, which is read where `tokenizer_config.json` has no `added_tokens_decoder`.
    pub special_tokens: Option<Config>,
    /// `added_tokens.json`, likewise.
    pub added: Option<Config>,
}

impl Folder {
    /// `tokenizer.json`.
    pub fn tokenizer(&self) -> Result<&[u8]> {
        self.bytes(&self.of_encoder("tokenizer.json")?)
    }

    fn tokenizer_config(&self) -> Result<Option<Config>> {
        self.optional(&self.of_encoder("tokenizer_config.json")?)
    }

    /// `model_max_length` of `tokenizer_config.json`; see [`Config::length`].
    pub fn model_max_length(&self) -> Result<Option<usize>> {
        Ok(self.tokenizer_config()?.and_then(|config| config.length("model_max_length")))
    }

    /// The length at which `tokenizer.json` cuts texts, which counts where sentence-transformers leaves that to it: in front of a table.
    pub fn truncation(&self) -> Result<Option<usize>> {
        let truncation = Config::parse("tokenizer.json", self.tokenizer()?)?.object("truncation")?;
        truncation.map(|truncation| truncation.size("max_length", limit::SEQUENCE)).transpose()
    }

    /// What other files say beside `tokenizer.json`; `lowercase` puts a lowercasing in front.
    pub fn beside_tokenizer(&self, lowercase: bool) -> Result<Beside> {
        let config = self.tokenizer_config()?.unwrap_or_default();
        let cut_left = match config.text_or("truncation_side", "")? {
            "" => None,
            "right" => Some(false),
            "left" => Some(true),
            _ => return Err(config.unsupported("truncation_side")),
        };
        let beside = Beside { lowercase, cut_left, ..Beside::default() };
        if self.is_table()? {
            // Their class reads `tokenizer.json` alone.
            return Ok(beside);
        }
        let of_model = self.optional(&self.of_encoder("config.json")?)?.unwrap_or_default();
        let (class, named) = Class::of(&config, &of_model, self.tokenizer()?)?;
        let names_class = named.is_some();
        let types = match config.texts("model_input_names")? {
            Some(inputs) => Some(inputs.contains(&"token_type_ids")),
            None => named.map(classes::give_types),
        };
        let older = |name| self.optional(&self.of_encoder(name)?);
        let (special_tokens, added) = (older(OLDER[0])?, older(OLDER[1])?);
        Ok(Beside { has_class: true, class, names_class, types, config, special_tokens, added, ..beside })
    }

    /// The files that are read where the `tokenizer_config.json` of this folder below does not list what was added to the vocabulary.
    pub(crate) fn special_token_files(&self, folder: &str) -> Result<Vec<String>> {
        let config = self.optional(&join(folder, "tokenizer_config.json"))?;
        if config.is_some_and(|config| config.has("added_tokens_decoder")) || self.is_table()? {
            return Ok(Vec::new());
        }
        Ok(OLDER.map(|name| join(folder, name)).into())
    }
}
