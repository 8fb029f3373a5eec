//! Tokens that `added_tokens` lists: they are taken out of the text before, or after, it is normalized. The rules are
//! those of `tokenizers`' own added vocabulary.

use std::collections::BTreeMap;

use serde::Deserialize;
use tokenizers::tokenizer::normalizer::Range;
use tokenizers::{NormalizedString, Normalizer as _, PreTokenizedString, Token};

use super::parts::{Model, Normalizer};
use super::unicode::is_word;
use super::{invalid, refused};
use crate::error::Result;
use crate::sort::sort_by;

/// An entry of `added_tokens`.
#[derive(Debug, Clone, Deserialize)]
pub struct AddedToken {
    pub id: u32,
    pub content: String,
    pub single_word: bool,
    pub lstrip: bool,
    pub rstrip: bool,
    pub normalized: bool,
    #[serde(default)]
    pub special: bool,
    /// Whether it must get that id: what other files name gets any.
    #[serde(skip, default = "always")]
    pub fixed: bool,
}

fn always() -> bool {
    true
}

/// The added tokens: those that are looked for in the text as it came, and those in the normalized text.
#[derive(Debug)]
pub struct Added {
    raw: Matcher,
    normalized: Matcher,
    /// Contents by id, and whether it is special.
    listed: BTreeMap<u32, (String, bool)>,
    /// Ids by content.
    ids: BTreeMap<String, u32>,
    /// Whether special tokens are text where a text has them.
    splits_special: bool,
}

impl Added {
    /// Gives every token its id: the model's, else the next after the model's vocabulary. That must be the id that
    /// the file says. With `splits_special`, special tokens are not looked for in texts.
    pub fn new(
        tokens: Vec<AddedToken>,
        model: &Model,
        normalizer: Option<&Normalizer>,
        splits_special: bool,
    ) -> Result<Self> {
        let mut next = model.vocab_size();
        let mut new = BTreeMap::new();
        // The last of two entries for one token counts.
        let mut listed = BTreeMap::new();
        for token in tokens.into_iter().filter(|token| !token.content.is_empty()) {
            let known = model.token_to_id(&token.content).or_else(|| new.get(&token.content).copied());
            let id = known.unwrap_or(next);
            if token.fixed && id != token.id {
                let (content, listed) = (&token.content, token.id);
                return Err(refused(format!("added token \"{content}\" is listed as {listed} and would be {id}")));
            }
            if known.is_none() {
                new.insert(token.content.clone(), id);
                next = next.saturating_add(1);
            }
            listed.insert(id, AddedToken { id, ..token });
        }
        let entries = || listed.iter().map(|(id, token): (&u32, &AddedToken)| (*id, token));
        let mut ids = BTreeMap::new();
        for (id, token) in entries() {
            ids.insert(token.content.clone(), id);
        }
        let contents = entries().map(|(id, token)| (id, (token.content.clone(), token.special))).collect();
        let (mut raw, mut normalized) = (Vec::new(), Vec::new());
        for token in listed.into_values() {
            if token.normalized {
                let mut text = NormalizedString::from(token.content.as_str());
                normalizer.map_or(Ok(()), |normalizer| normalizer.normalize(&mut text)).map_err(invalid)?;
                normalized.push((text.get().to_owned(), token));
            } else {
                raw.push((token.content.clone(), token));
            }
        }
        let (raw, normalized) = (Matcher::new(raw)?, Matcher::new(normalized)?);
        Ok(Self { raw, normalized, listed: contents, ids, splits_special })
    }

    /// Adds a token that is taken out of a text as it came.
    pub fn keep_whole(&mut self, content: &str, id: u32) -> Result<()> {
        let content = content.to_owned();
        let token = AddedToken { id, ..AddedToken::new(&content, true) };
        let mut tokens = std::mem::take(&mut self.raw.tokens);
        tokens.retain(|(known, _)| *known != content);
        tokens.push((content.clone(), token));
        self.raw = Matcher::new(tokens)?;
        self.normalized.tokens.retain(|(_, token)| token.id != id);
        self.ids.insert(content.clone(), id);
        self.listed.insert(id, (content, true));
        Ok(())
    }

