//! Nomic BERT: BERT with rotary positions, gated and almost without biases; in its second version not gated, with biases, and
//! a mixture of experts in every other layer.
//!
//! Configuration: `transformers.NomicBertConfig`, and the keys of GPT-2 that folders on the hub have. Tensor names are
//! those of the hub, in which transformers saves too. Papers: arXiv 2402.01613, 2502.07972.

use std::sync::Arc;

use serde_json::json;

use super::{bert, even_head_dim, rope};
use crate::batch::Tables;
use crate::config::{Config, limit};
use crate::declare::Declare;
use crate::encoder::{AsSpecified, Bias, Ffn, Layer, Names, Place, Spec, Steps};
use crate::error::Result;
use crate::ops::{Activation, Epilogue, NormKind};
use crate::program::Buf;
use crate::task::{HeadStep, Tasks};
use crate::weights::{Axis, Layout, Rounding, Weight};

const TYPES: &str = "embeddings.token_type_embeddings";
/// Most experts of a layer.
const MOST_EXPERTS: usize = 64;

pub fn spec(config: &Config) -> Result<Spec> {
    // Options of the hub's own code that change the vectors.
    for (key, only) in [
        ("causal", json!(false)),
        ("prenorm", json!(false)),
        ("parallel_block", json!(false)),
        ("rotary_emb_interleaved", json!(false)),
        ("use_rms_norm", json!(false)),
        ("rotary_emb_fraction", json!(1.0)),
        ("moe_normalize_expert_weights", json!(false)),
        ("num_shared_experts", json!(0)),
        ("expert_choice_router", json!(false)),
        ("ffn_div", json!(1)),
    ] {
        config.require(key, &only)?;
    }
    config.require_empty("rotary_scaling_factor")?;
    let either = |new: &'static str, old: &'static str| if config.get(new).is_none() { old } else { new };
    let hidden = config.size_or(either("hidden_size", "n_embd"), 768, limit::HIDDEN)?;
    let heads_key = either("num_attention_heads", "n_head");
    let heads = config.size_or(heads_key, 12, hidden)?;
    let head_dim = even_head_dim(config, heads_key, hidden, heads)?;
    let (ffn, ffn_in): (_, &[_]) = match config.text_or("activation_function", "swiglu")? {
        "swiglu" => {
            let activation = Activation::parse(config.text_or("hidden_act", "silu")?);
            (Ffn::Gated(activation.ok_or_else(|| config.unsupported("hidden_act"))?), &["mlp.fc12", "mlp.fc11"])
        }
        "gelu" => (Ffn::Plain(Activation::Gelu), &["mlp.fc1"]),
        _ => return Err(config.unsupported("activation_function")),
    };
    let eps = config.number_or(either("layer_norm_eps", "layer_norm_epsilon"), 1e-12, 0.1)?;
    let steps: Arc<dyn Steps> = match config.index_or("num_experts", 0, MOST_EXPERTS)? as usize {
        0 => Arc::new(AsSpecified),
        // The hub's experts are gated where the other layers are.
        _ if ffn != Ffn::Plain(Activation::Gelu) => return Err(config.unsupported("num_experts")),
        experts => Arc::new(Mixture {
            experts,
            top: config.size_or("moe_top_k", 1, experts)?,
            every: config.size_or("moe_every_n_layers", 2, limit::LAYERS)?,
        }),
    };
    // With a single type, its tokenizers give none.
    let types = config.size_or("type_vocab_size", 2, 1024)?;
    let one_type = types == 1;
    let qkv_bias = config.flag_or("qkv_proj_bias", false)?;
    let theta = config.number_or("rotary_emb_base", 1000.0, 1e12)?;
    let rotation = rope::rotation(config, theta, head_dim)?;
    let count = config.size_or(either("num_hidden_layers", "n_layer"), 12, limit::LAYERS)?;
    let mut layers = Layer::plain("encoder.layers.{i}", count);
    layers.iter_mut().for_each(|layer| layer.rotation = Some(rotation.clone()));
    Ok(Spec {
        hidden,
        inner: config.size_or(either("intermediate_size", "n_inner"), 3072, limit::INNER)?,
        layers,
        heads,
        kv_heads: heads,
        head_dim,
        norm: Place::Post,
        ffn,
        eps,
        norm_kind: NormKind::Layer,
        embed_scale: 1.0,
        tables: Tables {
            vocab: config.size_or("vocab_size", 30528, limit::VOCAB)?,
            types: if one_type { 0 } else { types },
            tasks: usize::from(one_type),
            positions: config.size_or(either("max_position_embeddings", "n_positions"), 2048, limit::SEQUENCE)?,
            ..Tables::default()
        },
        embedding: hidden,
        scale: None,
        names: Names {
            tokens: "embeddings.word_embeddings",
            types: (!one_type).then_some(TYPES),
            tasks: one_type.then_some(TYPES),
            embed_norm: Some("emb_ln"),
            qkv: &["attn.Wqkv"],
            attention_out: "attn.out_proj",
            attention_norm: "norm1",
            ffn_in,
            ffn_out: "mlp.fc2",
            ffn_norm: "norm2",
            bias: Bias {
                qkv: qkv_bias,
                attention_out: qkv_bias,
                ffn_in: config.flag_or("mlp_fc1_bias", false)?,
                ffn_out: config.flag_or("mlp_fc2_bias", false)?,
                norm: true,
            },
            ..Names::default()
        },
        prefixes: &["", "bert.", "nomic_bert."],
        tasks: tasks(config, ffn.activation(), eps)?,
        steps,
    })
}

