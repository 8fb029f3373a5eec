//! Entities of a text, from scores of labels for every token, as the token-classification pipeline of transformers defines
//! them.

use serde::{Deserialize, Serialize};

use super::{Input, Logits, Task, softmax};
use crate::batch::Sequence;
use crate::error::Result;
use crate::job::Call;
use crate::model::Model;
use crate::sort::sort_by;
use crate::tokens::{Encoding, Tokens, Truncation};

/// Tokens that windows of a long text share, unless the caller says otherwise. Half of their room at most.
const STRIDE: usize = 64;

/// How tokens become entities, by the names of transformers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Aggregation {
    /// One entity a token.
    None,
    /// Neighbouring tokens of one label.
    #[default]
    Simple,
    /// As simple, where a word has the label of its first token.
    First,
    /// As simple, where a word has the label of its tokens' mean scores.
    Average,
    /// As simple, where a word has the label of its surest token.
    Max,
}

/// Options of one tagging.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct TagOptions {
    /// How tokens become entities.
    pub aggregation: Aggregation,
    /// Labels that are no entities. Default: `O`.
    pub ignore_labels: Option<Vec<String>>,
    /// Tokens that the windows of a long text share. Default: 64, at most half of a window.
    pub stride: Option<usize>,
}

/// A part of a text that has a label.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entity {
    /// The label; without `B-`, `I-` and the like where tokens were grouped.
    pub label: String,
    /// Probability of the label, the mean over the tokens or words of a group.
    pub score: f32,
    /// The part, as its tokens spell it.
    pub word: String,
    /// Its first character (Unicode code point) in the text.
    pub start: usize,
    /// One past its last character.
    pub end: usize,
}

/// Scores of every label, by token: `[tokens][labels]`.
pub type TagLogits = Vec<Vec<f32>>;

/// A token, or a word, with its scores or its label.
struct Piece {
    tokens: Vec<String>,
    start: usize,
    end: usize,
    continues: bool,
    scores: Vec<f32>,
}

impl Model {
    /// Finds the entities of each text. A text longer than the model's limit is read in windows that overlap.
    pub fn tag(&self, texts: &[String], options: &TagOptions) -> Result<Call<Vec<Vec<Entity>>>> {
        let (mut windows, mut counts) = (Vec::new(), Vec::new());
        for text in texts {
            let of_text = self.parts.tokens.encode_windows(None, text, options.stride, STRIDE)?;
            counts.push(of_text.len());
            windows.extend(of_text);
        }
        let job = self.head_job(Task::Tag, windows.iter().map(Sequence::from).collect())?;
        let (texts, options) = (texts.to_vec(), options.clone());
        Ok(Call::new(job, move |model, rows| {
            let labels = &model.head(Task::Tag)?.labels.0;
            let ignored = options.ignore_labels.unwrap_or_else(|| vec!["O".into()]);
            let mut index = 0;
            let mut found = Vec::with_capacity(texts.len());
            for (text, count) in texts.iter().zip(counts) {
                let characters: Vec<char> = text.chars().collect();
                let mut entities = Vec::new();
                for _ in 0..count {
                    let tokens = &model.parts.tokens;
                    let pieces = pieces(&windows[index], rows.rows(index), &characters, tokens);
                    let of_window = aggregate(pieces, options.aggregation, labels, tokens)?;
                    entities.extend(of_window.into_iter().filter(|entity| !ignored.contains(&entity.label)));
                    index += 1;
                }
                found.push(if count > 1 { without_overlaps(entities) } else { entities });
            }
            Ok(found)
        }))
    }

    /// The columns of the head for every token of an input, special tokens included.
    pub fn tag_logits(&self, inputs: &[Input]) -> Result<Call<Vec<Logits<TagLogits>>>> {
        let sequences = inputs.iter().map(|input| self.sequence(input, Truncation::LongestFirst));
        let job = self.head_job(Task::Tag, sequences.collect::<Result<_>>()?)?;
        Ok(Call::new(job, move |_, rows| {
            let of_input = |(index, truncated): (usize, &bool)| Logits {
                logits: rows.rows(index).map(<[f32]>::to_vec).collect(),
                truncated: *truncated,
            };
            Ok(rows.truncated.iter().enumerate().map(of_input).collect())
        }))
    }
}

/// The tokens of a text with their scores; special tokens are none of them.
fn pieces<'a>(
    encoding: &Encoding,
    logits: impl Iterator<Item = &'a [f32]>,
    text: &[char],
    tokens: &Tokens,
) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (index, logits) in logits.enumerate() {
        if encoding.special[index] == 1 {
            continue;
        }
        let (start, end) = encoding.offsets[index];
        let token = &encoding.tokens[index];
        let unknown = Some(encoding.ids[index]) == tokens.unknown();
        // Word pieces are marked: what continues a word has a prefix that the text does not have. For others the
        // pipeline looks for a space, which is all that it can know.
        let continues = match tokens.marks_continuations() {
            true => token.chars().count() != end - start,
            false => start > 0 && !text[start - 1..(start + 1).min(text.len())].contains(&' '),
        };
        let word = if unknown { text[start..end].iter().collect() } else { token.clone() };
        let scores = softmax(logits.iter().copied());
        pieces.push(Piece { tokens: vec![word], start, end, continues: continues && !unknown, scores });
    }
    pieces
}

