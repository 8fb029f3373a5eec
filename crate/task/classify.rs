//! Scores of labels for a text or a pair of texts, and what rests on them: zero-shot classification.
//!
//! Functions are those of the text-classification and zero-shot-classification pipelines of transformers, and for a single
//! column those of sentence-transformers' `CrossEncoder`.

use std::ops::Not;

use serde::{Deserialize, Serialize};

use super::labels::{LabelScore, Labels, Problem};
use super::{Input, Task, softmax};
use crate::batch::Sequence;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::job::{Call, Ragged};
use crate::model::Model;
use crate::sort::best_first;
use crate::tokens::Truncation;

/// What makes scores of a head's columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Function {
    /// One of the labels holds: `exp(x) / Σ exp(x)`.
    Softmax,
    /// Each label for itself: `1 / (1 + exp(-x))`.
    Sigmoid,
    /// The columns as they are.
    None,
}

impl Function {
    /// As the configuration says: the activation of a cross-encoder where one is named, else by `problem_type` and the
    /// number of labels. A cross-encoder of one label, which `ranks`, does not ask what the problem was.
    pub fn read(config: &Config, sentence: Option<&Config>, labels: &Labels, ranks: bool) -> Result<Self> {
        let nested = config.object("sentence_transformers")?;
        let named = [
            nested.as_ref().map(|config| (config, "activation_fn")),
            Some((config, "sbert_ce_default_activation_function")),
            sentence.map(|config| (config, "activation_fn")),
        ];
        let named = named.into_iter().flatten().find(|(config, key)| config.get(key).is_some());
        if let (1, Some((config, key))) = (labels.count(), named) {
            return match config.text_or(key, "")?.strip_prefix("torch.").map(|name| name.rsplit('.').next()) {
                // What is not torch's sentence-transformers does not import: it takes what it takes without.
                None | Some(Some("Sigmoid")) => Ok(Self::Sigmoid),
                Some(Some("Identity")) => Ok(Self::None),
                _ => Err(config.unsupported(key)),
            };
        }
        Ok(match Problem::read(config)? {
            _ if ranks && labels.count() == 1 => Self::Sigmoid,
            Some(Problem::Regression) => Self::None,
            Some(Problem::MultiLabel) => Self::Sigmoid,
            _ if labels.count() == 1 => Self::Sigmoid,
            _ => Self::Softmax,
        })
    }

    pub(super) fn apply(self, logits: impl Iterator<Item = f32> + Clone) -> Vec<f32> {
        match self {
            Self::Softmax => softmax(logits),
            Self::Sigmoid => logits.map(|x| (1.0 / (1.0 + f64::from(-x).exp())) as f32).collect(),
            Self::None => logits.collect(),
        }
    }
}

/// Options of one classification.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ClassifyOptions {
    /// Keep the best so many labels. Default: all.
    pub top_k: Option<usize>,
    /// Only these labels take part: scores are among them. Default: all.
    pub labels: Option<Vec<String>>,
    /// What makes scores of the columns. Default: as the model's configuration says.
    pub function: Option<Function>,
}

/// The scores of a text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Classification {
    /// The columns of the head, in the order of `id2label`.
    pub logits: Vec<f32>,
    /// Best first.
    pub scores: Vec<LabelScore>,
    /// Whether the input was cut.
    #[serde(skip_serializing_if = "Not::not")]
    pub truncated: bool,
}

/// Options of one zero-shot classification.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ZeroShotOptions {
    /// The candidates.
    pub labels: Vec<String>,
    /// What is claimed of a text, with `{}` for a label. Default: "This example is {}."
    #[serde(default = "default_template")]
    pub hypothesis_template: String,
    /// Whether several labels may hold: then each is scored against its contradiction.
    #[serde(default)]
    pub multi_label: bool,
}

fn default_template() -> String {
    "This example is {}.".into()
}

/// What makes a classification of a head's columns.
pub(crate) struct Scorer {
    /// The columns that take part, and their labels.
    columns: Vec<(usize, String)>,
    function: Function,
    top_k: usize,
}

impl Scorer {
    /// Of a head with these labels and, where none is asked for, this function.
    pub fn new(labels: &Labels, function: Function, options: &ClassifyOptions) -> Result<Self> {
        let columns = match &options.labels {
            Some(names) if names.is_empty() => return Err(Error::argument("labels must name at least one")),
            Some(names) => labels.columns(names)?.into_iter().zip(names.clone()).collect(),
            None => labels.0.iter().cloned().enumerate().collect(),
        };
        let (function, top_k) = (options.function.unwrap_or(function), options.top_k.unwrap_or(usize::MAX));
        Ok(Self { columns, function, top_k })
    }

