//! Rotary position embeddings as `rope_parameters` describes them, and `rope_scaling` in older files. Source:
//! `transformers.modeling_rope_utils`.

use std::f64::consts::PI;

use serde_json::{Value, json};

use crate::config::{Config, limit};
use crate::error::Result;
use crate::rotation::Rotation;

/// The rotation of heads of `dim` columns, the same for all layers. `theta` counts where no base is given.
pub fn rotation(config: &Config, theta: f32, dim: usize) -> Result<Rotation> {
    config.require("partial_rotary_factor", &json!(1.0))?;
    let parameters = flat(config)?;
    if let Some(parameters) = &parameters {
        parameters.require("partial_rotary_factor", &json!(1.0))?;
    }
    let theta = config.number_or("rope_theta", theta, 1e12)?;
    Rope { config, parameters: parameters.as_ref(), by_type: false, theta, dim }.rotation(dim)
}

/// As [`rotation`], for classes that turn only a part of each head where `partial_rotary_factor` says so; `part` is their
/// own default.
pub fn partial_rotation(config: &Config, theta: f32, dim: usize, part: f64) -> Result<Rotation> {
    let parameters = flat(config)?;
    let part = config.real_or("partial_rotary_factor", part, 1.0)?;
    let part = match &parameters {
        Some(parameters) => parameters.real_or("partial_rotary_factor", part, 1.0)?,
        None => part,
    };
    let columns = (dim as f64 * part) as usize;
    if columns < 2 || !columns.is_multiple_of(2) {
        return Err(config.unsupported("partial_rotary_factor"));
    }
    let theta = config.number_or("rope_theta", theta, 1e12)?;
    Rope { config, parameters: parameters.as_ref(), by_type: false, theta, dim }.rotation(columns)
}

/// The rotation of the layers of one of the `layer_types`, whose base had a key of its own in older files. There,
/// `rope_scaling` meant full attention only.
pub fn by_type(config: &Config, kind: &str, (key, theta): (&str, f32), dim: usize) -> Result<Rotation> {
    of_type(config, kind, config.number_or(key, theta, 1e12)?, dim)
}

/// As [`by_type`], where the caller has read that key.
pub fn of_type(config: &Config, kind: &str, theta: f32, dim: usize) -> Result<Rotation> {
    config.require("partial_rotary_factor", &json!(1.0))?;
    let parameters = match config.object("rope_parameters")? {
        // transformers would not look below the layer types either.
        Some(parameters) if parameters.has("rope_type") => return Err(config.unsupported("rope_parameters")),
        Some(parameters) => parameters.object(kind)?,
        None if kind == "full_attention" => config.object("rope_scaling")?,
        None => None,
    };
    if let Some(parameters) = &parameters {
        parameters.require("partial_rotary_factor", &json!(1.0))?;
    }
    Rope { config, parameters: parameters.as_ref(), by_type: true, theta, dim }.rotation(dim)
}

/// The parameters that all layers share.
fn flat(config: &Config) -> Result<Option<Config>> {
    match config.object("rope_parameters")? {
        None => config.object("rope_scaling"),
        found => Ok(found),
    }
}

/// What a rotation is read from.
struct Rope<'a> {
    config: &'a Config,
    parameters: Option<&'a Config>,
    /// Whether the parameters are those of one of the layer types.
    by_type: bool,
    theta: f32,
    /// Columns of a head.
    dim: usize,
}

