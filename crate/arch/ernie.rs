//! ERNIE: BERT with a table of tasks, of which the first is meant unless a caller says otherwise.
//!
//! Configuration: `transformers.ErnieConfig`. Paper: arXiv 1907.12412.

use super::bert::{self, NAMES};
use crate::batch::Tables;
use crate::config::Config;
use crate::encoder::{Names, Spec};
use crate::error::Result;

pub fn spec(config: &Config) -> Result<Spec> {
    let spec = bert::spec(config)?;
    let tasks = config.flag_or("use_task_id", false)?.then_some("embeddings.task_type_embeddings");
    let tables = Tables { tasks: config.size_or("task_type_vocab_size", 3, 1024)?, ..spec.tables };
    Ok(Spec { tables, names: Names { tasks, ..NAMES }, prefixes: &["", "ernie."], ..spec })
}
