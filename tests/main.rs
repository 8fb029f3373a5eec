//! One test binary, so that wgpu is linked once.
//!
//! A test that needs a GPU (lavapipe in CI) or the real model fails where there is none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod bulk;
mod chunks;
mod cli;
mod faults;
mod golden;
mod index;
mod normed;
#[cfg(feature = "object-store")]
mod object_store;
mod ops;
mod pack;
mod search;
mod shaders;
mod support;
mod tasks;
mod tidy;
mod tokens;
mod training;
mod tuning;
