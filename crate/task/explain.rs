//! What of a text makes a score, without gradients.
//!
//! Occlusion leaves a part out of the sequence, so that what stands behind it moves up, and reads the rest again
//! (arXiv 1612.08220, erasure; `leave one out`): what the score loses is the part's. Left out and not exchanged for a mask token,
//! which many encoders have not, and which those that were trained on to make vectors have not seen since. Special tokens and
//! the prompt stay. MaxSim instead takes, for each token of a text, the closest token of the other, as late interaction does.

use std::ops::{Not, Range};

use serde::{Deserialize, Serialize};

use super::{Task, dot, unit};
use crate::batch::{PoolingParams, Sequence};
use crate::error::{Error, Result};
use crate::job::{Call, Job};
use crate::model::{EmbedOptions, Kind, Model};
use crate::tokens::Encoding;

/// Most tokens of all variants of a text together, and most pairs of tokens that are compared.
const TOKENS: usize = 1 << 20;

/// How parts get their scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// What the score loses without the part.
    #[default]
    Occlusion,
    /// The largest cosine of a token's vector with one of the other text.
    MaxSim,
}

/// What a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// A token.
    #[default]
    Token,
    /// The tokens between blanks, and between the cuts of the tokenizer.
    Word,
}

/// Options of one explanation.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ExplainOptions {
    /// Explains the similarity (cosine) with this text.
    pub against: Option<String>,
    /// Explains the score of this label, by the head of a classifier. Default, where there is no `against`: the best label.
    pub label: Option<String>,
    /// How.
    pub method: Method,
    /// Of what.
    pub unit: Unit,
    /// What the text is where the model tells queries and documents apart; `against` is the other then.
    pub kind: Option<Kind>,
}

/// What of a text makes a score.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// Of the whole text: the cosine, the label's score, or the sum of the parts' with [`Method::MaxSim`].
    pub score: f32,
    /// The label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// In the order of the text.
    pub parts: Vec<Part>,
    /// Whether the text, or the one that it is compared with, was cut.
    #[serde(skip_serializing_if = "Not::not")]
    pub truncated: bool,
}

/// A token or a word.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Part {
    /// The part.
    pub text: String,
    /// Its first character (Unicode code point) in the text.
    pub start: usize,
    /// One past its last character.
    pub end: usize,
    /// Its share.
    pub score: f32,
}

/// The tokens of a part, among those of the text.
type Tokens = Range<usize>;

impl Model {
    /// Scores the parts of a text by what they do for its similarity with another text, or for the score of a label. What is cut
    /// off of a text that is too long is no part.
    pub fn explain(&self, text: &str, options: &ExplainOptions) -> Result<Call<Explanation>> {
        match (&options.against, &options.label, options.method) {
            (Some(_), Some(_), _) => Err(Error::argument("against and label are explained apart: give one of them")),
            (Some(against), None, method) => self.explain_similarity(text, against, method, options),
            (None, _, Method::MaxSim) => Err(Error::argument("method maxsim is for against")),
            (None, _, _) if options.kind.is_some() => Err(Error::argument("kind is for against")),
            (None, label, _) => self.explain_label(text, label.as_ref(), options.unit),
        }
    }

    fn explain_similarity(
        &self,
        text: &str,
        against: &str,
        method: Method,
        options: &ExplainOptions,
    ) -> Result<Call<Explanation>> {
        let other = options.kind.map(|kind| if kind == Kind::Query { Kind::Document } else { Kind::Query });
        let prompts = [self.prompt(None, None, options.kind)?, self.prompt(None, None, other)?];
        let read = |prompt, text| self.parts.tokens.encode_behind(prompt, text, self.parts.max_tokens);
        let (encoding, against) = (read(prompts[0], text)?, read(prompts[1], against)?);
        let (own, other) = (Sequence::from(&encoding), Sequence::from(&against));
        let (tokens, mut parts) = parts(text, &encoding, options.unit);
        let truncated = encoding.truncated || against.truncated;
        if method == Method::MaxSim {
            let compared: Vec<usize> = (0..against.ids.len()).filter(|index| against.offsets[*index].1 > 0).collect();
            bounded("pairs of tokens", encoding.ids.len() * compared.len())?;
            let job = match self.head(Task::Multi) {
                Ok(_) => self.head_job(Task::Multi, vec![own, other])?,
                Err(_) => Job::new(self, vec![own, other], self.parts.states(), PoolingParams::default())?,
            };
            return Ok(Call::new(job, move |_, mut rows| {
                rows.data.chunks_exact_mut(rows.width).for_each(unit);
                let (own, other): (Vec<_>, Vec<_>) = (rows.rows(0).collect(), rows.rows(1).collect());
                let best = |index: usize| compared.iter().map(|at| dot(own[index], other[*at])).reduce(f32::max);
                for (part, tokens) in parts.iter_mut().zip(tokens) {
                    part.score = tokens.filter_map(best).reduce(f32::max).unwrap_or_default();
                }
                Ok(Explanation { score: parts.iter().map(|part| part.score).sum(), label: None, parts, truncated })
            }));
        }
        let pooling = self.pooling(&EmbedOptions::default())?;
        let (mut sequences, mut other) = (variants(own, &tokens)?, vec![other]);
        self.pool_behind(prompts[0], &mut sequences, true, &pooling)?;
        self.pool_behind(prompts[1], &mut other, true, &pooling)?;
        sequences.extend(other);
        let job = Job::new(self, sequences, self.parts.vectors(), pooling)?;
        Ok(Call::new(job, move |_, mut rows| {
            rows.data.chunks_exact_mut(rows.width).for_each(unit);
            let against = rows.text(rows.starts.len() - 2);
            let scores = rows.texts().map(|vector| dot(vector, against));
            Ok(Explanation { score: lost(&mut parts, scores), label: None, parts, truncated })
        }))
    }

