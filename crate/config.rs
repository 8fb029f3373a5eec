//! `config.json` of a Hugging Face folder, read key by key with a range for every number.
//!
//! Nothing here knows an architecture: `arch/` asks for the keys that its configuration class writes.
//! Every number is bounded here, before anything is allocated from it.

use std::fmt::Formatter;

use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::error::{Error, Result, printable};

/// Largest accepted sizes. They bound memory before a weight is read.
pub mod limit {
    /// Columns of a hidden state.
    pub const HIDDEN: usize = 4096;
    /// Columns inside the feed-forward network.
    pub const INNER: usize = 16_384;
    /// Encoder layers.
    pub const LAYERS: usize = 64;
    /// Rows of the token table.
    pub const VOCAB: usize = 1_000_000;
    /// Rows of a table of positions.
    pub const POSITIONS: usize = 32_768;
    /// Tokens in one sequence where positions need no table.
    pub const SEQUENCE: usize = 1 << 20;
    /// Bytes of any JSON file of a model folder.
    pub const JSON_BYTES: usize = 32 << 20;
}

/// One JSON object of a model folder, with typed and bounded access.
#[derive(Debug, Clone, Default)]
pub struct Config {
    path: String,
    keys: Map<String, Value>,
}

impl Config {
    /// Parses a JSON object. Errors name `path`.
    pub fn parse(path: &str, bytes: &[u8]) -> Result<Self> {
        match json(path, bytes)? {
            Value::Object(keys) => Ok(Self { path: path.into(), keys }),
            _ => Err(Error::file(path, "expected a JSON object")),
        }
    }

    /// The value of `key` unless it is absent or null.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.keys.get(key).filter(|value| !value.is_null())
    }

    /// Whether `key` is there, be it null.
    pub fn has(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// The keys and their values.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.keys.iter().map(|(key, value)| (key.as_str(), value))
    }

    fn wrong(&self, key: &str, expected: &str) -> Error {
        let found = self.get(key).map_or("nothing".into(), Value::to_string);
        Error::file(&self.path, format!("{key} must be {expected}, found {found}"))
    }

    /// A whole number from 1 to `most`, or `default` where the key is absent.
    #[inline(never)]
    pub fn size_or(&self, key: &str, default: usize, most: usize) -> Result<usize> {
        if self.get(key).is_some() { self.size(key, most) } else { Ok(default) }
    }

    /// A whole number from 1 to `most`.
    #[inline(never)]
    pub fn size(&self, key: &str, most: usize) -> Result<usize> {
        let found = self.get(key).and_then(Value::as_u64).filter(|&n| n > 0);
        let found = found.ok_or_else(|| self.wrong(key, "a whole number above zero"))?;
        match usize::try_from(found) {
            Ok(size) if size <= most => Ok(size),
            _ => Err(Error::LimitExceeded { what: format!("{} {key}", self.path), found, limit: most as u64 }),
        }
    }

    /// `count` whole numbers from 1 to `most`, from a list or from one number for all.
    #[inline(never)]
    pub fn sizes_or(&self, key: &str, default: usize, count: usize, most: usize) -> Result<Vec<usize>> {
        let Some(Value::Array(list)) = self.get(key) else { return Ok(vec![self.size_or(key, default, most)?; count]) };
        let size = |value: &Value| value.as_u64().map(|size| size as usize).filter(|size| (1..=most).contains(size));
        let sizes: Option<Vec<usize>> = list.iter().map(size).collect();
        let sizes = sizes.filter(|sizes| sizes.len() == count);
        sizes.ok_or_else(|| self.wrong(key, &format!("{count} whole numbers from 1 to {most}")))
    }

    /// A whole number from 0 to `most`, or `default` where the key is absent.
    #[inline(never)]
    pub fn index_or(&self, key: &str, default: u32, most: usize) -> Result<u32> {
        let Some(value) = self.get(key) else { return Ok(default) };
        let found = value.as_u64().and_then(|found| u32::try_from(found).ok()).filter(|found| *found as usize <= most);
        found.ok_or_else(|| self.wrong(key, &format!("a whole number, at most {most}")))
    }

    /// A finite number above zero and at most `most`, or `default` where the key is absent.
    #[inline(never)]
    pub fn number_or(&self, key: &str, default: f32, most: f32) -> Result<f32> {
        let Some(value) = self.get(key) else { return Ok(default) };
        let number = value.as_f64().map(|number| number as f32).filter(|number| *number > 0.0 && *number <= most);
        number.ok_or_else(|| self.wrong(key, &format!("a number above 0, at most {most}")))
    }

    /// As [`Config::number_or`], with all of its digits.
    pub fn real_or(&self, key: &str, default: f64, most: f64) -> Result<f64> {
        let Some(value) = self.get(key) else { return Ok(default) };
        let number = value.as_f64().filter(|number| *number > 0.0 && *number <= most);
        number.ok_or_else(|| self.wrong(key, &format!("a number above 0, at most {most}")))
    }

    /// A list of `count` finite numbers.
    pub fn numbers(&self, key: &str, count: usize) -> Result<Vec<f32>> {
        let list = self.get(key).and_then(Value::as_array).filter(|list| list.len() == count);
        let number = |value: &Value| value.as_f64().map(|number| number as f32).filter(|number| number.is_finite());
        let numbers = list.and_then(|list| list.iter().map(number).collect());
        numbers.ok_or_else(|| self.wrong(key, &format!("a list of {count} numbers")))
    }

    /// A string, or `default` where the key is absent.
    #[inline(never)]
    pub fn text_or<'a>(&'a self, key: &str, default: &'a str) -> Result<&'a str> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.as_str().ok_or_else(|| self.wrong(key, "a string")),
        }
    }

    /// Whether `key` is this string.
    pub fn is(&self, key: &str, text: &str) -> bool {
        self.get(key).and_then(Value::as_str) == Some(text)
    }

    /// True or false, or `default` where the key is absent.
    #[inline(never)]
    pub fn flag_or(&self, key: &str, default: bool) -> Result<bool> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.wrong(key, "true or false")),
        }
    }

    /// The object at `key`, unless it is absent or null.
    #[inline(never)]
    pub fn object(&self, key: &str) -> Result<Option<Self>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(keys)) => Ok(Some(Self { path: format!("{} {key}", self.path), keys: keys.clone() })),
            Some(_) => Err(self.wrong(key, "an object")),
        }
    }

    /// A number of tokens. Absent, or the huge number that stands for "no limit": none.
    pub fn length(&self, key: &str) -> Option<usize> {
        let length = usize::try_from(self.get(key)?.as_u64()?).ok()?;
        (length <= limit::POSITIONS).then_some(length)
    }

    /// A list of strings, or nothing where the key is absent.
    #[inline(never)]
    pub fn texts(&self, key: &str) -> Result<Option<Vec<&str>>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let texts = value.as_array().and_then(|list| list.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
        texts.map(Some).ok_or_else(|| self.wrong(key, "a list of strings"))
    }

    /// Refuses any value but `only`. For settings that would change the vectors.
    #[inline(never)]
    pub fn require(&self, key: &str, only: &Value) -> Result<()> {
        match self.get(key) {
            None => Ok(()),
            Some(value) if value == only => Ok(()),
            Some(_) => Err(self.unsupported(key)),
        }
    }

    /// Refuses anything but an absent, null or empty value.
    #[inline(never)]
    pub fn require_empty(&self, key: &str) -> Result<()> {
        match self.get(key) {
            None => Ok(()),
            Some(Value::Object(map)) if map.is_empty() => Ok(()),
            Some(Value::Array(list)) if list.is_empty() => Ok(()),
            Some(_) => Err(self.unsupported(key)),
        }
    }

    /// An [`Error::UnsupportedOption`] for the value found at `key`.
    #[inline(never)]
    pub fn unsupported(&self, key: &str) -> Error {
        let found = self.get(key).map_or("nothing".into(), Value::to_string);
        Error::option(format!("{} {key}", self.path), found)
    }
}

