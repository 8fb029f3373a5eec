//! The scan on a GPU: every row's key, the best of every block of keys, the best of those, until they are one block.
//!
//! The frame of these kernels is a piece of the rows, or a level of the hits: [`FRAME_WORDS`] and then a bit a row.

use super::shape::{Precision, Shape};
use crate::fragment;
use crate::program::{Buf, Operand, Rows};
use crate::shader::{Const, Fragment, Grid, Kernel};

/// Words of a frame in front of its bitmap: how many rows or hits there are, the number of the first, the first block of hits that is
/// written, and how many hits of a block are kept.
pub const FRAME_WORDS: usize = 4;
/// Keys or hits that a workgroup sorts: all of the workgroup memory that WebGPU promises.
pub const BLOCK: usize = 2048;
/// Most hits of a block that are kept. More are asked for in rounds, each of those that are behind the last of the one before.
pub const KEPT: usize = 256;
/// Words of a hit: its key and its row.
pub const HIT_WORDS: usize = 2;
/// Invocations of a workgroup that compares.
const GROUP: usize = 64;
/// Rows that an invocation compares at once.
const ROWS: usize = 4;

/// Invocations side by side that read one row, so that they read what lies side by side.
fn lanes(shape: &Shape) -> usize {
    if shape.stride() < 32 { 1 } else { 8 }
}

/// Rows that a workgroup of the first kernel compares.
pub fn rows_per_group(shape: &Shape) -> usize {
    GROUP / lanes(shape) * ROWS
}

/// The kernels of rows of a shape, with their bindings from 1 on:
/// - rows `[rows][stride]`, their scales and the query to keys;
/// - keys, and the hit that all have to be behind, to the best hits of each block;
/// - hits to the best of each block.
pub fn kernels(shape: &Shape) -> [Kernel; 3] {
    let precision = match shape.precision {
        Precision::Float32 => fragment!("search/float32.wgsl"),
        Precision::Int8 => fragment!("search/int8.wgsl"),
        Precision::Binary => fragment!("search/binary.wgsl"),
    };
    let consts =
        [("GROUP", GROUP), ("LANES", lanes(shape)), ("STRIDE4", shape.stride() / 4), ("DIMENSIONS", shape.dimensions)];
    let (best, block) = (fragment!("search/best.wgsl"), [("BLOCK", BLOCK)]);
    [
        kernel("scan", [fragment!("search/scan.wgsl"), precision], &consts, 3),
        kernel("best_keys", [best, fragment!("search/best_keys.wgsl")], &block, 2),
        kernel("best_hits", [best, fragment!("search/best_hits.wgsl")], &block, 1),
    ]
}

/// A kernel whose buffers are given when it is bound: so many that it reads, and one that it writes.
fn kernel(name: &'static str, fragments: [Fragment; 2], consts: &[(&'static str, usize)], reads: usize) -> Kernel {
    let buf = Buf { id: 0, rows: Rows::Tokens, width: 1, stride: 1 };
    let mut operands = vec![Operand::Read(buf); reads];
    operands.push(Operand::Write(buf));
    let consts = consts.iter().map(|(name, count)| (*name, Const::Count(*count))).collect();
    let grid = Grid { rows: Rows::Tokens, per_group: 1, y: 1, z: 1 };
    Kernel { name, fragments: fragments.to_vec(), consts, operands, grid }
}
