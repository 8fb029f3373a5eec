//! RoFormer: BERT that turns queries and keys, and where the configuration says so values, by their positions instead of
//! adding a row for each.
//!
//! Configuration: `transformers.RoFormerConfig`. Paper: arXiv 2104.09864.

use std::sync::Arc;

use super::bert::{self, DEFAULTS, Defaults, NAMES};
use super::even_head_dim;
use crate::batch::Tables;
use crate::config::{Config, limit};
use crate::declare::Declare;
use crate::encoder::{Names, Spec, Steps};
use crate::error::Result;
use crate::head::Pooling;
use crate::ops::{Heads, Rotations};
use crate::program::Buf;
use crate::rotation::{Pairs, Turned};
use crate::task::{HeadStep, Outputs, Tasks};
use crate::weights::{Layout, Rounding, Weight};

pub fn spec(config: &Config) -> Result<Spec> {
    let spec = bert::family(config, &Defaults { vocab: 50000, ..DEFAULTS })?;
    even_head_dim(config, "num_attention_heads", spec.hidden, spec.heads)?;
    let embedding = config.size_or("embedding_size", spec.hidden, limit::HIDDEN)?;
    let project = (embedding != spec.hidden).then_some("embeddings_project");
    let positions = config.size_or("max_position_embeddings", 1536, limit::POSITIONS)?;
    Ok(Spec {
        tables: Tables { positions, limited: true, ..spec.tables },
        embedding,
        names: Names { positions: None, project, ..NAMES },
        prefixes: &["", "roformer."],
        tasks: tasks(&spec),
        steps: Arc::new(Turning { positions, values: config.flag_or("rotary_value", false)? }),
        ..spec
    })
}

/// BERT's, but for a classifier of two products, and a transformed state as narrow as the embeddings.
fn tasks(spec: &Spec) -> Tasks {
    let activation = spec.ffn.activation();
    let mut tasks = spec.tasks.clone();
    tasks.classify = vec![
        HeadStep::Pool(Pooling::Cls),
        HeadStep::activated("/classifier.dense.weight", "/classifier.dense.bias", activation),
        HeadStep::dense("/classifier.out_proj.weight", "/classifier.out_proj.bias", Outputs::Labels),
    ];
    if let Some(HeadStep::Dense { outputs, .. }) = tasks.fill.first_mut() {
        *outputs = Outputs::Embedding;
    }
    tasks
}

/// Rotations by a table of the checkpoint.
struct Turning {
    /// Rows of the table, be texts ever so short.
    positions: usize,
    /// Whether values are turned too.
    values: bool,
}

impl Steps for Turning {
    fn layer(&self, spec: &Spec, declare: &mut Declare, index: usize, x: Buf) -> Buf {
        let layer = &spec.layers[index];
        let part = declare.part("encoder.embed_positions", "weight", 0, self.positions);
        let layout = Layout::Rotations { rows: self.positions, pairs: spec.head_dim / 2 };
        let table = declare.program.weight(Weight::new(layout, vec![part], Rounding::Never));
        let turned = Turned { columns: spec.head_dim, pairs: Pairs::Neighbours };
        let heads = Heads {
            rotations: Some(Rotations { table, turned, values: self.values }),
            ..spec.attention_heads(declare, layer)
        };
        let qkv = spec.qkv(declare, layer, heads, x);
        let attended = declare.program.attention(qkv, heads);
        let x = spec.attention_output(declare, layer, heads.axis(heads.count), attended, x);
        spec.feed_forward(declare, layer, x)
    }
}
