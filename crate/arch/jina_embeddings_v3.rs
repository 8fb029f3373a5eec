//! Jina embeddings v3: XLM-RoBERTa with rotary positions, and adapters for tasks of which a call chooses one. Every product
//! and table has its own low-rank matrices for each.
//!
//! Configuration: `transformers.JinaEmbeddingsV3Config`, which has no adapters, and `XLMRobertaFlashConfig` of the hub. Tensor
//! names are those of the hub, in which transformers saves too. Paper: arXiv 2409.10173.

use std::sync::Arc;

use serde_json::json;

use super::bert::{self, DEFAULTS, Defaults};
use super::{even_head_dim, roberta, rope};
use crate::batch::Tables;
use crate::config::{Config, limit};
use crate::declare::Declare;
use crate::encoder::{AsSpecified, Layer, Names, Spec, Steps};
use crate::error::Result;
use crate::ops::{Adapters, Down, Epilogue};
use crate::program::{Buf, WeightId};
use crate::weights::{Axis, Layout, Rounding, Weight};

/// Most adapters, and most columns of one.
const MOST: usize = 64;

pub fn spec(config: &Config) -> Result<Spec> {
    // Options of the hub's own code that change the vectors.
    config.require("rotary_emb_interleaved", &json!(false))?;
    config.require_empty("rotary_emb_scale_base")?;
    let defaults = Defaults {
        hidden: 1024,
        layers: 24,
        heads: 16,
        inner: 4096,
        vocab: 250_002,
        eps: 1e-5,
        positions: "rotary",
        ..DEFAULTS
    };
    let spec = bert::family(config, &defaults)?;
    let head_dim = even_head_dim(config, "num_attention_heads", spec.hidden, spec.heads)?;
    let theta = if config.is("model_type", "xlm-roberta") { 10_000.0 } else { 20_000.0 };
    let rotation = rope::rotation(config, config.number_or("rotary_emb_base", theta, 1e12)?, head_dim)?;
    let mut layers = Layer::plain("encoder.layers.{i}", spec.layers.len());
    layers.iter_mut().for_each(|layer| layer.rotation = Some(rotation.clone()));
    let types = config.size_or("type_vocab_size", 1, 1024)?;
    Ok(Spec {
        layers,
        tables: Tables {
            types,
            untyped: true,
            positions: config.size_or("max_position_embeddings", 8194, limit::SEQUENCE)?,
            ..spec.tables
        },
        names: Names {
            positions: None,
            embed_norm: Some("emb_ln"),
            qkv: &["mixer.Wqkv"],
            attention_out: "mixer.out_proj",
            attention_norm: "norm1",
            ffn_in: &["mlp.fc1"],
            ffn_out: "mlp.fc2",
            ffn_norm: "norm2",
            ..spec.names
        },
        tasks: roberta::tasks(config, spec.eps)?,
        prefixes: &["", "roberta."],
        steps: steps(config)?,
        ..spec
    })
}

/// With adapters, where the checkpoint has them.
fn steps(config: &Config) -> Result<Arc<dyn Steps>> {
    let names = config.texts("lora_adaptations")?.unwrap_or_default();
    if names.is_empty() || !config.flag_or("load_trained_adapters", true)? {
        return Ok(Arc::new(AsSpecified));
    }
    if names.len() > MOST {
        return Err(config.unsupported("lora_adaptations"));
    }
    let rank = config.size_or("lora_rank", 4, MOST)?;
    let scale = config.number_or("lora_alpha", 1.0, 1e6)? / rank as f32;
    let adapters = Adapters { count: names.len(), rank, scale };
    Ok(Arc::new(Adapted { names: names.into_iter().map(str::to_owned).collect(), adapters }))
}

/// A product: the name of its module, and where its columns lie.
struct Product {
    name: String,
    inputs: Axis,
    outputs: Axis,
}

struct Adapted {
    /// In the order of the checkpoint.
    names: Vec<String>,
    adapters: Adapters,
}

