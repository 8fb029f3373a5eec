//! The operations, one file each: a method on [`Program`](crate::program::Program) that records it, its
//! kernel, and its CPU side. The GPU sides are the files of the same names in `shaders/`.

mod attention;
mod conv;
mod disentangled_attention;
mod embed;
mod head_norm;
mod layer_norm;
mod linear;
mod normalize;
mod pool;

pub use attention::{Attention, Heads, Rotations};
pub use conv::Conv;
pub use disentangled_attention::{DisentangledAttention, RelativePositions};
pub use embed::{Embed, EmbedTables};
pub use head_norm::HeadNorm;
pub use layer_norm::{LayerNorm, Norm, NormKind};
pub use linear::{Activation, Epilogue, Linear};
pub use normalize::Normalize;
pub use pool::Pool;

/// Invocations of a workgroup that handles one row. A power of two.
const GROUP: usize = 64;
