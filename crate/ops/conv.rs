//! `y = residual + activation(conv(x) + b)` over neighbouring rows of a text, an odd number of them, zero where the text
//! ends. Source: `torch.nn.Conv1d`.

use embedlet_host::{add_scaled, product};

use super::linear::Activation;
use crate::batch::Batch;
use crate::cpu::{Memory, for_row_blocks};
use crate::fragment;
use crate::program::{Buf, Op, Operand, Program, WeightId};
use crate::shader::{Const, Grid, Kernel};
use crate::weights::TILE;

/// See the module.
pub struct Conv {
    x: Buf,
    weight: WeightId,
    bias: WeightId,
    taps: usize,
    activation: Activation,
    residual: Buf,
    out: Buf,
}

impl Program {
    /// x: `[tokens, inputs]`, weight: [`Layout::Conv`](crate::weights::Layout::Conv) of so many taps, bias: `[width]`,
    /// residual: `[tokens, width]` to `[tokens, width]`
    pub fn conv(
        &mut self,
        x: Buf,
        weight: WeightId,
        bias: WeightId,
        taps: usize,
        activation: Activation,
        residual: Buf,
    ) -> Buf {
        let out = self.buf(x.rows, residual.width);
        self.push(Conv { x, weight, bias, taps, activation, residual, out });
        out
    }
}

impl Op for Conv {
    fn kernel(&self) -> Kernel {
        Kernel {
            name: "conv",
            fragments: vec![fragment!("conv.wgsl"), self.activation.fragment()],
            consts: vec![
                ("TAPS", Const::Count(self.taps)),
                ("K4", Const::Count(self.x.stride / 4)),
                ("N4", Const::Count(self.out.stride / 4)),
            ],
            operands: vec![
                Operand::Read(self.x),
                Operand::Weight(self.weight),
                Operand::Weight(self.bias),
                Operand::Write(self.out),
                Operand::Read(self.residual),
            ],
            grid: Grid { rows: self.x.rows, per_group: 32, y: self.out.stride.div_ceil(TILE) as u32, z: 1 },
        }
    }

    fn run(&self, batch: &Batch, memory: &mut Memory) {
        let (inputs, width) = (self.x.stride, self.out.stride);
        memory.write(self.out, |memory, out| {
            let (x, residual) = (memory.read(self.x), memory.read(self.residual));
            let (weight, bias) = (memory.matrix(self.weight, 0, 1), memory.weight(self.bias));
            for_row_blocks(&mut out[..batch.tokens() * width], width, 16, |first, rows| {
                let mut near = vec![0.0; rows.len() / width * self.taps * inputs];
                for (index, near) in near.chunks_exact_mut(inputs).enumerate() {
                    let (token, tap) = (first + index / self.taps, index % self.taps);
                    let text = batch.from[token] as usize..batch.until[token] as usize;
                    if let Some(row) = (token + tap).checked_sub(self.taps / 2).filter(|row| text.contains(row)) {
                        near.copy_from_slice(&x[row * inputs..][..inputs]);
                    }
                }
                product(&near, self.taps * inputs, weight, bias, rows, width);
                self.activation.apply(rows);
                add_scaled(rows, 1.0, &residual[first * width..]);
            });
        });
    }
}
