//! A table of embeddings and nothing behind it: `StaticEmbedding` of sentence-transformers, and the folders of model2vec.
//!
//! It has no configuration: the table's shape is in its file.

use std::sync::Arc;

use crate::batch::Tables;
use crate::declare::Declare;
use crate::encoder::{Ffn, Layer, Names, Place, Spec, Steps};
use crate::ops::{Activation, EmbedTables, NormKind};
use crate::program::Buf;
use crate::task::Tasks;
use crate::weights::{Layout, Part, Rounding, Weight};

pub fn spec(rows: usize, width: usize) -> Spec {
    Spec {
        hidden: width,
        inner: width,
        layers: vec![Layer::default()],
        heads: 1,
        kv_heads: 1,
        head_dim: width,
        norm: Place::Pre,
        ffn: Ffn::Plain(Activation::Relu),
        eps: 1e-12,
        norm_kind: NormKind::Layer,
        embed_scale: 1.0,
        tables: Tables { vocab: rows, positions: usize::MAX, bare: true, ..Tables::default() },
        embedding: width,
        scale: None,
        names: Names::default(),
        // The whole name: that of either library.
        prefixes: &["embedding.weight", "embeddings"],
        tasks: Tasks::default(),
        steps: Arc::new(Table),
    }
}

/// What is looked up is what comes out.
struct Table;

impl Steps for Table {
    fn embed(&self, spec: &Spec, declare: &mut Declare) -> Buf {
        let (rows, width) = (spec.tables.vocab, spec.embedding);
        let part = Part::whole(declare.file, "", rows);
        let weight = Weight::new(Layout::Table { rows, width }, vec![part], Rounding::Allowed);
        let tables = EmbedTables::of(declare.program.weight(weight));
        declare.program.embed(tables, width, None)
    }

    fn layer(&self, _spec: &Spec, _declare: &mut Declare, _index: usize, x: Buf) -> Buf {
        x
    }
}
