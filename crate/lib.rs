//! Text encoders on the user's own GPU, in the browser and natively.
//!
//! embedlet reads a Hugging Face or sentence-transformers folder as it is and turns texts into the vectors that
//! sentence-transformers would make of them. How a text becomes a vector, and where:
//!
//! 1. [`folder`] and [`config`] read the small files; [`arch`] says which encoder they describe.
//! 2. [`encoder`] and [`head`] record it as a [`program`] of [`ops`], whose parameters [`declare`] names.
//! 3. [`weights`] streams the checkpoint to the device, laid as [`layout`] says; some parameters are [`computed`].
//! 4. [`tokens`] makes ids of a text; [`batch`] packs the ids of many texts, without padding.
//! 5. [`gpu`] runs the program as WGSL (joined by [`shader`]), [`cpu`] runs the same program on the host.
//! 6. [`model`] calls these in order, [`chunk`] cuts what is too long; `wasm.rs` is its face to JavaScript.
//! 7. [`search`] finds the nearest of many vectors, on the device of a model.
//! 8. Natively, `bulk` (a feature, on by default) embeds files of any length, and `index` writes documents into files that a
//!    browser searches from a static host.
//!
//! The npm package is the stable interface; this crate is for native use and tests, and may change.

pub mod arch;
pub mod batch;
#[cfg(not(target_arch = "wasm32"))]
pub mod bench;
#[cfg(all(feature = "bulk", not(target_arch = "wasm32")))]
pub mod bulk;
mod checkpoint;
pub mod chunk;
pub mod computed;
pub mod config;
pub mod cost;
pub mod cpu;
pub mod declare;
pub mod encoder;
pub mod error;
pub mod folder;
pub mod gpu;
pub mod head;
#[cfg(not(target_arch = "wasm32"))]
pub mod index;
pub mod integers;
pub mod job;
pub mod layout;
pub mod loader;
pub mod model;
#[cfg(not(target_arch = "wasm32"))]
pub mod native;
pub mod ops;
#[cfg(not(target_arch = "wasm32"))]
pub mod pack;
pub mod packed;
mod plan;
mod platform;
pub mod program;
pub mod reader;
pub mod rotation;
mod runner;
pub mod search;
pub mod sentence;
pub mod shader;
pub mod shards;
mod sort;
pub mod sparsity;
pub mod tails;
pub mod task;
pub mod tokens;
pub mod train;
#[cfg(target_arch = "wasm32")]
mod wasm;
pub mod weights;

pub use error::{Error, Result};