    fn explain_label(&self, text: &str, label: Option<&String>, of: Unit) -> Result<Call<Explanation>> {
        let head = self.head(Task::Classify)?;
        let (function, column) = (head.function, label.map(|label| head.labels.columns(std::slice::from_ref(label))));
        let column = column.transpose()?.and_then(|columns| columns.first().copied());
        let encoding = self.tokenize(text)?;
        let (tokens, mut parts) = parts(text, &encoding, of);
        let job = self.head_job(Task::Classify, variants(Sequence::from(&encoding), &tokens)?)?;
        Ok(Call::new(job, move |model, rows| {
            let scores = |logits: &[f32]| function.apply(logits.iter().copied());
            let best = || (0..rows.width).rev().max_by(|a, b| rows.data[*a].total_cmp(&rows.data[*b]));
            let column = column.or_else(best).unwrap_or_default();
            let label = model.head(Task::Classify)?.labels.0.get(column).cloned();
            let score = lost(&mut parts, rows.texts().map(|logits| scores(logits)[column]));
            Ok(Explanation { score, label, parts, truncated: encoding.truncated })
        }))
    }
}

/// The parts of a text, and the tokens of each.
fn parts(text: &str, encoding: &Encoding, of: Unit) -> (Vec<Tokens>, Vec<Part>) {
    let characters: Vec<char> = text.chars().collect();
    let (mut tokens, mut parts): (Vec<Tokens>, Vec<Part>) = (Vec::new(), Vec::new());
    let mut word = None;
    for (index, &(start, end)) in encoding.offsets.iter().enumerate().filter(|(_, (_, end))| *end > 0) {
        let blank = |from: usize| {
            characters[from.min(start)..=start.min(characters.len() - 1)].iter().any(|c| c.is_whitespace())
        };
        match (tokens.last_mut(), parts.last_mut()) {
            (Some(tokens), Some(part)) if of == Unit::Word && encoding.words[index] == word && !blank(part.end) => {
                (tokens.end, part.end) = (index + 1, end.max(part.end));
            }
            _ => {
                tokens.push(index..index + 1);
                parts.push(Part { text: String::new(), start, end, score: 0.0 });
            }
        }
        word = encoding.words[index];
    }
    for part in &mut parts {
        part.text = characters[part.start..part.end].iter().collect();
    }
    (tokens, parts)
}

/// A text, and the text without each of its parts.
fn variants(whole: Sequence, parts: &[Tokens]) -> Result<Vec<Sequence>> {
    bounded("tokens of all variants of a text", parts.len() * whole.ids.len())?;
    let without = |part: &Tokens| {
        let mut rest = whole.clone();
        rest.ids.drain(part.clone());
        rest.type_ids.drain(part.clone());
        rest
    };
    Ok([whole.clone()].into_iter().chain(parts.iter().map(without)).collect())
}

/// Gives each part what the first score, which is returned, has more than that without the part.
fn lost(parts: &mut [Part], mut scores: impl Iterator<Item = f32>) -> f32 {
    let whole = scores.next().unwrap_or_default();
    parts.iter_mut().zip(scores).for_each(|(part, without)| part.score = whole - without);
    whole
}

fn bounded(what: &str, found: usize) -> Result<()> {
    match found > TOKENS {
        true => {
            Err(Error::LimitExceeded { what: format!("number of {what}"), found: found as u64, limit: TOKENS as u64 })
        }
        false => Ok(()),
    }
}
