//! Token strings to a text: the `decoder` of `tokenizer.json`, by `tokenizers`' own steps.

use tokenizers::Decoder as _;
use tokenizers::decoders::bpe::BPEDecoder;
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::wordpiece::WordPiece;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::metaspace::Metaspace;
use tokenizers::tokenizer::pattern::Pattern as _;

use super::pattern::Pattern;

/// A step of decoding.
#[derive(Debug)]
pub enum Decoder {
    Bpe(BPEDecoder),
    ByteFallback(ByteFallback),
    Bytes,
    Fuse,
    Metaspace(Metaspace),
    Replace { pattern: Pattern, content: String },
    Sequence(Vec<Decoder>),
    Strip { content: char, start: usize, stop: usize },
    WordPiece(WordPiece),
}

impl Decoder {
    /// The text of these tokens, in pieces.
    pub fn decode(&self, tokens: Vec<String>) -> tokenizers::Result<Vec<String>> {
        match self {
            Self::Bpe(step) => step.decode_chain(tokens),
            Self::ByteFallback(step) => step.decode_chain(tokens),
            Self::Bytes => ByteLevel::default().decode_chain(tokens),
            Self::Fuse => Fuse::new().decode_chain(tokens),
            Self::Metaspace(step) => step.decode_chain(tokens),
            Self::Replace { pattern, content } => {
                let replace = |token: String| {
                    let mut new = String::with_capacity(token.len());
                    for ((start, end), found) in pattern.find_matches(&token)? {
                        new.push_str(if found { content } else { token.get(start..end).unwrap_or_default() });
                    }
                    Ok(new)
                };
                tokens.into_iter().map(replace).collect()
            }
            Self::Sequence(steps) => steps.iter().try_fold(tokens, |tokens, step| step.decode(tokens)),
            Self::Strip { content, start, stop } => {
                // Of a token shorter than that `tokenizers` cuts off more than there is.
                let strip = |token: String| {
                    let chars: Vec<char> = token.chars().collect();
                    let rest = &chars[chars.iter().take(*start).take_while(|char| *char == content).count()..];
                    let end = rest.iter().rev().take(*stop).take_while(|char| *char == content).count();
                    rest[..rest.len() - end].iter().collect()
                };
                Ok(tokens.into_iter().map(strip).collect())
            }
            Self::WordPiece(step) => step.decode_chain(tokens),
        }
    }
}
