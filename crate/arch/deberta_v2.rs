//! DeBERTa-v2, and v3 and mDeBERTa, which differ from it in their training: far distances share buckets, and positions may
//! be projected as content is.
//!
//! Configuration: `transformers.DebertaV2Config`. Paper: arXiv 2111.09543.

use serde_json::json;

use super::bert::{DEFAULTS, Defaults};
use super::deberta::{self, Conv, Disentangled, MOST_SPAN, Positions, Projections, Terms, or_none};
use crate::config::Config;
use crate::encoder::Spec;
use crate::error::Result;
use crate::ops::Activation;

pub fn spec(config: &Config) -> Result<Spec> {
    let shared = config.flag_or("share_att_key", false)?;
    let steps = Disentangled {
        terms: Terms::read(config)?,
        positions: Positions::read(config)?.map(|positions| in_buckets(config, positions)).transpose()?,
        projections: if shared { Projections::Shared } else { Projections::Separate },
        conv: conv(config)?,
    };
    let defaults = Defaults { hidden: 1536, layers: 24, heads: 24, inner: 6144, vocab: 128_100, eps: 1e-7, ..DEFAULTS };
    let spec = deberta::family(config, &defaults, steps)?;
    config.require("attention_head_size", &json!(spec.head_dim))?;
    Ok(spec)
}

/// Positions that may share buckets and be normalised.
fn in_buckets(config: &Config, positions: Positions) -> Result<Positions> {
    let norm = config.text_or("norm_rel_ebd", "none")?.to_lowercase();
    let norm = norm.split('|').any(|name| name.trim() == "layer_norm");
    let Some(buckets) = or_none(config, "position_buckets", MOST_SPAN)? else {
        return Ok(Positions { norm, ..positions });
    };
    // Below, the formula of the buckets has no meaning.
    if buckets < 2 || positions.span <= buckets / 2 + 1 {
        return Err(config.unsupported("position_buckets"));
    }
    Ok(Positions { span: buckets, farthest: Some(positions.span), norm })
}

fn conv(config: &Config) -> Result<Option<Conv>> {
    let Some(taps) = or_none(config, "conv_kernel_size", 31)? else { return Ok(None) };
    config.require("conv_groups", &json!(1))?;
    // An even number leaves a row less than there was.
    if taps.is_multiple_of(2) {
        return Err(config.unsupported("conv_kernel_size"));
    }
    let activation = Activation::parse(config.text_or("conv_act", "tanh")?);
    Ok(Some(Conv { taps, activation: activation.ok_or_else(|| config.unsupported("conv_act"))? }))
}
