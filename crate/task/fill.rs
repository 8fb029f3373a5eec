//! Tokens for masks, as the fill-mask pipeline of transformers ranks them.

use std::ops::Not;

use serde::{Deserialize, Serialize};

use super::{Input, Task, softmax};
use crate::error::{Error, Result};
use crate::job::Call;
use crate::model::Model;
use crate::sort::{best_first, sort_by};
use crate::tokens::{Tokens, Truncation};

/// Candidates a mask, unless the caller says otherwise.
const TOP_K: usize = 5;

/// Options of one filling.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct FillOptions {
    /// Candidates a mask. Default: 5.
    pub top_k: Option<usize>,
    /// Only these tokens are candidates, by their strings in the vocabulary; of a word that is not in it the first token counts.
    pub targets: Option<Vec<String>>,
    /// Only these ids are candidates.
    pub ids: Option<Vec<u32>>,
}

/// A masked token and what may stand there.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mask {
    /// Its place among the tokens of the input, special tokens included.
    pub position: u32,
    /// Best first.
    pub top: Vec<Candidate>,
    /// Whether the input was cut, perhaps with more masks.
    #[serde(skip_serializing_if = "Not::not")]
    pub truncated: bool,
}

/// A token for a mask.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Candidate {
    /// Its id.
    pub id: u32,
    /// Its text.
    pub token: String,
    /// Its probability among all tokens of the vocabulary.
    pub score: f32,
    /// The input with the token in the mask's place; other masks stay.
    pub sequence: String,
}

impl Model {
    /// Ranks tokens for every mask of each input.
    pub fn fill(&self, inputs: &[Input], options: &FillOptions) -> Result<Call<Vec<Vec<Mask>>>> {
        let tokens = &self.parts.tokens;
        let mask = self.parts.mask_token.as_deref().and_then(|mask| tokens.id(mask));
        let mask = mask.ok_or_else(|| Error::option("tokenizer_config.json mask_token", "none"))?;
        let mut sequences = Vec::with_capacity(inputs.len());
        for (index, input) in inputs.iter().enumerate() {
            let mut sequence = self.sequence(input, Truncation::LongestFirst)?;
            let masked = (0..).zip(&sequence.ids).filter(|(_, id)| **id == mask).map(|(place, _)| place);
            sequence.picks = masked.collect();
            if sequence.picks.is_empty() {
                let mask = self.parts.mask_token.as_deref().unwrap_or_default();
                return Err(Error::argument(format!("input {index} has no mask, \"{mask}\", within the token limit")));
            }
            sequences.push(sequence);
        }
        let job = self.head_job(Task::Fill, sequences.clone())?;
        let (top_k, width) = (options.top_k.unwrap_or(TOP_K), job.width());
        let allowed = allowed(tokens, width, options)?;
        Ok(Call::each(job, move |model, index, logits| {
            let (tokens, sequence) = (&model.parts.tokens, &sequences[index]);
            let alone = sequence.picks.len() == 1;
            let mask = |(position, logits): (&u32, &[f32])| {
                let scores = softmax(logits.iter().copied());
                let mut ids: Vec<u32> = match &allowed {
                    Some(ids) => ids.clone(),
                    None => (0..scores.len() as u32).collect(),
                };
                best_first(&mut ids, |id| scores[*id as usize]);
                ids.truncate(top_k);
                let candidate = |id: u32| {
                    let mut whole = sequence.ids.clone();
                    whole[*position as usize] = id;
                    // As the pipeline of transformers leaves it out.
                    whole.retain(|id| Some(*id) != model.parts.pad);
                    let sequence = tokens.decode(&whole, alone)?;
                    Ok(Candidate { id, token: tokens.decode(&[id], false)?, score: scores[id as usize], sequence })
                };
                let top = ids.into_iter().map(candidate).collect::<Result<_>>()?;
                Ok(Mask { position: *position, top, truncated: sequence.truncated })
            };
            sequence.picks.iter().zip(logits.chunks_exact(width)).map(mask).collect()
        }))
    }
}

/// The ids that may be candidates, of a head of so many columns; none: all.
fn allowed(tokens: &Tokens, width: usize, options: &FillOptions) -> Result<Option<Vec<u32>>> {
    if options.targets.is_none() && options.ids.is_none() {
        return Ok(None);
    }
    let mut ids = options.ids.clone().unwrap_or_default();
    for target in options.targets.iter().flatten() {
        let first = || tokens.encode(target).ok()?.of_text().next();
        let id = tokens.id(target).or_else(first);
        ids.push(id.ok_or_else(|| Error::argument(format!("target \"{target}\" has no token")))?);
    }
    sort_by(&mut ids, Ord::cmp);
    ids.dedup();
    // A tokenizer may have tokens that its model was not trained for.
    let vocab = tokens.vocab().min(width);
    if let Some(id) = ids.iter().find(|id| **id as usize >= vocab) {
        return Err(Error::argument(format!("id {id} is not in the vocabulary of {vocab}")));
    }
    match ids.is_empty() {
        true => Err(Error::argument("targets and ids leave no candidate")),
        false => Ok(Some(ids)),
    }
}
