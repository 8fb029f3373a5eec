//! The parts of a tokenizer. What they do is `tokenizers`' own code; the enums are ours, because those of
//! `tokenizers` come with deserializers that make up much of a wasm binary.

use tokenizers::models::{bpe::BPE, unigram::Unigram, wordpiece::WordPiece};
use tokenizers::normalizers::{
    BertNormalizer, ByteLevel as Bytes, Lowercase, NFC, NFD, NFKC, NFKD, Nmt, Precompiled, Prepend, Strip, StripAccents,
};
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::metaspace::Metaspace;
use tokenizers::pre_tokenizers::punctuation::Punctuation;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::tokenizer::pattern::{Invert, Pattern as _};
use tokenizers::{Model as _, NormalizedString, Normalizer as _, PreTokenizedString};
use tokenizers::{SplitDelimiterBehavior, Token};

use super::TEXT_BYTES;
use super::pattern::Pattern;

/// Largest normalized text, in bytes.
const NORMALIZED_BYTES: usize = 16 * TEXT_BYTES;

/// A step of normalization.
#[derive(Debug)]
pub enum Normalizer {
    Bert(BertNormalizer),
    Bytes(Bytes),
    Lowercase(Lowercase),
    Nfc(NFC),
    Nfd(NFD),
    Nfkc(NFKC),
    Nfkd(NFKD),
    Nmt(Nmt),
    Precompiled(Box<Precompiled>),
    Prepend(Prepend),
    Replace { pattern: Pattern, content: String },
    Sequence(Vec<Normalizer>),
    Strip(Strip),
    StripAccents(StripAccents),
}

impl tokenizers::Normalizer for Normalizer {
    fn normalize(&self, text: &mut NormalizedString) -> tokenizers::Result<()> {
        match self {
            Self::Bert(step) => step.normalize(text),
            Self::Bytes(step) => step.normalize(text),
            Self::Lowercase(step) => step.normalize(text),
            Self::Nfc(step) => step.normalize(text),
            Self::Nfd(step) => step.normalize(text),
            Self::Nfkc(step) => step.normalize(text),
            Self::Nfkd(step) => step.normalize(text),
            Self::Nmt(step) => step.normalize(text),
            Self::Precompiled(step) => step.normalize(text),
            Self::Prepend(step) => step.normalize(text),
            Self::Replace { pattern, content } => {
                let found = pattern.find_matches(text.get())?.iter().filter(|(_, found)| *found).count();
                limit(text.get().len().saturating_add(found.saturating_mul(content.len())))?;
                text.replace(pattern, content)
            }
            Self::Sequence(steps) => steps.iter().try_for_each(|step| step.normalize(text)),
            Self::Strip(step) => step.normalize(text),
            Self::StripAccents(step) => step.normalize(text),
        }?;
        limit(text.get().len())
    }
}

fn limit(bytes: usize) -> tokenizers::Result<()> {
    if bytes > NORMALIZED_BYTES {
        return Err(format!("it makes more than {NORMALIZED_BYTES} bytes of a text").into());
    }
    Ok(())
}

/// A step of cutting a text into words.
#[derive(Debug)]
pub enum PreTokenizer {
    Bert(BertPreTokenizer),
    /// `words`: cut by GPT-2's pattern.
    Bytes {
        prefix_space: bool,
        words: bool,
    },
    Digits(Digits),
    Metaspace(Metaspace),
    Punctuation(Punctuation),
    Sequence(Vec<PreTokenizer>),
    Split {
        pattern: Pattern,
        behavior: SplitDelimiterBehavior,
        invert: bool,
    },
    WhitespaceSplit(WhitespaceSplit),
}

impl tokenizers::PreTokenizer for PreTokenizer {
    fn pre_tokenize(&self, pieces: &mut PreTokenizedString) -> tokenizers::Result<()> {
        match self {
            Self::Bert(step) => step.pre_tokenize(pieces),
            Self::Bytes { prefix_space, words } => {
                pieces.split(|_, mut piece| {
                    if *prefix_space && !piece.get().starts_with(' ') {
                        piece.prepend(" ");
                    }
                    if *words { piece.split(&Pattern::Gpt2, SplitDelimiterBehavior::Isolated) } else { Ok(vec![piece]) }
                })?;
                pieces.normalize(|piece| Bytes.normalize(piece))
            }
            Self::Digits(step) => step.pre_tokenize(pieces),
            Self::Metaspace(step) => step.pre_tokenize(pieces),
            Self::Punctuation(step) => step.pre_tokenize(pieces),
            Self::Sequence(steps) => steps.iter().try_for_each(|step| step.pre_tokenize(pieces)),
            Self::Split { pattern, behavior, invert: true } => {
                pieces.split(|_, piece| piece.split(Invert(pattern), *behavior))
            }
            Self::Split { pattern, behavior, .. } => pieces.split(|_, piece| piece.split(pattern, *behavior)),
            Self::WhitespaceSplit(step) => step.pre_tokenize(pieces),
        }
    }
}