fn best(scores: &[f32]) -> (usize, f32) {
    // The first of equals, as numpy's argmax.
    scores.iter().copied().enumerate().fold(
        (0, f32::MIN),
        |best, (index, score)| {
            if score > best.1 { (index, score) } else { best }
        },
    )
}

fn aggregate(pieces: Vec<Piece>, aggregation: Aggregation, labels: &[String], tokens: &Tokens) -> Result<Vec<Entity>> {
    let labelled = |piece: Piece| {
        let (label, score) = best(&piece.scores);
        (
            piece.tokens,
            Entity { label: labels[label].clone(), score, word: String::new(), start: piece.start, end: piece.end },
        )
    };
    let words = match aggregation {
        Aggregation::None => {
            let entity = |piece| {
                let (tokens, entity): (Vec<String>, Entity) = labelled(piece);
                Entity { word: tokens.concat(), ..entity }
            };
            return Ok(pieces.into_iter().map(entity).collect());
        }
        Aggregation::Simple => pieces,
        _ => words(pieces, aggregation, tokens)?,
    };
    let mut groups: Vec<Vec<(Vec<String>, Entity)>> = Vec::new();
    for word in words.into_iter().map(labelled) {
        let (begins, label) = tag(&word.1.label);
        match groups.last_mut() {
            Some(group) if !begins && group.last().is_some_and(|(_, last)| tag(&last.label).1 == label) => {
                group.push(word)
            }
            _ => groups.push(vec![word]),
        }
    }
    let entity = |group: Vec<(Vec<String>, Entity)>| {
        let score = group.iter().map(|(_, word)| f64::from(word.score)).sum::<f64>() / group.len() as f64;
        let spelled: Vec<String> = group.iter().flat_map(|(tokens, _)| tokens.clone()).collect();
        let (first, last) = (&group[0].1, &group[group.len() - 1].1);
        let label = first.label.split_once('-').map_or(first.label.as_str(), |(_, label)| label).to_owned();
        Ok(Entity { label, score: score as f32, word: tokens.spell(spelled)?, start: first.start, end: last.end })
    };
    groups.into_iter().map(entity).collect()
}

/// Whether a label begins an entity, and which.
fn tag(label: &str) -> (bool, &str) {
    match label.split_once('-') {
        Some(("B" | "S" | "U", name)) => (true, name),
        Some(("I" | "E" | "L", name)) => (false, name),
        _ => (false, label),
    }
}

/// Tokens to words, whose scores are those that the aggregation chooses.
fn words(pieces: Vec<Piece>, aggregation: Aggregation, tokens: &Tokens) -> Result<Vec<Piece>> {
    let mut words: Vec<Vec<Piece>> = Vec::new();
    for piece in pieces {
        match words.last_mut() {
            Some(word) if piece.continues => word.push(piece),
            _ => words.push(vec![piece]),
        }
    }
    let word = |pieces: Vec<Piece>| {
        let scores = match aggregation {
            Aggregation::Average => {
                let mean = |column: usize| {
                    let sum: f64 = pieces.iter().map(|piece| f64::from(piece.scores[column])).sum();
                    (sum / pieces.len() as f64) as f32
                };
                (0..pieces[0].scores.len()).map(mean).collect()
            }
            Aggregation::Max => {
                let surest = pieces.iter().fold(&pieces[0], |surest, piece| {
                    if best(&piece.scores).1 > best(&surest.scores).1 { piece } else { surest }
                });
                surest.scores.clone()
            }
            _ => pieces[0].scores.clone(),
        };
        let spelled = pieces.iter().flat_map(|piece| piece.tokens.clone()).collect();
        let (start, end) = (pieces[0].start, pieces[pieces.len() - 1].end);
        Ok(Piece { tokens: vec![tokens.spell(spelled)?], start, end, continues: false, scores })
    };
    words.into_iter().map(word).collect()
}

/// Of entities that overlap, found in two windows, the longer, then the surer one.
fn without_overlaps(mut entities: Vec<Entity>) -> Vec<Entity> {
    sort_by(&mut entities, |a, b| a.start.cmp(&b.start));
    let mut kept: Vec<Entity> = Vec::new();
    for entity in entities {
        match kept.last_mut() {
            Some(last) if last.start <= entity.start && entity.start < last.end => {
                let (length, last_length) = (entity.end - entity.start, last.end - last.start);
                if length > last_length || (length == last_length && entity.score > last.score) {
                    *last = entity;
                }
            }
            _ => kept.push(entity),
        }
    }
    kept
}
