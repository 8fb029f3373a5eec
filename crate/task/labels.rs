//! What the columns of a head mean: `id2label` of `config.json`.

use std::ops::Not;

use serde::Serialize;
use serde_json::Value;

use crate::config::Config;
use crate::error::{Error, Result};

/// Most labels of a head.
const LABELS: usize = 65_536;

/// The labels of a head, in the order of its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels(pub Vec<String>);

/// A label and its score.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelScore {
    /// As in `id2label`.
    pub label: String,
    /// Between 0 and 1, unless the model is one of regression.
    pub score: f32,
    /// Whether the text was cut to be scored for this label alone, which zero-shot classification does.
    #[serde(skip_serializing_if = "Not::not")]
    pub truncated: bool,
}

impl Labels {
    /// Reads `id2label`; where it is absent there are `num_labels`, else two, named `LABEL_0` and so on, as
    /// `transformers.PreTrainedConfig` names them.
    pub fn read(config: &Config) -> Result<Self> {
        let Some(labels) = config.get("id2label") else {
            let count = config.size_or("num_labels", 2, LABELS)?;
            return Ok(Self((0..count).map(|index| format!("LABEL_{index}")).collect()));
        };
        let wrong = || config.unsupported("id2label");
        let labels = labels.as_object().filter(|labels| !labels.is_empty()).ok_or_else(wrong)?;
        if labels.len() > LABELS {
            let (found, limit) = (labels.len() as u64, LABELS as u64);
            return Err(Error::LimitExceeded { what: "number of labels".into(), found, limit });
        }
        let mut names = vec![None; labels.len()];
        for (index, name) in labels {
            let place = index.parse::<usize>().ok().and_then(|index| names.get_mut(index)).ok_or_else(wrong)?;
            *place = match name {
                Value::String(name) => Some(name.clone()),
                Value::Number(name) => Some(name.to_string()),
                _ => None,
            };
        }
        names.into_iter().collect::<Option<Vec<_>>>().map(Self).ok_or_else(wrong)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The columns of these labels.
    pub fn columns(&self, names: &[String]) -> Result<Vec<usize>> {
        let column = |name: &String| {
            let found = self.0.iter().position(|known| known == name);
            found.ok_or_else(|| Error::argument(format!("the model has no label \"{name}\": it has {:?}", self.0)))
        };
        names.iter().map(column).collect()
    }
}

/// `problem_type` of `config.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// One of the labels holds.
    SingleLabel,
    /// Any of the labels may hold.
    MultiLabel,
    /// The columns are quantities.
    Regression,
}

impl Problem {
    /// None where the configuration does not say.
    pub fn read(config: &Config) -> Result<Option<Self>> {
        Ok(match config.text_or("problem_type", "")? {
            "" => None,
            "single_label_classification" => Some(Self::SingleLabel),
            "multi_label_classification" => Some(Self::MultiLabel),
            "regression" => Some(Self::Regression),
            _ => return Err(config.unsupported("problem_type")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<String>> {
        Labels::read(&Config::parse("config.json", text.as_bytes()).unwrap()).map(|labels| labels.0)
    }

    #[test]
    fn labels_are_in_the_order_of_their_ids() {
        assert_eq!(read(r#"{"id2label": {"1": "b", "0": "a", "2": 3}}"#).unwrap(), ["a", "b", "3"]);
        assert_eq!(read("{}").unwrap(), ["LABEL_0", "LABEL_1"]);
        assert_eq!(read(r#"{"num_labels": 1}"#).unwrap(), ["LABEL_0"]);
        for text in [r#"{"id2label": {"0": "a", "2": "c"}}"#, r#"{"id2label": []}"#, r#"{"id2label": {"x": "a"}}"#] {
            assert_eq!(read(text).unwrap_err().code(), "unsupported-option", "{text}");
        }
    }
}