/// What makes tokens of a word.
#[derive(Debug)]
pub enum Model {
    WordPiece(Box<WordPiece>),
    Bpe(Box<BPE>),
    /// And the id of what is not in the vocabulary.
    Unigram(Box<Unigram>, Option<u32>),
}

impl Model {
    /// The tokens of a word.
    pub fn tokenize(&self, word: &str) -> tokenizers::Result<Vec<Token>> {
        match self {
            Self::WordPiece(model) => model.tokenize(word),
            Self::Bpe(model) => model.tokenize(word),
            Self::Unigram(model, _) => model.tokenize(word),
        }
    }

    /// The id of a token of the vocabulary.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        match self {
            Self::WordPiece(model) => model.token_to_id(token),
            Self::Bpe(model) => model.token_to_id(token),
            Self::Unigram(model, _) => model.token_to_id(token),
        }
    }

    /// The token of an id of the vocabulary.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        match self {
            Self::WordPiece(model) => model.id_to_token(id),
            Self::Bpe(model) => model.id_to_token(id),
            Self::Unigram(model, _) => model.id_to_token(id),
        }
    }

    /// The id that stands for what the vocabulary does not have.
    pub fn unknown(&self) -> Option<u32> {
        match self {
            Self::WordPiece(model) => model.token_to_id(&model.unk_token),
            Self::Bpe(model) => model.unk_token.as_deref().and_then(|token| model.token_to_id(token)),
            Self::Unigram(_, unknown) => *unknown,
        }
    }

    /// Whether tokens that continue a word have a prefix.
    pub fn marks_continuations(&self) -> bool {
        match self {
            Self::WordPiece(model) => !model.continuing_subword_prefix.is_empty(),
            Self::Bpe(model) => model.continuing_subword_prefix.as_ref().is_some_and(|prefix| !prefix.is_empty()),
            Self::Unigram(..) => false,
        }
    }

    /// Entries of the vocabulary.
    pub fn vocab_size(&self) -> u32 {
        let size = match self {
            Self::WordPiece(model) => model.get_vocab_size(),
            Self::Bpe(model) => model.get_vocab_size(),
            Self::Unigram(model, _) => model.get_vocab_size(),
        };
        u32::try_from(size).unwrap_or(u32::MAX)
    }
}

/// A token around the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Special {
    pub id: u32,
    pub type_id: u32,
    pub token: String,
}

/// A part of what the model reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Special(Special),
    /// The tokens of the first text (0) or of the second (1).
    Text {
        sequence: usize,
        type_id: u32,
    },
}

/// What the model reads for one text, or for two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub single: Vec<Piece>,
    /// None where the file has no use for two texts.
    pub pair: Option<Vec<Piece>>,
}

impl Frame {
    /// One token in front of the texts and one behind each of them; behind the first `twice` where there are two. The second
    /// text has the type `second`, and so has the token behind it.
    pub fn between(front: Option<Special>, behind: Option<Special>, twice: bool, second: u32) -> Self {
        let special =
            |token: &Option<Special>, type_id| token.clone().map(|token| Piece::Special(Special { type_id, ..token }));
        let mut single: Vec<Piece> = special(&front, 0).into_iter().collect();
        single.push(Piece::Text { sequence: 0, type_id: 0 });
        single.extend(special(&behind, 0));
        let mut pair = single.clone();
        pair.extend(special(&behind, 0).filter(|_| twice));
        pair.push(Piece::Text { sequence: 1, type_id: second });
        pair.extend(special(&behind, second));
        Self { single, pair: Some(pair) }
    }
}

impl Default for Frame {
    /// The texts alone, as tokenizers without a post-processor give them.
    fn default() -> Self {
        Self::between(None, None, false, 1)
    }
}

/// What is done to the tokens of a text.
#[derive(Debug, Default)]
pub struct Post {
    /// Blanks are taken out of the offsets; the value says whether a space was put in front of the text.
    pub trim: Option<bool>,
    pub frame: Frame,
}
