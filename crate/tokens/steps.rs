//! The components of `tokenizer.json` around the model: normalizers, pre-tokenizers, post-processors, decoders.

use serde_json::Value;
use tokenizers::SplitDelimiterBehavior;
use tokenizers::decoders::bpe::BPEDecoder;
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::wordpiece::WordPiece as WordPieceDecoder;
use tokenizers::normalizers::{
    BertNormalizer, ByteLevel, Lowercase, NFC, NFD, NFKC, NFKD, Nmt, Prepend, Strip, StripAccents,
};
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::punctuation::Punctuation;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;

use super::charsmap::charsmap;
use super::decode::Decoder;
use super::parts::{Frame, Normalizer, Piece, PreTokenizer, Special};
use super::pattern::Pattern;
use super::refused;
use crate::error::{Error, Result};

/// Most steps of normalization, of cutting, or of post-processing.
const STEPS: usize = 16;

/// A component of the file: where it stands, its `type`, its settings.
#[derive(Clone, Copy)]
pub struct Step<'a> {
    place: &'static str,
    kind: &'a str,
    settings: &'a Value,
}

impl<'a> Step<'a> {
    /// The component at a place of the file.
    pub fn first(place: &'static str, settings: Option<&'a Value>) -> Option<Self> {
        settings.map(|settings| Self::new(place, settings))
    }

    fn new(place: &'static str, settings: &'a Value) -> Self {
        let kind = settings.get("type").and_then(Value::as_str).unwrap_or_default();
        Self { place, kind, settings }
    }

    /// The steps of a sequence.
    fn steps(self, key: &str) -> Result<impl Iterator<Item = Self>> {
        let steps = self.settings.get(key).and_then(Value::as_array).ok_or_else(|| self.wrong(key))?;
        Ok(steps.iter().map(move |settings| Self::new(self.place, settings)))
    }

    fn count(self, steps: &mut usize) -> Result<()> {
        *steps += 1;
        if *steps > STEPS {
            let what = format!("steps of the {} in tokenizer.json", self.place);
            return Err(Error::LimitExceeded { what, found: *steps as u64, limit: STEPS as u64 });
        }
        Ok(())
    }

    fn wrong(self, key: &str) -> Error {
        refused(format!("{key} of {} {}", self.place, self.kind) + " is missing or of the wrong kind")
    }

    fn unknown(self) -> Error {
        let place = format!("tokenizer.json {}", self.place);
        Error::option(place, if self.kind.is_empty() { "a component without a type" } else { self.kind })
    }

    /// A setting that may be absent or null.
    fn get(self, key: &str) -> Option<&'a Value> {
        self.settings.get(key).filter(|value| !value.is_null())
    }

    fn flag(self, key: &str, default: Option<bool>) -> Result<bool> {
        self.get(key).map_or(default, Value::as_bool).ok_or_else(|| self.wrong(key))
    }

    fn text(self, key: &str) -> Result<&'a str> {
        self.get(key).and_then(Value::as_str).ok_or_else(|| self.wrong(key))
    }

    fn pattern(self) -> Result<Pattern> {
        let pattern = self.get("pattern").ok_or_else(|| self.wrong("pattern"))?;
        match (pattern.get("String").and_then(Value::as_str), pattern.get("Regex").and_then(Value::as_str)) {
            (Some(text), _) if !text.is_empty() => Ok(Pattern::Text(text.to_owned())),
            (_, Some(regex)) => Pattern::known(self.place, regex),
            _ => Err(self.wrong("pattern")),
        }
    }

    fn behavior(self) -> Result<SplitDelimiterBehavior> {
        match self.text("behavior")? {
            "Removed" => Ok(SplitDelimiterBehavior::Removed),
            "Isolated" => Ok(SplitDelimiterBehavior::Isolated),
            "MergedWithPrevious" => Ok(SplitDelimiterBehavior::MergedWithPrevious),
            "MergedWithNext" => Ok(SplitDelimiterBehavior::MergedWithNext),
            "Contiguous" => Ok(SplitDelimiterBehavior::Contiguous),
            _ => Err(self.wrong("behavior")),
        }
    }

    fn number(self, value: Option<&Value>) -> Result<u32> {
        let number = value.and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok());
        number.ok_or_else(|| self.wrong("a number"))
    }
}

