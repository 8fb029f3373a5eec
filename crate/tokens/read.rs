//! `tokenizer.json` to the parts of a tokenizer: the file and its model; `steps.rs` has what is around the model.
//! Only what is listed in the two is made, and it is checked first: the parts of `tokenizers` trust the file, and some
//! of them panic on one that is wrong.

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use tokenizers::models::bpe::{BPE, Vocab as Ids};
use tokenizers::models::{unigram::Unigram, wordpiece::WordPiece};

use super::added::AddedToken;
use super::decode::Decoder;
use super::parts::{Model, Normalizer, Post, PreTokenizer};
use super::steps::{Step, decoder, normalizer, post_processor, pre_tokenizer};
use super::{invalid, refused};
use crate::config::limit;
use crate::error::{Error, Result};

/// Most characters of a word that WordPiece cuts into tokens: it takes time as their square.
const WORD_CHARS: usize = 1000;

/// `tokenizer.json`, less `padding` and most of `truncation`.
#[derive(Deserialize)]
pub struct File {
    version: Option<String>,
    pub added_tokens: Option<Vec<AddedToken>>,
    truncation: Option<TruncationFile>,
    padding: Option<Value>,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    post_processor: Option<Value>,
    decoder: Option<Value>,
    model: ModelFile,
    /// Whether a class has taken the vocabulary out of it, and made a model of that.
    #[serde(skip)]
    is_rebuilt: bool,
}

/// Which end of a long text is cut off.
#[derive(Deserialize)]
struct TruncationFile {
    direction: Option<String>,
}

/// All that the three kinds of model have, each of them some of it.
#[derive(Deserialize)]
struct ModelFile {
    #[serde(rename = "type")]
    kind: Option<String>,
    vocab: Vocab,
    merges: Option<Vec<Merge>>,
    unk_token: Option<String>,
    unk_id: Option<usize>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    max_input_chars_per_word: Option<usize>,
    dropout: Option<f32>,
    fuse_unk: Option<bool>,
    byte_fallback: Option<bool>,
    ignore_merges: Option<bool>,
}

/// What a class makes of the vocabulary, whatever the file says of its model.
pub enum Made {
    WordPiece {
        unk: String,
    },
    Bpe {
        unk: Option<String>,
        /// Bytes stand for what the vocabulary does not have, and it is one token where it is in a row.
        bytes: bool,
        suffix: &'static str,
    },
    Unigram {
        /// The token for what the vocabulary does not have, if it is there: with any score where `scored`, else with none.
        unk: Option<String>,
        scored: bool,
        /// Its id otherwise.
        or: u32,
    },
}

impl Made {
    /// The kind of model.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::WordPiece { .. } => "WordPiece",
            Self::Bpe { .. } => "BPE",
            Self::Unigram { .. } => "Unigram",
        }
    }
}

impl File {
    /// Reads the file.
    pub fn new(json: &[u8]) -> Result<Self> {
        let file: Self = serde_json::from_slice(json).map_err(|error| refused(error.to_string()))?;
        match file.version.as_deref() {
            None | Some("1.0") => Ok(file),
            Some(version) => Err(Error::option("tokenizer.json version", version)),
        }
    }

    /// Whether the front of a long text is cut off, where the file says so.
    pub fn cuts_left(&self) -> Result<bool> {
        match self.truncation.as_ref().and_then(|truncation| truncation.direction.as_deref()) {
            None | Some("Right") => Ok(false),
            Some("Left") => Ok(true),
            Some(direction) => Err(Error::option("tokenizer.json truncation direction", direction)),
        }
    }

    /// The normalizer.
    pub fn normalizer(&self) -> Result<Option<Normalizer>> {
        Step::first("normalizer", self.normalizer.as_ref()).map(|step| normalizer(step, &mut 0)).transpose()
    }

    /// What cuts a text into words.
    pub fn pre_tokenizer(&self) -> Result<Option<PreTokenizer>> {
        Step::first("pre_tokenizer", self.pre_tokenizer.as_ref()).map(|step| pre_tokenizer(step, &mut 0)).transpose()
    }

    /// What is done to the tokens of a text.
    pub fn post(&self) -> Result<Post> {
        let mut post = (None, None);
        if let Some(step) = Step::first("post_processor", self.post_processor.as_ref()) {
            post_processor(step, &mut 0, &mut post)?;
        }
        Ok(Post { trim: post.0, frame: post.1.unwrap_or_default() })
    }

    /// Whether the file says what is done to the tokens of a text.
    pub fn has_post(&self) -> bool {
        self.post_processor.is_some()
    }

