//! Special tokens that are named outside `tokenizer.json`, and tokens that are added there: in `tokenizer_config.json` and, where
//! that does not list what was added, in `special_tokens_map.json` and `added_tokens.json`. Source: transformers 5,
//! `tokenization_utils_base.py` and `tokenization_utils_tokenizers.py`.

use serde_json::Value;

use super::added::AddedToken;
use super::{Beside, Class};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::sort::sort_by;

/// In the order of [`Class::tokens`].
pub const KEYS: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// Names of special tokens, and tokens to add.
pub struct Named {
    named: Vec<(String, AddedToken)>,
    extra: Vec<AddedToken>,
    /// Those of `added_tokens_decoder`, which stand for those of `tokenizer.json` where a class makes the tokenizer anew.
    listed: Option<Vec<AddedToken>>,
    /// Those of `added_tokens.json`.
    beside: Vec<AddedToken>,
}

impl Named {
    /// Reads what the files say, and what a class has of its own. `pad` is what `tokenizer.json` fills texts with.
    pub fn read(beside: &Beside, class: Class, pad: Option<&str>) -> Result<Self> {
        let config = &beside.config;
        let listed = config.object("added_tokens_decoder")?;
        let map = beside.special_tokens.as_ref().filter(|_| listed.is_none());
        let get = |key: &str| map.and_then(|map| map.get(key)).or_else(|| config.get(key));
        let known = |key: &str| config.has(key) || map.is_some_and(|map| map.has(key));
        let mut named = Vec::new();
        let mut usual = class.tokens().split(' ').filter(|token| !token.is_empty());
        for key in KEYS {
            let usual = usual.next().filter(|token| *token != "-" && !known(key));
            let mut token = get(key).map(|value| AddedToken::named(config, key, value)).transpose()?;
            let filling = pad.filter(|_| key == "pad_token" && !class.rebuilds() && !known(key));
            if let Some(usual) = usual.or(filling) {
                token = Some(AddedToken::new(usual, true));
            }
            if let Some(token) = &mut token
                && key == "mask_token"
                && get(key).is_none_or(Value::is_string)
            {
                token.lstrip = class.strips_mask();
            }
            named.extend(token.map(|token| (key.to_owned(), token)));
        }
        // Objects that are meant as tokens are marked there.
        let marked = |value: &Value| value.get("__type").and_then(Value::as_str) == Some("AddedToken");
        let of_config = config.entries().filter(|(_, value)| value.is_string() || marked(value));
        let of_map =
            map.into_iter().flat_map(Config::entries).filter(|(_, value)| value.is_string() || value.is_object());
        for (key, value) in of_config.chain(of_map) {
            if key.ends_with("_token") && !KEYS.contains(&key) {
                named.push((key.to_owned(), AddedToken::named(config, key, value)?));
            }
        }
        let keys = ["extra_special_tokens", "additional_special_tokens"];
        let mut extra = Vec::new();
        if !keys.into_iter().any(known) {
            extra.extend(class.extra(config)?.iter().map(|token| AddedToken::new(token, true)));
        }
        // A list of them there, or none where one could be, stands for that of the map.
        let lists = |key: &&str| config.has(key) && !config.get(key).is_some_and(Value::is_object);
        let map = map.filter(|_| !keys.iter().any(lists));
        // What is added before those of a map's older key are known is not special by them.
        let mut are_special = true;
        for (file, key) in [Some(config), map].into_iter().flatten().flat_map(|file| keys.map(|key| (file, key))) {
            match file.get(key) {
                Some(Value::Object(tokens)) => {
                    for (name, value) in tokens {
                        named.push((name.clone(), AddedToken::named(file, key, value)?));
                    }
                }
                // The first list that is not empty stands for all.
                Some(Value::Array(list)) if extra.is_empty() => {
                    let tokens = list.iter().map(|value| AddedToken::named(file, key, value));
                    extra = tokens.collect::<Result<_>>()?;
                    are_special = key == keys[0] || config.has(key);
                }
                None | Some(Value::Array(_)) => {}
                Some(_) => return Err(file.unsupported(key)),
            }
        }
        let listed = listed.map(|listed| AddedToken::listed(&listed)).transpose()?;
        let extras = extra.iter().filter(|_| are_special).map(|token| token.content.as_str());
        let special = sorted(contents(&named).chain(extras));
        let mut added = Vec::new();
        for (content, id) in beside.added.iter().filter(|_| listed.is_none()).flat_map(Config::entries) {
            let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
            let id = id.ok_or_else(|| Error::file("added_tokens.json", "a token has no id"))?;
            added.push(AddedToken { id, ..AddedToken::new(content, special.binary_search(&content).is_ok()) });
        }
        Ok(Self { named, extra, listed, beside: added })
    }

