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

/// The kernels of rows of a shape: keys, the best of them, the best of hits.
#[derive(Debug, Clone)]
pub struct Kernels {
    /// Rows `[rows][stride]`, their scales and the query to keys; binding 1 to 4.
    pub scan: Kernel,
    /// Rows that a workgroup of it compares.
    pub rows_per_group: usize,
    /// Keys and the hit that all have to be behind to hits; binding 1 to 3.
    pub first: Kernel,
    /// Hits to fewer; binding 1 and 2.
    pub next: Kernel,
}

impl Kernels {
    /// Of rows of this shape.
    pub fn new(shape: &Shape) -> Self {
        let vectors = shape.stride() / 4;
        // Invocations side by side read one row, so that they read what lies side by side.
        let lanes = if vectors < 8 { 1 } else { 8 };
        let count = |name, count| (name, Const::Count(count));
        let precision = match shape.precision {
            Precision::Float32 => fragment!("search/float32.wgsl"),
            Precision::Int8 => fragment!("search/int8.wgsl"),
            Precision::Binary => fragment!("search/binary.wgsl"),
        };
        let scan = kernel(
            "scan",
            vec![fragment!("search/scan.wgsl"), precision],
            vec![
                count("GROUP", GROUP),
                count("LANES", lanes),
                count("STRIDE4", vectors),
                count("DIMENSIONS", shape.dimensions),
            ],
            &[false, false, false, true],
        );
        let block = || vec![count("BLOCK", BLOCK)];
        let best = |name, own: Fragment, writes: &[bool]| {
            kernel(name, vec![fragment!("search/best.wgsl"), own], block(), writes)
        };
        Self {
            scan,
            rows_per_group: GROUP / lanes * ROWS,
            first: best("best_keys", fragment!("search/best_keys.wgsl"), &[false, false, true]),
            next: best("best_hits", fragment!("search/best_hits.wgsl"), &[false, true]),
        }
    }

    /// All of them.
    pub fn all(&self) -> [&Kernel; 3] {
        [&self.scan, &self.first, &self.next]
    }
}

/// A kernel whose buffers are given when it is bound; for each, whether it is written.
fn kernel(name: &'static str, fragments: Vec<Fragment>, consts: Vec<(&'static str, Const)>, writes: &[bool]) -> Kernel {
    let buf = |id| Buf { id, rows: Rows::Tokens, width: 1, stride: 1 };
    let operand =
        |(id, written): (usize, &bool)| if *written { Operand::Write(buf(id)) } else { Operand::Read(buf(id)) };
    let operands = writes.iter().enumerate().map(operand).collect();
    Kernel { name, fragments, consts, operands, grid: Grid { rows: Rows::Tokens, per_group: 1, y: 1 } }
}
