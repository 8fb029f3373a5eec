//! Rotary position embeddings as `rope_parameters` describes them, and `rope_scaling` in older files. Source:
//! `transformers.modeling_rope_utils`.

use serde_json::{Value, json};

use crate::config::Config;
use crate::error::Result;

/// Inverse frequencies for heads of `dim` columns, the same for all layers. `theta` counts where none is given.
pub fn frequencies(config: &Config, theta: f32, dim: usize) -> Result<Vec<f32>> {
    config.require("partial_rotary_factor", &json!(1.0))?;
    let parameters = match config.object("rope_parameters")? {
        None => config.object("rope_scaling")?,
        found => found,
    };
    described(parameters.as_ref(), config.number_or("rope_theta", theta, 1e12)?, dim)
}

/// Inverse frequencies of the layers of one of the `layer_types`, whose base had a key of its own in older files. There,
/// `rope_scaling` meant full attention only.
pub fn by_type(config: &Config, kind: &str, (key, theta): (&str, f32), dim: usize) -> Result<Vec<f32>> {
    config.require("partial_rotary_factor", &json!(1.0))?;
    let parameters = match config.object("rope_parameters")? {
        Some(parameters) => parameters.object(kind)?,
        None if kind == "full_attention" => config.object("rope_scaling")?,
        None => None,
    };
    described(parameters.as_ref(), config.number_or(key, theta, 1e12)?, dim)
}

fn described(parameters: Option<&Config>, theta: f32, dim: usize) -> Result<Vec<f32>> {
    let (mut theta, mut factor) = (theta, 1.0);
    if let Some(parameters) = parameters {
        parameters.require("partial_rotary_factor", &json!(1.0))?;
        theta = parameters.number_or("rope_theta", theta, 1e12)?;
        let key = if parameters.get("rope_type").is_some() { "rope_type" } else { "type" };
        match parameters.text_or(key, "default")? {
            "default" => {}
            // Only in configurations of the hub: the fixed form of https://kexue.fm/archives/9706.
            "ntk" => {
                parameters.require("mixed_b", &Value::Null)?;
                let scale = parameters.number_or("factor", 1.0, 1e6)?;
                theta *= scale;
                factor = scale.powf(2.0 / dim as f32);
            }
            "linear" => factor = parameters.number_or("factor", 1.0, 1e6)?,
            _ => return Err(parameters.unsupported(key)),
        }
    }
    let frequency = |pair: usize| 1.0 / theta.powf((2 * pair) as f32 / dim as f32) / factor;
    Ok((0..dim / 2).map(frequency).collect())
}
