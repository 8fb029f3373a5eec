//! What follows the encoder: pooling, projections, normalisation.

use serde_json::Value;

use crate::config::{Config, limit};
use crate::error::Result;
use crate::ops::{Activation, Epilogue};
use crate::program::{Buf, Program};
use crate::weights::{Axis, Layout, Part, Rounding, Weight};

/// How the token rows of a text become one vector, with the names of sentence-transformers. Several are
/// concatenated. `shaders/pool.wgsl` knows the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The first token that is pooled.
    Cls = 0,
    /// The largest value of each column.
    Max = 1,
    /// The mean over tokens.
    Mean = 2,
    /// The sum over tokens divided by the square root of their number.
    MeanSqrtLen = 3,
    /// The mean over tokens, weighted by position from 1.
    WeightedMean = 4,
    /// The last token.
    LastToken = 5,
}

impl Pooling {
    /// How many there are.
    pub const COUNT: usize = 6;

    /// Every pooling with its name and the key that older folders use.
    const NAMES: [(Self, &str, &str); Self::COUNT] = [
        (Self::Cls, "cls", "pooling_mode_cls_token"),
        (Self::Max, "max", "pooling_mode_max_tokens"),
        (Self::Mean, "mean", "pooling_mode_mean_tokens"),
        (Self::MeanSqrtLen, "mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens"),
        (Self::WeightedMean, "weightedmean", "pooling_mode_weightedmean_tokens"),
        (Self::LastToken, "lasttoken", "pooling_mode_lasttoken"),
    ];

    /// By its name in sentence-transformers.
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known, _)| *known == name).map(|(pooling, ..)| *pooling)
    }

    /// Its name in sentence-transformers.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }

    /// Whether no pooling is named twice.
    pub fn distinct(modes: &[Self]) -> bool {
        modes.iter().enumerate().all(|(index, mode)| !modes[..index].contains(mode))
    }

    /// Reads a `Pooling` module's configuration, of either generation. The newer list is joined in its own order.
    pub fn read(config: &Config) -> Result<Vec<Self>> {
        let wrong = || config.unsupported("pooling_mode");
        let mut modes = match config.get("pooling_mode") {
            Some(Value::String(name)) => vec![Self::parse(name).ok_or_else(wrong)?],
            Some(Value::Array(names)) => {
                let parse = |name: &Value| name.as_str().and_then(Self::parse).ok_or_else(wrong);
                names.iter().map(parse).collect::<Result<_>>()?
            }
            Some(_) => return Err(wrong()),
            None => {
                let mut modes = Vec::new();
                for (pooling, _, key) in Self::NAMES {
                    if config.flag_or(key, false)? {
                        modes.push(pooling);
                    }
                }
                modes
            }
        };
        if modes.is_empty() {
            modes.push(Self::Mean);
        }
        Self::distinct(&modes).then_some(modes).ok_or_else(wrong)
    }
}

/// How a class makes vectors of texts itself: a projection of the state of one token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnVectors {
    /// The token, which is the last that takes part.
    pub end: End,
    /// The projection, in the file that has the encoder's weights.
    pub dense: Dense,
}

/// Which token of a text stands for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The last, in texts that are filled up to so many tokens with this one.
    Padded(usize, u32),
    /// The first of this id, or the first of all. It sees none behind it.
    Id(u32),
    /// The first of the highest id. It sees none behind it.
    Highest,
}

impl End {
    /// Leaves, of a text's tokens, those up to that one.
    pub fn cut(self, ids: &mut Vec<u32>) {
        let highest = ids.iter().max().copied();
        match (self, highest) {
            (Self::Padded(length, id), _) => ids.resize(ids.len().max(length), id),
            (Self::Id(id), _) | (Self::Highest, Some(id)) => {
                ids.truncate(1 + ids.iter().position(|own| *own == id).unwrap_or(0));
            }
            (Self::Highest, None) => {}
        }
    }
}

/// A projection behind the pooling, `N_Dense`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dense {
    /// File of its weights.
    pub file: String,
    /// Its name there.
    pub name: String,
    /// Columns in.
    pub inputs: usize,
    /// Columns out.
    pub outputs: usize,
    /// Whether it has one.
    pub bias: bool,
    /// None for the identity.
    pub activation: Option<Activation>,
}

impl Dense {
    /// Reads a `Dense` module's configuration. `of` is what it must project: `sentence_embedding` or `token_embeddings`.
    pub fn read(config: &Config, path: &str, of: &str) -> Result<Self> {
        let only =
            [("use_residual", Value::Bool(false)), ("module_input_name", of.into()), ("module_output_name", of.into())];
        only.iter().try_for_each(|(key, only)| config.require(key, only))?;
        let function = config.text_or("activation_function", "torch.nn.modules.activation.Tanh")?;
        let activation = match function.rsplit('.').next().unwrap_or_default() {
            "Identity" => None,
            "Tanh" => Some(Activation::Tanh),
            "ReLU" => Some(Activation::Relu),
            "GELU" => Some(Activation::Gelu),
            "SiLU" => Some(Activation::Silu),
            _ => return Err(config.unsupported("activation_function")),
        };
        Ok(Self {
            file: format!("{path}/model.safetensors"),
            name: "linear".into(),
            inputs: config.size("in_features", 6 * limit::HIDDEN)?,
            outputs: config.size("out_features", limit::INNER)?,
            bias: config.flag_or("bias", true)?,
            activation,
        })
    }

