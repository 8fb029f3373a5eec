//! BigBird: BERT that sees long texts block by block.
//!
//! Configuration: `transformers.BigBirdConfig`. Paper: arXiv 2007.14062.
//!
//! Outside of training transformers draws no random blocks: each of them is the first block once more, which so counts
//! `num_random_blocks + 1` times. A text is judged by its own length, as the class does with a text that it sees first; once it
//! has seen a short one, the class stays dense.

use std::sync::Arc;

use super::bert::{self, DEFAULTS, Defaults};
use crate::config::{Config, limit};
use crate::encoder::{Bias, Names, Spec, Steps};
use crate::error::Result;
use crate::head::Pooling;
use crate::ops::{Blocks, Sees};
use crate::task::{HeadStep, Outputs, Task, Tasks};

pub fn spec(config: &Config) -> Result<Spec> {
    let mut spec = bert::family(config, &Defaults { vocab: 50358, activation: "gelu_new", ..DEFAULTS })?;
    spec.tables.positions = config.size_or("max_position_embeddings", 4096, limit::POSITIONS)?;
    let sees = match config.text_or("attention_type", "block_sparse")? {
        "original_full" => Sees::Text,
        "block_sparse" => {
            let size = config.size_or("block_size", 64, 4096)?;
            let random = config.size_or("num_random_blocks", 3, 4096)?;
            Sees::Blocks(Blocks { size, first: random + 1, dense: (5 + 2 * random) * size })
        }
        _ => return Err(config.unsupported("attention_type")),
    };
    spec.layers.iter_mut().for_each(|layer| layer.sees = sees);
    let rescaled = config.flag_or("rescale_embeddings", false)?;
    let bias = Bias { qkv: config.flag_or("use_bias", true)?, ..Bias::ALL };
    Ok(Spec {
        embed_scale: if rescaled { (spec.hidden as f32).sqrt() } else { 1.0 },
        names: Names { bias, ..bert::NAMES },
        tasks: Tasks {
            classify: vec![
                HeadStep::Pool(Pooling::Cls),
                HeadStep::activated("/classifier.dense.weight", "/classifier.dense.bias", spec.ffn.activation()),
                HeadStep::dense("/classifier.out_proj.weight", "/classifier.out_proj.bias", Outputs::Labels),
            ],
            // A feed-forward network of its own.
            answer: vec![
                HeadStep::Dense {
                    weight: "/qa_classifier.intermediate.dense.weight",
                    bias: Some("/qa_classifier.intermediate.dense.bias"),
                    outputs: Outputs::Columns(spec.inner),
                    activation: Some(spec.ffn.activation()),
                },
                HeadStep::Onto {
                    weight: "/qa_classifier.output.dense.weight",
                    bias: "/qa_classifier.output.dense.bias",
                },
                HeadStep::norm(
                    "/qa_classifier.output.LayerNorm.weight",
                    "/qa_classifier.output.LayerNorm.bias",
                    spec.eps,
                ),
                HeadStep::dense("/qa_classifier.qa_outputs.weight", "/qa_classifier.qa_outputs.bias", Outputs::Labels),
            ],
            ..spec.tasks
        },
        steps: Arc::new(Questions { separator: config.index_or("sep_token_id", 66, limit::VOCAB)? }),
        ..spec
    })
}

/// Everything as specified, but that the class tells questions from contexts by what stands between them.
struct Questions {
    separator: u32,
}

impl Steps for Questions {
    fn computes_unattended(&self) -> bool {
        false
    }

    fn question_end(&self, task: Task) -> Option<u32> {
        (task == Task::Answer).then_some(self.separator)
    }
}