/// Parses JSON from a model folder, telling a web page from a broken file.
pub fn json(path: &str, bytes: &[u8]) -> Result<Value> {
    if bytes.len() > limit::JSON_BYTES {
        let (found, limit) = (bytes.len() as u64, limit::JSON_BYTES as u64);
        return Err(Error::LimitExceeded { what: format!("bytes of {path}"), found, limit });
    }
    if looks_like_html(bytes) {
        return Err(Error::HtmlInsteadOfFile { path: path.into() });
    }
    let Unambiguous(value) = serde_json::from_slice(bytes).map_err(|error| Error::file(path, error))?;
    Ok(value)
}

/// A value in which no object has a key twice: readers differ in which of the two they take.
struct Unambiguous(Value);

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(UnambiguousVisitor).map(Self)
    }
}

struct UnambiguousVisitor;

impl<'de> Visitor<'de> for UnambiguousVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut Formatter) -> std::fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Unambiguous(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some((key, Unambiguous(value))) = object.next_entry::<String, _>()? {
            if values.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key {} is there twice", printable(&key))));
            }
            values.insert(key, value);
        }
        Ok(Value::Object(values))
    }
}

/// Whether the first bytes are those of a web page. No model file starts with `<`.
pub fn looks_like_html(bytes: &[u8]) -> bool {
    bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'<')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse("config.json", text.as_bytes()).unwrap()
    }

    #[test]
    fn a_key_that_is_there_twice_is_refused() {
        for text in [r#"{"a": 1, "a": 1}"#, r#"{"b": [{"a": 1, "\u0061": 2}]}"#] {
            let error = Config::parse("config.json", text.as_bytes()).unwrap_err();
            assert_eq!(error.code(), "invalid-file");
            assert!(error.to_string().contains("twice"), "{error}");
        }
        let text = r#"{"a": [1, -2, 0.5, "x", null, true, {}], "b": {"a": 1}, "__proto__": 18446744073709551615}"#;
        assert_eq!(json("x", text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn sizes_are_bounded() {
        let c = config(r#"{"a": 12, "zero": 0, "huge": 1000000000, "text": "12", "float": 1.5, "null": null}"#);
        assert_eq!(c.size("a", 100), Ok(12));
        assert_eq!(c.size("huge", 4096).unwrap_err().code(), "limit-exceeded");
        for key in ["zero", "text", "float", "null", "absent"] {
            assert_eq!(c.size(key, 4096).unwrap_err().code(), "invalid-file", "{key}");
        }
        assert_eq!(c.size_or("null", 7, 100), Ok(7));
    }

    #[test]
    fn numbers_are_finite_and_positive() {
        let c = config(r#"{"eps": 1e-12, "negative": -1, "huge": 1e300, "text": "x"}"#);
        assert_eq!(c.number_or("eps", 1.0, 0.1), Ok(1e-12));
        assert_eq!(c.number_or("absent", 0.5, 0.1), Ok(0.5));
        for key in ["negative", "huge", "text"] {
            assert!(c.number_or(key, 1.0, 0.1).is_err(), "{key}");
        }
    }

    #[test]
    fn html_and_garbage_are_told_apart() {
        assert_eq!(json("config.json", b"  <!doctype html>").unwrap_err().code(), "html-instead-of-file");
        assert_eq!(json("config.json", b"{").unwrap_err().code(), "invalid-file");
        assert_eq!(Config::parse("config.json", b"[]").unwrap_err().code(), "invalid-file");
    }
}