    /// SentencePiece's normalization, where it is among what the file does to a text.
    pub fn charsmap(&self) -> Result<Option<Normalizer>> {
        let precompiled = |step: &Value| step.get("type").and_then(Value::as_str) == Some("Precompiled");
        let steps = self.normalizer.iter().flat_map(|step| match step.get("normalizers").and_then(Value::as_array) {
            Some(steps) => steps.as_slice(),
            None => std::slice::from_ref(step),
        });
        let step = Step::first("normalizer", steps.into_iter().find(|step| precompiled(step)));
        step.map(|step| normalizer(step, &mut 0)).transpose()
    }

    /// What texts are filled up with.
    pub fn pad_token(&self) -> Option<String> {
        Some(self.padding.as_ref()?.get("pad_token")?.as_str()?.to_owned())
    }

    /// Whether the vocabulary has words of several Chinese characters.
    pub fn has_chinese_words(&self) -> bool {
        let is_word = |token: &String| {
            let token = token.strip_prefix("##").unwrap_or(token);
            token.chars().nth(1).is_some() && token.chars().all(|c| matches!(c, '\u{4e00}'..='\u{9fff}'))
        };
        match &self.model.vocab {
            Vocab::Ids(ids) => ids.keys().any(is_word),
            Vocab::Scores(_) => false,
        }
    }

    /// Whether the vocabulary or what is added to it has a token.
    pub fn has(&self, token: &str) -> bool {
        let is_known = match &self.model.vocab {
            Vocab::Ids(ids) => ids.contains_key(token),
            Vocab::Scores(scores) => scores.iter().any(|(known, _)| known == token),
        };
        is_known || self.added_tokens.iter().flatten().any(|known| known.content == token)
    }

    /// Which model it has. Old files do not say.
    pub fn kind(&self) -> &str {
        let model = &self.model;
        model.kind.as_deref().unwrap_or(match (&model.vocab, &model.merges) {
            (Vocab::Scores(_), _) => "Unigram",
            (_, Some(_)) => "BPE",
            _ if model.max_input_chars_per_word.is_some() => "WordPiece",
            _ => "WordLevel",
        })
    }

    /// Takes no more than the vocabulary and the merges of the model.
    pub fn rebuild(&mut self, made: Made) -> Result<()> {
        if self.kind() != made.kind() {
            // Something else would be made of the vocabulary.
            let found = format!("{}, of which the folder's class of tokenizers makes another", self.kind());
            return Err(Error::option("tokenizer.json model", found));
        }
        self.is_rebuilt = true;
        let model = &mut self.model;
        match made {
            Made::WordPiece { unk } => {
                model.unk_token = Some(unk);
                model.continuing_subword_prefix = Some("##".into());
                model.max_input_chars_per_word = Some(100);
            }
            Made::Bpe { unk, bytes, suffix } => {
                model.unk_token = unk;
                model.continuing_subword_prefix = None;
                model.end_of_word_suffix = Some(suffix.to_owned()).filter(|suffix| !suffix.is_empty());
                (model.dropout, model.ignore_merges) = (None, None);
                (model.fuse_unk, model.byte_fallback) = (Some(bytes), Some(bytes));
            }
            Made::Unigram { unk, scored, or } => {
                let scores = if let Vocab::Scores(scores) = &model.vocab { scores.as_slice() } else { &[] };
                let place = scores
                    .iter()
                    .position(|(token, score)| Some(token) == unk.as_ref() && (scored || score.exact == 0.0));
                model.unk_id = Some(place.unwrap_or(or as usize));
                model.byte_fallback = None;
            }
        }
        Ok(())
    }

    /// What makes a text of tokens again. One that is not known is no reason to refuse a tokenizer: few ask for it.
    pub fn decoder(&self) -> Result<Option<Decoder>> {
        Step::first("decoder", self.decoder.as_ref()).map(|step| decoder(step, &mut 0)).transpose()
    }

