//! Longformer: RoBERTa with windows. Some tasks have leading tokens, which see all of the text and are seen by all of it: the
//! first to classify, the question to answer. For what they see there are projections of their own.
//!
//! Configuration: `transformers.LongformerConfig`. Paper: arXiv 2004.05150.

use std::sync::Arc;

use super::bert::{self, DEFAULTS};
use super::roberta;
use crate::batch::Leading;
use crate::config::{Config, limit};
use crate::declare::Declare;
use crate::encoder::{Spec, Steps};
use crate::error::Result;
use crate::ops::{Heads, Sees};
use crate::program::Buf;
use crate::task::Task;

pub fn spec(config: &Config) -> Result<Spec> {
    let mut spec = bert::family(config, &DEFAULTS)?;
    let windows = config.sizes_or("attention_window", 512, spec.layers.len(), limit::SEQUENCE)?;
    for (layer, window) in spec.layers.iter_mut().zip(windows) {
        if !window.is_multiple_of(2) {
            return Err(config.unsupported("attention_window"));
        }
        (layer.before, layer.behind) = (Some(window / 2), Some(window / 2));
    }
    let tables = roberta::behind_padding(config, spec.tables, roberta::padding(config)?)?;
    Ok(Spec {
        tables,
        prefixes: &["", "longformer."],
        tasks: roberta::tasks(config, spec.eps)?,
        steps: Arc::new(Windows { separator: config.index_or("sep_token_id", 2, limit::VOCAB)? }),
        ..spec
    })
}

/// Attention within windows, and that of the leading tokens.
struct Windows {
    /// What stands behind a question.
    separator: u32,
}

impl Steps for Windows {
    fn leading(&self, task: Task) -> Leading {
        match task {
            Task::Classify => Leading::First,
            Task::Answer => Leading::Before(self.separator),
            _ => Leading::None,
        }
    }

    fn layer(&self, spec: &Spec, declare: &mut Declare, index: usize, x: Buf) -> Buf {
        let layer = &spec.layers[index];
        if spec.tables.leading == Leading::None {
            let x = spec.attention(declare, layer, x);
            return spec.feed_forward(declare, layer, x);
        }
        let heads = Heads { sees: Sees::Both, ..spec.attention_heads(declare, layer) };
        let qkv = spec.qkv(declare, layer, heads, x);
        let attended = declare.program.attention(qkv, heads);
        let names = ["attention.self.query_global", "attention.self.key_global", "attention.self.value_global"];
        let qkv = spec.projection(declare, &names.map(|name| (layer.at(name), heads.count)), heads, x);
        let attended = declare.program.attention(qkv, Heads { sees: Sees::Leading(attended), ..heads });
        let x = spec.attention_output(declare, layer, heads.axis(heads.count), attended, x);
        spec.feed_forward(declare, layer, x)
    }
}
