//! `y = x / max(‖x‖, 1e-12)`, cut to the dimensions asked for. Source: `torch.nn.functional.normalize`.

use super::GROUP;
use crate::batch::{Batch, PoolingParams};
use crate::cpu::Memory;
use crate::fragment;
use crate::program::{Buf, Op, Operand, Program, Rows};
use crate::shader::{Const, Grid, Kernel};

/// See the module.
pub struct Normalize {
    x: Buf,
}

impl Program {
    /// x: `[texts, width]` to the vectors that are read back, as the batch's pooling asks
    pub fn normalize(&mut self, x: Buf) {
        self.output.width = x.width;
        self.push(Normalize { x });
    }
}

impl Op for Normalize {
    fn kernel(&self) -> Kernel {
        Kernel {
            name: "normalize",
            fragments: vec![fragment!("normalize.wgsl"), fragment!("lib/normalize.wgsl"), fragment!("lib/reduce.wgsl")],
            consts: vec![("GROUP", Const::Count(GROUP)), ("STRIDE", Const::Count(self.x.stride))],
            operands: vec![Operand::Read(self.x), Operand::Output],
            grid: Grid { rows: Rows::Texts, per_group: 1, y: 1, z: 1 },
        }
    }

    fn run(&self, batch: &Batch, memory: &mut Memory) {
        let dimensions = batch.pooling.dimensions as usize;
        memory.write_output(batch.texts() * dimensions, |memory, out| {
            let x = memory.read(self.x).chunks_exact(self.x.stride);
            for (x, out) in x.zip(out.chunks_exact_mut(dimensions)) {
                cut(x, &batch.pooling, out);
            }
        });
    }
}

/// Scales `x` so that the norm of its leading columns is one, where that is asked for, and keeps the first
/// `out.len()` columns.
pub(super) fn cut(x: &[f32], pooling: &PoolingParams, out: &mut [f32]) {
    let measured = &x[..pooling.norm_dimensions as usize];
    let norm = measured.iter().map(|x| x * x).sum::<f32>().sqrt();
    let scale = if measured.is_empty() { 1.0 } else { 1.0 / norm.max(1e-12) };
    out.iter_mut().zip(x).for_each(|(out, x)| *out = scale * x);
}