    /// Of one row of the head.
    pub fn classification(&self, logits: &[f32], truncated: bool) -> Classification {
        let scores = self.function.apply(self.columns.iter().map(|(column, _)| logits[*column]));
        let label =
            |((_, label), score): (&(usize, String), f32)| LabelScore { label: label.clone(), score, truncated: false };
        let mut scores: Vec<LabelScore> = self.columns.iter().zip(scores).map(label).collect();
        best_first(&mut scores, |label| label.score);
        scores.truncate(self.top_k);
        Classification { logits: logits.to_vec(), scores, truncated }
    }
}

impl Model {
    /// Scores the labels of the model's head for each input.
    pub fn classify(&self, inputs: &[Input], options: &ClassifyOptions) -> Result<Call<Vec<Classification>>> {
        let head = self.head(Task::Classify)?;
        let scorer = Scorer::new(&head.labels, head.function, options)?;
        let sequences = inputs.iter().map(|input| self.scored(input));
        let job = self.head_job(Task::Classify, sequences.collect::<Result<_>>()?)?;
        Ok(Call::new(job, move |_, rows| {
            let of_input = |(row, truncated): (&[f32], &bool)| scorer.classification(row, *truncated);
            Ok(rows.texts().zip(&rows.truncated).map(of_input).collect())
        }))
    }

    /// Scores labels that the model was not trained for, by a head for natural language inference: how far a text entails the
    /// claim that a label holds. All labels of all texts share packed batches.
    pub fn zero_shot(&self, texts: &[String], options: &ZeroShotOptions) -> Result<Call<Vec<Vec<LabelScore>>>> {
        let names = &self.head(Task::Classify)?.labels;
        let entails = |label: &String| label.to_lowercase().starts_with("entail");
        let entailment = names.0.iter().position(entails).filter(|_| names.count() > 1);
        let entailment = entailment
            .ok_or_else(|| Error::argument(format!("none of the model's labels is entailment: {:?}", names.0)))?;
        if options.labels.is_empty() {
            return Err(Error::argument("labels must name at least one"));
        }
        if !options.hypothesis_template.contains("{}") {
            return Err(Error::argument("hypothesisTemplate must have {} for the label"));
        }
        let contradiction = if entailment == 0 { names.count() - 1 } else { 0 };
        let labels = options.labels.clone();
        let alone = options.multi_label || labels.len() == 1;
        let mut sequences = Vec::with_capacity(texts.len() * labels.len());
        for text in texts {
            for label in &labels {
                let claim = options.hypothesis_template.replacen("{}", label, 1);
                sequences.push(self.sequence(&Input::pair(text, claim), Truncation::OnlyFirst)?);
            }
        }
        let job = self.head_job(Task::Classify, sequences)?;
        Ok(Call::new(job, move |_, rows: Ragged| {
            let of_text = |(logits, truncated): (&[f32], &[bool])| {
                let claims = logits.chunks_exact(rows.width);
                let scores: Vec<f32> = match alone {
                    true => claims.map(|x| softmax([x[contradiction], x[entailment]].into_iter())[1]).collect(),
                    false => softmax(claims.map(|x| x[entailment])),
                };
                let label = |((label, score), truncated): ((&String, f32), &bool)| LabelScore {
                    label: label.clone(),
                    score,
                    truncated: *truncated,
                };
                let mut scores: Vec<LabelScore> = labels.iter().zip(scores).zip(truncated).map(label).collect();
                best_first(&mut scores, |label| label.score);
                scores
            };
            let texts = rows.data.chunks_exact(rows.width * labels.len());
            Ok(texts.zip(rows.truncated.chunks_exact(labels.len())).map(of_text).collect())
        }))
    }

    /// What a cross-encoder reads for an input: with the default prompt in front of the query.
    pub(crate) fn scored(&self, input: &Input) -> Result<Sequence> {
        let prompt = if self.parts.sentence.cross_encoder { self.prompt(None, None, None)? } else { "" };
        let input = Input { text: format!("{prompt}{}", input.text), pair: input.pair.clone() };
        self.sequence(&input, Truncation::LongestFirst)
    }

    /// What the model reads for an input, cut to the limit.
    pub(crate) fn sequence(&self, input: &Input, truncation: Truncation) -> Result<Sequence> {
        let tokens = &self.parts.tokens;
        let encoding = match &input.pair {
            None => tokens.encode(&input.text)?,
            Some(pair) => tokens.encode_pair(&input.text, pair, truncation)?,
        };
        Ok(Sequence::from(&encoding))
    }
}
