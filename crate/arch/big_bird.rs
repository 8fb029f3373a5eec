//! BigBird: BERT that sees long texts block by block.
//!
//! Configuration: `transformers.BigBirdConfig`. Paper: arXiv 2007.14062.
//!
//! Outside of training transformers draws no random blocks: each of them is the first block once more, which so counts
//! `num_random_blocks + 1` times. A text is judged by its own length, as the class does with a text that it sees first; once it
//! has seen a short one, the class stays dense.

use super::bert::{self, DEFAULTS, Defaults};
use crate::config::{Config, limit};
use crate::encoder::{Bias, Names, Spec};
use crate::error::Result;
use crate::head::Pooling;
use crate::ops::{Blocks, Sees};
use crate::task::{HeadStep, Outputs, Tasks};

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
            // It has a layer of its own, which no step is.
            answer: Vec::new(),
            ..spec.tasks
        },
        ..spec
    })
}
