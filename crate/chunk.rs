//! A text that is longer than the model reads, in chunks that it reads whole.
//!
//! Where a text may be cut, between its tokens, is taken from its tokens as a whole; how many tokens a chunk has, from the
//! chunk alone, as the model would read it. So the vector of a chunk is the vector of its text.

use serde::{Deserialize, Serialize};

use crate::batch::Sequence;
use crate::error::{Error, Result};
use crate::job::Ragged;
use crate::model::{EmbedOptions, Model};
use crate::platform::sentences;
use crate::task::unit;
use crate::tokens::Encoding;

/// Most tokens of all chunks of a text: neighbours that share much make many.
const TOKENS: usize = 1 << 22;

/// What becomes of a text that is longer than the model reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overflow {
    /// It is an error, [`Error::TextTooLong`].
    Error,
    /// It is cut, and the result says so.
    #[default]
    Truncate,
    /// It is read in chunks.
    Chunk,
}

/// How the vectors of a text's chunks become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChunkPooling {
    /// Their mean, each weighted by the tokens that the model read of it; of unit length again where they are.
    #[default]
    Mean,
    /// The largest value of each column; of unit length again where they are.
    Max,
    /// They stay apart.
    None,
}

/// Where a text is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChunkBy {
    /// Behind as many tokens as fit.
    #[default]
    Tokens,
    /// Behind as many sentences as fit; inside a sentence, behind a word, only where it does not fit alone, and inside a word
    /// only where that does not.
    Sentences,
}

/// How a text is cut.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ChunkOptions {
    /// Most tokens of a chunk, with special tokens and prompt. Default: the model's limit.
    pub size: Option<usize>,
    /// Tokens that a chunk repeats of the one before; as many whole sentences as have no more where those are cut.
    pub overlap: usize,
    /// Where it is cut.
    pub by: ChunkBy,
}

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Chunk {
    /// The part. Where a text was cut there are no blanks at its ends.
    pub text: String,
    /// Its first character (Unicode code point) in the text.
    pub start: usize,
    /// One past its last character.
    pub end: usize,
    /// Its tokens, with special tokens and prompt.
    pub tokens: u32,
}

/// Where a text may be cut.
struct Cut {
    /// The next character that is no blank.
    at: usize,
    /// Tokens before it.
    tokens: usize,
    /// What ends there: a token, a word or a sentence.
    level: u8,
}

impl Model {
    /// The chunks that [`Model::embed`] makes of a text by these options' prompt and `chunk`. A text that fits is one chunk,
    /// as it is; others are without blanks between chunks.
    pub fn chunk(&self, text: &str, options: &EmbedOptions) -> Result<Vec<Chunk>> {
        let chunks = self.chunks(text, self.prompt_of(options)?, &options.chunk.clone().unwrap_or_default())?;
        Ok(chunks.into_iter().map(|(chunk, _)| chunk).collect())
    }

    pub(crate) fn chunks(&self, text: &str, prompt: &str, options: &ChunkOptions) -> Result<Vec<(Chunk, Sequence)>> {
        let most = self.parts.max_tokens;
        let size = options.size.unwrap_or(most);
        let characters: Vec<char> = text.chars().collect();
        let read = |start: usize, end: usize| {
            let text: String = characters[start..end].iter().collect();
            let encoding = self.parts.tokens.encode_behind(prompt, &text, usize::MAX)?;
            Ok((Chunk { text, start, end, tokens: encoding.ids.len() as u32 }, encoding))
        };
        let (chunk, whole) = read(0, characters.len())?;
        let around = whole.offsets.iter().filter(|(_, end)| *end == 0).count();
        let room = size.saturating_sub(around);
        if size > most || options.overlap >= room {
            let overlap = options.overlap;
            return Err(Error::argument(format!(
                "there are no chunks of {size} tokens that share {overlap}: the model reads {most}, prompt and special tokens take {around}"
            )));
        }
        if whole.ids.len() <= size {
            return Ok(vec![(chunk, Sequence::from(&whole))]);
        }
        let cuts = cuts(text, &characters, &whole, options.by)?;
        let (mut found, mut total) = (Vec::new(), 0);
        // Where the next chunk begins, and where the last one ended.
        let (mut start, mut behind) = (0, 0);
        while behind + 1 < cuts.len() {
            let mut end = cuts.partition_point(|cut| cut.tokens <= cuts[start].tokens + room) - 1;
            let fitting = loop {
                end = best(&cuts, start, end);
                if end <= behind {
                    // What it would repeat leaves no room for more.
                    break None;
                }
                let part = &characters[cuts[start].at..cuts[end].at];
                let blanks = part.iter().rev().take_while(|c| c.is_whitespace()).count();
                let (chunk, encoding) = read(cuts[start].at, cuts[end].at - blanks)?;
                // A part has other tokens alone where a word was cut.
                let over = (chunk.tokens as usize).saturating_sub(size);
                if over == 0 {
                    break Some((chunk, encoding));
                }
                if end == start + 1 {
                    let at = cuts[start].at;
                    return Err(Error::argument(format!("what stands at character {at} needs chunks of more tokens")));
                }
                end = end.saturating_sub(over).max(start + 1);
            };
            if let Some((chunk, encoding)) = fitting {
                total += encoding.ids.len();
                if total > TOKENS {
                    let what = "number of tokens of a text's chunks".into();
                    return Err(Error::LimitExceeded { what, found: total as u64, limit: TOKENS as u64 });
                }
                found.push((chunk, Sequence::from(&encoding)));
                behind = end;
            }
            let last = &cuts[behind];
            let shared = |cut: &Cut| cut.level >= last.level && last.tokens - cut.tokens <= options.overlap;
            start = (start + 1..behind).find(|index| shared(&cuts[*index])).unwrap_or(behind);
        }
        if found.is_empty() {
            // Nothing but blanks.
            let (chunk, encoding) = read(0, 0)?;
            found.push((chunk, Sequence::from(&encoding)));
        }
        Ok(found)
    }
}

