//! `model_type` to [`Spec`]: the only list of architectures.

mod bert;

use crate::config::Config;
use crate::encoder::Spec;
use crate::error::{Error, Result, printable};

/// The encoder that `config.json` describes.
pub fn spec(config: &Config) -> Result<Spec> {
    match config.text_or("model_type", "")? {
        "bert" => bert::spec(config),
        other => Err(Error::UnsupportedArchitecture { model_type: printable(other) }),
    }
}
