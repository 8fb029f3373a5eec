//! Mamba: a recurrence of states that each token chooses what to keep of, behind a short causal convolution. Pre-norm, no
//! positions.
//!
//! Configuration: `transformers.MambaConfig`. Paper: arXiv 2312.00752.
//!
//! `"bidirectional": true` is a pair of mixers in every layer, as in Caduceus (arXiv 2403.03234) and its BiMamba: tensors
//! `mixer.mamba_fwd.…` and `mixer.mamba_rev.…` for `mixer.…`, the second run over each text from its end. Their outputs are
//! added: `bidirectional_strategy` is `add`. Unless `bidirectional_weight_tie` is false, `in_proj` and `out_proj` of the second
//! are those of the first, under whose names they are stored.

use std::sync::Arc;

use serde_json::json;

use crate::batch::Tables;
use crate::config::{Config, limit};
use crate::declare::Declare;
use crate::encoder::{Bias, Ffn, Layer, Names, Place, Spec, Steps};
use crate::error::Result;
use crate::layout::{Axis, Layout};
use crate::ops::{Activation, Epilogue, NormKind, ScanWeights, Taps};
use crate::program::Buf;
use crate::task::Tasks;
use crate::weights::{Rounding, Weight};

pub fn spec(config: &Config) -> Result<Spec> {
    let hidden = config.size_or("hidden_size", 768, limit::HIDDEN)?;
    let inner = hidden * config.size_or("expand", 2, 8)?;
    let activation = Activation::parse(config.text_or("hidden_act", "silu")?);
    let activation = activation.ok_or_else(|| config.unsupported("hidden_act"))?;
    let rank = match config.get("time_step_rank") {
        Some(rank) if rank != "auto" => config.size("time_step_rank", hidden)?,
        _ => hidden.div_ceil(16),
    };
    config.require("bidirectional_strategy", &json!("add"))?;
    let pair = config.flag_or("bidirectional", false)?;
    let tied = config.flag_or("bidirectional_weight_tie", true)?;
    let mixer = Mixer {
        inner,
        rank,
        states: config.size_or("state_size", 16, 128)?,
        taps: config.size_or("conv_kernel", 4, 256)?,
        conv_bias: config.flag_or("use_conv_bias", true)?,
        bias: config.flag_or("use_bias", false)?,
        activation,
        pair: pair.then_some(Pair { tied }),
    };
    Ok(Spec {
        hidden,
        inner,
        layers: Layer::plain("layers.{i}", config.size_or("num_hidden_layers", 32, limit::LAYERS)?),
        // It has neither attention nor a feed-forward network.
        heads: 1,
        kv_heads: 1,
        head_dim: 1,
        ffn: Ffn::Plain(activation),
        norm: Place::Pre,
        eps: config.number_or("layer_norm_epsilon", 1e-5, 0.1)?,
        norm_kind: NormKind::Rms,
        embed_scale: 1.0,
        tables: Tables {
            vocab: config.size_or("vocab_size", 50280, limit::VOCAB)?,
            positions: limit::SEQUENCE,
            ..Tables::default()
        },
        embedding: hidden,
        scale: None,
        names: Names {
            tokens: "embeddings",
            attention_norm: "norm",
            final_norm: Some("norm_f"),
            bias: Bias::default(),
            ..Names::default()
        },
        prefixes: &["", "backbone."],
        // Its only head continues texts.
        tasks: Tasks::default(),
        steps: Arc::new(mixer),
    })
}

/// What stands in a layer instead of attention and a feed-forward network.
struct Mixer {
    /// Channels.
    inner: usize,
    /// Columns that the steps are made of.
    rank: usize,
    /// States of a channel.
    states: usize,
    /// Rows that the convolution covers.
    taps: usize,
    conv_bias: bool,
    /// Whether the projections in and out have a bias.
    bias: bool,
    /// Behind the convolution.
    activation: Activation,
    pair: Option<Pair>,
}