    /// Records it: x: `[rows, inputs]` to `[rows, outputs]`
    pub fn record(&self, program: &mut Program, x: Buf) -> Buf {
        let part = |name: &str| Part::whole(&self.file, format!("{}.{name}", self.name), self.outputs);
        // Small, and the last thing that touches the vectors: never rounded.
        let rounding = Rounding::Never;
        let (inputs, outputs) = (Axis::plain(self.inputs), Axis::plain(self.outputs));
        let weight = Weight::new(Layout::Linear { inputs, outputs }, vec![part("weight")], rounding);
        let bias_parts = if self.bias { vec![part("bias")] } else { Vec::new() };
        let bias = Weight::new(Layout::Vector { axis: outputs }, bias_parts, rounding);
        let (weight, bias) = (program.weight(weight), program.weight(bias));
        let epilogue = self.activation.map_or(Epilogue::None, Epilogue::Activation);
        program.linear(x, weight, bias, self.outputs, epilogue)
    }
}

/// Everything behind the encoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// At least one.
    pub pooling: Vec<Pooling>,
    /// Whether the tokens of a prompt are pooled too.
    pub include_prompt: bool,
    /// In order.
    pub dense: Vec<Dense>,
    /// Whether vectors are scaled to unit length.
    pub normalize: bool,
}

impl Head {
    /// Columns of the vectors.
    pub fn dimensions(&self, hidden: usize) -> usize {
        self.dense.last().map_or(self.pooling.len() * hidden, |dense| dense.outputs)
    }

    /// Records everything behind the encoder's last hidden state `x: [tokens, hidden]`.
    pub fn record(&self, program: &mut Program, x: Buf) {
        if self.dense.is_empty() {
            return program.pool_and_normalize(x);
        }
        let pooled = program.pool(x, self.pooling.len());
        let projected = self.dense.iter().fold(pooled, |x, dense| dense.record(program, x));
        program.normalize(projected);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pooling(text: &str) -> Result<Vec<Pooling>> {
        Pooling::read(&Config::parse("1_Pooling/config.json", text.as_bytes()).unwrap())
    }

    #[test]
    fn reads_both_generations_of_keys() {
        let cases: [(&str, &[Pooling]); 5] = [
            (r#"{"pooling_mode_cls_token": false, "pooling_mode_mean_tokens": true}"#, &[Pooling::Mean]),
            (r#"{"pooling_mode": "lasttoken"}"#, &[Pooling::LastToken]),
            (r#"{"pooling_mode": ["mean", "cls"]}"#, &[Pooling::Mean, Pooling::Cls]),
            (
                r#"{"pooling_mode_weightedmean_tokens": true, "pooling_mode_max_tokens": true}"#,
                &[Pooling::Max, Pooling::WeightedMean],
            ),
            ("{}", &[Pooling::Mean]),
        ];
        for (text, expected) in cases {
            assert_eq!(pooling(text).unwrap(), expected, "{text}");
        }
        for text in
            [r#"{"pooling_mode": "attention"}"#, r#"{"pooling_mode": 3}"#, r#"{"pooling_mode": ["cls", "cls"]}"#]
        {
            assert_eq!(pooling(text).unwrap_err().code(), "unsupported-option", "{text}");
        }
    }

    #[test]
    fn a_text_ends_where_its_vector_is() {
        for (end, left) in [
            (End::Id(7), &[3, 9, 7][..]),
            (End::Id(8), &[3]),
            (End::Highest, &[3, 9]),
            (End::Padded(7, 1), &[3, 9, 7, 9, 7, 1, 1]),
            (End::Padded(2, 1), &[3, 9, 7, 9, 7]),
        ] {
            let mut ids = vec![3, 9, 7, 9, 7];
            end.cut(&mut ids);
            assert_eq!(ids, left, "{end:?}");
        }
    }

    #[test]
    fn names_go_both_ways() {
        for (pooling, name, _) in Pooling::NAMES {
            assert_eq!((Pooling::parse(name), pooling.name()), (Some(pooling), name));
        }
    }

    #[test]
    fn refuses_projections_it_does_not_know() {
        let read = |text: &str| {
            Dense::read(
                &Config::parse("2_Dense/config.json", text.as_bytes()).unwrap(),
                "2_Dense",
                "sentence_embedding",
            )
        };
        let dense = read(r#"{"in_features": 8, "out_features": 4, "bias": false, "activation_function": "torch.nn.modules.linear.Identity"}"#).unwrap();
        let (file, name) = ("2_Dense/model.safetensors".into(), "linear".into());
        assert_eq!(dense, Dense { file, name, inputs: 8, outputs: 4, bias: false, activation: None });
        for key in [r#""activation_function": "torch.nn.Softplus""#, r#""use_residual": true"#] {
            let text = format!(r#"{{"in_features": 8, "out_features": 4, {key}}}"#);
            assert_eq!(read(&text).unwrap_err().code(), "unsupported-option", "{key}");
        }
    }
}