    /// The token of this name.
    pub fn get(&self, key: &str) -> Option<&str> {
        let (_, token) = self.named.iter().find(|(name, _)| name == key)?;
        Some(&token.content)
    }

    /// All special tokens.
    pub fn special(&self) -> impl Iterator<Item = &str> {
        contents(&self.named).chain(self.extra.iter().map(|token| token.content.as_str()))
    }

    /// All tokens to add, where `tokenizer.json` adds these. A class that makes the tokenizer anew does not have them yet.
    pub fn added(&self, mut file: Vec<AddedToken>, class: Class) -> Vec<AddedToken> {
        let anew = class.rebuilds();
        let mut again = self.beside.clone();
        match &self.listed {
            Some(listed) => {
                if anew {
                    file.clear();
                }
                again.extend_from_slice(listed);
            }
            None if anew => again.append(&mut file),
            None => again.extend_from_slice(&file),
        }
        sort_by(&mut again, |a, b| a.id.cmp(&b.id));
        let named = sorted(contents(&self.named));
        for token in &mut again {
            token.special |= named.binary_search(&token.content.as_str()).is_ok();
        }
        file.append(&mut again);
        let known = sorted(file.iter().map(|token| token.content.as_str()));
        let tokens = self.named.iter().map(|(_, token)| token).chain(&self.extra);
        let new = tokens.clone().filter(|token| known.binary_search(&token.content.as_str()).is_err()).cloned();
        let mut new: Vec<AddedToken> = new.collect();
        if class == Class::Qwen2 {
            // It adds them once more, by their contents.
            new.extend(tokens.map(|token| AddedToken::new(&token.content, true)));
        }
        file.extend(new);
        file
    }
}

fn sorted<'a>(contents: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut all: Vec<&str> = contents.collect();
    sort_by(&mut all, |a, b| a.cmp(b));
    all
}

fn contents(named: &[(String, AddedToken)]) -> impl Iterator<Item = &str> {
    named.iter().map(|(_, token)| token.content.as_str())
}

impl AddedToken {
    /// A token that is found as it stands.
    pub fn new(content: &str, special: bool) -> Self {
        let (single_word, lstrip, rstrip, content) = (false, false, false, content.to_owned());
        Self { id: 0, content, single_word, lstrip, rstrip, normalized: !special, special, fixed: false }
    }

    /// A special token: its content, or an object that has it.
    fn named(config: &Config, key: &str, value: &Value) -> Result<Self> {
        let token = match value {
            Value::String(content) => Some(Self::new(content, true)),
            value => Self::of(value),
        };
        Ok(Self { special: true, ..token.ok_or_else(|| config.unsupported(key))? })
    }

    /// The entries of `added_tokens_decoder`. Their ids say no more than their order.
    fn listed(config: &Config) -> Result<Vec<Self>> {
        let token = |(id, value): (&str, &Value)| Some(Self { id: id.parse().ok()?, ..Self::of(value)? });
        config.entries().map(|entry| token(entry).ok_or_else(|| config.unsupported(entry.0))).collect()
    }

    fn of(value: &Value) -> Option<Self> {
        let flag = |key, default| value.get(key).and_then(Value::as_bool).unwrap_or(default);
        let token = Self::new(value.get("content")?.as_str()?, flag("special", false));
        let (lstrip, rstrip, single_word) = (flag("lstrip", false), flag("rstrip", false), flag("single_word", false));
        Some(Self { lstrip, rstrip, single_word, normalized: flag("normalized", token.normalized), ..token })
    }
}
