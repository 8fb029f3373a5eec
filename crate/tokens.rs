//! Text to token ids: `tokenizers`, with truncation done here and padding nowhere.
//!
//! The truncation and padding that `tokenizer.json` asks for are ignored, as sentence-transformers does: the
//! limit is the model's, see [`crate::model`].

use tokenizers::normalizers::{self, Lowercase};
use tokenizers::tokenizer::{PostProcessor, Tokenizer, TruncationDirection};

use crate::batch::Sequence;
use crate::error::{Error, Result};

/// Largest accepted text, in bytes of UTF-8.
pub const TEXT_BYTES: usize = 1 << 20;

/// A tokenizer with the model's token limit.
pub struct Tokens {
    tokenizer: Tokenizer,
    max_tokens: usize,
    special_tokens: usize,
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
        let mut tokenizer = Tokenizer::from_bytes(json).map_err(invalid)?;
        if lowercase {
            let steps = [Some(Lowercase.into()), tokenizer.get_normalizer().cloned()];
            let normalizer = normalizers::Sequence::new(steps.into_iter().flatten().collect());
            tokenizer.with_normalizer(Some(normalizer)).map_err(invalid)?;
        }
        tokenizer.with_truncation(None).map_err(invalid)?;
        tokenizer.with_padding(None);
        let special_tokens = tokenizer.get_post_processor().map_or(0, |post| post.added_tokens(false));
        if special_tokens >= max_tokens {
            let reason = format!("it adds {special_tokens} special tokens where the model takes {max_tokens} in all");
            return Err(Error::InvalidTokenizer { reason });
        }
        let cut = if cut_left { TruncationDirection::Left } else { TruncationDirection::Right };
        Ok(Self { tokenizer, max_tokens, special_tokens, cut })
    }

    /// Tokenizes a text, cut to the limit.
    pub fn encode(&self, text: &str) -> Result<Encoding> {
        if text.len() > TEXT_BYTES {
            let (found, limit) = (text.len() as u64, TEXT_BYTES as u64);
            return Err(Error::LimitExceeded { what: "bytes of a text".into(), found, limit });
        }
        let mut encoding = self.tokenizer.encode_char_offsets(text, false).map_err(invalid)?;
        let room = self.max_tokens - self.special_tokens;
        let truncated = encoding.len() > room;
        if truncated {
            encoding.truncate(room, 0, self.cut);
        }
        let encoding = self.tokenizer.post_process(encoding, None, true).map_err(invalid)?;
        Ok(Encoding {
            ids: encoding.get_ids().to_vec(),
            type_ids: encoding.get_type_ids().to_vec(),
            special: encoding.get_special_tokens_mask().to_vec(),
            tokens: encoding.get_tokens().to_vec(),
            offsets: encoding.get_offsets().to_vec(),
            truncated,
        })
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
        Self { ids: encoding.ids, type_ids: encoding.type_ids, pool_from: 0 }
    }
}

fn invalid(error: tokenizers::Error) -> Error {
    Error::InvalidTokenizer { reason: crate::error::printable(&error.to_string()) }
}
