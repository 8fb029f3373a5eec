//! ConvBERT: BERT half of whose attention is a convolution that every token has its own filters for, made of a span of its
//! neighbours. The feed-forward network may fall into groups.
//!
//! Configuration: `transformers.ConvBertConfig`. Paper: arXiv 2008.02496.

use std::sync::Arc;

use super::bert::{self, DEFAULTS, NAMES};
use super::electra;
use crate::config::{Config, limit};
use crate::declare::Declare;
use crate::encoder::{Layer, Names, Spec, Steps};
use crate::error::Result;
use crate::ops::{Epilogue, Heads, Parts, Taps};
use crate::program::{Buf, WeightId};
use crate::weights::{Axis, Layout, Rounding, Weight};

pub fn spec(config: &Config) -> Result<Spec> {
    config.require_empty("pruned_heads")?;
    let spec = bert::family(config, &DEFAULTS)?;
    let ratio = config.size_or("head_ratio", 2, limit::HIDDEN)?;
    let heads = (spec.heads / ratio).max(1);
    // Half of the columns are the attention's, half the convolution's.
    if !spec.hidden.is_multiple_of(2 * heads) || spec.hidden / heads / 2 > 256 {
        return Err(config.unsupported("num_attention_heads"));
    }
    let size = config.size_or("conv_kernel_size", 9, 255)?;
    if size.is_multiple_of(2) {
        return Err(config.unsupported("conv_kernel_size"));
    }
    let groups = config.size_or("num_groups", 1, spec.hidden)?;
    if !spec.hidden.is_multiple_of(groups) || !spec.inner.is_multiple_of(groups) {
        return Err(config.unsupported("num_groups"));
    }
    let embedding = config.size_or("embedding_size", 768, limit::HIDDEN)?;
    let project = (embedding != spec.hidden).then_some("embeddings_project");
    Ok(Spec {
        heads,
        kv_heads: heads,
        head_dim: spec.hidden / heads / 2,
        embedding,
        names: Names { project, ..NAMES },
        prefixes: &["", "convbert."],
        // The heads are ELECTRA's.
        tasks: electra::tasks(config, &spec, spec.ffn.activation())?,
        steps: Arc::new(Mixed { size, groups }),
        ..spec
    })
}

/// Attention and convolution side by side.
struct Mixed {
    /// Rows that a filter covers, an odd number.
    size: usize,
    /// Parts of the feed-forward network that do not see each other.
    groups: usize,
}

impl Steps for Mixed {
    fn computes_unattended(&self) -> bool {
        false
    }

    fn layer(&self, spec: &Spec, declare: &mut Declare, index: usize, x: Buf) -> Buf {
        let layer = &spec.layers[index];
        let heads = spec.attention_heads(declare, layer);
        let tensor = |name: &str| (layer.at(&format!("attention.self.{name}")), heads.count);
        let queries = spec.projection(declare, &[tensor("query")], heads, x);
        let keys_values = spec.projection(declare, &[tensor("key"), tensor("value")], heads, x);
        let qkv = declare.program.join(Parts::pair(queries, keys_values));
        let attended = declare.program.attention(qkv, heads);
        let filters = self.filters(declare, layer, heads, queries, x);
        let values = spec.projection(declare, &[tensor("conv_out_layer")], heads, x);
        let convolved = declare.program.dynamic_convolution(values, filters, heads.count, self.size);
        let both = declare.program.join(Parts::pair(attended, convolved));
        let x = spec.attention_output(declare, layer, heads.axis(2 * heads.count), both, x);
        if self.groups == 1 {
            return spec.feed_forward(declare, layer, x);
        }
        let (weight, bias) = self.grouped(declare, &layer.at(spec.names.ffn_in[0]), x.width, spec.inner);
        let activation = Epilogue::Activation(spec.ffn.activation());
        let wide = declare.program.linear(x, weight, bias, spec.inner, activation);
        let (weight, bias) = self.grouped(declare, &layer.at(spec.names.ffn_out), spec.inner, x.width);
        let x = declare.program.linear(wide, weight, bias, x.width, Epilogue::Residual(x));
        declare.norm(x, &layer.at(spec.names.ffn_norm))
    }
}

impl Mixed {
    /// Scores of the filters, `[tokens, heads · size]`: made of the queries and a span of rows around each.
    fn filters(&self, declare: &mut Declare, layer: &Layer, heads: Heads, queries: Buf, x: Buf) -> Buf {
        let (hidden, outputs) = (Axis::plain(x.width), heads.axis(heads.count));
        let name = |name: &str| layer.at(&format!("attention.self.{name}"));
        let part = vec![declare.part(&name("key_conv_attn_layer.depthwise"), "weight", 0, x.width)];
        let layout = Layout::Filters { channels: x.width, size: self.size };
        let filters = declare.program.weight(Weight::new(layout, part, Rounding::Never));
        let spans = declare.program.depthwise(x, x.width, filters, Taps::around(self.size), None, None);
        let part = vec![declare.part(&name("key_conv_attn_layer.pointwise"), "weight", 0, outputs.size())];
        let layout = Layout::Linear { inputs: hidden, outputs };
        let weight = declare.program.weight(Weight::new(layout, part, Rounding::Allowed));
        let bias = declare.vector(&name("key_conv_attn_layer"), "bias", outputs);
        let spans = declare.program.linear(spans, weight, bias, outputs.padded(), Epilogue::Product(queries));
        let scores = heads.count * self.size;
        let tensor = [(name("conv_kernel_layer"), scores)];
        let (weight, bias) = declare.linear(&tensor, outputs, Axis::plain(scores), true);
        declare.program.linear(spans, weight, bias, scores, Epilogue::None)
    }

    /// A product of the feed-forward network and its bias.
    fn grouped(&self, declare: &mut Declare, name: &str, inputs: usize, outputs: usize) -> (WeightId, WeightId) {
        let layout = Layout::Grouped { groups: self.groups, inputs, outputs };
        // Its rows are inputs.
        let part = vec![declare.part(name, "weight", 0, inputs)];
        let weight = declare.program.weight(Weight::new(layout, part, Rounding::Allowed));
        (weight, declare.vector(name, "bias", Axis::plain(outputs)))
    }
}
