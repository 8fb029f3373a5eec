//! Phi-3: LLaMA's layers with fused projections, of whose heads only a part may be turned.
//!
//! Configuration: `transformers.Phi3Config`. Paper: arXiv 2404.14219.

use super::{llama, rope};
use crate::config::{Config, limit};
use crate::encoder::{Names, Spec};
use crate::error::Result;
use crate::task::Tasks;

pub fn spec(config: &Config) -> Result<Spec> {
    let defaults = llama::Defaults {
        hidden: 3072,
        inner: 8192,
        layers: 32,
        heads: 32,
        kv_heads: None,
        head_dim: None,
        activation: ("hidden_act", "silu"),
        vocab: 32064,
        positions: 4096,
        eps: 1e-5,
        causal: true,
    };
    let mut spec = llama::unturned(config, &defaults)?;
    let rotation = rope::partial_rotation(config, 10_000.0, spec.head_dim, 1.0)?;
    let window = config.get("sliding_window").map(|_| config.size("sliding_window", limit::SEQUENCE)).transpose()?;
    for layer in &mut spec.layers {
        layer.rotation = Some(rotation.clone());
        layer.before = window.map(|window| window - 1);
    }
    let names = Names { qkv: &["self_attn.qkv_proj"], ffn_in: &["mlp.gate_up_proj"], ..spec.names };
    Ok(Spec { names, tasks: Tasks { answer: Vec::new(), ..llama::tasks(config, Some(32_000))? }, ..spec })
}