    /// The model.
    pub fn model(self) -> Result<Model> {
        let kind = self.kind().to_owned();
        let model = self.model;
        if let Vocab::Ids(ids) = &model.vocab {
            let highest = ids.values().max().map_or(0, |id| *id as usize);
            within("the highest id of tokenizer.json", highest, limit::VOCAB)?;
        }
        match (kind.as_str(), model.vocab) {
            ("WordPiece", Vocab::Ids(ids)) => {
                let wanted = (model.unk_token, model.continuing_subword_prefix, model.max_input_chars_per_word);
                let (Some(unk), Some(prefix), Some(chars)) = wanted else {
                    return Err(refused(
                        "WordPiece needs unk_token, continuing_subword_prefix, max_input_chars_per_word",
                    ));
                };
                if !ids.contains_key(&unk) {
                    return Err(refused(format!("the vocabulary has no \"{unk}\"")));
                }
                within("max_input_chars_per_word of tokenizer.json", chars, WORD_CHARS)?;
                let builder = WordPiece::builder().vocab(ids).unk_token(unk);
                let builder = builder.continuing_subword_prefix(prefix).max_input_chars_per_word(chars);
                Ok(Model::WordPiece(Box::new(builder.build().map_err(invalid)?)))
            }
            ("BPE", Vocab::Ids(ids)) => {
                if let Some(dropout) = model.dropout.filter(|dropout| *dropout != 0.0) {
                    return Err(Error::option("tokenizer.json dropout", dropout));
                }
                let prefix = model.continuing_subword_prefix.unwrap_or_default();
                let merges = model.merges.ok_or_else(|| refused("BPE needs merges"))?;
                let merges: Vec<_> = merges.into_iter().filter_map(|Merge(pair)| pair).collect();
                for (a, b) in &merges {
                    // Where one of them is not in the vocabulary `build` says so.
                    let merged = b.strip_prefix(&prefix).map(|b| [a, b].concat());
                    if merged.is_none_or(|merged| !ids.contains_key(&merged)) {
                        return Err(refused(format!("the merge of \"{a}\" and \"{b}\" is not in the vocabulary")));
                    }
                }
                // A cache would stay behind in the thread when the model is dropped.
                let mut builder = BPE::builder().cache_capacity(0).vocab_and_merges(ids, merges);
                if !prefix.is_empty() {
                    builder = builder.continuing_subword_prefix(prefix);
                }
                if let Some(unk) = model.unk_token {
                    builder = builder.unk_token(unk);
                }
                if let Some(suffix) = model.end_of_word_suffix {
                    builder = builder.end_of_word_suffix(suffix);
                }
                let builder = builder.fuse_unk(model.fuse_unk.unwrap_or_default());
                let builder = builder.byte_fallback(model.byte_fallback.unwrap_or_default());
                let builder = builder.ignore_merges(model.ignore_merges.unwrap_or_default());
                Ok(Model::Bpe(Box::new(builder.build().map_err(invalid)?)))
            }
            ("Unigram", Vocab::Scores(scores)) => {
                let unknown = model.unk_id.and_then(|id| u32::try_from(id).ok());
                let value = |score: Score| if self.is_rebuilt { score.exact } else { score.rough };
                let scores = scores.into_iter().map(|(token, score)| (token, value(score))).collect();
                let model = Unigram::from(scores, model.unk_id, model.byte_fallback.unwrap_or_default());
                Ok(Model::Unigram(Box::new(model.map_err(invalid)?), unknown))
            }
            ("WordPiece" | "BPE" | "Unigram", _) => {
                Err(refused(format!("its vocabulary is not that of a {kind} model")))
            }
            _ => Err(Error::option("tokenizer.json model", kind)),
        }
    }
}

fn within(what: &str, found: usize, limit: usize) -> Result<()> {
    match found > limit {
        true => Err(Error::LimitExceeded { what: what.into(), found: found as u64, limit: limit as u64 }),
        false => Ok(()),
    }
}

/// Ids by token, or for Unigram tokens with scores.
enum Vocab {
    Ids(Ids),
    Scores(Vec<(String, Score)>),
}