impl Steps for Adapted {
    fn adapters(&self) -> &[String] {
        &self.names
    }

    fn embed(&self, spec: &Spec, declare: &mut Declare) -> Buf {
        let tables = spec.embed_tables(declare);
        let mut x = declare.program.embed(tables, spec.hidden, None);
        let names = [(spec.names.tokens, spec.tables.vocab), (bert::TYPES, spec.tables.types)];
        for (name, rows) in names {
            let layout = Layout::Table { rows: self.adapters.count * rows, width: self.adapters.rank };
            let table = self.matrix(declare, name, "lora_A", layout);
            let up = self.low_rank(declare, name, "lora_B", Axis::plain(spec.hidden), true);
            let down = Down::Table { table, rows, ids: name == spec.names.tokens };
            x = declare.program.lora(x, down, up, self.adapters, Epilogue::None);
        }
        declare.norm(x, "emb_ln")
    }

    fn layer(&self, spec: &Spec, declare: &mut Declare, index: usize, x: Buf) -> Buf {
        let (layer, names) = (&spec.layers[index], &spec.names);
        let product = |name: &str, inputs, outputs| Product { name: layer.at(name), inputs, outputs };
        let heads = spec.attention_heads(declare, layer);
        let (hidden, inner) = (Axis::plain(spec.hidden), Axis::plain(spec.inner));

        let qkv = product(names.qkv[0], hidden, heads.axis(heads.qkv()));
        let qkv = self.product(declare, qkv, x, Epilogue::None);
        let attended = declare.program.attention(qkv, heads);
        let out = product(names.attention_out, heads.axis(heads.count), hidden);
        let x = self.product(declare, out, attended, Epilogue::Residual(x));
        let x = declare.norm(x, &layer.at(names.attention_norm));

        let wide = product(names.ffn_in[0], hidden, inner);
        let wide = self.product(declare, wide, x, Epilogue::Activation(spec.ffn.activation()));
        let out = product(names.ffn_out, inner, hidden);
        let x = self.product(declare, out, wide, Epilogue::Residual(x));
        declare.norm(x, &layer.at(names.ffn_norm))
    }
}

impl Adapted {
    /// `epilogue(x Wᵀ + b + scale (x Aᵀ) Bᵀ)`
    fn product(&self, declare: &mut Declare, Product { name, inputs, outputs }: Product, x: Buf, e: Epilogue) -> Buf {
        let (weight, bias) = declare.linear(&[(name.clone(), outputs.size())], inputs, outputs, true);
        // Heads are padded each, other columns behind the last.
        let width = if outputs.blocks == 1 { outputs.len } else { outputs.padded() };
        let y = declare.program.linear(x, weight, bias, width, Epilogue::None);
        let ranks = self.ranks();
        let a = self.matrix(declare, &name, "lora_A", Layout::Linear { inputs, outputs: ranks });
        let zero = Weight::new(Layout::Vector { axis: ranks }, Vec::new(), Rounding::Never);
        let zero = declare.program.weight(zero);
        let t = declare.program.linear(x, a, zero, ranks.padded(), Epilogue::None);
        let b = self.low_rank(declare, &name, "lora_B", outputs, false);
        declare.program.lora(y, Down::Rows(t), b, self.adapters, e)
    }

    fn low_rank(&self, declare: &mut Declare, name: &str, field: &str, columns: Axis, by_rank: bool) -> WeightId {
        self.matrix(declare, name, field, Layout::LowRank { ranks: self.ranks(), columns, by_rank })
    }

    fn matrix(&self, declare: &mut Declare, name: &str, field: &str, layout: Layout) -> WeightId {
        let part = declare.part(&format!("{name}.parametrizations.weight.0"), field, 0, layout.size().0);
        declare.program.weight(Weight::new(layout, vec![part], Rounding::Allowed))
    }

    fn ranks(&self) -> Axis {
        Axis::blocks(self.adapters.count, self.adapters.rank)
    }
}
