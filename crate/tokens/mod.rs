//! Text to token ids: `tokenizers`, with truncation done here and padding nowhere.
//!
//! The truncation and padding that `tokenizer.json` asks for are ignored, as sentence-transformers does: the
//! limit is the model's, see [`crate::model`].
//!
//! Of `tokenizers` the steps are used, not the reader of `tokenizer.json` nor the pipeline around the steps. The
//! reader would take any file and links every component there is; the pipeline links a regular-expression engine.
//! `read.rs` makes the parts that are supported, `parts.rs`, and names those that are not.

mod added;
mod charsmap;
mod parts;
mod pattern;
mod read;
mod steps;
mod unicode;

use tokenizers::normalizers::Lowercase;
use tokenizers::pre_tokenizers::byte_level::process_offsets;
use tokenizers::tokenizer::{OffsetType, PreTokenizer as _, TruncationDirection};

use self::added::Added;
use self::parts::{Model, Normalizer, Post, PreTokenizer, Special};
use crate::batch::Sequence;
use crate::error::{Error, Result};

/// Largest accepted text, in bytes of UTF-8.
pub const TEXT_BYTES: usize = 1 << 20;

/// A tokenizer with the model's token limit.
pub struct Tokens {
    added: Added,
    normalizer: Option<Normalizer>,
    pre_tokenizer: Option<PreTokenizer>,
    model: Model,
    post: Post,
    /// Tokens of a text, special tokens not included.
    room: usize,
    cut: TruncationDirection,
}

/// A tokenized text as a person would look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoding {
    /// Token ids, special tokens included.
    pub ids: Vec<u32>,
    /// Type ids.
    pub type_ids: Vec<u32>,
    /// 1 for the special tokens that were added.
    pub special: Vec<u32>,
    /// Token strings.
    pub tokens: Vec<String>,
    /// Where each token lies in the text, in characters (Unicode code points); special tokens (0, 0).
    pub offsets: Vec<(usize, usize)>,
    /// Whether tokens were cut off.
    pub truncated: bool,
}

impl Tokens {
    /// Reads `tokenizer.json`. `max_tokens` includes special tokens; `lowercase` puts a lowercasing in front of
    /// the tokenizer's own normalizer; `cut_left` drops the front of a long text instead of its end.
    pub fn new(json: &[u8], max_tokens: usize, lowercase: bool, cut_left: bool) -> Result<Self> {
        let mut file = read::File::new(json)?;
        let mut normalizer = file.normalizer()?;
        if lowercase {
            let steps = [Some(Normalizer::Lowercase(Lowercase)), normalizer];
            normalizer = Some(Normalizer::Sequence(steps.into_iter().flatten().collect()));
        }
        let (pre_tokenizer, post) = (file.pre_tokenizer()?, file.post()?);
        let special_tokens = post.frame.before.len() + post.frame.after.len();
        if special_tokens >= max_tokens {
            let reason = format!("it adds {special_tokens} special tokens where the model takes {max_tokens} in all");
            return Err(Error::InvalidTokenizer { reason });
        }
        let added_tokens = file.added_tokens.take().unwrap_or_default();
        let model = file.model()?;
        let added = Added::new(added_tokens, &model, normalizer.as_ref())?;
        let cut = if cut_left { TruncationDirection::Left } else { TruncationDirection::Right };
        Ok(Self { added, normalizer, pre_tokenizer, model, post, room: max_tokens - special_tokens, cut })
    }

    /// Tokenizes a text, cut to the limit.
    pub fn encode(&self, text: &str) -> Result<Encoding> {
        if text.len() > TEXT_BYTES {
            let (found, limit) = (text.len() as u64, TEXT_BYTES as u64);
            return Err(Error::LimitExceeded { what: "bytes of a text".into(), found, limit });
        }
        let (encoding, truncated) = self.tokenize(text).map_err(invalid)?;
        let frame = &self.post.frame;
        let around = |inner: &[u32], of: fn(&Special) -> u32| -> Vec<u32> {
            frame.before.iter().map(of).chain(inner.iter().copied()).chain(frame.after.iter().map(of)).collect()
        };
        let (before, after) = (&frame.before, &frame.after);
        let strings = |special: &[Special]| special.iter().map(|s| s.token.clone()).collect::<Vec<_>>();
        let nowhere = |special: &[Special]| vec![(0, 0); special.len()];
        Ok(Encoding {
            ids: around(encoding.get_ids(), |special| special.id),
            type_ids: around(&vec![frame.type_id; encoding.len()], |special| special.type_id),
            special: around(&vec![0; encoding.len()], |_| 1),
            tokens: [&strings(before), encoding.get_tokens(), &strings(after)].concat(),
            offsets: [&nowhere(before), encoding.get_offsets(), &nowhere(after)].concat(),
            truncated,
        })
    }

    fn tokenize(&self, text: &str) -> tokenizers::Result<(tokenizers::Encoding, bool)> {
        let mut pieces = self.added.extract(text, self.normalizer.as_ref())?;
        if let Some(pre_tokenizer) = &self.pre_tokenizer {
            pre_tokenizer.pre_tokenize(&mut pieces)?;
        }
        // One more than there is room for tells that something was cut off; words behind it are not looked at.
        pieces.tokenize_with_limit(|word| self.model.tokenize(word.get()), self.room.saturating_add(1), self.cut)?;
        let mut encoding = pieces.into_encoding(None, 0, OffsetType::Char)?;
        let truncated = encoding.len() > self.room;
        if truncated {
            encoding.truncate(self.room, 0, self.cut);
        }
        if let Some(prefix_space) = self.post.trim {
            process_offsets(&mut encoding, prefix_space);
        }
        Ok((encoding, truncated))
    }

    /// Tokens that a prompt takes at the front of a text, special tokens in front of it included: what it has
    /// alone, less the special token behind it.
    pub fn prompt_tokens(&self, prompt: &str) -> Result<usize> {
        let encoding = self.encode(prompt)?;
        let closed = encoding.special.last() == Some(&1);
        Ok(encoding.ids.len() - usize::from(closed))
    }
}

impl From<Encoding> for Sequence {
    fn from(encoding: Encoding) -> Self {
        Self::new(encoding.ids, encoding.type_ids)
    }
}

fn invalid(error: tokenizers::Error) -> Error {
    refused(error.to_string())
}

fn refused(reason: impl AsRef<str>) -> Error {
    Error::InvalidTokenizer { reason: crate::error::printable(reason.as_ref()) }
}