/// A step of normalization; `steps` counts them.
pub fn normalizer(step: Step, steps: &mut usize) -> Result<Normalizer> {
    step.count(steps)?;
    Ok(match step.kind {
        "BertNormalizer" => {
            let accents = step.get("strip_accents").map(|_| step.flag("strip_accents", None)).transpose()?;
            let (clean, chinese) = (step.flag("clean_text", None)?, step.flag("handle_chinese_chars", None)?);
            Normalizer::Bert(BertNormalizer::new(clean, chinese, accents, step.flag("lowercase", None)?))
        }
        "ByteLevel" => Normalizer::Bytes(ByteLevel),
        "Lowercase" => Normalizer::Lowercase(Lowercase),
        "NFC" => Normalizer::Nfc(NFC),
        "NFD" => Normalizer::Nfd(NFD),
        "NFKC" => Normalizer::Nfkc(NFKC),
        "NFKD" => Normalizer::Nfkd(NFKD),
        "Nmt" => Normalizer::Nmt(Nmt),
        "Precompiled" => Normalizer::Precompiled(Box::new(charsmap(step.text("precompiled_charsmap")?)?)),
        "Prepend" => Normalizer::Prepend(Prepend::new(step.text("prepend")?.to_owned())),
        "Replace" => Normalizer::Replace { pattern: step.pattern()?, content: step.text("content")?.to_owned() },
        "Sequence" => {
            let inner = step.steps("normalizers")?;
            Normalizer::Sequence(inner.map(|step| normalizer(step, steps)).collect::<Result<_>>()?)
        }
        "Strip" => Normalizer::Strip(Strip::new(step.flag("strip_left", None)?, step.flag("strip_right", None)?)),
        "StripAccents" => Normalizer::StripAccents(StripAccents),
        _ => return Err(step.unknown()),
    })
}

/// A step of cutting into words; `steps` counts them.
pub fn pre_tokenizer(step: Step, steps: &mut usize) -> Result<PreTokenizer> {
    step.count(steps)?;
    Ok(match step.kind {
        "BertPreTokenizer" => PreTokenizer::Bert(BertPreTokenizer),
        "ByteLevel" => PreTokenizer::Bytes {
            prefix_space: step.flag("add_prefix_space", None)?,
            words: step.flag("use_regex", Some(true))?,
        },
        "Digits" => PreTokenizer::Digits(Digits::new(step.flag("individual_digits", None)?)),
        "Metaspace" => PreTokenizer::Metaspace(metaspace(step)?),
        "Punctuation" => PreTokenizer::Punctuation(match step.get("behavior") {
            Some(_) => Punctuation::new(step.behavior()?),
            None => Punctuation::default(),
        }),
        "Sequence" => {
            let inner = step.steps("pretokenizers")?;
            PreTokenizer::Sequence(inner.map(|step| pre_tokenizer(step, steps)).collect::<Result<_>>()?)
        }
        "Split" => PreTokenizer::Split {
            pattern: step.pattern()?,
            behavior: step.behavior()?,
            invert: step.flag("invert", None)?,
        },
        "Whitespace" => {
            PreTokenizer::Split { pattern: Pattern::Words, behavior: SplitDelimiterBehavior::Removed, invert: false }
        }
        "WhitespaceSplit" => PreTokenizer::WhitespaceSplit(WhitespaceSplit),
        _ => return Err(step.unknown()),
    })
}

fn metaspace(step: Step) -> Result<Metaspace> {
    let mut replacement = step.text("replacement")?.chars();
    let (Some(replacement), None) = (replacement.next(), replacement.next()) else {
        return Err(step.wrong("replacement"));
    };
    let prefix = step.flag("add_prefix_space", Some(true))?;
    let scheme = match step.get("prepend_scheme").map(Value::as_str) {
        Some(Some("never")) => PrependScheme::Never,
        // Files from before there were schemes.
        None if !prefix => PrependScheme::Never,
        None => PrependScheme::Always,
        Some(Some("always")) if prefix => PrependScheme::Always,
        Some(Some("first")) if prefix => PrependScheme::First,
        Some(_) => return Err(step.wrong("prepend_scheme")),
    };
    Ok(Metaspace::new(replacement, scheme, step.flag("split", Some(true))?))
}

/// Adds a step to what is done to tokens: whether offsets are trimmed, and the special tokens.
pub fn post_processor(step: Step, steps: &mut usize, post: &mut (Option<bool>, Option<Frame>)) -> Result<()> {
    step.count(steps)?;
    let frame = match step.kind {
        "Sequence" => return step.steps("processors")?.try_for_each(|step| post_processor(step, steps, post)),
        "ByteLevel" => {
            post.0 = trim(step)?.or(post.0);
            return Ok(());
        }
        "TemplateProcessing" => template(step)?,
        "BertProcessing" => pair(step, false)?,
        "RobertaProcessing" => {
            post.0 = trim(step)?.or(post.0);
            pair(step, true)?
        }
        _ => return Err(step.unknown()),
    };
    match post.1.replace(frame) {
        None => Ok(()),
        Some(_) => Err(refused("two of its post-processors add special tokens")),
    }
}