impl Rope<'_> {
    /// Turns the first `columns` of every head.
    fn rotation(&self, columns: usize) -> Result<Rotation> {
        let mut rotation = Rotation { head_dim: self.dim, ..Rotation::new(Vec::new()) };
        let Some(parameters) = self.parameters else {
            return Ok(Rotation { frequencies: frequencies(self.theta, columns), ..rotation });
        };
        let theta = parameters.number_or("rope_theta", self.theta, 1e12)?;
        let plain = frequencies(theta, columns);
        let key = if parameters.get("rope_type").is_some() { "rope_type" } else { "type" };
        rotation.frequencies = match parameters.text_or(key, "default")? {
            "default" => plain,
            // The base only changes for texts longer than `max_position_embeddings`, which are cut.
            "dynamic" => {
                rotation.dynamic = true;
                plain
            }
            "linear" => {
                let factor = parameters.number_or("factor", 1.0, 1e6)?;
                plain.iter().map(|frequency| frequency / factor).collect()
            }
            "llama3" => self.llama3(parameters, plain)?,
            "yarn" => {
                rotation.scale = self.yarn_scale(parameters)?;
                self.yarn(parameters, theta, columns)?
            }
            "longrope" => {
                rotation.scale = self.longrope_scale(parameters)?;
                let scaled = |key: &str| -> Result<Vec<f32>> {
                    let factors = parameters.numbers(key, columns / 2)?;
                    let pairs = factors.iter().enumerate();
                    Ok(pairs.map(|(pair, factor)| 1.0 / (factor * power(theta, pair, columns))).collect())
                };
                rotation.beyond = Some((self.trained(parameters)?, scaled("long_factor")?));
                scaled("short_factor")?
            }
            // Only in configurations of the hub: the fixed form of https://kexue.fm/archives/9706.
            "ntk" => {
                parameters.require("mixed_b", &Value::Null)?;
                let scale = parameters.number_or("factor", 1.0, 1e6)?;
                let factor = scale.powf(2.0 / columns as f32);
                frequencies(theta * scale, columns).iter().map(|frequency| frequency / factor).collect()
            }
            _ => return Err(parameters.unsupported(key)),
        };
        Ok(rotation)
    }

    /// `original_max_position_embeddings`: the length that the model was first trained with.
    fn trained(&self, parameters: &Config) -> Result<usize> {
        const KEY: &str = "original_max_position_embeddings";
        match () {
            () if !self.by_type && self.config.get(KEY).is_some() => self.config.size(KEY, limit::SEQUENCE),
            () if parameters.get(KEY).is_some() => parameters.size(KEY, limit::SEQUENCE),
            () => self.config.size("max_position_embeddings", limit::SEQUENCE),
        }
    }

    /// By how much texts are longer than those of the training.
    fn stretch(&self, parameters: &Config) -> Result<f64> {
        if parameters.get("factor").is_some() {
            return parameters.real_or("factor", 1.0, 1e6);
        }
        let longest = self.config.size("max_position_embeddings", limit::SEQUENCE)?;
        Ok(longest as f64 / self.trained(parameters)? as f64)
    }

    /// LLaMA 3.1: long waves are stretched, short ones are not.
    fn llama3(&self, parameters: &Config, plain: Vec<f32>) -> Result<Vec<f32>> {
        let factor = parameters.real_or("factor", 8.0, 1e6)? as f32;
        let low = parameters.real_or("low_freq_factor", 1.0, 1e6)?;
        let high = parameters.real_or("high_freq_factor", 4.0, 1e6)?;
        let trained = self.trained(parameters)? as f64;
        let stretched = |frequency: f32| {
            let wave = 2.0 * PI as f32 / frequency;
            if wave < (trained / high) as f32 {
                return frequency;
            }
            if wave > (trained / low) as f32 {
                return frequency / factor;
            }
            let smooth = (trained as f32 / wave - low as f32) / (high - low) as f32;
            (1.0 - smooth) * frequency / factor + smooth * frequency
        };
        Ok(plain.into_iter().map(stretched).collect())
    }

    /// YaRN (arXiv 2309.00071) §3.2: as LLaMA 3.1, between two columns where the waves have turned so many times.
    fn yarn(&self, parameters: &Config, theta: f32, columns: usize) -> Result<Vec<f32>> {
        let factor = self.stretch(parameters)? as f32;
        let trained = self.trained(parameters)? as f64;
        let column =
            |turns: f64| (columns as f64 * (trained / (turns * 2.0 * PI)).ln()) / (2.0 * f64::from(theta).ln());
        let mut low = column(parameters.real_or("beta_fast", 32.0, 1e6)?);
        let mut high = column(parameters.real_or("beta_slow", 1.0, 1e6)?);
        // transformers looks for the key beside the layer types.
        if self.by_type || parameters.flag_or("truncate", true)? {
            (low, high) = (low.floor(), high.ceil());
        }
        (low, high) = (low.max(0.0), high.min(columns as f64 - 1.0));
        if low == high {
            high += 0.001;
        }
        let mixed = |pair: usize| {
            let power = power(theta, pair, columns);
            let plain = 1.0 - ((pair as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0);
            1.0 / (factor * power) * (1.0 - plain) + 1.0 / power * plain
        };
        Ok((0..columns / 2).map(mixed).collect())
    }

    fn yarn_scale(&self, parameters: &Config) -> Result<f32> {
        let factor = self.stretch(parameters)?;
        let scale = |weight: f64| if factor <= 1.0 { 1.0 } else { 0.1 * weight * factor.ln() + 1.0 };
        let weight = |key| parameters.get(key).filter(|value| value.as_f64() != Some(0.0)).map(|_| key);
        let inferred = match (weight("mscale"), weight("mscale_all_dim")) {
            (Some(one), Some(all)) => {
                scale(parameters.real_or(one, 1.0, 1e3)?) / scale(parameters.real_or(all, 1.0, 1e3)?)
            }
            _ => scale(1.0),
        };
        Ok(parameters.real_or("attention_factor", inferred, 1e3)? as f32)
    }

    /// LongRoPE (arXiv 2402.13753).
    fn longrope_scale(&self, parameters: &Config) -> Result<f32> {
        let factor = self.stretch(parameters)?;
        let trained = self.trained(parameters)? as f64;
        let inferred = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / trained.ln()).sqrt() };
        Ok(parameters.real_or("attention_factor", inferred, 1e3)? as f32)
    }
}

/// The inverse frequencies of the first `columns` of a head.
fn frequencies(theta: f32, columns: usize) -> Vec<f32> {
    (0..columns / 2).map(|pair| 1.0 / power(theta, pair, columns)).collect()
}

fn power(theta: f32, pair: usize, columns: usize) -> f32 {
    theta.powf((2 * pair) as f32 / columns as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_named() {
        let error = |text: &str| {
            let config = Config::parse("config.json", text.as_bytes()).unwrap();
            rotation(&config, 10_000.0, 8).unwrap_err().to_string()
        };
        for (text, named) in [
            (r#"{"rope_parameters": {"rope_type": "spiral"}}"#, "rope_type = \"spiral\""),
            (r#"{"rope_scaling": {"type": "mrope"}}"#, "type = \"mrope\""),
            (r#"{"partial_rotary_factor": 0.5}"#, "partial_rotary_factor = 0.5"),
            (r#"{"rope_parameters": {"rope_type": "yarn", "factor": 2}}"#, "max_position_embeddings"),
            (
                r#"{"max_position_embeddings": 8, "rope_parameters": {"rope_type": "longrope", "long_factor": [1]}}"#,
                "4 numbers",
            ),
        ] {
            assert!(error(text).contains(named), "{}", error(text));
        }
        let flat = r#"{"rope_parameters": {"rope_type": "linear", "factor": 2}}"#;
        let config = Config::parse("config.json", flat.as_bytes()).unwrap();
        assert_eq!(of_type(&config, "full_attention", 10_000.0, 8).unwrap_err().code(), "unsupported-option");
    }
}
