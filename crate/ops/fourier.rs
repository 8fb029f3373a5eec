//! `y = x + Re F(x)`, the Fourier transform over the columns and the rows of every text. Source: `torch.fft.fftn`.
//!
//! As products: with C and S the cosines and sines of 2π m / n, the real part is `C_rows x C_columns - S_rows x S_columns`.
//! Texts are too short for a fast transform to win, and rows of any number are transformed alike.

use embedlet_host::add_scaled;

use crate::batch::Batch;
use crate::computed::Computed;
use crate::cpu::{Memory, for_row_blocks};
use crate::fragment;
use crate::ops::Epilogue;
use crate::program::{Buf, Op, Operand, Program, Rows, WeightId};
use crate::shader::{Const, Grid, Kernel};
use crate::weights::{Axis, Layout, Rounding, Weight};

/// The second of the two products, along the rows.
pub struct Fourier {
    x: Buf,
    columns: Buf,
    turns: WeightId,
    out: Buf,
}

impl Program {
    /// x: `[tokens, width]`, of texts of at most `most` tokens, to `[tokens, width]`
    pub fn fourier(&mut self, x: Buf, most: usize) -> Buf {
        let (inputs, outputs) = (Axis::plain(x.width), Axis::blocks(2, x.width));
        let matrix = self.weight(Weight::computed(Layout::Linear { inputs, outputs }, Computed::Fourier));
        let bias = self.weight(Weight::new(Layout::Vector { axis: outputs }, Vec::new(), Rounding::Never));
        let columns = self.linear(x, matrix, bias, outputs.padded(), Epilogue::None);
        let turns = self.weight(Weight::computed(Layout::Turns { most }, Computed::Fourier));
        let out = self.buf(Rows::Tokens, x.width);
        self.push(Fourier { x, columns, turns, out });
        out
    }
}

impl Op for Fourier {
    fn kernel(&self) -> Kernel {
        Kernel {
            name: "fourier",
            fragments: vec![fragment!("fourier.wgsl")],
            consts: vec![("STRIDE4", Const::Count(self.x.stride / 4))],
            operands: vec![
                Operand::Read(self.columns),
                Operand::Read(self.x),
                Operand::Weight(self.turns),
                Operand::Write(self.out),
            ],
            grid: Grid { rows: Rows::Tokens, per_group: 8, y: (self.x.stride / 4).div_ceil(8) as u32, z: 1 },
        }
    }

    fn run(&self, batch: &Batch, memory: &mut Memory) {
        let stride = self.x.stride;
        memory.write(self.out, |memory, out| {
            let (x, columns, turns) = (memory.read(self.x), memory.read(self.columns), memory.weight(self.turns));
            for_row_blocks(&mut out[..batch.tokens() * stride], stride, 16, |first, rows| {
                for (index, row) in rows.chunks_exact_mut(stride).enumerate() {
                    let token = first + index;
                    let (from, until) = (batch.from[token] as usize, batch.until[token] as usize);
                    let count = until - from;
                    let turns = turns[count * (count - 1)..].as_chunks::<2>().0;
                    row.fill(0.0);
                    for (source, columns) in
                        columns[from * 2 * stride..until * 2 * stride].chunks_exact(2 * stride).enumerate()
                    {
                        let [cos, sin] = turns[(token - from) * source % count];
                        let (even, odd) = columns.split_at(stride);
                        add_scaled(row, cos, even);
                        add_scaled(row, -sin, odd);
                    }
                    add_scaled(row, 1.0, &x[token * stride..]);
                }
            });
        });
    }
}