/// Of the cuts behind `start`, up to `end` and at least one, the last of those that end the most.
fn best(cuts: &[Cut], start: usize, end: usize) -> usize {
    (start + 1..=end).max_by_key(|index| cuts[*index].level).unwrap_or(start + 1)
}

/// Everywhere a text may be cut, its beginning and its end included.
fn cuts(text: &str, characters: &[char], whole: &Encoding, by: ChunkBy) -> Result<Vec<Cut>> {
    let sentences = match by {
        ChunkBy::Tokens => Vec::new(),
        ChunkBy::Sentences => {
            let lengths = sentences(text)?;
            let mut blanks = Blanks::new(characters);
            let ends = lengths.iter().scan(0, |sum, length| {
                *sum += length;
                Some(blanks.skip(*sum))
            });
            ends.collect()
        }
    };
    let mut blanks = Blanks::new(characters);
    let mut cuts = vec![Cut { at: blanks.skip(0), tokens: 0, level: 0 }];
    let mut add = |position, tokens, word: bool| {
        let at = blanks.skip(position);
        let level = match by {
            ChunkBy::Tokens => 0,
            ChunkBy::Sentences if sentences.binary_search(&at).is_ok() => 2,
            ChunkBy::Sentences => u8::from(word || characters[..at].last().is_some_and(|c| c.is_whitespace())),
        };
        match cuts.last_mut() {
            Some(last) if last.at == at => (last.tokens, last.level) = (tokens, last.level.max(level)),
            _ => cuts.push(Cut { at, tokens, level }),
        }
    };
    let (mut tokens, mut behind, mut word) = (0, 0, None);
    for (&(start, end), of) in whole.offsets.iter().zip(&whole.words).filter(|((_, end), _)| *end > 0) {
        // Several tokens may be of one character.
        if start >= behind && tokens > 0 {
            add(start, tokens, *of != word);
        }
        (tokens, behind, word) = (tokens + 1, behind.max(end), *of);
    }
    add(characters.len(), tokens, true);
    Ok(cuts)
}

/// Finds where a text goes on behind blanks.
struct Blanks<'a> {
    characters: &'a [char],
    at: usize,
}

impl<'a> Blanks<'a> {
    fn new(characters: &'a [char]) -> Self {
        Self { characters, at: 0 }
    }

    /// The first character that is no blank from a position on, which is not before the one asked for last.
    fn skip(&mut self, from: usize) -> usize {
        self.at = self.at.max(from);
        let blanks = self.characters[self.at..].iter().take_while(|c| c.is_whitespace());
        self.at += blanks.count();
        self.at
    }
}

/// One vector a text of those of its chunks, of unit length where that is asked for, cut to `dimensions`. The vector of a
/// single chunk is taken as it is.
pub(crate) fn pool(
    rows: &Ragged,
    texts: &[Vec<Chunk>],
    how: ChunkPooling,
    normalize: bool,
    dimensions: usize,
) -> Vec<f32> {
    let mut vectors = rows.texts();
    let mut data = Vec::with_capacity(texts.len() * dimensions);
    for chunks in texts {
        let parts: Vec<(&Chunk, &[f32])> = chunks.iter().zip(vectors.by_ref()).collect();
        let mut pooled = parts.first().map_or(Vec::new(), |(_, vector)| vector.to_vec());
        if parts.len() > 1 {
            let total: f32 = chunks.iter().map(|chunk| chunk.tokens as f32).sum();
            for (column, pooled) in pooled.iter_mut().enumerate() {
                let values = parts.iter().map(|(chunk, vector)| (chunk.tokens as f32, vector[column]));
                *pooled = match how {
                    ChunkPooling::Max => values.fold(f32::NEG_INFINITY, |most, (_, value)| most.max(value)),
                    _ => values.map(|(tokens, value)| tokens * value).sum::<f32>() / total,
                };
            }
            if normalize {
                unit(&mut pooled);
            }
        }
        data.extend(&pooled[..dimensions]);
    }
    data
}