    /// All of their ids.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn ids(&self) -> impl Iterator<Item = u32> {
        self.listed.keys().copied()
    }

    /// The highest id.
    pub fn highest(&self) -> Option<u32> {
        self.listed.last_key_value().map(|(id, _)| *id)
    }

    /// The content of an added token.
    pub fn content(&self, id: u32) -> Option<&str> {
        self.listed.get(&id).map(|(content, _)| content.as_str())
    }

    /// The id of an added token.
    pub fn id(&self, content: &str) -> Option<u32> {
        self.ids.get(content).copied()
    }

    /// Whether an id is that of a special token.
    pub fn special(&self, id: u32) -> bool {
        self.listed.get(&id).is_some_and(|(_, special)| *special)
    }

    /// Cuts the added tokens out of a text and normalizes the rest.
    pub fn extract(&self, text: &str, normalizer: Option<&Normalizer>) -> tokenizers::Result<PreTokenizedString> {
        let mut pieces = PreTokenizedString::from(text);
        pieces.split(|_, piece| self.raw.split(&piece, self.splits_special))?;
        pieces.split(|_, mut piece| {
            normalizer.map_or(Ok(()), |normalizer| normalizer.normalize(&mut piece))?;
            self.normalized.split(&piece, self.splits_special)
        })?;
        Ok(pieces)
    }
}

/// Finds the leftmost, and there the longest, of many strings.
#[derive(Debug)]
struct Matcher {
    /// Sorted by the string.
    tokens: Vec<(String, AddedToken)>,
    /// Every length of a string, the longest first.
    lengths: Vec<usize>,
    /// Bytes that a string begins with.
    first: Vec<u8>,
}

impl Matcher {
    fn new(mut tokens: Vec<(String, AddedToken)>) -> Result<Self> {
        sort_by(&mut tokens, |(a, _), (b, _)| a.cmp(b));
        if tokens.first().is_some_and(|(text, _)| text.is_empty()) {
            return Err(refused("normalization leaves nothing of an added token"));
        }
        if let Some([(text, _), _]) = tokens.array_windows().find(|[(a, _), (b, _)]| a == b) {
            return Err(refused(format!("two added tokens are found by \"{text}\"")));
        }
        let mut lengths: Vec<usize> = tokens.iter().map(|(text, _)| text.len()).collect();
        sort_by(&mut lengths, |a, b| b.cmp(a));
        lengths.dedup();
        let mut first: Vec<u8> = tokens.iter().filter_map(|(text, _)| text.bytes().next()).collect();
        first.dedup();
        Ok(Self { tokens, lengths, first })
    }

    fn find(&self, text: &str, from: usize) -> Option<(usize, usize, &AddedToken)> {
        let starts = text.as_bytes().iter().enumerate().skip(from).filter(|(_, byte)| self.first.contains(byte));
        for (start, _) in starts {
            for length in &self.lengths {
                let found = text.get(start..start + length);
                let at =
                    found.and_then(|found| self.tokens.binary_search_by(|(text, _)| text.as_str().cmp(found)).ok());
                if let Some((_, token)) = at.and_then(|at| self.tokens.get(at)) {
                    return Some((start, start + length, token));
                }
            }
        }
        None
    }

    fn split(
        &self,
        piece: &NormalizedString,
        splits_special: bool,
    ) -> tokenizers::Result<Vec<(NormalizedString, Option<Vec<Token>>)>> {
        let text = piece.get();
        let (mut pieces, mut done, mut from) = (Vec::new(), 0, 0);
        let mut push = |start, end, id: Option<u32>| {
            let slice = piece.slice(Range::Normalized(start..end)).ok_or("a text was cut inside a character")?;
            let token = |id| vec![Token::new(id, slice.get().to_owned(), (0, slice.get().len()))];
            let token = id.map(token);
            pieces.push((slice, token));
            tokenizers::Result::Ok(())
        };
        while let Some((mut start, mut end, token)) = self.find(text, from) {
            from = end;
            let (before, behind) = (text.get(..start).unwrap_or_default(), text.get(end..).unwrap_or_default());
            let inside_word =
                before.chars().next_back().is_some_and(is_word) || behind.chars().next().is_some_and(is_word);
            if token.single_word && inside_word || token.special && splits_special {
                continue;
            }
            if token.lstrip {
                start = before.trim_end().len().max(done);
            }
            if token.rstrip {
                end += behind.len() - behind.trim_start().len();
            }
            // Blanks that the token before has taken.
            if start > end {
                continue;
            }
            if done < start {
                push(done, start, None)?;
            }
            push(start, end, Some(token.id))?;
            done = end;
        }
        if done < text.len() {
            push(done, text.len(), None)?;
        }
        Ok(pieces)
    }
}
