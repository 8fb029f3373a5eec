//! What the experts of a token made of it, each by its weight, with one bias for all, added to a residual.

use super::{GROUP, Routes};
use crate::batch::Batch;
use crate::cpu::{Memory, for_row_blocks};
use crate::fragment;
use crate::program::{Buf, Op, Operand, Program, Rows, WeightId};
use crate::shader::{Const, Grid, Kernel};

/// See the module.
pub struct Mix {
    parts: Buf,
    routes: Routes,
    bias: WeightId,
    residual: Buf,
    out: Buf,
}

impl Program {
    /// parts: `[tokens, top, width]`, bias: `[width]`, residual: `[tokens, width]` to the same
    pub fn mix(&mut self, parts: Buf, routes: Routes, bias: WeightId, residual: Buf) -> Buf {
        let out = self.buf(Rows::Tokens, residual.width);
        self.push(Mix { parts, routes, bias, residual, out });
        out
    }
}

impl Op for Mix {
    fn kernel(&self) -> Kernel {
        Kernel {
            name: "mix",
            fragments: vec![fragment!("mix.wgsl")],
            consts: vec![
                ("GROUP", Const::Count(GROUP)),
                ("TOP", Const::Count(self.routes.top)),
                ("ROUTES_STRIDE", Const::Count(self.routes.buf.stride)),
                ("STRIDE4", Const::Count(self.out.stride / 4)),
            ],
            operands: vec![
                Operand::Read(self.parts),
                Operand::Read(self.routes.buf),
                Operand::Weight(self.bias),
                Operand::Read(self.residual),
                Operand::Write(self.out),
            ],
            grid: Grid { rows: Rows::Tokens, per_group: 1, y: 1, z: 1 },
        }
    }

    fn run(&self, batch: &Batch, memory: &mut Memory) {
        let stride = self.out.stride;
        memory.write(self.out, |memory, out| {
            let (parts, routes) = (memory.read(self.parts), memory.read(self.routes.buf));
            let (bias, residual) = (memory.weight(self.bias), memory.read(self.residual));
            for_row_blocks(&mut out[..batch.tokens() * stride], stride, 16, |first, rows| {
                for (index, row) in rows.chunks_exact_mut(stride).enumerate() {
                    let token = first + index;
                    row.fill(0.0);
                    for choice in 0..self.routes.top {
                        let weight = self.routes.weight(routes, token, choice);
                        let part = &parts[(token * self.routes.top + choice) * stride..][..stride];
                        row.iter_mut().zip(part).for_each(|(sum, part)| *sum += weight * part);
                    }
                    let residual = &residual[token * stride..][..stride];
                    for ((row, bias), residual) in row.iter_mut().zip(bias).zip(residual) {
                        *row = residual + (*row + bias);
                    }
                }
            });
        });
    }
}