impl<'de> Deserialize<'de> for Vocab {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Vocab;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a vocabulary")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocab, A::Error> {
                let mut ids = Ids::default();
                while let Some((token, id)) = map.next_entry()? {
                    ids.insert(token, id);
                }
                Ok(Vocab::Ids(ids))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vocab, A::Error> {
                let mut scores = Vec::new();
                while let Some((token, score)) = seq.next_element::<(String, Score)>()? {
                    scores.push((token, score));
                }
                Ok(Vocab::Scores(scores))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// The score of a token, as Python reads it and as `tokenizers` does, which does not always round to the nearest: of several ways to cut a
/// text that would have one score, the rounding of the scores alone decides.
#[derive(Clone, Copy)]
struct Score {
    exact: f64,
    rough: f64,
}

impl<'de> Deserialize<'de> for Score {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&serde_json::value::RawValue>::deserialize(deserializer)?.get();
        let read: f64 = serde_json::from_str(text).map_err(serde::de::Error::custom)?;
        // In a browser it is compiled as it is there.
        #[cfg(target_arch = "wasm32")]
        let rough = read;
        #[cfg(not(target_arch = "wasm32"))]
        let rough = decimal(text).and_then(roughly).unwrap_or(read);
        Ok(Self { exact: decimal(text).and_then(exactly).unwrap_or(rough), rough })
    }
}

/// A number of JSON: whether it is negative, as many of its digits as fit 64 bits, and the power of ten that they are to be taken times.
#[derive(Clone, Copy)]
struct Decimal {
    negative: bool,
    significand: u64,
    exponent: i32,
    /// Whether these are all of its digits.
    whole: bool,
}

fn decimal(text: &str) -> Option<Decimal> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let (digits, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
    let (mut significand, mut exponent, mut fits) = (0_u64, exponent.parse::<i32>().ok()?, true);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    for (digits, dropped, kept) in [(whole, 1, 0), (fraction, 0, -1)] {
        for digit in digits.bytes() {
            let next = significand.checked_mul(10).and_then(|tens| tens.checked_add(u64::from(digit - b'0')));
            fits &= next.is_some();
            significand = next.filter(|_| fits).unwrap_or(significand);
            exponent = exponent.checked_add(if fits { kept } else { dropped })?;
        }
    }
    Some(Decimal { negative, significand, exponent, whole: fits })
}

/// The nearest number, of numbers that have about the size and the digits of scores.
fn exactly(Decimal { negative, significand, exponent, whole }: Decimal) -> Option<f64> {
    let power = 10_u128.pow((-exponent).try_into().ok().filter(|digits| *digits <= 22 && whole)?);
    // 55 bits of the quotient at least, and below them whether something is left, round as all of them would.
    let shift = significand.leading_zeros() + 64;
    let dividend = u128::from(significand) << (shift % 128);
    let quotient = (dividend / power) | u128::from(dividend % power != 0);
    let value = quotient as f64 / 2_f64.powi(shift as i32);
    Some(if significand == 0 {
        0.0
    } else if negative {
        -value
    } else {
        value
    })
}

/// A number as serde_json reads it without its feature `float_roundtrip`: its digits times or over a power of ten. None where that power
/// is larger than the largest number.
#[cfg(not(target_arch = "wasm32"))]
fn roughly(Decimal { negative, significand, exponent, .. }: Decimal) -> Option<f64> {
    let sign = if negative { -1.0 } else { 1.0 };
    let power = |exponent: i32| format!("1e{exponent}").parse::<f64>().ok();
    match exponent {
        0..=308 => Some(sign * (significand as f64 * power(exponent)?)).filter(|value| value.is_finite()),
        -308..0 => Some(sign * (significand as f64 / power(-exponent)?)),
        _ => None,
    }
}

/// `["a", "b"]` or, in old files, `"a b"`; nothing for their comment line.
struct Merge(Option<(String, String)>);

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Merge;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a merge of two tokens")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Merge, E> {
                if text.starts_with("#version") {
                    return Ok(Merge(None));
                }
                match text.split_once(' ') {
                    Some((a, b)) if !b.contains(' ') => Ok(Merge(Some((a.to_owned(), b.to_owned())))),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Merge, A::Error> {
                let pair = (seq.next_element()?, seq.next_element()?);
                match (pair, seq.next_element::<String>()?) {
                    ((Some(a), Some(b)), None) => Ok(Merge(Some((a, b)))),
                    _ => Err(serde::de::Error::invalid_length(2, &self)),
                }
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_rounded_as_tokenizers_rounds_them() {
        let rough = |text: &str| decimal(text).and_then(roughly);
        // What serde_json gives without the feature.
        for (text, expected) in [
            ("0", 0.0),
            ("-7", -7.0),
            ("-1.5", -1.5),
            ("1e3", 1000.0),
            ("25E-2", 0.25),
            ("18446744073709551615", 18_446_744_073_709_551_615.0),
            ("184467440737095516159", 184_467_440_737_095_500_000.0),
            ("-0.00000000000000000001", -1e-20),
        ] {
            assert_eq!(rough(text), Some(expected), "{text}");
        }
        let off = |text: &str| rough(text).unwrap().to_bits().abs_diff(text.parse::<f64>().unwrap().to_bits());
        let texts: Vec<String> = (1..2000).map(|n| format!("-{}", f64::from(n).sqrt() * 0.317)).collect();
        let most = texts.iter().map(|text| off(text)).max().unwrap();
        assert!(most == 1, "some are off by one bit, and none by more");
        assert_eq!(rough("1e400"), None);
        for text in texts.iter().map(String::as_str).chain([
            "0.0",
            "-0.5",
            "1e-22",
            "9007199254740993e-1",
            "18446744073709551615",
            "0.1",
        ]) {
            assert_eq!(exactly(decimal(text).unwrap()), Some(text.parse().unwrap()), "{text}");
        }
        // More digits than are looked at, or a size that no score has.
        for text in ["0.12345678901234567890123", "1e-23", "1e3"] {
            assert_eq!(exactly(decimal(text).unwrap()), None, "{text}");
        }
    }
}
