//! The arithmetic of embedlet's host path, on slices of f32: what there is a WGSL kernel for on a GPU.
//!
//! It is a crate of its own so that what a browser downloads can be compiled for size and these loops, which are nearly all of
//! its time, for speed. Functions that are not generic keep their own way of being compiled; they are not inlined for that.

mod elementwise;
#[cfg(target_arch = "x86_64")]
mod fused;
mod int8;
mod product;
mod scan;
mod simd;

pub use elementwise::{gelu, gelu_tanh, layer_norm, quick_gelu, relu, rms_norm, silu, softmax, tanh};
pub use int8::{Int8Matrix, Int8Part};
pub use product::{Matrix, add_products_with_eight, chains, fours, product, products_with_eight};
pub use scan::{CODES, scan_bits, scan_f32, scan_int8};
pub use simd::{F32x8, add_scaled, dot, exp, extend_with_zeros, map, sum, zip};

/// Output columns that lie side by side in a stored matrix: as many as there are lanes.
pub const PANEL: usize = 8;
