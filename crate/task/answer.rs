//! The part of a text that answers a question: the span whose first and last token have the highest scores.
//!
//! The rules are those of the question-answering pipeline of transformers 4: probabilities over all tokens of a window, of
//! which only the context's count; the probability of a span is the product of its ends'; the best spans are widened to whole
//! words, and those that read alike are one answer, with the sum of their scores.

use serde::{Deserialize, Serialize};

use super::{Input, Logits, Task, softmax};
use crate::batch::Sequence;
use crate::error::{Error, Result};
use crate::job::{Call, Ragged};
use crate::model::Model;
use crate::sort::best_first;
use crate::tokens::{Encoding, Truncation};

/// Tokens that windows of a long context share, unless the caller says otherwise. Half of their room at most.
const STRIDE: usize = 128;
/// Most tokens of an answer, unless the caller says otherwise.
const ANSWER_TOKENS: usize = 15;

/// Options of one question.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct AnswerOptions {
    /// Keep the best so many answers. Default: 1.
    pub top_k: Option<usize>,
    /// Most tokens of an answer. Default: 15.
    pub max_answer_tokens: Option<usize>,
    /// Tokens that the windows of a long context share. Default: 128, at most half of a window.
    pub stride: Option<usize>,
    /// Whether "no answer" takes part, as an empty one.
    pub no_answer: bool,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// The part of the context, in whole words; empty for "no answer".
    pub answer: String,
    /// Probability of its first token times that of its last; the sum of those of several spans that read alike.
    pub score: f32,
    /// Its first character (Unicode code point) in the context.
    pub start: usize,
    /// One past its last character.
    pub end: usize,
}

/// Scores of every token for being the first of an answer, and for being the last.
pub type AnswerLogits = [Vec<f32>; 2];

impl Model {
    /// Answers questions, each `text` about its `pair`, the context. A context that is longer than the model's limit is read
    /// in windows that overlap.
    pub fn answer(&self, questions: &[Input], options: &AnswerOptions) -> Result<Call<Vec<Vec<Answer>>>> {
        let (mut windows, mut counts) = (Vec::new(), Vec::new());
        for Input { text, pair } in questions {
            let context = pair.as_deref().ok_or_else(|| Error::argument("a question needs a context, its pair"))?;
            let of_question = self.parts.tokens.encode_windows(Some(text), context, options.stride, STRIDE)?;
            counts.push(of_question.len());
            windows.extend(of_question);
        }
        let job = self.head_job(Task::Answer, windows.iter().map(Sequence::from).collect())?;
        let contexts: Vec<String> = questions.iter().filter_map(|question| question.pair.clone()).collect();
        let options = options.clone();
        Ok(Call::new(job, move |_, rows| {
            let top_k = options.top_k.unwrap_or(1);
            let longest = options.max_answer_tokens.unwrap_or(ANSWER_TOKENS);
            let mut index = 0;
            let mut found = Vec::with_capacity(counts.len());
            for (context, count) in contexts.iter().zip(counts) {
                let characters: Vec<char> = context.chars().collect();
                let (mut answers, mut nothing) = (Vec::new(), 1.0f32);
                // More than are wanted, because some become one.
                let most = top_k.saturating_mul(2).saturating_add(10);
                for _ in 0..count {
                    let none = spans(&windows[index], rows.text(index), &characters, most, longest, &mut answers);
                    nothing = nothing.min(none);
                    index += 1;
                }
                if options.no_answer {
                    answers.push(Answer { answer: String::new(), score: nothing, start: 0, end: 0 });
                }
                best_first(&mut answers, |answer| answer.score);
                answers.truncate(top_k);
                found.push(answers);
            }
            Ok(found)
        }))
    }

    /// The columns of the head for every token of each input, special tokens included.
    pub fn answer_logits(&self, inputs: &[Input]) -> Result<Call<Vec<Logits<AnswerLogits>>>> {
        let sequences = inputs.iter().map(|input| self.sequence(input, Truncation::LongestFirst));
        let sequences = sequences.collect::<Result<Vec<_>>>()?;
        let question = |sequence: &Sequence| self.parts.spec.tables.question(&sequence.ids).unwrap_or(0);
        let questions: Vec<usize> = sequences.iter().map(question).collect();
        let job = self.head_job(Task::Answer, sequences)?;
        Ok(Call::new(job, move |_, rows: Ragged| {
            let logits = |((text, truncated), question): ((&[f32], &bool), usize)| {
                // Of a question that the class knows only the first token competes.
                let taken = move |index: usize| if (1..question).contains(&index) { 1e6 } else { 0.0 };
                let column = |column: usize| {
                    text.chunks_exact(2).enumerate().map(|(index, row)| row[column] - taken(index)).collect()
                };
                Logits { logits: [column(0), column(1)], truncated: *truncated }
            };
            Ok(rows.texts().zip(&rows.truncated).zip(questions).map(logits).collect())
        }))
    }
}

/// Adds the `most` best spans of a window; returns the probability that it has no answer.
fn spans(
    window: &Encoding,
    logits: &[f32],
    context: &[char],
    most: usize,
    longest: usize,
    answers: &mut Vec<Answer>,
) -> f32 {
    // Of the special tokens the first one counts: it stands for "no answer".
    let allowed = |index: usize| window.sequences[index] == Some(1) || index == 0;
    let probabilities = |column: usize| {
        let logit = move |(index, row): (usize, &[f32])| if allowed(index) { row[column] } else { -10_000.0 };
        softmax(logits.chunks_exact(2).enumerate().map(logit))
    };
    let (starts, ends) = (probabilities(0), probabilities(1));
    let nothing = starts[0] * ends[0];
    let inside: Vec<usize> = (1..starts.len()).filter(|index| window.sequences[*index] == Some(1)).collect();
    let mut best: Vec<(f32, usize, usize)> = Vec::new();
    for (place, &first) in inside.iter().enumerate() {
        for &last in inside[place..].iter().take_while(|last| *last - first < longest) {
            let score = starts[first] * ends[last];
            if best.len() < most || best.last().is_some_and(|(lowest, ..)| score > *lowest) {
                let at = best.partition_point(|(known, ..)| *known >= score);
                best.insert(at, (score, first, last));
                best.truncate(most);
            }
        }
    }
    for (score, first, last) in best {
        let whole = |index: usize| {
            let word = window.words[index];
            inside.iter().copied().filter(move |other| {
                let same = word.is_some() && window.words[*other] == word;
                same || *other == index
            })
        };
        let start = whole(first).map(|index| window.offsets[index].0).min().unwrap_or(0);
        let end = whole(last).map(|index| window.offsets[index].1).max().unwrap_or(0);
        let answer: String = context[start..end].iter().collect();
        let lower = answer.to_lowercase();
        match answers.iter_mut().find(|known| known.answer.to_lowercase() == lower) {
            Some(known) => known.score += score,
            None => answers.push(Answer { answer, score, start, end }),
        }
    }
    nothing
}
