//! ELECTRA: BERT whose embeddings may be narrower than its hidden states.
//!
//! Configuration: `transformers.ElectraConfig`. Paper: arXiv 2003.10555.

use super::bert::{self, DEFAULTS, Defaults, NAMES};
use crate::config::{Config, limit};
use crate::encoder::{Names, Spec};
use crate::error::Result;

pub fn spec(config: &Config) -> Result<Spec> {
    let spec = bert::family(config, &Defaults { hidden: 256, heads: 4, inner: 1024, ..DEFAULTS })?;
    let embedding = config.size_or("embedding_size", 128, limit::HIDDEN)?;
    let project = (embedding != spec.hidden).then_some("embeddings_project");
    Ok(Spec { embedding, names: Names { project, ..NAMES }, prefixes: &["", "electra."], ..spec })
}
