//! The largest value of each row and its column, of equal ones the first. Source: `torch.max` along the last dimension.

use super::GROUP;
use crate::batch::Batch;
use crate::cpu::Memory;
use crate::fragment;
use crate::program::{Buf, Op, Operand, Program, Rows};
use crate::shader::{Const, Grid, Kernel};

/// See the module.
pub struct Max {
    x: Buf,
    out: Buf,
}

impl Program {
    /// x: `[tokens, width]`, finite, of up to 2²⁴ columns, to `[tokens, 2]`: the column and its value.
    pub fn max(&mut self, x: Buf) -> Buf {
        let out = self.buf(Rows::Tokens, 2);
        self.push(Max { x, out });
        out
    }
}

impl Op for Max {
    fn kernel(&self) -> Kernel {
        let counts = [("GROUP", GROUP), ("WIDTH", self.x.width), ("STRIDE", self.x.stride)];
        Kernel {
            name: "max",
            fragments: vec![fragment!("max.wgsl")],
            consts: counts.map(|(name, count)| (name, Const::Count(count))).to_vec(),
            operands: vec![Operand::Read(self.x), Operand::Write(self.out)],
            grid: Grid { rows: Rows::Tokens, per_group: 1, y: 1, z: 1 },
        }
    }

    fn run(&self, batch: &Batch, memory: &mut Memory) {
        memory.write(self.out, |memory, out| {
            let x = memory.read(self.x)[..batch.tokens() * self.x.stride].chunks_exact(self.x.stride);
            for (x, out) in x.zip(out.chunks_exact_mut(self.out.stride)) {
                let (mut column, mut value) = (0, f32::MIN);
                for (other, found) in x[..self.x.width].iter().enumerate() {
                    if *found > value {
                        (column, value) = (other, *found);
                    }
                }
                out.copy_from_slice(&[column as f32, value, 0.0, 0.0]);
            }
        });
    }
}