fn trim(step: Step) -> Result<Option<bool>> {
    let prefix = step.flag("add_prefix_space", None)?;
    Ok(step.flag("trim_offsets", None)?.then_some(prefix))
}

/// `cls` in front and `sep` behind; between two texts `sep` once, and types tell the texts apart, or twice where `roberta`.
fn pair(step: Step, roberta: bool) -> Result<Frame> {
    let special = |key: &str| {
        let value = step.settings.get(key);
        let token = value.and_then(|value| value.get(0)).and_then(Value::as_str).ok_or_else(|| step.wrong(key))?;
        let id = step.number(value.and_then(|value| value.get(1)))?;
        Ok::<_, Error>(Some(Special { id, type_id: 0, token: token.to_owned() }))
    };
    Ok(Frame::between(special("cls")?, special("sep")?, roberta, u32::from(!roberta)))
}

/// The templates for one text and for two; each must hold its texts once.
fn template(step: Step) -> Result<Frame> {
    let single = pieces(step, "single", 1)?;
    // Tokenizers without a use for pairs have templates that repeat themselves, or none.
    Ok(Frame { single, pair: pieces(step, "pair", 2).ok() })
}

fn pieces(step: Step, key: &str, texts: usize) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut seen = [false; 2];
    for piece in step.settings.get(key).and_then(Value::as_array).ok_or_else(|| step.wrong(key))? {
        if let Some(text) = piece.get("Sequence") {
            let type_id = step.number(text.get("type_id"))?;
            let names = ["A", "B"];
            let name = text.get("id").and_then(Value::as_str);
            let sequence = names[..texts].iter().position(|known| Some(*known) == name);
            let sequence = sequence.ok_or_else(|| step.wrong(key))?;
            if std::mem::replace(&mut seen[sequence], true) {
                return Err(step.wrong(key));
            }
            pieces.push(Piece::Text { sequence, type_id });
            continue;
        }
        let special = piece.get("SpecialToken").ok_or_else(|| step.wrong(key))?;
        let type_id = step.number(special.get("type_id"))?;
        let name = special.get("id").and_then(Value::as_str).ok_or_else(|| step.wrong(key))?;
        let list = |key| step.settings.get("special_tokens")?.get(name)?.get(key)?.as_array();
        let (Some(ids), Some(tokens)) = (list("ids"), list("tokens")) else {
            return Err(refused(format!("the template names \"{name}\", which special_tokens does not have")));
        };
        if ids.len() != tokens.len() {
            return Err(refused(format!("special token \"{name}\" has not as many ids as tokens")));
        }
        for (id, token) in ids.iter().zip(tokens) {
            let token = token.as_str().ok_or_else(|| step.wrong("tokens"))?.to_owned();
            pieces.push(Piece::Special(Special { id: step.number(Some(id))?, type_id, token }));
        }
    }
    match seen[..texts].iter().all(|seen| *seen) {
        true => Ok(pieces),
        false => Err(step.wrong(key)),
    }
}

/// What makes a text of tokens again; `steps` counts the steps.
pub fn decoder(step: Step, steps: &mut usize) -> Result<Decoder> {
    step.count(steps)?;
    Ok(match step.kind {
        "BPEDecoder" => Decoder::Bpe(BPEDecoder::new(step.text("suffix")?.to_owned())),
        "ByteFallback" => Decoder::ByteFallback(ByteFallback::new()),
        "ByteLevel" => Decoder::Bytes,
        "Fuse" => Decoder::Fuse,
        "Metaspace" => Decoder::Metaspace(metaspace(step)?),
        "Replace" => Decoder::Replace { pattern: step.pattern()?, content: step.text("content")?.to_owned() },
        "Sequence" => {
            let inner = step.steps("decoders")?;
            Decoder::Sequence(inner.map(|step| decoder(step, steps)).collect::<Result<_>>()?)
        }
        "Strip" => {
            let content = step.text("content")?.chars().next().ok_or_else(|| step.wrong("content"))?;
            let count = |key| step.number(step.get(key)).map(|count| count as usize);
            Decoder::Strip { content, start: count("start")?, stop: count("stop")? }
        }
        "WordPiece" => {
            let prefix = step.text("prefix")?.to_owned();
            Decoder::WordPiece(WordPieceDecoder::new(prefix, step.flag("cleanup", Some(true))?))
        }
        _ => return Err(step.unknown()),
    })
}
