//! ELECTRA: BERT whose embeddings may be narrower than its hidden states.
//!
//! Configuration: `transformers.ElectraConfig`. Paper: arXiv 2003.10555.

use super::bert::{self, DEFAULTS, Defaults, NAMES};
use super::decoder;
use crate::config::{Config, limit};
use crate::encoder::{Names, Spec};
use crate::error::Result;
use crate::head::Pooling;
use crate::ops::Activation;
use crate::task::{HeadStep, Outputs, Tasks};

pub fn spec(config: &Config) -> Result<Spec> {
    let spec = bert::family(config, &Defaults { hidden: 256, heads: 4, inner: 1024, ..DEFAULTS })?;
    let embedding = config.size_or("embedding_size", 128, limit::HIDDEN)?;
    let project = (embedding != spec.hidden).then_some("embeddings_project");
    let tasks = tasks(config, &spec, Activation::Gelu)?;
    Ok(Spec { embedding, names: Names { project, ..NAMES }, prefixes: &["", "electra."], tasks, ..spec })
}

/// The heads of the discriminator, whose classifier has this activation, and the generator's in front of the token table.
pub fn tasks(config: &Config, spec: &Spec, classifier: Activation) -> Result<Tasks> {
    let decoder_names = ["/generator_lm_head.weight", "/generator_lm_head.bias"];
    Ok(Tasks {
        classify: vec![
            HeadStep::Pool(Pooling::Cls),
            HeadStep::activated("/classifier.dense.weight", "/classifier.dense.bias", classifier),
            HeadStep::dense("/classifier.out_proj.weight", "/classifier.out_proj.bias", Outputs::Labels),
        ],
        fill: vec![
            HeadStep::Dense {
                weight: "/generator_predictions.dense.weight",
                bias: Some("/generator_predictions.dense.bias"),
                outputs: Outputs::Embedding,
                activation: Some(Activation::Gelu),
            },
            HeadStep::norm(
                "/generator_predictions.LayerNorm.weight",
                "/generator_predictions.LayerNorm.bias",
                spec.eps,
            ),
            decoder(config, "embeddings.word_embeddings.weight", decoder_names, decoder_names[1])?,
        ],
        ..spec.tasks.clone()
    })
}