/// A second mixer reads from the end.
#[derive(Clone, Copy)]
struct Pair {
    /// Whether the two share their projections in and out.
    tied: bool,
}

impl Steps for Mixer {
    fn computes_unattended(&self) -> bool {
        false
    }

    fn layer(&self, spec: &Spec, declare: &mut Declare, index: usize, x: Buf) -> Buf {
        let layer = &spec.layers[index];
        let normed = declare.norm(x, &layer.at(spec.names.attention_norm));
        let Some(Pair { tied }) = self.pair else {
            let name = layer.at("mixer");
            let wide = self.wide(declare, &name, normed);
            return self.mixed(declare, &name, &name, wide, false, x);
        };
        let (ahead, back) = (layer.at("mixer.mamba_fwd"), layer.at("mixer.mamba_rev"));
        let wide = self.wide(declare, &ahead, normed);
        let x = self.mixed(declare, &ahead, &ahead, wide, false, x);
        match tied {
            true => self.mixed(declare, &back, &ahead, wide, true, x),
            false => {
                let wide = self.wide(declare, &back, normed);
                self.mixed(declare, &back, &back, wide, true, x)
            }
        }
    }
}

impl Mixer {
    /// What the recurrence runs over, and its gate, `[tokens, 2 inner]`.
    fn wide(&self, declare: &mut Declare, name: &str, x: Buf) -> Buf {
        let outputs = Axis::blocks(2, self.inner);
        let tensor = [(format!("{name}.in_proj"), outputs.size())];
        let (weight, bias) = declare.linear(&tensor, Axis::plain(x.width), outputs, self.bias);
        declare.program.linear(x, weight, bias, outputs.padded(), Epilogue::None)
    }

    /// x and what the mixer `name` makes of `wide`; `out` names whose projection out it takes.
    fn mixed(&self, declare: &mut Declare, name: &str, out: &str, wide: Buf, backward: bool, x: Buf) -> Buf {
        let channels = Axis::plain(self.inner);
        let at = |field: &str| format!("{name}.{field}");
        let part = vec![declare.part(&at("conv1d"), "weight", 0, self.inner)];
        let layout = Layout::Filters { channels: self.inner, size: self.taps };
        let filters = declare.program.weight(Weight::new(layout, part, Rounding::Never));
        let bias = self.conv_bias.then(|| declare.vector(&at("conv1d"), "bias", channels));
        let taps = Taps::causal(self.taps, backward);
        let read = declare.program.depthwise(wide, self.inner, filters, taps, bias, Some(self.activation));

        let selected = Axis::plain(self.rank + 2 * self.states);
        let (weight, bias) = declare.linear(&[(at("x_proj"), selected.size())], channels, selected, false);
        let selection = declare.program.linear(read, weight, bias, selected.size(), Epilogue::None);
        // The columns behind those of the steps have no weight.
        let ranks = Axis { stride: selection.stride, ..Axis::plain(self.rank) };
        let (weight, bias) = declare.linear(&[(at("dt_proj"), self.inner)], ranks, channels, true);
        let steps = declare.program.linear(selection, weight, bias, self.inner, Epilogue::None);

        let part = vec![declare.part(name, "A_log", 0, self.inner)];
        let layout = Layout::Linear { inputs: Axis::plain(self.states), outputs: channels };
        let decay = declare.program.weight(Weight::new(layout, part, Rounding::Never));
        let weights = ScanWeights { states: self.states, decay, skip: declare.vector(name, "D", channels) };
        let scanned = declare.program.selective_scan(read, steps, selection, wide, weights, backward);
        let (weight, bias) =
            declare.linear(&[(format!("{out}.out_proj"), x.width)], channels, Axis::plain(x.width), self.bias);
        declare.program.linear(scanned, weight, bias, x.width, Epilogue::Residual(x))
    }
}
