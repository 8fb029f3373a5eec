//! The operations, one file each: a method on [`Program`](crate::program::Program) that records it, its
//! kernel, and its CPU side. The GPU sides are the files of the same names in `shaders/`.

mod attention;
mod conv;
mod depthwise;
mod disentangled_attention;
mod dynamic_convolution;
mod embed;
mod experts;
mod fourier;
mod gather;
mod head_norm;
mod join;
mod layer_norm;
mod lexical_pool;
mod linear;
mod lora;
mod max;
mod max_sim;
mod mix;
mod normalize;
mod pool;
mod route;
mod selective_scan;

pub use attention::{Attention, Blocks, Heads, Rotations, Sees};
pub use conv::Conv;
pub use depthwise::{Depthwise, Taps};
pub use disentangled_attention::{DisentangledAttention, RelativePositions};
pub use dynamic_convolution::DynamicConvolution;
pub use embed::{Dropout, Embed, EmbedTables, Own};
pub use experts::Experts;
pub use fourier::Fourier;
pub use gather::Gather;
pub use head_norm::HeadNorm;
pub use join::{Join, Parts};
pub use layer_norm::{LayerNorm, Norm, NormKind, Normed};
pub use lexical_pool::{Lexical, LexicalPool};
pub use linear::{Activation, Epilogue, Linear};
pub use lora::{Adapters, Down, Lora};
pub use max::Max;
pub use max_sim::{MaxSim, Queries, late_interaction};
pub use mix::Mix;
pub use normalize::Normalize;
pub use pool::Pool;
pub use route::{Route, Routes};
pub use selective_scan::{ScanWeights, SelectiveScan};

/// Invocations of a workgroup that handles one row. A power of two.
const GROUP: usize = 64;
/// Of so few rows a step normalises what it reads rather than wait for a step that does nothing else. For more, every workgroup that did so
/// again would take longer than that.
const FEW_ROWS: usize = 32;