/// Every so many layers, the feed-forward network is a mixture of experts.
struct Mixture {
    experts: usize,
    /// How many of them a token goes to.
    top: usize,
    every: usize,
}

impl Steps for Mixture {
    fn layer(&self, spec: &Spec, declare: &mut Declare, index: usize, x: Buf) -> Buf {
        let layer = &spec.layers[index];
        let x = spec.attention(declare, layer, x);
        match index % self.every {
            1 => self.mixture(spec, declare, layer, x),
            _ => spec.feed_forward(declare, layer, x),
        }
    }
}

impl Mixture {
    fn mixture(&self, spec: &Spec, declare: &mut Declare, layer: &Layer, x: Buf) -> Buf {
        let (experts, hidden, inner) = (self.experts, spec.hidden, spec.inner);
        // Small, and what it decides is not a matter of digits: never rounded.
        let router = vec![declare.part(&layer.at("mlp.router.layer"), "weight", 0, experts)];
        let outputs = Axis::plain(experts);
        let layout = Layout::Linear { inputs: Axis::plain(hidden), outputs };
        let router = declare.program.weight(Weight::new(layout, router, Rounding::Never));
        let zero = declare.program.weight(Weight::new(Layout::Vector { axis: outputs }, Vec::new(), Rounding::Never));
        let scores = declare.program.linear(x, router, zero, experts, Epilogue::None);
        let routes = declare.program.route(scores, self.top);
        let mut matrices = |name, inputs, outputs, by_input| {
            let parts = vec![declare.part(&layer.at("mlp.experts.mlp"), name, 0, experts * inner)];
            let layout = Layout::Experts { count: experts, inputs, outputs, by_input };
            declare.program.weight(Weight::new(layout, parts, Rounding::Allowed))
        };
        let (first, second) = (matrices("w1", hidden, inner, false), matrices("w2", inner, hidden, true));
        let bias = declare.vector(&layer.at("mlp.experts"), "bias", Axis::plain(hidden));
        let wide = declare.program.experts(x, false, routes, first, inner, Some(spec.ffn.activation()));
        let made = declare.program.experts(wide, true, routes, second, hidden, None);
        let mixed = declare.program.mix(made, routes, bias, x);
        declare.norm(mixed, &layer.at(spec.names.ffn_norm))
    }
}

/// BERT's heads, where a norm has another name.
fn tasks(config: &Config, activation: Activation, eps: f32) -> Result<Tasks> {
    let mut tasks = bert::tasks(config, activation, eps)?;
    tasks.fill[1] = HeadStep::norm(
        "/cls.predictions.transform.layer_norm.weight",
        "/cls.predictions.transform.layer_norm.bias",
        eps,
    );
    Ok(Tasks { answer: Vec::new(), ..tasks })
}
